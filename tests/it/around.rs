//! Around what is down: a channel that has failed, or that an incident says is down, is not asked while another one works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Broker, Reply, Request, Sink, accepting, event, kannel, outage, plan, webhooks};

/// An SMS channel that sends one at a time.
fn sms(name: &str, port: u16) -> String {
    kannel(name, port, "concurrency = 1")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_refuses_us_is_asked_once_and_everyone_is_told_by_the_other() {
    const PEOPLE: usize = 60;
    let broken =
        Sink::answering(|_, _| Reply::Full(403, String::new(), "Authorization failed for sendsms".into())).await;
    let works = accepting().await;
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
    let phones = accepting().await;
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

/// The steps of a plan for businesses by these routes.
fn by(routes: &str) -> String {
    format!(
        "title = \"By name\"\n[[step]]\nname = \"businesses\"\naudience = \"businesses\"\npriority = \"high\"\nroutes = [{routes}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_later_try_moves_at_once_when_the_breaker_opens_or_an_incident_says_that_it_is_down() {
    for says_so in [false, true] {
        let (_plans, config) = plan(&(by("\"broken\", \"works\"") + "[match]\nseverity = [\"critical\"]\n"));
        let broken = Sink::answering(|n, _| match n {
            0 => Reply::Full(502, String::new(), "Bad gateway".into()),
            _ => Reply::Full(403, String::new(), "Authorization failed for sendsms".into()),
        });
        let broken = broken.await;
        let works = accepting().await;
        let channels = sms("broken", broken.port()) + &sms("works", works.port());
        let broker = Broker::start(&(config + &channels)).await;
        broker.subscriber("first", "businesses", &[("phone", "+4915100000001")], |_| ()).await;
        assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
        broken.next().await;
        broker.emptied("broken").await;
        if says_so {
            let said = json!({ "incident": "network", "severity": "info", "platforms_down": ["broken"] });
            assert_eq!(broker.post("/v1/events", &event("b-1", said)).await.status, 202);
        } else {
            // Another one is refused: the channel itself can't.
            broker.subscriber("second", "businesses", &[("phone", "+4915100000002")], |_| ()).await;
            let said = event("c-1", json!({ "incident": "mail-down", "title": "Mail is down" }));
            assert_eq!(broker.post("/v1/events", &said).await.status, 202);
        }
        // Nobody moves the clock to the next try.
        broker.settled().await;
        assert_eq!(works.all().len(), if says_so { 1 } else { 3 });
        assert_eq!(broken.all().len(), if says_so { 1 } else { 2 });
        broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_has_another_way_waits_for_a_channel_that_asks_for_a_long_rest() {
    const PEOPLE: usize = 5;
    let (_plans, config) = plan(&by("\"resting\", \"works\""));
    let rests = |n: usize, _: &Request| match n {
        0 => Reply::Full(503, "Retry-After: 86400\r\n".into(), "Temporal failure, try again later.".into()),
        _ => Reply::accepted(),
    };
    let resting = Sink::answering(rests).await;
    let works = accepting().await;
    let channels = sms("resting", resting.port()) + &sms("works", works.port());
    let broker = Broker::start(&(config + &channels)).await;
    for n in 0..PEOPLE {
        broker.subscriber(&format!("p{n}"), "businesses", &[("phone", &format!("+49151000000{n:02}"))], |_| ()).await;
    }
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    broker.settled().await;
    assert_eq!((resting.all().len(), works.all().len()), (1, PEOPLE));
    // A day is more than anybody is believed: after an hour it is tried again.
    broker.clock.advance(Duration::from_secs(3600));
    broker.subscriber("later", "businesses", &[("phone", "+4915100000099")], |_| ()).await;
    let second =
        event("c-1", json!({ "incident": "mail-down", "title": "Mail is down", "at": broker.clock.calendar() }));
    assert_eq!(broker.post("/v1/events", &second).await.status, 202);
    for _ in 0..100 {
        if broker.app.engine.idle() {
            break;
        }
        broker.clock.advance(Duration::from_secs(1));
        broker.off_the_wire("resting").await;
    }
    broker.settled().await;
    assert!(resting.all().len() > 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes_with_every_breaker_open_make_no_dead_letter() {
    const PEOPLE: usize = 40;
    const DOWN: [(u16, &str); 2] = [(403, "Authorization failed for sendsms"), (502, "Bad gateway")];
    for (status, text) in DOWN {
        let down = Arc::new(AtomicBool::new(true));
        let accepted = Arc::new(AtomicUsize::new(0));
        let answers = || {
            let (down, accepted) = (down.clone(), accepted.clone());
            move |_: usize, _: &Request| match down.load(Ordering::SeqCst) {
                true => Reply::Full(status, String::new(), text.into()),
                false => {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    Reply::accepted()
                }
            }
        };
        let (a, b) = (Sink::answering(answers()).await, Sink::answering(answers()).await);
        let (_plans, config) = plan(&by("\"sms\""));
        let broker = Broker::start(&(config + &sms("a", a.port()) + &sms("b", b.port()))).await;
        for n in 0..PEOPLE {
            broker
                .subscriber(&format!("p{n}"), "businesses", &[("phone", &format!("+49151000000{n:02}"))], |_| ())
                .await;
        }
        assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
        for _ in 0..60 {
            broker.emptied("a").await;
            broker.emptied("b").await;
            broker.clock.advance(Duration::from_secs(10));
        }
        broker.emptied("a").await;
        broker.emptied("b").await;
        let tried = a.all().len() + b.all().len();
        // Ten failures open a breaker that is not told at once, and then there are trials.
        assert!(tried <= 36, "{tried} attempts at what does not work");
        let shown = async || broker.get("/v1/broadcasts").await.json()["items"][0].clone();
        let waiting = shown().await;
        assert_eq!((&waiting["state"], &waiting["counts"]["unreachable"]), (&json!("running"), &json!(0)));
        down.store(false, Ordering::SeqCst);
        // The last trial comes within ten minutes, then each second lets twice as many through; a day's deadline is far away.
        for _ in 0..2000 {
            if broker.app.engine.idle() {
                break;
            }
            broker.clock.advance(Duration::from_secs(10));
            broker.off_the_wire("a").await;
            broker.off_the_wire("b").await;
        }
        broker.settled().await;
        let done = shown().await;
        assert_eq!((&done["state"], &done["counts"]["told"]), (&json!("done"), &json!(PEOPLE)), "{done}");
        let id = done["id"].as_str().expect("an id");
        let dead = broker.get(&format!("/v1/deliveries?broadcast={id}&state=rejected")).await.json();
        assert_eq!(dead["items"], json!([]));
        assert_eq!(accepted.load(Ordering::SeqCst), PEOPLE);
        broker.stop().await;
    }
}
