//! Requests by the whole driver to who reads them as others do: the libraries of Standard Webhooks, CloudEvents and Apprise behind a
//! plain server, and servers that answer as Mastodon, Slack, Twilio and Resend do. What they took is read back.

mod mail;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::registry::build;
use loudhailer::channel::{Driver, Fault, Follows, Outcome, Parcel};
use loudhailer::clock::Clock;
use loudhailer::config::Config;
use loudhailer::render::message::Filled;
use serde_json::{Value, json};

use super::harness::within;
use super::peers::peers;

const TEXT: &str = "We are *back*: åäö & \"more\" 👩‍👩‍👧‍👦";

/// A channel of that platform, by the way of the registry.
fn driver(platform: &str, more: &str, pairs: &[(&str, &str)]) -> Arc<dyn Driver> {
    let settings: String = pairs.iter().map(|(name, value)| format!("settings.{name} = {value:?}\n")).collect();
    let text = format!("[channels.x]\nplatform = {platform:?}\n{more}{settings}");
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    let platforms = Platforms::load(None).expect("platforms");
    build(&config, &platforms, Arc::new(Clock::system())).expect("channels").pop().expect("one channel").driver
}

fn parcel(id: &str, to: &str, text: &str) -> Parcel {
    let (title, html) = (Some("Down: web".to_string()), Some("<p>We are <b>back</b></p>".to_string()));
    Parcel {
        id: id.into(),
        broadcast: None,
        incident: None,
        to: to.into(),
        secrets: Vec::new(),
        message: Arc::new(Filled { title, text: text.into(), html, locale: "en".into() }.into()),
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: Clock::system().calendar(),
    }
}

async fn sent(driver: &dyn Driver, parcel: Parcel) -> Outcome {
    within("answered", driver.send(parcel)).await
}

/// Asks the peer at that URL, by a request of its own; what it answered with, as JSON.
fn ask(at: &str, method: &str, path: &str, authorization: &str, body: Option<Value>) -> Value {
    let host = at.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.contains(" 200"), "{method} {path}: {answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}"))
}

fn name() -> String {
    format!("t{:08x}", fastrand::u32(..))
}

