//! Around what is down: a channel that has failed, or that an incident says is down, is not asked while another one works.

use serde_json::json;

use crate::harness::{Broker, Reply, Sink, event, outage, webhooks};

/// An SMS channel that sends one at a time.
fn sms(name: &str, port: u16) -> String {
    format!(
        "[channels.{name}]\nplatform = \"kannel\"\nconcurrency = 1\n[channels.{name}.settings]\n\
         url = \"http://127.0.0.1:{port}\"\nusername = \"u\"\npassword = \"p\"\nfrom = \"ALERT\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_refuses_us_is_asked_once_and_everyone_is_told_by_the_other() {
    const PEOPLE: usize = 60;
    let broken =
        Sink::answering(|_, _| Reply::Full(403, String::new(), "Authorization failed for sendsms".into())).await;
    let works = Sink::answering(|_, _| Reply::Full(202, String::new(), "0: Accepted for delivery".into())).await;
    let broker = Broker::start(&(sms("broken", broken.port()) + &sms("works", works.port()))).await;
    for n in 0..PEOPLE {
        let phone = format!("+49151000000{n:02}");
        broker.subscriber(&format!("p{n}"), "businesses", &[("phone", &phone)], |_| ()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    broker.stop().await;
    assert_eq!((broken.all().len(), works.all().len()), (1, PEOPLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_channel_that_an_incident_says_is_down_moves_and_who_has_no_other_is_told_when_it_is_back() {
    const BOTH: usize = 5;
    let hooks = Sink::answering(|_, _| Reply::Hold).await;
    let phones = Sink::answering(|_, _| Reply::Full(202, String::new(), "0: Accepted for delivery".into())).await;
    let broker = Broker::start(&(webhooks("") + "concurrency = 1\n" + &sms("phones", phones.port()))).await;
    for n in 0..BOTH {
        let (url, phone) = (format!("{}/{n}", hooks.url()), format!("+4915100000{n:02}"));
        broker.subscriber(&format!("p{n}"), "businesses", &[("url", &url), ("phone", &phone)], |_| ()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    hooks.next().await;
    broker.queued("hooks", "high", BOTH - 1).await;
    // Another incident, which no plan tells anybody of. The one on the wire stays there and holds the only place.
    let says = |id: &str, number: i64, down: &[&str]| {
        let said = json!({ "incident": "network", "severity": "info", "sequence": number, "platforms_down": down });
        event(id, said)
    };
    assert_eq!(broker.post("/v1/events", &says("b-1", 1, &["hooks"])).await.status, 202);
    for _ in 1..BOTH {
        phones.next().await;
    }
    broker.webhook("hook-only", "businesses", &format!("{}/only", hooks.url())).await;
    let second = event("c-1", json!({ "incident": "mail-down", "title": "Mail is down" }));
    assert_eq!(broker.post("/v1/events", &second).await.status, 202);
    for _ in 0..BOTH {
        phones.next().await;
    }
    hooks.release();
    broker.emptied("hooks").await;
    assert_eq!(hooks.all().len(), 1, "it is down");
    assert_eq!(broker.post("/v1/events", &says("b-2", 2, &[])).await.status, 202);
    assert_eq!(hooks.next().await.path, "/hook/only");
    broker.stop().await;
    assert_eq!((hooks.all().len(), phones.all().len()), (2, 2 * BOTH - 1));
}
