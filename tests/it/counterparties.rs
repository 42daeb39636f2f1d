//! The whole application between real counterparties: an event comes in by HTTP or Apache Kafka and leaves by Kannel and its SMSC
//! or by Postfix, whose reports and refusals come back.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use loudhailer::clock::{Clock, Time};
use mail_parser::MessageParser;
use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use super::harness::{Broker, START, event, outage, within};
use super::peers::{eventually, http_get, mails_to, peer, peers};

/// A number of this run alone that ends so.
fn number(ends: &str) -> String {
    format!("+4670{:05}{ends}", fastrand::u32(..100_000))
}

async fn broker(config: &str) -> Broker {
    let clock = Clock::from(Time::parse(START).expect("a time"));
    Broker::open(config, clock, tempfile::tempdir().expect("a folder")).await
}

/// The broadcast to an audience.
async fn to(broker: &Broker, audience: &str) -> Value {
    let listed = broker.get("/v1/broadcasts?limit=100").await.json();
    let found = listed["items"].as_array().expect("a list").iter().find(|broadcast| broadcast["audience"] == audience);
    found.unwrap_or_else(|| panic!("nothing to {audience}: {listed}")).clone()
}

/// Waits until the broker's own page of a broadcast says so.
async fn until(broker: &Broker, audience: &str, so: impl Fn(&Value) -> bool) -> Value {
    let known = async || {
        let id = to(broker, audience).await["id"].as_str()?.to_string();
        let deliveries = broker.get(&format!("/v1/deliveries?broadcast={id}")).await.json();
        so(&deliveries["items"]).then(|| deliveries["items"].clone())
    };
    broker.until(&format!("showed the deliveries to {audience} as they were to be"), known).await
}

/// What the SMSC has for a number, the parts together: the alphabet that it is coded in, and the text.
fn received(smsc: &str, number: &str) -> (u64, String) {
    let path = format!("/messages?to={}", number.trim_start_matches('+'));
    let parts = eventually(|| {
        let answer = http_get(smsc, &path);
        let parts: Vec<Value> = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        let total = parts.first().map(|part| if split(part) { octets(part)[4] as usize } else { 1 });
        (Some(parts.len()) == total).then_some(parts)
    });
    let mut parts = parts.unwrap_or_else(|| panic!("the SMSC has no whole message for {number}"));
    parts.sort_by_key(|part| if split(part) { octets(part)[5] } else { 0 });
    let coding = parts[0]["coding"].as_u64().expect("a coding");
    let mut text = String::new();
    for part in &parts {
        assert!(octets(part).len() <= if coding == 8 { 140 } else { 160 }, "{part}");
        let bytes = octets(part).split_off(if split(part) { 6 } else { 0 });
        match coding {
            // A part on its own is whole characters: a handset may show it before the others.
            8 => {
                let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                text.push_str(&String::from_utf16(&units).expect("whole characters"));
            }
            // The letters used here are where ASCII has them.
            _ => text.push_str(std::str::from_utf8(&bytes).expect("ASCII")),
        }
    }
    (coding, text)
}

