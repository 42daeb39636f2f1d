//! Several nodes on one PostgreSQL, as processes: what takes one of them away in the middle of its work, and what all of them keep
//! together.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use loudhailer::id::BroadcastId;
use loudhailer::store::Store;
use loudhailer::store::postgres::Postgres;
use serde_json::json;

use super::catcher::{Catcher, each_once};
use super::process::{BINARY, Place, Process, ask, until};
use super::proxy::Proxy;
use super::{PLANS, addresses, broadcast, happening, people, read_in, send, sign};
use crate::harness::{Database, number};

/// `NODES_RECIPIENTS` changes how many, as `tests/run --long` does.
pub fn recipients() -> usize {
    number("NODES_RECIPIENTS").map_or(12_000, |count| count as usize)
}
/// The clock of each node's machine is so far ahead of that before.
const APART: Duration = Duration::from_secs(10);
pub const NODES: usize = 3;
/// Longer than a node owns anything without saying that it is there, and than others take to see that.
const STALL: Duration = Duration::from_secs(9);

/// What is under way: nodes that tell many, whose ids and addresses are checked at the end.
pub struct Telling {
    pub catcher: Catcher,
    pub database: Database,
    expected: BTreeSet<String>,
    pub broadcast: String,
    pub nodes: Vec<(Process, Place)>,
    /// By which each node reaches its mail server.
    pub mails: Vec<Proxy>,
    _folder: tempfile::TempDir,
}

impl Telling {
    /// `settings` are more of the channel of webhooks.
    pub async fn begin(database: Database, settings: &str) -> Telling {
        Telling::begin_by(database, settings, |_| None).await
    }

    /// `way`: by which a node reaches the database, where that is not straight.
    pub async fn begin_by(database: Database, settings: &str, way: impl Fn(usize) -> Option<SocketAddr>) -> Telling {
        Telling::begin_each(database, |_| settings.to_string(), way).await
    }

    /// `settings` and `way` of each node.
    pub async fn begin_each(
        database: Database,
        settings: impl Fn(usize) -> String,
        way: impl Fn(usize) -> Option<SocketAddr>,
    ) -> Telling {
        Telling::begin_as(Path::new(BINARY), database, settings, way, async |_| {}).await
    }

    /// `program` is what the nodes are, and `before` happens to the database before they start.
    pub async fn begin_as(
        program: &Path,
        database: Database,
        settings: impl Fn(usize) -> String,
        way: impl Fn(usize) -> Option<SocketAddr>,
        before: impl AsyncFnOnce(&Database),
    ) -> Telling {
        let folder = tempfile::tempdir().expect("a folder");
        let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
        let mut mails = Vec::new();
        for _ in 0..NODES {
            mails.push(Proxy::start(catcher.mail.parse().expect("an address")).await);
        }
        let place = |node: usize| {
            let url = way(node).map_or_else(|| database.url(), |at| database.url_at(at));
            let place = Place::new(&mails[node].at.to_string(), PLANS).with_store(&url, database.password());
            let place = place.with_clock(APART * node as u32).with_program(program);
            let file = place.path("loudhailer.toml");
            let text = std::fs::read_to_string(&file).expect("read");
            let hooks = "allow_private = true\n";
            std::fs::write(&file, text.replace(hooks, &format!("{hooks}{}", settings(node)))).expect("written");
            place
        };
        let places: Vec<Place> = (0..NODES).map(place).collect();
        let file = people(&catcher, recipients());
        read_in(&places[0], &file);
        let store = Postgres::visit(&database.server()).await.expect("opens");
        sign(&store).await;
        store.close().await.expect("closes");
        before(&database).await;
        let nodes: Vec<(Process, Place)> = places.into_iter().map(|place| (Process::serve(&place), place)).collect();
        shared(&database).await;
        let expected = addresses(&file, "businesses").into_iter().map(str::to_string).collect();
        let (status, answer) = send(&nodes[0].0.host, &happening("main", "critical")).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
        let broadcast = broadcast(&answer);
        Telling { catcher, database, expected, broadcast, nodes, mails, _folder: folder }
    }

    /// Whoever has come has taken its part.
    pub async fn shared(&self) {
        shared(&self.database).await;
    }

    pub async fn told(&self, share: usize) {
        let goal = (recipients() / 10 * share) as u64;
        until("so many had come", async || (self.catcher.seen().await >= goal).then_some(())).await;
    }

    /// The number of the node that does for all what one does.
    pub async fn leader(&self) -> i64 {
        self.database.number("SELECT node FROM shard WHERE id = 0").await
    }

    /// SIGTERM, and the node once more when it has ended.
    pub async fn end_and_restart(&mut self, node: usize) {
        let place = self.end_one(node).await;
        self.begin_one(node, place);
    }

    /// SIGTERM; answers what the node was started from.
    pub async fn end_one(&mut self, node: usize) -> Place {
        let (mut process, place) = self.nodes.remove(node);
        process.terminate();
        assert_eq!(process.ended().await.code(), Some(0));
        place
    }

