//! Apache Kafka: the same, judged by others, and with nodes that are killed.

use std::collections::BTreeSet;

use loudhailer::store::Store;
use loudhailer::store::sqlite::Sqlite;

use super::topic::{in_order, judged, once, private, read, stands, wanted};
use super::{held_against, offering, scene};
use crate::faults::catcher::Catcher;
use crate::faults::process::{Place, Process, until};
use crate::faults::{PLANS, broadcast, happening, import, people, send};
use crate::harness::SECRET;
use crate::peers::{peer, peers};

/// A topic of this run alone; the broker makes it on first use.
pub fn topic(name: &str) -> String {
    format!("outcomes-{name}-{:08x}", fastrand::u32(..))
}

#[test]
fn the_document_is_asyncapi_by_the_schema_that_others_ship() {
    let Some(asyncapi) = peer("asyncapi") else { return };
    assert_eq!(judged(&asyncapi, &[]), Vec::<serde_json::Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_on_kafka_is_what_the_document_says_by_others_judgement() {
    let Some([kafka, asyncapi]) = peers(["kafka", "asyncapi"]) else { return };
    let topic = topic("scene");
    let played = scene(&kafka, &topic).await;
    let records = read(&kafka, &topic);
    held_against(&records, &played).await;
    assert_eq!(judged(&asyncapi, &records), Vec::<serde_json::Value>::new());
}

const RECIPIENTS: usize = 6_000;
const KILLS: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_again_and_again_leaves_nothing_out_and_repeats_it_under_the_same_id() {
    let Some(kafka) = peer("kafka") else { return };
    let topic = topic("killed");
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), std::time::Duration::ZERO).await;
    let place = Place::new(&catcher.mail, PLANS);
    let config = place.path("loudhailer.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&config, format!("{}{text}", offering(&kafka, &topic))).expect("written");
    import(&place, &people(&catcher, RECIPIENTS)).await;

    let mut process = Process::serve(&place);
    let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    let everyone = broadcast(&answer);
    for kill in 1..=KILLS {
        let goal = RECIPIENTS as u64 * kill / (KILLS + 1);
        until("so many had come", async || (catcher.seen().await >= goal).then_some(())).await;
        process.kill();
        process = Process::serve(&place);
    }
    process.settled().await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));

    let records = read(&kafka, &topic);
    let store = Sqlite::visit(&place.path("loudhailer.db")).expect("opens");
    let offered: BTreeSet<String> = once(&records).into_keys().collect();
    assert!(offered == wanted(&store, 0).await, "{} are offered", offered.len());
    in_order(&records);
    private(&records, &[SECRET, "@example", "127.0.0.1", "http://"]);
    let told = stands(&records).into_iter().filter(|((of, _), word)| *of == everyone && word == "told").count();
    assert_eq!(told, RECIPIENTS);
    let end = store.journal_end().await.expect("read").to_string();
    assert_eq!(store.meta("outcomes_offered").await.expect("read"), Some(end));
    println!("{} records, {} of them again", records.len(), records.len() - offered.len());
}
