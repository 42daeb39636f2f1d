//! Several nodes on one PostgreSQL that offer what happened on Kafka: whoever leads may be killed.

use loudhailer::store::Store;
use loudhailer::store::postgres::Postgres;

use super::nodes::{NODES, Telling, recipients};
use super::process::until;
use crate::harness::Database;
use crate::offer::broker::topic;
use crate::offer::offering;
use crate::offer::topic::{in_order, once, read, stands, wanted};
use crate::peers::peer;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_which_each_is_killed_once_offer_everything_in_order() {
    let Some(kafka) = peer("kafka") else { return };
    let Some(database) = Database::on("postgres").await else { return };
    let topic = topic("nodes");
    let mut telling = Telling::begin(database, &offering(&kafka, &topic)).await;
    let mut leaders = std::collections::BTreeSet::new();
    for node in 0..NODES {
        telling.told(2 + 2 * node).await;
        leaders.insert(telling.leader().await);
        telling.kill_and_restart(node);
    }
    telling.told(10).await;
    leaders.insert(telling.leader().await);
    assert!(leaders.len() > 1, "it led all the time: {leaders:?}");
    telling.settled().await;
    until("all was offered", async || {
        let left = "SELECT (SELECT max(sequence) FROM journal) - (SELECT value::bigint FROM meta WHERE name = 'outcomes_offered')";
        (telling.database.number(left).await == 0).then_some(())
    })
    .await;
    let store = Postgres::visit(&telling.database.server()).await.expect("opens");
    let wanted = wanted(&store, 0).await;
    store.close().await.expect("closes");
    let everyone = telling.broadcast.clone();
    telling.end().await;

    let records = read(&kafka, &topic);
    let offered: std::collections::BTreeSet<String> = once(&records).into_keys().collect();
    assert!(offered == wanted, "{} are offered, {} are in the journal", offered.len(), wanted.len());
    in_order(&records);
    let told = stands(&records).into_iter().filter(|((of, _), word)| *of == everyone && word == "told").count();
    assert_eq!(told, recipients());
    println!("{} records, {} of them again", records.len(), records.len() - offered.len());
}
