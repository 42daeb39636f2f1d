//! SMPP 3.4 against an SMS centre on npm's smpp, a process of its own: every state and error that it can answer, what it never
//! answers, and what it says at a moment when nobody expects it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use loudhailer::channel::{Driver, Fault, Holds, Outcome, Report};
use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{driver, parcel, sent, settings};
use crate::harness::{Broker, START, outage, within};
use crate::peers::{eventually, http_get, peers};

/// The centre, and a system id that no other test has.
struct Centre {
    plain: String,
    tls: String,
    control: String,
    authority: String,
    system_id: String,
}

impl Centre {
    fn new() -> Option<Centre> {
        let [plain, tls, control, authority] = peers(["smpp", "smpp_tls", "smpp_control", "ca"])?;
        let system_id = format!("test-{:08x}", fastrand::u32(..));
        Some(Centre { plain: format!("smpp://{plain}"), tls: format!("smpps://{tls}"), control, authority, system_id })
    }

    fn settings<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut pairs = vec![
            ("url", self.plain.as_str()),
            ("system_id", &self.system_id),
            ("password", "secret"),
            ("from", "ALERT"),
        ];
        for pair in more {
            pairs.retain(|(name, _)| *name != pair.0);
            pairs.push(*pair);
        }
        pairs
    }

    fn driver(&self, more: &[(&str, &str)]) -> Arc<dyn Driver> {
        driver("smpp", &self.settings(more))
    }

    fn asked(&self, path: &str) -> Value {
        let answer = http_get(&self.control, path);
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        serde_json::from_str(body).expect("JSON")
    }

    fn received(&self, number: &str) -> Vec<Value> {
        let came = self.asked(&format!("/messages?to={}", number.trim_start_matches('+')));
        came.as_array().expect("a list").clone()
    }

    /// How the centre's receipts were answered.
    fn acknowledged(&self, id: &str, expected: Value) {
        let answers = || Some(self.asked(&format!("/acknowledged?id={id}"))).filter(|answers| *answers == expected);
        assert!(eventually(answers).is_some(), "{id}: {}", self.asked(&format!("/acknowledged?id={id}")));
    }
}

/// A number of this run alone that ends so.
fn number(ends: &str) -> String {
    format!("+4670{:05}{ends}", fastrand::u32(..100_000))
}

async fn send(driver: &dyn Driver, id: &str, to: &str, text: &str) -> Outcome {
    sent("smpp", driver, parcel(id, to, text), &["secret"]).await
}

fn listening(driver: &dyn Driver) -> mpsc::Receiver<Report> {
    let (reports, heard) = mpsc::channel(64);
    driver.listen(reports);
    heard
}

/// The next report, kept or not.
async fn next(heard: &mut mpsc::Receiver<Report>, kept: bool) -> Value {
    let report = within("is reported", heard.recv()).await.expect("the driver lives");
    report.kept.send(kept).expect("the connection lives");
    report.said
}

