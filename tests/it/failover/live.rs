//! The same with the engine: channels of one kind at real sinks, reports by their own door, weights where people see them.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Broker, Request, Sink, accepting, event, kannel, plan, report};

const PEOPLE: usize = 80;

const PLAN: &str = "title = \"Text messages\"\n[[step]]\nname = \"businesses\"\naudience = \"businesses\"\npriority = \"high\"\n\
    routes = [\"sms\"]\n";

async fn delivered(broker: &Broker, sent: &Request) {
    assert_eq!(report(broker, sent, "1").await.status, 200);
}

/// Tells everyone of a new incident; answers what each of the two got.
async fn tell(broker: &Broker, number: usize, sinks: [&Sink; 2]) -> [Vec<Request>; 2] {
    let before = sinks.map(|sink| sink.all().len());
    let said = event(&format!("e-{number}"), json!({ "incident": format!("outage-{number}") }));
    assert_eq!(broker.post("/v1/events", &said).await.status, 202);
    broker.settled().await;
    [0, 1].map(|at: usize| sinks[at].all().split_off(before[at]))
}

async fn weight(broker: &Broker, name: &str) -> f64 {
    let channel = broker.get(&format!("/v1/channels/{name}")).await.json();
    channel["effective_weight"].as_f64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn weight_moves_away_from_a_provider_whose_receipts_stay_away_and_drifts_back() {
    let (a, b) = (accepting().await, accepting().await);
    let (_plans, config) = plan(PLAN);
    let channels = kannel("sms-a", a.port(), "weight = 70") + &kannel("sms-b", b.port(), "weight = 30");
    let broker = Broker::start(&(config + &channels)).await;
    for n in 0..PEOPLE {
        broker.subscriber(&format!("p{n}"), "businesses", &[("phone", &format!("+49151000000{n:02}"))], |_| ()).await;
    }
    let [by_a, by_b] = tell(&broker, 1, [&a, &b]).await;
    assert!(by_a.len() > by_b.len() && !by_b.is_empty(), "{} and {}", by_a.len(), by_b.len());
    let people = |requests: &[Request]| requests.iter().map(|r| r.query("to").expect("a number")).collect::<Vec<_>>();
    for sent in by_a.iter().chain(&by_b) {
        delivered(&broker, sent).await;
    }
    broker.clock.advance(Duration::from_secs(120));
    assert_eq!((weight(&broker, "sms-a").await, weight(&broker, "sms-b").await), (70.0, 30.0));
    let [again_a, again_b] = tell(&broker, 2, [&a, &b]).await;
    let sorted = |mut people: Vec<String>| {
        people.sort();
        people
    };
    assert_eq!(sorted(people(&again_a)), sorted(people(&by_a)), "the same people by the same provider");
    for sent in &again_b {
        delivered(&broker, sent).await;
    }
    broker.clock.advance(Duration::from_secs(60));
    let moved = weight(&broker, "sms-a").await;
    assert!(moved < 10.0, "{moved}");
    assert_eq!(weight(&broker, "sms-b").await, 30.0);
    let [less_a, more_b] = tell(&broker, 3, [&a, &b]).await;
    assert!(less_a.len() * 2 < by_a.len(), "{} of {}", less_a.len(), by_a.len());
    for sent in less_a.iter().chain(&more_b) {
        delivered(&broker, sent).await;
    }
    broker.clock.advance(Duration::from_secs(1800));
    assert_eq!(weight(&broker, "sms-a").await, 70.0, "it drifts back");
    broker.stop().await;
}
