//! Several nodes on one PostgreSQL that take their events from three brokers of Kafka: a broker goes, nodes come and go, a node is
//! cut off from all brokers or from its mail server. Meanwhile many are told, under a limit.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{Mutex, MutexGuard};

use super::flow::Flow;
use super::nodes::{NODES, Telling, recipients};
use super::offered::Noted;
use super::process::{Process, ask, until};
use super::proxy::Proxy;
use crate::harness::Database;
use crate::peers::peers;

/// Webhooks in a second, of all nodes together.
const RATE: u64 = 400;
const PATIENCE: Duration = Duration::from_secs(20);

/// The brokers, which one test has for itself.
struct Brokers {
    list: String,
    control: String,
    ways: Vec<(SocketAddr, SocketAddr)>,
    asked: BaseConsumer,
    _alone: MutexGuard<'static, ()>,
}

impl Brokers {
    async fn there() -> Option<Brokers> {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let names = ["kafka_cluster", "kafka_cluster_control", "kafka_cluster_ways", "kafka_cluster_behind"];
        let [list, control, ways, behind] = peers(names)?;
        let addresses = |list: String| list.split(',').map(|at| at.parse().expect("an address")).collect::<Vec<_>>();
        let ways = addresses(ways).into_iter().zip(addresses(behind)).collect();
        let asked = ClientConfig::new().set("bootstrap.servers", &list).create().expect("a client");
        Some(Brokers { list, control, ways, asked, _alone: ALONE.lock().await })
    }

    /// `stop`, `kill` or `start`.
    async fn control(&self, what: &'static str, broker: i32) {
        let control = self.control.clone();
        let done = move || Command::new(control).args([what, &broker.to_string()]).status();
        assert!(tokio::task::spawn_blocking(done).await.expect("no panic").expect("runs").success(), "{what} {broker}");
    }

    /// Who leads the first partition of a topic.
    fn leader(&self, topic: &str) -> i32 {
        let metadata = self.asked.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        metadata.topics()[0].partitions()[0].leader()
    }

    /// All are there and have everything.
    async fn whole(&self) {
        until("every replica is in sync", async || {
            let metadata = self.asked.fetch_metadata(None, PATIENCE).ok()?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            (metadata.brokers().len() == 3 && partitions.all(|partition| partition.isr().len() == 3)).then_some(())
        })
        .await;
    }

    /// So many nodes are in each group of these, which has settled; answers by which protocol.
    async fn members(&self, flow: &Flow, count: usize) -> Vec<String> {
        let mut protocols = Vec::new();
        for group in flow.groups() {
            let settled = async || {
                let list = self.asked.fetch_group_list(Some(&group), PATIENCE).ok()?;
                let group = list.groups().first()?;
                let settled = group.state() == "Stable" && group.members().len() == count;
                settled.then(|| group.protocol().to_string())
            };
            protocols.push(until("the group has settled", settled).await);
        }
        protocols
    }

    async fn begin(&self, flow: &Flow, cut: Option<usize>) -> Option<(Telling, Vec<Proxy>)> {
        let database = Database::on("postgres").await?;
        let mut proxies = Vec::new();
        for (way, behind) in self.ways.iter().filter(|_| cut.is_some()) {
            proxies.push(Proxy::start_at(*way, *behind).await);
        }
        let ways: Vec<String> = self.ways.iter().map(|(way, _)| way.to_string()).collect();
        let settings = |node| {
            let brokers = if cut == Some(node) { ways.join(",") } else { self.list.clone() };
            format!("rate = [\"{RATE}/s\"]\n{}", flow.section(&brokers))
        };
        // Made on first use, and there before anybody reads.
        flow.incidents(8).await.expect("acknowledged");
        let telling = Telling::begin_each(database, settings, |_| None).await;
        for protocol in self.members(flow, NODES).await {
            assert_eq!(protocol, "cooperative-sticky");
        }
        Some((telling, proxies))
    }
}

/// In no five seconds more came than may. What was held up on its way comes together with what comes after it: hence a second more.
fn within_limit(telling: &Telling) {
    let mut at = telling.catcher.hooked_at();
    at.sort_unstable();
    let within = |(first, from): (usize, &u64)| at.partition_point(|other| *other < from + 5_000) - first;
    let most = at.iter().enumerate().map(within).max().expect("webhooks") as u64;
    assert!(most <= RATE * 6, "{most} came within five seconds, and {RATE} may in one");
}

