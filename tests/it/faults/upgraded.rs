//! A newer version beside the nodes of the one before: it brings the schema up while they send, and takes their place one by one.

use std::path::PathBuf;

use super::nodes::{NODES, Telling};
use super::process::BINARY;
use crate::harness::Database;

/// The newest file of `src/store/postgres/schema`, and what takes back all that it does.
const NEWEST: i64 = 2;
const BACK: &str = "DROP TABLE session; DELETE FROM migration WHERE number = 2";

/// `BEFORE` is the program of the version before that file, which `tests/run --long` builds; otherwise this one stands for it, and
/// the schema goes back while its nodes run.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_the_version_before_go_on_while_a_newer_one_brings_the_schema_up_and_takes_their_place() {
    let Some(database) = Database::on("postgres").await else { return };
    let before = std::env::var_os("BEFORE").map(PathBuf::from);
    let program = before.clone().unwrap_or_else(|| BINARY.into());
    let schema = async |database: &Database| database.number("SELECT max(number) FROM migration").await;
    let older = async |database: &Database| {
        assert_eq!(schema(database).await, NEWEST, "there is a newer file: what takes it back is to stand here");
        if before.is_some() {
            database.execute(BACK).await;
        }
    };
    let mut telling = Telling::begin_as(&program, database, |_| String::new(), |_| None, older).await;
    if before.is_none() {
        telling.database.execute(BACK).await;
    }
    for node in 0..NODES {
        telling.told(2 + 2 * node).await;
        assert_eq!(schema(&telling.database).await, NEWEST - i64::from(node == 0));
        telling.upgrade(node).await;
    }
    assert_eq!(telling.end().await, 0, "nobody was told again");
}
