//! Nobody is told twice: deliveries that have an open row while they are in a lane's memory, as those of two ways at once;
//! people in several audiences; later tries.

use std::collections::BTreeSet;

use loudhailer::audience::Subscriber;
use serde_json::json;

use crate::harness::{Broker, Reply, Sink, event, outage, plan, webhooks};

const PLAN: &str = r#"
title = "Two ways at once"
[[step]]
name = "businesses"
audience = "businesses"
routes = ["webhook+post"]
priority = "critical"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn two_ways_at_once_are_each_used_once() {
    const PEOPLE: usize = 400;
    const UPDATES: usize = 6;
    let (_plans, config) = plan(PLAN);
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks(&(config + "[channels.page]\nplatform = \"outbox\"\n"))).await;
    for n in 0..PEOPLE {
        let addresses = [("url", format!("{}/{n}", sink.url())), ("outbox", format!("page/{n}"))];
        let addresses: Vec<(&str, &str)> = addresses.iter().map(|(kind, value)| (*kind, value.as_str())).collect();
        broker.subscriber(&format!("p-{n}"), "businesses", &addresses, |_| ()).await;
    }
    for n in 0..UPDATES {
        let said = event(&format!("a-{n}"), json!({ "summary": format!("What we know, part {n}."), "sequence": n }));
        let answer = broker.post("/v1/events", &said).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        broker.settled().await;
    }
    let requests = sink.all();
    let ids: BTreeSet<&str> = requests.iter().filter_map(|request| request.header("webhook-id")).collect();
    assert_eq!((requests.len(), ids.len()), (PEOPLE * UPDATES, PEOPLE * UPDATES));
    broker.stop().await;
}

/// Whoever is staff and a business is told as staff; the press step tells its own besides.
const SEVERAL: &str = r#"
title = "Several audiences"
[[step]]
name = "staff"
audience = "staff"
routes = ["webhook"]
priority = "critical"
[[step]]
name = "businesses"
audience = "businesses"
routes = ["webhook"]
priority = "high"
[[step]]
name = "press"
audience = "press"
routes = ["webhook"]
priority = "high"
also = true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_several_audiences_is_told_once_unless_the_plan_says_also() {
    let (_plans, config) = plan(SEVERAL);
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks(&config)).await;
    let everything = |subscriber: &mut Subscriber| {
        subscriber.audiences.extend(["staff", "press"].map(String::from));
    };
    broker.subscriber("all", "businesses", &[("url", &format!("{}/all", sink.url()))], everything).await;
    broker.webhook("business", "businesses", &format!("{}/business", sink.url())).await;
    let taken = broker.post("/v1/events", &outage("a-1")).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    broker.settled().await;
    let mut told = Vec::new();
    for request in sink.all() {
        let id = request.header("webhook-id").expect("an id");
        let delivery = broker.get(&format!("/v1/deliveries/{id}")).await.json();
        let broadcast = delivery["broadcast"].as_str().expect("an id");
        let broadcast = broker.get(&format!("/v1/broadcasts/{broadcast}")).await.json();
        told.push((request.path, broadcast["audience"].as_str().expect("a name").to_string()));
    }
    told.sort();
    let expected = [("/hook/all", "press"), ("/hook/all", "staff"), ("/hook/business", "businesses")];
    assert_eq!(told, expected.map(|(path, audience)| (path.to_string(), audience.to_string())));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_try_has_the_same_id_and_the_same_bytes() {
    let sink = Sink::answering(|n, _| Reply::Status(if n < 2 { 503 } else { 204 })).await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let first = sink.next().await;
    for _ in 0..2 {
        broker.emptied("hooks").await;
        broker.clock.advance(std::time::Duration::from_secs(60));
        let again = sink.next().await;
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.body, first.body);
    }
    broker.stop().await;
    assert_eq!(sink.all().len(), 3);
}

/// One address, and for each incident another channel that leads there.
const BY_COMPONENT: &str = r#"
title = "By component"
[match]
components = ["COMPONENT"]
[[step]]
name = "businesses"
audience = "businesses"
routes = ["CHANNEL"]
priority = "high"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn two_channels_write_to_one_address_one_after_the_other() {
    let plans = tempfile::tempdir().expect("a folder");
    for (component, channel) in [("web", "first"), ("mail", "second")] {
        let text = BY_COMPONENT.replace("COMPONENT", component).replace("CHANNEL", channel);
        std::fs::write(plans.path().join(format!("{channel}.toml")), text).expect("written");
    }
    let sink = Sink::answering(|_, _| Reply::Hold).await;
    let channel = |name: &str| format!("[channels.{name}]\nplatform = \"webhook\"\nallow_private = true\n");
    let config = format!("[paths]\nplans = {:?}\n{}{}", plans.path(), channel("first"), channel("second"));
    let broker = Broker::start(&config).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    let other = json!({ "incident": "mail-down", "title": "Mail is down", "components": ["mail"] });
    assert_eq!(broker.post("/v1/events", &event("b-1", other)).await.status, 202);
    broker.queued("second", "high", 1).await;
    assert_eq!(sink.all().len(), 1, "two tries at one address at one time");
    sink.release();
    sink.next().await;
    broker.stop().await;
    assert_eq!(sink.all().len(), 2);
}