fn octets(part: &Value) -> Vec<u8> {
    let text = part["octets"].as_str().expect("octets").as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hexadecimal") as u8;
    text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// It has a header of six octets: 5, 0, 3, reference, number of parts, number of this one (3GPP 23.040, 9.2.3.24.1).
fn split(part: &Value) -> bool {
    part["class"].as_u64().expect("a class") & 0x40 != 0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_leaves_as_sms_by_kannel_and_the_reports_of_the_network_come_back() {
    let names = ["kannel", "kannel_user", "kannel_password", "smsc_control"];
    let Some([kannel, user, password, smsc]) = peers(names) else { return };
    let url = kannel.trim_end_matches("/cgi-bin/sendsms");
    let config = format!(
        "[channels.sms]\nplatform = \"kannel\"\n[channels.sms.settings]\nurl = \"{url}\"\nusername = \"{user}\"\n\
         password = \"{password}\"\nfrom = \"ALERT\"\n"
    );
    let broker = broker(&config).await;
    let (english, hindi, dead, invalid) = (number("30"), number("31"), number("01"), number("11"));
    for (key, number, locale) in
        [("en", &english, "en"), ("hi", &hindi, "hi"), ("dead", &dead, "en"), ("invalid", &invalid, "en")]
    {
        broker.subscriber(key, "customers", &[("phone", number)], |reader| reader.locale = locale.into()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let (coding, text) = received(&smsc, &english);
    assert_eq!(coding, 0, "{text}");
    assert!(text.starts_with("Loudhailer: web down") && text.contains("since 15:39 UTC"), "{text}");
    let code = to(&broker, "customers").await["check_code"].as_str().expect("a code").to_string();
    assert!(text.ends_with(&code), "{text}");
    let (coding, text) = received(&smsc, &hindi);
    assert_eq!(coding, 8, "{text}");
    assert!(
        text.starts_with("Loudhailer: web 15:39 UTC से बंद है।") && text.ends_with(&format!("जाँच कोड {code}")),
        "{text}"
    );
    // Type 1 for those who have it; 2 and 16 for those who never will, and nobody else is left to try.
    let reports = |deliveries: &Value| -> BTreeMap<String, usize> {
        let mut reports = BTreeMap::new();
        for delivery in deliveries.as_array().expect("a list") {
            if let Some(report) = delivery["receipt"].as_str() {
                *reports.entry(report.to_string()).or_default() += 1;
            }
        }
        reports
    };
    let all = BTreeMap::from([("bounced".to_string(), 2), ("delivered".to_string(), 2)]);
    let ended = |deliveries: &Value| deliveries.as_array().expect("a list").iter().all(|one| one["state"] != "open");
    until(&broker, "customers", |deliveries| reports(deliveries) == all && ended(deliveries)).await;
    broker.settled().await;
    let counts = to(&broker, "customers").await["counts"].clone();
    assert_eq!((&counts["told"], &counts["unreachable"]), (&json!(2), &json!(2)), "{counts}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_kafka_leaves_as_mail_by_postfix_and_what_is_no_event_is_buried() {
    let Some([kafka, postfix, authority]) = peers(["kafka", "postfix", "ca"]) else { return };
    let (run, mail) =
        (format!("{:08x}", fastrand::u32(..)), |name: &str, run: &str| format!("{name}-{run}@example.net"));
    let topic = format!("application-{run}");
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &kafka).create().expect("a producer");
    let replayed = event("old", json!({ "incident": "old", "at": "2021-09-01T12:00:00Z" })).to_string();
    let other = event("a-1", json!({ "title": "Something else" })).to_string();
    for value in ["no event", &outage("a-1").to_string(), &other, &replayed] {
        let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).key("web-down").payload(value);
        within("was taken", producer.send_result(record).expect("room")).await.expect("alive").expect("delivered");
    }
    let config = format!(
        "[kafka]\nbrokers = \"{kafka}\"\ngroup = \"{topic}\"\ntopics = [\"{topic}\"]\nurgent_topics = []\n\
         [channels.mail]\nplatform = \"smtp\"\n[channels.mail.settings]\nurl = \"smtp://{postfix}\"\ntls = \"required\"\n\
         ca_file = \"{authority}\"\n"
    );
    let broker = broker(&config).await;
    let (reader, refused) = (mail("reader", &run), mail("answer-550", &run));
    broker.subscriber("reader", "customers", &[("email", &reader)], |_| ()).await;
    broker.subscriber("refused", "customers", &[("email", &refused)], |_| ()).await;
    let raw = eventually(|| mails_to(&reader).pop()).expect("the mail did not arrive");
    let mail = MessageParser::default().parse(raw.as_bytes()).expect("parses");
    assert_eq!(mail.subject(), Some("Down: web since 15:39 UTC"));
    let text = mail.body_text(0).expect("a text").into_owned();
    assert!(text.contains("web has been down worldwide since 15:39 UTC, 4 October 2021"), "{text}");
    assert!(mail.body_html(0).is_some_and(|html| html.contains("<b>")), "{raw}");
    until(&broker, "customers", |deliveries| {
        deliveries.as_array().expect("a list").iter().any(|delivery| delivery["state"] == "rejected")
    })
    .await;

    // The poison and the event whose id was known with other words: in the table, and in the topic with their reasons.
    let graves: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka)
        .set("group.id", format!("{topic}-graves"))
        .set("auto.offset.reset", "earliest")
        .set("topic.metadata.refresh.interval.ms", "500")
        .create()
        .expect("a consumer");
    graves.subscribe(&[&format!("{topic}.dead")]).expect("subscribes");
    let mut reasons = Vec::new();
    while reasons.len() < 2 {
        let grave = match within("was buried", graves.recv()).await {
            Ok(grave) => grave,
            Err(_) => continue, // the topic is about to be
        };
        let headers = grave.headers().expect("headers");
        let reason = headers.iter().find(|header| header.key == "loudhailer-reason").expect("a reason");
        reasons.push(String::from_utf8_lossy(reason.value.unwrap_or_default()).into_owned());
    }
    assert!(reasons[0].starts_with("is not JSON"), "{reasons:?}");
    assert!(reasons[1].contains("a-1"), "{reasons:?}");
    let store = rusqlite::Connection::open(broker.folder().join("loudhailer.db")).expect("opens");
    let kept = |offset: i64| {
        let sql = "SELECT reason FROM dead_record WHERE topic = ?1 AND offset = ?2";
        store.query_row(sql, (&topic, offset), |row| row.get::<_, String>(0))
    };
    assert_eq!((kept(0).expect("kept"), kept(2).expect("kept")), (reasons[0].clone(), reasons[1].clone()));
    // What is replayed is kept, and told to nobody.
    let mut happenings = broker.app.engine.happenings();
    within("is kept", async {
        while !broker.get("/v1/incidents").await.text.contains("\"old\"") {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), happenings.changed()).await;
        }
    })
    .await;
    broker.stop().await;
    assert_eq!(mails_to(&reader).len(), 1);
}

