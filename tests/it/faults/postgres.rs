//! The whole broker on PostgreSQL, and what takes it or the server away in the middle of its work.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use loudhailer::store::Store;
use loudhailer::store::postgres::Postgres;

use super::catcher::Catcher;
use super::process::{Place, Process, until};
use super::{PLANS, addresses, broadcast, happening, people, read_in, send, sign};
use crate::harness::Database;
use crate::peers::peer;

const RECIPIENTS: usize = 20_000;

/// What is under way when it is tried: a broker that tells many, whose ids and addresses are checked at the end.
struct Telling {
    catcher: Catcher,
    place: Place,
    database: Database,
    expected: BTreeSet<String>,
    broadcast: String,
    _folder: tempfile::TempDir,
}

impl Telling {
    async fn begin(database: Database) -> (Telling, Process) {
        let folder = tempfile::tempdir().expect("a folder");
        let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
        let place = Place::new(&catcher.mail, PLANS).with_store(&database.url(), database.password());
        let file = people(&catcher, RECIPIENTS);
        read_in(&place, &file);
        let store = Postgres::visit(&database.server()).await.expect("opens");
        sign(&store).await;
        store.close().await.expect("closes");
        drop(store);
        let expected = addresses(&file, "businesses").into_iter().map(str::to_string).collect();
        let process = Process::serve(&place);
        let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
        (Telling { catcher, place, database, expected, broadcast: broadcast(&answer), _folder: folder }, process)
    }

    async fn told(&self, share: usize) {
        let goal = (RECIPIENTS / 10 * share) as u64;
        until("so many had come", async || (self.catcher.seen().await >= goal).then_some(())).await;
    }

    /// Everyone is told under one id, and is counted as told; answers how many came again.
    async fn end(&self, mut process: Process) -> usize {
        process.settled().await;
        let shown = process.get(&format!("/v1/broadcasts/{}", self.broadcast)).await.expect("it is there");
        assert_eq!(shown["counts"]["told"], RECIPIENTS, "{shown}");
        process.terminate();
        assert_eq!(process.ended().await.code(), Some(0));
        let again = self.catcher.each_once(&self.expected);
        // As the counters say, so do the rows.
        let rows = "SELECT count(*) FROM delivery WHERE state = 7";
        assert_eq!(self.database.number(rows).await, RECIPIENTS as i64);
        assert_eq!(self.database.number("SELECT count(*) FROM manifest WHERE open").await, 0);
        again
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_on_postgres_that_is_killed_loses_nobody() {
    let Some(database) = Database::on("postgres").await else { return };
    let (telling, mut process) = Telling::begin(database).await;
    let mut in_flight = 0;
    for share in [2, 4, 6] {
        telling.told(share).await;
        process.kill();
        telling.catcher.drained().await;
        let on_disk = telling.database.number("SELECT count(*) FROM delivery WHERE state = 7").await;
        let came: BTreeSet<String> = telling.catcher.caught().into_iter().map(|(to, _)| to).collect();
        in_flight += came.len() - on_disk as usize;
        process = Process::serve(&telling.place);
    }
    let again = telling.end(process).await;
    assert!(in_flight > 0, "the kills hit nothing");
    assert!(again <= in_flight, "{again} came again, and {in_flight} were in flight");
}

/// The server dies in the middle of commits whose answers are lost with it: each is either there or done again, so that nobody is
/// told twice while the broker lives, and no attempt is noted twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_postgres_that_dies_under_the_broker_loses_nobody() {
    let Some(database) = Database::on("postgres_spare").await else { return };
    let Some(control) = peer("postgres_spare_control") else { return };
    let (telling, process) = Telling::begin(database).await;
    let started = process.number();
    for share in [2, 4, 6] {
        telling.told(share).await;
        let control = control.clone();
        let restarted = tokio::task::spawn_blocking(move || Command::new(control).arg("restart").status());
        assert!(restarted.await.expect("no panic").expect("runs").success());
    }
    until("it is ready again", async || process.ready().await?.then_some(())).await;
    assert_eq!(process.number(), started);
    let again = telling.end(process).await;
    assert_eq!(again, 0, "the broker lived, and knows what it sent");
    assert_eq!(telling.database.number("SELECT count(*) FROM attempt").await, 0, "a try was noted that was not one");
}