fn rejected(outcome: &Outcome) -> Option<(Fault, &str)> {
    match outcome {
        Outcome::Rejected { fault, detail } => Some((*fault, detail)),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_verified_by_the_library_of_the_standard_and_with_another_secret_it_is_not() {
    let Some([at, secret]) = peers(["receivers", "receivers_secret"]) else { return };
    let hooks = driver("webhook", "allow_private = true\n", &[]);
    let name = name();
    let body = json!({ "type": "incident.update", "text": TEXT });
    let send = async |id: &str, secrets: &[&str]| {
        let mut parcel = parcel(id, &format!("{at}/webhook/{name}"), &body.to_string());
        parcel.secrets = secrets.iter().map(|secret| secret.to_string()).collect();
        sent(&*hooks, parcel).await
    };
    let other = format!("whsec_{}", STANDARD.encode([7; 24]));
    assert!(matches!(send("dlv_1", &[&secret]).await, Outcome::Accepted { .. }));
    // While it is rotated, either secret will do.
    assert!(matches!(send("dlv_2", &[&other, &secret]).await, Outcome::Accepted { .. }));
    let refused = send("dlv_3", &[&other]).await;
    assert!(!matches!(refused, Outcome::Accepted { .. }), "{refused:?}");
    let kept = ask(&at, "GET", &format!("/kept/{name}"), "", None);
    assert_eq!(kept, json!([{ "id": "dlv_1", "said": body }, { "id": "dlv_2", "said": body }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_by_the_library_of_cloudevents() {
    let Some(at) = super::peers::peer("receivers") else { return };
    let events = driver("cloudevents-http", "allow_private = true\n", &[]);
    let (name, data) = (name(), json!({ "status": "resolved", "text": TEXT }));
    let event = json!({ "specversion": "1.0", "id": "dlv_1", "source": "loudhailer", "type": "incident.update",
        "time": "2021-10-04T15:51:00Z", "datacontenttype": "application/json", "data": data });
    let to = format!("{at}/cloudevents/{name}");
    assert_eq!(sent(&*events, parcel("dlv_1", &to, &event.to_string())).await, Outcome::Accepted { reference: None });
    let nothing = sent(&*events, parcel("dlv_2", &to, "{}")).await;
    assert_eq!(rejected(&nothing), Some((Fault::Message, "HTTP 415")));
    let kept = ask(&at, "GET", &format!("/kept/{name}"), "", None);
    assert_eq!(kept.as_array().map(Vec::len), Some(1), "{kept}");
    assert_eq!((&kept[0]["data"], &kept[0]["attributes"]["id"]), (&data, &json!("dlv_1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn apprise_hands_on_what_it_is_given_and_says_what_it_could_not() {
    let Some(at) = super::peers::peer("receivers") else { return };
    let send = async |to: &str, more: &[(&str, &str)]| {
        let apprise = driver("apprise", "", &[&[("url", at.as_str())], more].concat());
        sent(&*apprise, parcel("dlv_1", to, TEXT)).await
    };
    let name = name();
    assert_eq!(send(&name, &[("tag", "devops")]).await, Outcome::Accepted { reference: None });
    assert_eq!(rejected(&send("empty", &[]).await).map(|(fault, _)| fault), Some(Fault::Message));
    assert!(matches!(send("broken", &[]).await, Outcome::Unknown { .. }));
    assert!(rejected(&send(&name, &[("type", "loud")]).await).is_some());
    let kept = ask(&at, "GET", &format!("/kept/{name}"), "", None);
    assert_eq!(kept.as_array().map(Vec::len), Some(1), "{kept}");
    assert_eq!((&kept[0]["message"], &kept[0]["type"]), (&json!(TEXT), &json!("warning")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_on_mastodon_once_however_often_it_was_tried() {
    let Some([at, token]) = peers(["mastodon", "mastodon_token"]) else { return };
    let send = async |token: &str, id: &str, text: &str| {
        sent(&*driver("mastodon", "", &[("url", &at), ("token", token)]), parcel(id, "public", text)).await
    };
    let (id, text) = (name(), format!("{} {}", name(), TEXT.replace('*', "")));
    let first = send(&token, &id, &text).await;
    assert!(matches!(&first, Outcome::Accepted { reference: Some(_) }), "{first:?}");
    assert_eq!(send(&token, &id, &text).await, first);
    assert_eq!(rejected(&send("another-token", &id, &text).await), Some((Fault::Channel, "HTTP 401")));
    assert_eq!(rejected(&send(&token, &name(), "").await), Some((Fault::Message, "HTTP 422")));
    let posts = ask(&at, "GET", "/api/v1/timelines/public?local=true", &format!("Bearer {token}"), None);
    let content = format!("<p>{}</p>", text.replace('&', "&amp;"));
    let posts = posts.as_array().expect("a list").iter();
    let ours: Vec<&Value> = posts.filter(|post| post["content"] == json!(content)).collect();
    assert_eq!(ours.len(), 1);
    assert_eq!(
        (Some(ours[0]["id"].as_str().expect("an id")), &ours[0]["visibility"]),
        (reference(&first), &json!("public"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_answered_and_changed_on_mastodon_and_one_that_is_not_there_is_said_to_be_gone() {
    let Some([at, token]) = peers(["mastodon", "mastodon_token"]) else { return };
    let mastodon = driver("mastodon", "", &[("url", &at), ("token", &token)]);
    let says = async |follows: Option<Follows>, text: &str| {
        sent(&*mastodon, Parcel { follows, ..parcel(&name(), "public", text) }).await
    };
    let bearer = format!("Bearer {token}");
    let post = |id: &str| ask(&at, "GET", &format!("/api/v1/statuses/{id}"), &bearer, None);
    let first = reference(&says(None, &name()).await).expect("a post").to_string();
    let reply = says(Some(Follows::Reply(first.clone())), &name()).await;
    let reply = post(reference(&reply).expect("a post"));
    assert_eq!(reply["in_reply_to_id"].as_str(), Some(&*first), "{reply}");
    let instead = name();
    let edit = says(Some(Follows::Edit(first.clone())), &instead).await;
    assert_eq!(reference(&edit), Some(&*first), "{edit:?}");
    assert_eq!(post(&first)["content"], json!(format!("<p>{instead}</p>")));
    let gone = says(Some(Follows::Edit("999999999999".into())), &instead).await;
    assert_eq!(rejected(&gone), Some((Fault::Gone, "HTTP 404")));
}

fn reference(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Accepted { reference } => reference.as_deref(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_in_its_channel_of_slack() {
    let Some(at) = super::peers::peer("slack") else { return };
    let slack = driver("slack", "", &[("url", &at), ("token", "xoxb-tests")]);
    let text = format!("{} {TEXT}", name());
    let outcome = sent(&*slack, parcel("dlv_1", "alerts", &text)).await;
    assert!(reference(&outcome).is_some(), "{outcome:?}");
    let nowhere = sent(&*slack, parcel("dlv_2", "nowhere", &text)).await;
    assert_eq!(rejected(&nowhere).map(|(fault, _)| fault), Some(Fault::Address), "{nowhere:?}");
    let bearer = "Bearer xoxb-tests";
    let channels = ask(&at, "POST", "/api/conversations.list", bearer, Some(json!({})));
    let channels = channels["channels"].as_array().expect("channels");
    let id = &channels.iter().find(|channel| channel["name"] == "alerts").expect("the channel")["id"];
    let said = ask(&at, "POST", "/api/conversations.history", bearer, Some(json!({ "channel": id })));
    let said: Vec<&Value> =
        said["messages"].as_array().expect("messages").iter().filter(|one| one["text"] == json!(text)).collect();
    assert_eq!(said.len(), 1);
    let known = format!("{}/{}", id.as_str().expect("an id"), said[0]["ts"].as_str().expect("a time"));
    assert_eq!(reference(&outcome), Some(&*known));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_slack_is_answered_and_changed_and_one_that_is_not_there_is_said_to_be_gone() {
    let Some(at) = super::peers::peer("slack") else { return };
    let slack = driver("slack", "", &[("url", &at), ("token", "xoxb-tests")]);
    let says = async |follows: Option<Follows>, text: &str| {
        sent(&*slack, Parcel { follows, ..parcel("dlv_1", "alerts", text) }).await
    };
    let [first, under, instead] = [name(), name(), name()];
    let outcome = says(None, &first).await;
    let known = reference(&outcome).expect("a message").to_string();
    let reply = says(Some(Follows::Reply(known.clone())), &under).await;
    assert!(reference(&reply).is_some_and(|reply| reply != known), "{reply:?}");
    let edit = says(Some(Follows::Edit(known.clone())), &instead).await;
    assert_eq!(reference(&edit), Some(&*known), "{edit:?}");
    let (channel, ts) = known.split_once('/').expect("a channel and a time");
    let asked = json!({ "channel": channel, "ts": ts });
    let thread = ask(&at, "POST", "/api/conversations.replies", "Bearer xoxb-tests", Some(asked));
    let texts: Vec<&str> =
        thread["messages"].as_array().expect("messages").iter().filter_map(|one| one["text"].as_str()).collect();
    assert_eq!(texts, [&*instead, &*under], "{thread}");
    for nowhere in [format!("{channel}/1.000001"), "C0000000000/1.000001".into()] {
        let gone = says(Some(Follows::Edit(nowhere)), &instead).await;
        assert_eq!(rejected(&gone).map(|(fault, _)| fault), Some(Fault::Gone), "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_has_the_text_and_its_number_or_says_why_not() {
    let Some([at, account, token, from]) = peers(["twilio", "twilio_account", "twilio_token", "twilio_from"]) else {
        return;
    };
    let send = async |token: &str, from: &str, to: &str| {
        let own = [("url", at.as_str()), ("account_sid", &account), ("auth_token", token), ("from", from)];
        sent(&*driver("twilio-sms", "", &own), parcel("dlv_1", to, TEXT)).await
    };
    let number = format!("+4670{:07}", fastrand::u32(..10_000_000));
    let outcome = send(&token, &from, &number).await;
    assert!(reference(&outcome).is_some_and(|sid| sid.starts_with("SM")), "{outcome:?}");
    let foreign = send(&token, "+19998887777", &number).await;
    assert_eq!(rejected(&foreign).map(|(fault, _)| fault), Some(Fault::Channel), "{foreign:?}");
    assert_eq!(rejected(&send("another-token", &from, &number).await).map(|(fault, _)| fault), Some(Fault::Channel));
    let basic = format!("Basic {}", STANDARD.encode(format!("{account}:{token}")));
    let path = format!("/2010-04-01/Accounts/{account}/Messages.json?To=%2B{}", &number[1..]);
    let texts = ask(&at, "GET", &path, &basic, None)["messages"].clone();
    assert_eq!(texts.as_array().map(Vec::len), Some(1), "{texts}");
    assert_eq!((&texts[0]["body"], texts[0]["sid"].as_str()), (&json!(TEXT), reference(&outcome)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_at_resend_once_however_often_it_was_tried() {
    let Some(at) = super::peers::peer("resend") else { return };
    let resend = driver("resend", "", &[("url", &at), ("token", "re_tests"), ("from", "Acme <status@acme.example>")]);
    let id = name();
    let first = sent(&*resend, parcel(&id, "alex@example.org", TEXT)).await;
    assert!(reference(&first).is_some(), "{first:?}");
    assert_eq!(sent(&*resend, parcel(&id, "alex@example.org", TEXT)).await, first);
    let mail = ask(&at, "GET", &format!("/emails/{}", reference(&first).expect("an id")), "Bearer re_tests", None);
    let expected =
        json!(["Acme <status@acme.example>", ["alex@example.org"], "Down: web", TEXT, "<p>We are <b>back</b></p>"]);
    assert_eq!(json!([mail["from"], mail["to"], mail["subject"], mail["text"], mail["html"]]), expected);
}
