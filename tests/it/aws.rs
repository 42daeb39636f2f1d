//! Amazon SNS and SES, as moto answers for them: it checks each signature by the secret that only both sides know, and shows what it took.

use std::sync::Arc;

use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::registry::build;
use loudhailer::channel::{Driver, Fault, Outcome, Parcel};
use loudhailer::clock::Clock;
use loudhailer::config::Config;
use loudhailer::render::message::Filled;
use serde_json::{Value, json};

use super::harness::within;
use super::peers::{http_get, peers};

/// Without a blank: moto writes a form anew before it checks its digest, with + where ours has %20. AWS takes the bytes as they came.
const TEXT: &str = "Back:åäö&\"more\"+100%";

/// A channel of that platform, by the way of the registry.
fn driver(platform: &str, pairs: &[(&str, &str)]) -> Arc<dyn Driver> {
    let settings: String = pairs.iter().map(|(name, value)| format!("settings.{name} = {value:?}\n")).collect();
    let text = format!("[channels.x]\nplatform = {platform:?}\n{settings}");
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    let platforms = Platforms::load(None).expect("platforms");
    build(&config, &platforms, Arc::new(Clock::system())).expect("channels").pop().expect("one channel").driver
}

fn parcel(to: &str) -> Parcel {
    let (title, html) = (Some("Down: web".to_string()), Some("<p>We are <b>back</b>: å</p>".to_string()));
    Parcel {
        id: "dlv_1".into(),
        broadcast: None,
        incident: None,
        to: to.into(),
        secrets: Vec::new(),
        message: Arc::new(Filled { title, text: TEXT.into(), html, locale: "en".into() }.into()),
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: Clock::system().calendar(),
    }
}

/// What moto took, of that service and kind.
fn taken(at: &str, service: &str, kind: &str) -> Vec<Value> {
    let answer = http_get(at, "/moto-api/data.json");
    let all: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("an answer").1).expect("JSON");
    all[service][kind].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn sms_and_mail_are_signed_so_that_aws_takes_them_and_with_another_secret_it_does_not() {
    let Some([at, key, secret]) = peers(["aws", "aws_key", "aws_secret"]) else { return };
    let send = async |platform: &str, secret: &str, to: &str, more: &[(&str, &str)]| {
        let own = [("url", at.as_str()), ("region", "eu-west-1"), ("key_id", &key), ("secret", secret)];
        within("answered", driver(platform, &[&own[..], more].concat()).send(parcel(to))).await
    };
    let number = format!("+4670{:07}", fastrand::u32(..10_000_000));
    assert_eq!(send("aws-sns", &secret, &number, &[]).await, Outcome::Accepted { reference: None });
    let texts = taken(&at, "sns", "SMS");
    let ours: Vec<&Value> = texts.iter().filter(|sms| sms["phone_number"] == json!(number)).collect();
    assert_eq!(ours.iter().map(|sms| &sms["message"]).collect::<Vec<_>>(), [&json!(TEXT)]);

    let (reader, verified) = (format!("reader-{number}@example.net"), [("from", "Acme <status@example.org>")]);
    let mailed = send("amazon-ses", &secret, &reader, &verified).await;
    assert!(matches!(&mailed, Outcome::Accepted { reference: Some(_) }), "{mailed:?}");
    let mails = taken(&at, "ses", "Message");
    let mail = mails.iter().find(|mail| mail.to_string().contains(&reader)).expect("the mail").to_string();
    assert!(mail.contains("Down: web") && mail.contains("<b>back</b>"), "{mail}");
    let unverified = send("amazon-ses", &secret, &reader, &[("from", "status@example.com")]).await;
    let detail = "HTTP 400 x-amzn-errortype=MessageRejected".to_string();
    assert_eq!(unverified, Outcome::Rejected { fault: Fault::Message, detail });

    for (platform, to, more) in [("aws-sns", &number, &[][..]), ("amazon-ses", &reader, &verified[..])] {
        let outcome = send(platform, "another-secret", to, more).await;
        assert_eq!(outcome, Outcome::Rejected { fault: Fault::Channel, detail: "HTTP 403".into() }, "{platform}");
    }
    let count = |all: &[Value], of: &str| all.iter().filter(|one| one.to_string().contains(of)).count();
    assert_eq!((count(&taken(&at, "sns", "SMS"), &number), count(&taken(&at, "ses", "Message"), &reader)), (1, 1));
}