fn reference(outcome: Outcome) -> String {
    let Outcome::Accepted { reference: Some(reference) } = outcome else { panic!("{outcome:?}") };
    reference
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_by_sms_and_every_state_that_the_centre_reports_comes_to_its_delivery() {
    let Some(centre) = Centre::new() else { return };
    let config = format!(
        "[channels.sms]\nplatform = \"smpp\"\n{}",
        settings(&centre.settings(&[
            ("url", &centre.tls),
            ("ca_file", &centre.authority),
            ("validity", "6h"),
            ("timeout", "2s"),
        ]))
    );
    let clock = Clock::from(Time::parse(START).expect("a time"));
    let broker = Broker::open(&config, clock, tempfile::tempdir().expect("a folder")).await;
    let expected = [
        ("00", "told", Some("delivered")),
        ("01", "rejected", Some("bounced")),
        ("02", "rejected", Some("bounced")),
        ("03", "rejected", Some("bounced")),
        ("04", "told", None),
        ("05", "told", None),
        ("06", "rejected", Some("bounced")),
        ("07", "told", None),
        ("08", "told", Some("delivered")),
        ("11", "rejected", None),
        ("20", "unknown", None),
        ("30", "told", Some("delivered")),
        ("32", "told", Some("delivered")),
    ];
    let mut people = BTreeMap::new();
    for (ends, state, receipt) in expected {
        let (number, locale) = (number(ends), if ends == "00" { "hi" } else { "en" });
        let told = |reader: &mut loudhailer::audience::Subscriber| reader.locale = locale.into();
        let id = broker.subscriber(ends, "customers", &[("phone", &number)], told).await;
        people.insert(id.to_string(), (number, json!(state), json!(receipt)));
    }
    let answer = broker.post("/v1/events", &outage("a-1")).await;
    let broadcasts = answer.json()["broadcasts"].as_array().expect("broadcasts").clone();
    let deliveries = async || {
        let mut all = Vec::new();
        for broadcast in &broadcasts {
            let id = broadcast.as_str().expect("an id");
            let listed = broker.get(&format!("/v1/deliveries?broadcast={id}&limit=100")).await.json();
            all.extend(listed["items"].as_array().expect("a list").clone());
        }
        all
    };
    // Whoever is told that it bounced has another row, of what is tried next.
    let known = async || {
        let all = deliveries().await;
        let is = |(id, (_, state, receipt)): (&String, &(String, Value, Value))| {
            let of = |one: &&Value| one["subscriber"] == **id && one["state"] == *state && one["receipt"] == *receipt;
            all.iter().any(|one| of(&one))
        };
        people.iter().all(is).then_some(())
    };
    broker.until("knew of every state", known).await;
    for (number, ..) in people.values() {
        let came = centre.received(number);
        let text = |part: &Value| part["text"].as_str().expect("a text").to_string();
        let (whole, first) = (came.iter().map(text).collect::<String>(), &came[0]);
        let headers: BTreeSet<String> = came.iter().map(|part| part["header"].to_string()).collect();
        assert_eq!(headers.len(), came.len(), "a part came twice: {came:?}");
        assert_eq!(first["source"], json!([5, 0]), "{first}");
        assert_eq!((&first["destination"], &first["validity"]), (&json!([1, 1]), &json!(6)), "{first}");
        let (coding, words) = if number.ends_with("00") { (8, "से बंद है") } else { (0, "web down") };
        assert!(first["coding"] == coding && whole.contains(words), "{came:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_holds_back_what_it_is_about_and_what_is_never_answered_is_unknown() {
    let Some(centre) = Centre::new() else { return };
    let driver = centre.driver(&[("timeout", "1s")]);
    let answered = async |ends: &str| send(&*driver, &format!("dlv_{ends}"), &number(ends), "We are back").await;
    for (ends, throttled, detail) in [
        ("10", true, "ESME_RTHROTTLED (0x58)"),
        ("12", true, "ESME_RMSGQFUL (0x14)"),
        ("13", false, "ESME_RSYSERR (0x8)"),
    ] {
        let expected = Outcome::Deferred { after: None, holds: Holds::Channel, throttled, detail: detail.into() };
        assert_eq!(answered(ends).await, expected);
    }
    for (ends, fault, detail) in [
        ("11", Fault::Address, "ESME_RINVDSTADR (0xB)"),
        ("14", Fault::Message, "ESME_RSUBMITFAIL (0x45)"),
        ("15", Fault::Channel, "ESME_RINVSRCADR (0xA)"),
        ("16", Fault::Message, "status 0x00000400"),
    ] {
        assert_eq!(answered(ends).await, Outcome::Rejected { fault, detail: detail.into() });
    }
    let silent = number("20");
    let (silence, after) = tokio::join!(send(&*driver, "dlv_a", &silent, "x"), answered("00"));
    assert_eq!(silence, Outcome::Unknown { detail: "the server did not answer in time".into() });
    reference(after);
    // One connection for all of it, and no second try of what was lost with it.
    let cut = number("21");
    let lost = send(&*driver, "dlv_b", &cut, "x").await;
    assert_eq!(lost, Outcome::Unknown { detail: "the server closed the connection".into() });
    reference(answered("00").await);
    assert_eq!((centre.received(&silent).len(), centre.received(&cut).len()), (1, 1));
    // Whoever does not listen is no receiver.
    let sessions = centre.asked(&format!("/sessions?of={}", centre.system_id));
    assert_eq!(sessions, json!([{ "hears": false, "version": 0x34 }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_name_or_certificate_ends_the_channel_and_a_busy_or_missing_centre_is_waited_for() {
    let Some(centre) = Centre::new() else { return };
    let refused = async |more: &[(&str, &str)]| send(&*centre.driver(more), "dlv_1", &number("00"), "x").await;
    for (more, expected) in [
        (vec![("password", "wrong")], "bind: ESME_RINVPASWD (0xE)"),
        (vec![("system_id", "nobody")], "bind: ESME_RINVSYSID (0xF)"),
        (vec![("url", centre.tls.as_str())], "TLS: "),
    ] {
        let outcome = refused(&more).await;
        let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
        assert!(detail.starts_with(expected), "{detail}");
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for more in [("system_id", "busy"), ("url", &*format!("smpp://{closed}"))] {
        let outcome = refused(&[more]).await;
        assert!(matches!(outcome, Outcome::Deferred { throttled: false, .. }), "{outcome:?}");
    }
}

/// Three parts, in both alphabets.
const LONG: &str = "Nobody can open the website, and nobody can pay. ";

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_arrives_whole_in_parts_of_one_reference_or_as_one_payload() {
    let Some(centre) = Centre::new() else { return };
    let latin = LONG.repeat(8) + "€";
    let hindi = "वेबसाइट बंद है। ".repeat(10);
    for (long, header, each) in [("udh", "0003", 2), ("udh16", "0804", 4)] {
        let driver = centre.driver(&[("long", long)]);
        for text in [latin.trim_end(), hindi.trim_end()] {
            let to = number("00");
            reference(send(&*driver, "dlv_1", &to, text).await);
            let came = centre.received(&to);
            assert_eq!(came.len(), 3, "{came:?}");
            let mut references = Vec::new();
            for (at, part) in came.iter().enumerate() {
                let of = part["header"].as_str().expect("a header");
                assert_eq!((&of[..4], &of[4 + each..]), (header, &*format!("030{}", at + 1)));
                references.push(of[4..4 + each].to_string());
                assert_eq!(part["class"], 0x40);
                // Of all but the last failure alone.
                assert_eq!(part["receipt"], if at == 2 { 1 } else { 2 });
            }
            references.dedup();
            assert_eq!(references.len(), 1);
            let whole: String = came.iter().map(|part| part["text"].as_str().expect("a text")).collect();
            assert_eq!(whole, text);
        }
    }
    let (to, driver) = (number("00"), centre.driver(&[("long", "payload"), ("from", "+46700000001")]));
    reference(send(&*driver, "dlv_1", &to, &hindi).await);
    let [only] = &centre.received(&to)[..] else { panic!("one message") };
    assert_eq!((&only["payload"], &only["coding"], &only["class"]), (&json!(hindi), &json!(8), &json!(0)));
    assert_eq!((&only["from"], &only["source"]), (&json!("46700000001"), &json!([1, 1])));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_message_that_is_throttled_in_its_middle_only_the_rest_is_sent_again() {
    let Some(centre) = Centre::new() else { return };
    let (driver, to) = (centre.driver(&[]), number("33"));
    let mut heard = listening(&*driver);
    let text = LONG.repeat(8);
    let throttled = send(&*driver, "dlv_1", &to, &text).await;
    assert!(matches!(throttled, Outcome::Deferred { throttled: true, .. }), "{throttled:?}");
    let id = reference(send(&*driver, "dlv_1", &to, &text).await);
    let came: Vec<_> =
        centre.received(&to).iter().map(|part| part["header"].as_str().expect("one")[6..].to_string()).collect();
    assert_eq!(came, ["0301", "0302", "0303", "0302"]);
    let said = next(&mut heard, true).await;
    assert_eq!(said, json!({ "id": id, "of": "message", "stat": "DELIVRD", "err": "000" }));

    // What fails of a part is told of the message.
    let id = reference(send(&*driver, "dlv_2", &number("34"), &text).await);
    let mut both = [next(&mut heard, true).await, next(&mut heard, true).await];
    both.sort_by_key(|said| said["of"].to_string());
    assert_eq!(both[0], json!({ "id": id, "of": "message", "stat": "DELIVRD", "err": "000" }));
    assert_eq!(both[1], json!({ "id": id, "of": "part", "stat": "UNDELIV", "err": "027" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_heard_whenever_it_comes_and_acknowledged_only_once_it_is_kept() {
    let Some(centre) = Centre::new() else { return };
    let driver = centre.driver(&[("ids", "hex-decimal")]);
    let mut heard = listening(&*driver);
    let id = reference(send(&*driver, "dlv_1", &number("31"), "x").await);
    // The disk was full, say; the centre comes again.
    assert_eq!(next(&mut heard, false).await["id"], json!(id));
    assert_eq!(next(&mut heard, true).await["id"], json!(id));
    centre.acknowledged(&id, json!([0x64, 0]));
    drop((driver, heard));

    // Held back until we bind again, which nobody's message makes us do.
    let of = format!("of={}", centre.system_id);
    let driver = centre.driver(&[]);
    let mut heard = listening(&*driver);
    reference(send(&*driver, "dlv_2", &number("05"), "x").await);
    centre.asked(&format!("/hold?{of}"));
    let id = reference(send(&*driver, "dlv_3", &number("00"), "x").await);
    let bound = || centre.asked(&format!("/sessions?{of}"));
    assert_eq!(bound(), json!([{ "hears": true, "version": 0x34 }]));
    centre.asked(&format!("/drop?{of}"));
    let said = next(&mut heard, true).await;
    assert_eq!(said, json!({ "id": id, "of": "message", "stat": "DELIVRD", "err": "000" }));
    centre.acknowledged(&id, json!([0]));
}
