//! An upgrade tells nobody anything: a store of each earlier schema is taken up, and goes on where it stood.

use std::collections::BTreeSet;
use std::time::Duration;

use loudhailer::clock::{Clock, Time};
use serde_json::json;

use crate::harness::Broker;

const STORES: &[&str] = &[include_str!("stores/1.sql")];

/// When those stores were left: two hours after the broadcast that is paused.
const NOW: &str = "2021-10-04T17:54:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_earlier_schema_sends_only_what_it_still_had_to_send() {
    for (before, sql) in STORES.iter().enumerate() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("loudhailer.db");
        rusqlite::Connection::open(&path).expect("opens").execute_batch(sql).expect("is a store");
        let clock = Clock::manual(Time::parse(NOW).expect("a time"));
        let broker = Broker::open("[channels.page]\nplatform = \"outbox\"\n", clock, folder).await;
        let file = rusqlite::Connection::open(&path).expect("opens");
        let schema: u32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number");
        assert!(schema as usize > before + 1, "schema {schema} is as it was");
        // The channel has no limit any more: whatever began would be told at once.
        for _ in 0..3 {
            broker.clock.advance(Duration::from_secs(600));
            broker.emptied("page").await;
        }
        assert_eq!(told(&broker).await, [("brd_1".into(), 3), ("brd_2".into(), 1)]);
        assert_eq!(broker.post("/v1/broadcasts/brd_2:resume", &json!({})).await.status, 200);
        broker.settled().await;
        assert_eq!(told(&broker).await, [("brd_1".into(), 3), ("brd_2".into(), 3)]);
        let messages = broker.get("/v1/broadcasts/brd_2/messages").await.json();
        assert!(messages.to_string().contains("Nobody gets mail."), "{messages}");
        broker.stop().await;
    }
}

/// Each broadcast, and how many different people its messages reached.
async fn told(broker: &Broker) -> Vec<(String, usize)> {
    let mut told = Vec::new();
    for broadcast in ["brd_1", "brd_2"] {
        let deliveries = broker.get(&format!("/v1/deliveries?broadcast={broadcast}")).await.json();
        let deliveries = deliveries["items"].as_array().expect("a list").clone();
        let people: BTreeSet<String> = deliveries
            .iter()
            .filter(|delivery| delivery["state"] == "told")
            .filter_map(|delivery| Some(delivery["subscriber"].as_str()?.to_string()))
            .collect();
        told.push((broadcast.to_string(), people.len()));
    }
    told
}
