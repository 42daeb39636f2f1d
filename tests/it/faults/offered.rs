//! Several nodes on one PostgreSQL that offer what happened on Kafka: whoever leads may be killed.

use std::collections::BTreeSet;

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
    let mut leaders = BTreeSet::new();
    for node in 0..NODES {
        telling.told(2 + 2 * node).await;
        leaders.insert(telling.leader().await);
        telling.kill_and_restart(node);
    }
    telling.told(10).await;
    leaders.insert(telling.leader().await);
    assert!(leaders.len() > 1, "it led all the time: {leaders:?}");
    let noted = Noted::read(&telling).await;
    telling.end().await;
    noted.held_against(&kafka, &topic);
}

/// What the journal of settled nodes has to offer, all of which is offered.
pub struct Noted {
    wanted: BTreeSet<String>,
    everyone: String,
}

impl Noted {
    pub async fn read(telling: &Telling) -> Noted {
        telling.settled().await;
        until("all was offered", async || {
            let left = "SELECT (SELECT max(sequence) FROM journal) - (SELECT value::bigint FROM meta WHERE name = 'outcomes_offered')";
            (telling.database.number(left).await == 0).then_some(())
        })
        .await;
        let store = Postgres::visit(&telling.database.server()).await.expect("opens");
        let wanted = wanted(&store, 0).await;
        store.close().await.expect("closes");
        Noted { wanted, everyone: telling.broadcast.clone() }
    }

    /// The topic has all of it and nothing else, in order, and everyone as told.
    pub fn held_against(&self, kafka: &str, topic: &str) {
        let records = read(kafka, topic);
        let offered: BTreeSet<String> = once(&records).into_keys().collect();
        let wanted = &self.wanted;
        assert!(offered == *wanted, "{} are offered, {} are in the journal", offered.len(), wanted.len());
        in_order(&records);
        let told = |(of, word): (&String, &String)| *of == self.everyone && word == "told";
        let told = stands(&records).iter().filter(|((of, _), word)| told((of, word))).count();
        assert_eq!(told, recipients());
        println!("{} records, {} of them again", records.len(), records.len() - offered.len());
    }
}
