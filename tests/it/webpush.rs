//! Web Push to npm's web-push-testing: a push service that checks who sends, and the browser behind it, which decrypts.

use std::sync::Arc;

use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::registry::build;
use loudhailer::channel::{Driver, Fault, Outcome, Parcel};
use loudhailer::clock::Clock;
use loudhailer::config::Config;
use loudhailer::id::IncidentId;
use loudhailer::render::message::Filled;
use serde_json::{Value, json};

use super::harness::{Client, Sink, within};
use super::peers::peer;

const PUBLIC: &str = "BMVZBcmbbtWDKjbj1dpHwRyfCsd6xoSsEDxnNN_Ucd1H7wMSK7gZtmxRxoPImPmGKAHL4t_X8Efs8tCw8v2PFHg";
const PRIVATE: &str = "GZgkWyvgecOv6vcM3K-IA0WYHrLcGc-W_7gc-R9M-PQ";

/// The file that ships, for any push service.
fn driver(private: &str, public: &str) -> Arc<dyn Driver> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("channels/webpush.toml");
    let text = std::fs::read_to_string(file).expect("it ships");
    let (head, rest) = text.split_once("pattern = '").expect("a pattern");
    let (_, rest) = rest.split_once('\'').expect("its end");
    std::fs::write(folder.path().join("webpush.toml"), format!("{head}pattern = '^https?://.+${}{rest}", '\''))
        .expect("written");
    let platforms = Platforms::load(Some(folder.path())).expect("platforms");
    let text = format!(
        "[channels.x]\nplatform = \"webpush\"\nallow_private = true\nsettings.public_key = {public:?}\n\
         settings.private_key = {private:?}\nsettings.subject = \"mailto:ops@example.org\"\n"
    );
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    build(&config, &platforms, Arc::new(Clock::system())).expect("channels").pop().expect("one channel").driver
}

fn parcel(to: &str, text: &str) -> Parcel {
    Parcel {
        id: "dlv_1".into(),
        broadcast: None,
        incident: Some(IncidentId(77)),
        to: to.into(),
        secrets: Vec::new(),
        message: Arc::new(
            Filled { title: Some("Down: web".into()), text: text.into(), html: None, locale: "sv".into() }.into(),
        ),
        name: None,
        unsubscribe_url: None,
        urgent: true,
        follows: None,
        at: Clock::system().calendar(),
    }
}

async fn send(driver: &dyn Driver, to: &str, text: &str) -> Outcome {
    within("answered", driver.send(parcel(to, text))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_reads_what_was_sealed_for_it_and_is_rid_of_us_once_it_has_unsubscribed() {
    let Some(at) = peer("webpush") else { return };
    let client = Client::to(at.rsplit_once(':').expect("a port").1.parse().expect("a port"));
    // The service wants the word, not the value.
    let options = json!({ "userVisibleOnly": "true", "applicationServerKey": PUBLIC });
    let subscribed = client.json("POST", "/subscribe", &options).await.json()["data"].clone();
    let text = |of: &Value| of.as_str().expect("a text").to_string();
    let endpoint = text(&subscribed["endpoint"]).replace("localhost", "127.0.0.1");
    let address = format!("{endpoint}#{}.{}", text(&subscribed["keys"]["p256dh"]), text(&subscribed["keys"]["auth"]));
    let ours = driver(PRIVATE, PUBLIC);
    let long = "Ingen kan öppna sajten. ".repeat(150);
    for words in ["Vi är tillbaka: åäö & \"mer\"", &*long] {
        assert_eq!(send(&*ours, &address, words).await, Outcome::Accepted { reference: None });
    }
    let too_long = send(&*ours, &address, &long.repeat(2)).await;
    assert!(matches!(too_long, Outcome::Rejected { fault: Fault::Message, .. }), "{too_long:?}");
    let hash = json!({ "clientHash": subscribed["clientHash"] });
    let shown = client.json("POST", "/get-notifications", &hash).await.json();
    let read = |one: &Value| serde_json::from_str::<Value>(one.as_str().expect("a text")).expect("JSON");
    let shown: Vec<Value> = shown["data"]["messages"].as_array().expect("messages").iter().map(read).collect();
    let message = |words: &str| json!({ "title": "Down: web", "body": words, "id": "dlv_1", "locale": "sv" });
    assert_eq!(shown, [message("Vi är tillbaka: åäö & \"mer\""), message(&long)]);

    // A key that is not the one that the browser subscribed with.
    let other = driver(
        "MUOG6KkrJl2vOHhILOz8tZ75RjbcwpSPhyXvxR0N-gU",
        "BGk9Upnyn27wfwM9joFVDY-tzRL8Adx3_VwkwsLWpFexd3iB_GDuC2CcRQPIL2W0Eq5xXtaxRknbGmz1zLx7oqg",
    );
    let outcome = send(&*other, &address, "x").await;
    assert!(matches!(outcome, Outcome::Rejected { fault: Fault::Message, .. }), "{outcome:?}");
    client.json("POST", &format!("/expire-subscription/{}", text(&subscribed["clientHash"])), &json!({})).await;
    let gone = send(&*ours, &address, "x").await;
    assert_eq!(gone, Outcome::Rejected { fault: Fault::Address, detail: "HTTP 410".into() });
}

#[tokio::test]
async fn a_push_names_its_incident_so_that_a_newer_one_replaces_it_and_leaves_the_keys_at_home() {
    let sink = Sink::start().await;
    let keys = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4.BTBZMqHH6r4Tts7J_aSIgg";
    let (driver, address) = (driver(PRIVATE, PUBLIC), format!("{}#{keys}", sink.url()));
    for _ in 0..2 {
        send(&*driver, &address, "x").await;
    }
    let requests = sink.all();
    let header = |name: &str| requests[0].header(name).unwrap_or_default().to_string();
    assert_eq!((requests[0].path.as_str(), header("topic")), ("/hook", IncidentId(77).to_string()));
    assert_eq!((header("ttl").as_str(), header("urgency").as_str()), ("86400", "high"));
    assert_eq!(header("content-encoding"), "aes128gcm");
    assert!(header("authorization").starts_with("vapid t=") && header("authorization").ends_with(PUBLIC));
    // Salt, size of the record, length of the key, the key; each time others.
    assert_eq!(requests[0].body[16..21], [0, 0, 16, 0, 65]);
    assert_ne!(requests[0].body, requests[1].body);
    assert!(!requests.iter().any(|request| format!("{request:?}").contains(&keys[..20])));
}