/// A counter of a node over both of its groups; `None`: it does not answer.
async fn counted(node: &Process, name: &str) -> Option<u64> {
    let (_, text) = ask(&node.host, "GET", "/metrics", "").await?;
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    Some(values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>() as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_stopped_or_killed_loses_no_event_and_no_outcome() {
    let Some(brokers) = Brokers::there().await else { return };
    let topic = crate::offer::broker::topic("brokers");
    let flow = Flow::on(&brokers.list, &topic);
    let Some((telling, _)) = brokers.begin(&flow, None).await else { return };
    for (share, what) in [(1, "stop"), (4, "kill")] {
        telling.told(share).await;
        let leader = brokers.leader(&topic);
        let producing = flow.incidents(recipients() / 400);
        brokers.control(what, leader).await;
        producing.await.expect("acknowledged");
        // With one broker away all goes on.
        flow.incidents(5).await.expect("acknowledged");
        flow.taken(&telling.database).await;
        brokers.control("start", leader).await;
        brokers.whole().await;
    }
    telling.told(10).await;
    let noted = Noted::read(&telling).await;
    within_limit(&telling);
    let database = telling.database.clone();
    let (again, press) = telling.end_beside().await;
    let again = again + flow.held_against(&database, &press).await;
    assert_eq!(again, 0, "no node fell");
    noted.held_against(&brokers.list, &format!("{topic}.outcomes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_come_and_go_take_each_event_once_and_keep_the_partitions_that_they_have() {
    let Some(brokers) = Brokers::there().await else { return };
    let flow = Flow::on(&brokers.list, &crate::offer::broker::topic("storm"));
    let Some((mut telling, _)) = brokers.begin(&flow, None).await else { return };
    telling.told(1).await;
    let revoked = async |telling: &Telling| {
        let mut sum = 0;
        for (node, _) in &telling.nodes[..2] {
            sum += counted(node, "loudhailer_kafka_revoked_total").await.expect("an answer");
        }
        sum
    };
    let before = revoked(&telling).await;
    let place = telling.end_one(2).await;
    // The two have all of its partitions before it comes back.
    brokers.members(&flow, NODES - 1).await;
    telling.begin_one(2, place);
    until("it has its share again", async || (revoked(&telling).await > before).then_some(())).await;
    brokers.members(&flow, NODES).await;
    // Twelve partitions of two topics: whoever comes gets four, and nobody gives up another.
    let moved = revoked(&telling).await - before;
    assert!(moved <= 4, "{moved} partitions were taken from the two nodes that stayed");

    let mut in_flight = 0;
    for (node, share) in [(0, 2), (1, 5)] {
        telling.told(share).await;
        let producing = flow.incidents(recipients() / 800);
        telling.end_and_restart((node + 1) % NODES).await;
        producing.await.expect("acknowledged");
        telling.shared().await;
        // It may have told all by now; whoever owns nothing has nothing on the wire.
        let on_wire = telling.still(0).await;
        in_flight += telling.in_flight(&on_wire).await;
        // In the middle of taking these, of which each may tell the press once more.
        let more = recipients() / 800;
        let producing = flow.incidents(more);
        telling.kill_and_restart(node);
        in_flight += (more * super::PRESS * 3) as u64;
        telling.release().await;
        producing.await.expect("acknowledged");
    }
    flow.taken(&telling.database).await;
    telling.told(10).await;
    telling.settled().await;
    within_limit(&telling);
    let database = telling.database.clone();
    let (again, press) = telling.end_beside().await;
    let again = (again + flow.held_against(&database, &press).await) as u64;
    assert!(again <= in_flight, "{again} came again, and {in_flight} were in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_kafka_or_its_mail_server_loses_nothing_and_comes_back() {
    let Some(brokers) = Brokers::there().await else { return };
    let flow = Flow::on(&brokers.list, &crate::offer::broker::topic("cut"));
    let Some((telling, proxies)) = brokers.begin(&flow, Some(1)).await else { return };
    let cut = &telling.nodes[1].0;
    until("it is ready", async || cut.ready().await?.then_some(())).await;
    telling.told(1).await;
    let producing = flow.incidents(recipients() / 400);
    proxies.iter().for_each(Proxy::cut);
    producing.await.expect("acknowledged");
    // The others have its partitions by now, and what it had read of them.
    flow.taken(&telling.database).await;
    brokers.members(&flow, NODES - 1).await;
    until("it says so", async || (!cut.ready().await?).then_some(())).await;
    proxies.iter().for_each(Proxy::mend);
    until("it is ready again", async || cut.ready().await?.then_some(())).await;
    brokers.members(&flow, NODES).await;

    telling.mails[1].cut();
    let seen = telling.catcher.seen().await;
    flow.incidents(recipients() / 800).await.expect("acknowledged");
    flow.taken(&telling.database).await;
    // Where all of the press are the cut node's, nobody else has anyone to tell.
    let owners = "SELECT count(DISTINCT s.node) FROM member m JOIN audience a ON a.id = m.audience
                  JOIN shard s ON s.id = (m.subscriber >> 48)::int WHERE a.name = 'press'";
    if telling.database.number(owners).await > 1 {
        until("the others go on", async || (telling.catcher.seen().await > seen).then_some(())).await;
    }
    telling.mails[1].mend();
    telling.told(10).await;
    telling.settled().await;
    within_limit(&telling);
    let database = telling.database.clone();
    let (again, press) = telling.end_beside().await;
    let again = again + flow.held_against(&database, &press).await;
    assert_eq!(again, 0, "no node fell, and no answer was waited for in vain");
}