    pub fn begin_one(&mut self, node: usize, place: Place) {
        self.nodes.insert(node, (Process::serve(&place), place));
    }

    pub fn kill_and_restart(&mut self, node: usize) {
        let (process, place) = self.nodes.remove(node);
        process.kill();
        self.nodes.insert(node, (Process::serve(&place), place));
    }

    /// One of this program begins in the place of a node, which then ends in peace.
    pub async fn upgrade(&mut self, node: usize) {
        let (mut process, place) = self.nodes.remove(node);
        let place = place.with_program(Path::new(BINARY));
        self.nodes.insert(node, (Process::serve(&place), place));
        process.terminate();
        assert_eq!(process.ended().await.code(), Some(0));
    }

    pub async fn settled(&self) {
        for (node, _) in &self.nodes {
            node.settled().await;
        }
    }

    /// Nothing is answered, and nothing begins or ends any more; answers what each node has on the wire.
    pub async fn stand_still(&self) -> Vec<u64> {
        self.still(1).await
    }

    /// The same where each node has so many on the wire, or more.
    pub async fn still(&self, least: u64) -> Vec<u64> {
        self.catcher.hold().await;
        let (mut last, mut same) = (Vec::new(), 0);
        until("all attempts are open", async || {
            let mut now = vec![self.catcher.seen().await];
            for (node, _) in &self.nodes {
                now.push(node.on_wire().await?);
            }
            let before = std::mem::replace(&mut last, now.clone());
            same = if before == now { same + 1 } else { 0 };
            (same == 3 && now.iter().all(|count| *count >= least)).then(|| now.split_off(1))
        })
        .await
    }

    /// Everything is answered again.
    pub async fn release(&self) {
        self.catcher.go().await;
    }

    /// What may come again once a node has fallen: what has come and is not on disk, its answer being held or not yet written, and
    /// what is on the wire behind it.
    pub async fn in_flight(&self, on_wire: &[u64]) -> u64 {
        let came: BTreeSet<String> = self.catcher.caught().into_iter().map(|(_, id)| id).collect();
        let told = self.database.number("SELECT count(*) FROM delivery WHERE state = 7").await;
        came.len() as u64 - told.unsigned_abs() + on_wire.iter().sum::<u64>() - self.catcher.open().await
    }

    /// Everyone is told under one id, and is counted as told by every node; answers how many came again.
    pub async fn end(self) -> usize {
        let (again, others) = self.end_beside().await;
        assert!(others.is_empty(), "nobody else was to be told: {others:?}");
        again
    }

    /// The same where others are told of other things; answers with what came to these, too.
    pub async fn end_beside(mut self) -> (usize, Vec<(String, String)>) {
        for (node, _) in &self.nodes {
            node.settled().await;
            let shown = node.get(&format!("/v1/broadcasts/{}", self.broadcast)).await.expect("it is there");
            assert_eq!(shown["counts"]["told"], recipients(), "{shown}");
        }
        for (node, place) in &mut self.nodes {
            node.terminate();
            let status = node.ended().await;
            assert_eq!(status.code(), Some(0), "{}", std::fs::read_to_string(place.path("log")).unwrap_or_default());
        }
        let (ours, others): (Vec<_>, Vec<_>) =
            self.catcher.caught().into_iter().partition(|(to, _)| self.expected.contains(to));
        let again = each_once(&ours, &self.expected);
        let BroadcastId(id) = self.broadcast.parse().expect("an id");
        let told = format!("SELECT count(*) FROM delivery WHERE state = 7 AND broadcast = {id}");
        assert_eq!(self.database.number(&told).await, recipients() as i64);
        assert_eq!(self.database.number("SELECT count(*) FROM manifest WHERE open").await, 0);
        let left =
            "SELECT (SELECT count(*) FROM node) + (SELECT count(*) FROM shard WHERE node IN (SELECT id FROM node))";
        assert_eq!(self.database.number(left).await, 0, "who has left owns nothing");
        (again, others)
    }
}

async fn shared(database: &Database) {
    until("every node has its share", async || {
        let least =
            "SELECT min(shards) FROM (SELECT count(s.id) AS shards FROM node n LEFT JOIN shard s ON s.node = n.id
                     GROUP BY n.id) AS each";
        let nodes = database.number("SELECT count(*) FROM node").await;
        (nodes == NODES as i64 && database.number(least).await >= 64 / NODES as i64 - 2).then_some(())
    })
    .await;
}

