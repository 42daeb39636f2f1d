//! Nobody is told twice: deliveries that have an open row while they are in a lane's memory, as those of two ways at once.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Broker, Sink, event, webhooks};

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
    let plans = tempfile::tempdir().expect("a folder");
    std::fs::write(plans.path().join("both.toml"), PLAN).expect("written");
    let more = format!("[paths]\nplans = {:?}\n[channels.page]\nplatform = \"outbox\"\n", plans.path());
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks(&more)).await;
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