/// What the tries of everyone in an audience were answered with.
async fn answers(broker: &Broker, audience: &str) -> Vec<String> {
    let id = to(broker, audience).await["id"].as_str().expect("an id").to_string();
    let deliveries = broker.get(&format!("/v1/deliveries?broadcast={id}&limit=100")).await.json();
    let mut answers = Vec::new();
    for delivery in deliveries["items"].as_array().expect("a list") {
        let id = delivery["id"].as_str().expect("an id");
        let one = broker.get(&format!("/v1/deliveries/{id}")).await.json();
        let attempts = one["attempts"].as_array().expect("a list");
        answers.extend(attempts.iter().filter_map(|attempt| attempt["detail"].as_str().map(str::to_string)));
    }
    answers
}

fn by_mail(relay: &str) -> String {
    format!(
        "[channels.mail]\nplatform = \"smtp\"\nconcurrency = 8\n[channels.mail.settings]\nurl = \"smtp://{relay}\"\n\
         tls = \"none\"\n"
    )
}

/// What Postfix says to who sends too much, and who connects too often.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_counts_teaches_a_pace_at_which_everyone_is_told_once() {
    const PEOPLE: usize = 12;
    let Some([strict, narrow]) = peers(["postfix_strict", "postfix_narrow"]) else { return };
    for (relay, said) in [(strict, "450 4.7.1 Error: too much mail"), (narrow, "421 4.7.0")] {
        // Somebody has a connection already: where one is all that is allowed, there is none for us.
        let other = std::net::TcpStream::connect(&relay).expect("connects");
        let mut greeting = String::new();
        BufReader::new(&other).read_line(&mut greeting).expect("greets");
        assert!(greeting.starts_with("220"), "{greeting}");
        let broker = broker(&by_mail(&relay)).await;
        let run = fastrand::u32(..);
        let people: Vec<String> = (0..PEOPLE).map(|n| format!("counted-{n}-{run:08x}@example.net")).collect();
        for (n, person) in people.iter().enumerate() {
            broker.subscriber(&format!("p{n}"), "customers", &[("email", person)], |_| ()).await;
        }
        assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
        let learned = async || broker.channel("mail").await["limits"]["learned"].as_str().map(drop);
        broker.until(&format!("learned from {said}"), learned).await;
        drop(other);
        broker.settled().await;
        let counts = to(&broker, "customers").await["counts"].clone();
        assert_eq!(counts["told"], json!(PEOPLE), "{counts}");
        let answers = answers(&broker, "customers").await;
        assert!(answers.iter().any(|answer| answer.starts_with(said)), "nobody was told {said:?}: {answers:?}");
        broker.stop().await;
        for person in people {
            let arrived = eventually(|| Some(mails_to(&person).len()).filter(|mails| *mails > 0));
            assert_eq!(arrived, Some(1), "{person}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_defers_one_recipient_for_too_many_messages_teaches_a_pace() {
    let Some(postfix) = peer("postfix") else { return };
    let broker = broker(&by_mail(&postfix)).await;
    let busy = format!("answer-busy-{:08x}@example.net", fastrand::u32(..));
    broker.subscriber("busy", "customers", &[("email", &busy)], |_| ()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let learned = async || broker.channel("mail").await["limits"]["learned"].as_str().map(drop);
    broker.until("learned from 451", learned).await;
    let answers = answers(&broker, "customers").await;
    assert!(answers.iter().any(|answer| answer.starts_with("451 4.7.1") && answer.contains("Too many")), "{answers:?}");
    assert_eq!(broker.post("/v1/broadcasts:stop", &json!({})).await.status, 200);
    broker.stop().await;
}