fn signal(process: &Process, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.number().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_killed_and_that_stall_lose_nobody_and_repeat_no_more_than_they_had_in_flight() {
    let Some(database) = Database::on("postgres").await else { return };
    let mut telling = Telling::begin(database, "").await;
    telling.told(1).await;
    let on_wire = telling.stand_still().await;
    let (killed, place) = telling.nodes.pop().expect("a node");
    killed.kill();
    let mut in_flight = telling.in_flight(&on_wire).await;
    telling.catcher.go().await;
    // Another in its place; the shards of the dead one are divided anew.
    telling.nodes.push((Process::serve(&place), place));
    telling.told(4).await;

    let on_wire = telling.stand_still().await;
    signal(&telling.nodes[1].0, "STOP");
    in_flight += telling.in_flight(&on_wire).await;
    telling.catcher.go().await;
    let stalled = Instant::now();
    until("the others own what it had", async || {
        let orphans = "SELECT count(*) FROM shard WHERE node NOT IN (SELECT id FROM node WHERE until >
                       (extract(epoch FROM now()) * 1000)::bigint)";
        (stalled.elapsed() > STALL && telling.database.number(orphans).await == 0).then_some(())
    })
    .await;
    signal(&telling.nodes[1].0, "CONT");
    let again = telling.end().await as u64;
    assert!(again <= in_flight, "{again} came again, and {in_flight} were in flight");
    assert!(again > 0, "neither hit anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_restarted_one_after_the_other_repeat_nothing() {
    let Some(database) = Database::on("postgres").await else { return };
    let mut telling = Telling::begin(database, "").await;
    for (at, share) in [(0, 1), (1, 3), (2, 5)] {
        telling.told(share).await;
        telling.end_and_restart(at).await;
    }
    assert_eq!(telling.end().await, 0, "a node that ends in peace has said what it has done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_one_node_counts_on_all_when_it_is_answered() {
    let Some(database) = Database::on("postgres").await else { return };
    let telling = Telling::begin(database, "").await;
    telling.told(1).await;
    let on_wire: u64 = telling.stand_still().await.iter().sum();
    // A mail that follows another on its connection has been sent, and is seen once that is answered.
    let (seen, open) = (telling.catcher.seen().await, telling.catcher.open().await);
    let began = Instant::now();
    let path = format!("/v1/broadcasts/{}:stop", telling.broadcast);
    let (status, answer) = ask(&telling.nodes[1].0.host, "POST", &path, "{}").await.expect("an answer");
    assert_eq!(status, 200, "{answer}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}: a lease was waited for", began.elapsed());
    telling.catcher.go().await;
    for (node, _) in &telling.nodes {
        node.settled().await;
        until("nothing is on its wire", async || (node.on_wire().await? == 0).then_some(())).await;
    }
    let more = telling.catcher.seen().await - seen;
    assert!(
        more <= on_wire - open,
        "{more} came, and {on_wire} were on the wire, {open} of them seen: some began later"
    );
    // What has changed at one node is so at the others: a channel, too.
    let [first, second] = [&telling.nodes[0].0, &telling.nodes[1].0];
    let (status, answer) = ask(&first.host, "POST", "/v1/channels/hooks:pause", "{}").await.expect("an answer");
    assert_eq!(status, 200, "{answer}");
    let shown = second.get("/v1/channels").await.expect("channels");
    let hooks = shown["items"].as_array().expect("items").iter().find(|channel| channel["name"] == "hooks");
    assert_eq!(hooks.expect("hooks")["paused"], json!(true), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_keep_one_limit_together() {
    keep("rate", 300, |_| "http".into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_keep_the_limit_of_a_host_together() {
    keep("host_rate", 20, |hosts| format!("http://{}/", hosts[0])).await;
}

/// `limit`: the setting of the channel, that many a second; `whose`: how the addresses begin that it is for.
async fn keep(limit: &str, rate: u64, whose: impl Fn(&[String]) -> String) {
    let Some(database) = Database::on("postgres").await else { return };
    let telling = Telling::begin(database, &format!("{limit} = [\"{rate}/s\"]\n")).await;
    // Others go by mail, or to other hosts, as fast as they may.
    let whose = whose(&telling.catcher.hooks);
    let limited = async || telling.catcher.caught().iter().filter(|(to, _)| to.starts_with(&whose)).count() as u64;
    until("it has begun", async || (limited().await > 0).then_some(())).await;
    // When a look began, what it saw, and when it had ended.
    let look = async || {
        let began = Instant::now();
        let count = limited().await;
        (began, count, Instant::now())
    };
    let mut looks = vec![look().await];
    until("ten seconds have passed", async || {
        looks.push(look().await);
        (looks[0].0.elapsed() > Duration::from_secs(10)).then_some(())
    })
    .await;
    let (first, last) = (looks[0], looks[looks.len() - 1]);
    let reached = (last.1 - first.1) as f64 / (last.2 - first.0).as_secs_f64();
    // Two cores that do everything else as well use less than all of it.
    assert!(reached > rate as f64 * 0.25, "only {reached:.0} a second of {rate}");
    println!("{reached:.0} a second of {rate}");
    // What came within a second, and what the way to us had held up before.
    let most = rate + rate / 4;
    for (at, (began, count, _)) in looks.iter().enumerate() {
        let within = looks[at..].iter().take_while(|(_, _, ended)| *ended < *began + Duration::from_secs(1));
        let came = within.map(|(_, other, _)| other - count).max().unwrap_or(0);
        assert!(came <= most, "{came} came within a second, and {rate} may");
    }
}
