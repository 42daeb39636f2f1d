//! Several nodes over one PostgreSQL: webhooks to many at full speed, beside the bare loop, with the processor time of nodes and server;
//! how long a stop takes that all of them obey, and how long until the shards of a node that was killed are others'. The nodes share the
//! core of the loop, and the server that of the sink: what more nodes give on more cores is not seen here, what each costs is.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use super::broker::Broker;
use super::compare::{Leg, median, round};
use super::fan_out::{ALL, bare, checked};
use super::people::{self, By};
use super::place::{HOOKS, Place, Setup};
use super::postgres::Server;
use super::process::pins;
use super::sink::Sink;
use super::{Args, Measured};

const NODES: [usize; 3] = [1, 2, 4];
/// A leg of the bare loop stands before and after each of the nodes'.
struct Told {
    nodes: usize,
    leg: Leg,
    server_cpu: f64,
    /// Bytes of the server's log, and of what it keeps.
    log: f64,
    kept: f64,
    bare: f64,
}

/// Nodes over a database of their own, each with its share.
struct Cluster {
    brokers: Vec<Broker>,
    places: Vec<Place>,
}

impl Cluster {
    fn start(server: &Server, setup: &Setup, database: &str, nodes: usize) -> anyhow::Result<Cluster> {
        server.run(&format!("CREATE DATABASE {database} TEMPLATE bench_people"))?;
        let setup = over(server, setup, database);
        let places = (0..nodes).map(|_| Place::new(&setup)).collect::<anyhow::Result<Vec<Place>>>()?;
        let brokers = places.iter().map(Place::serve).collect::<anyhow::Result<Vec<Broker>>>()?;
        let least = format!(
            "SELECT CASE WHEN (SELECT count(*) FROM node) = {nodes} THEN (SELECT min(shards) FROM (SELECT count(s.id) AS shards
               FROM node n LEFT JOIN shard s ON s.node = n.id GROUP BY n.id) AS each) ELSE 0 END"
        );
        waited("every node has its share", || Ok(server.number(database, &least)? >= 64 / nodes as i64 - 2))?;
        Ok(Cluster { brokers, places })
    }

    fn cpu(&self) -> anyhow::Result<f64> {
        self.brokers.iter().map(|broker| broker.process.cpu()).sum()
    }
}

fn over(server: &Server, setup: &Setup, database: &str) -> Setup {
    Setup { store: Some((server.url(database), server.password.clone())), ..setup.clone() }
}

fn waited(what: &str, holds: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(began.elapsed())
}

pub fn nodes(args: &Args) -> anyhow::Result<Measured> {
    let (count, server, sink) = (args.recipients, Server::given()?, Sink::start()?);
    let setup = Setup::new(&[ALL], &sink.mail);
    server.run("CREATE DATABASE bench_people")?;
    Place::new(&over(&server, &setup, "bench_people"))?.import(&people::file(By::Webhook, count, &sink), count)?;
    let sample = RefCell::new(Value::Null);
    let mut told = Vec::new();
    let looped = || {
        sink.reset()?;
        let leg = bare("webhook", sink.hooks.clone(), HOOKS, count, &sample.borrow())?;
        checked(&sink, count)?;
        anyhow::Ok(leg.rate())
    };
    for round in 0..args.rounds {
        for nodes in NODES {
            let database = format!("bench_{round}_{nodes}");
            let cluster = Cluster::start(&server, &setup, &database, nodes)?;
            sink.reset()?;
            let log = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
            let (before, log_before) = (server.cpu()?, server.number(&database, log)?);
            let leg = cluster.brokers[0].tell_by(count, &|| Ok(sink.caught()?.distinct), &|| cluster.cpu())?;
            let server_cpu = (server.cpu()? - before) * 1e6 / count as f64;
            let log = (server.number(&database, log)? - log_before) as f64 / count as f64;
            let kept = "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
                 WHERE inhparent IN ('delivery'::regclass, 'manifest'::regclass)";
            let kept = server.number(&database, kept)? as f64 / count as f64;
            checked(&sink, count)?;
            *sample.borrow_mut() = sink.sample()?;
            drop(cluster);
            told.push(Told { nodes, leg, server_cpu, log, kept, bare: looped()? });
            server.run(&format!("DROP DATABASE {database} WITH (FORCE)"))?;
        }
    }
    let of =
        |nodes: usize, figure: &dyn Fn(&Told) -> f64| median(told.iter().filter(|one| one.nodes == nodes).map(figure));
    let (stop, stop_late) = stops(args, &server, &setup, &sink)?;
    let takeover = takeover(&server, &setup)?;
    server.run("DROP DATABASE bench_people WITH (FORCE)")?;
    let each = |figure: &dyn Fn(&Told) -> f64| NODES.map(|nodes| round(of(nodes, figure), 3)).to_vec();
    Ok(Measured {
        figures: vec![
            ("nodes_1_ratio", round(of(1, &|one| one.leg.rate() / one.bare), 3)),
            ("nodes_2_ratio", round(of(2, &|one| one.leg.rate() / one.bare), 3)),
            ("nodes_4_ratio", round(of(4, &|one| one.leg.rate() / one.bare), 3)),
            ("nodes_cpu_us", round(of(2, &|one| one.leg.cpu_micros()), 2)),
            ("nodes_store_cpu_us", round(of(2, &|one| one.server_cpu), 2)),
            ("nodes_stop_ms", round(stop, 2)),
            ("nodes_takeover_ms", round(takeover, 0)),
        ],
        raw: json!({
            "recipients": count, "connections": HOOKS, "pins": pins(), "nodes": NODES, "stop_late": stop_late,
            "per_s": each(&|one| one.leg.rate()), "bare_per_s": each(&|one| one.bare),
            "cpu_us": each(&|one| one.leg.cpu_micros()), "store_cpu_us": each(&|one| one.server_cpu),
            "store_log_bytes": each(&|one| one.log), "store_kept_bytes": each(&|one| one.kept),
        }),
    })
}

/// From the request at one node to the answer, while two of them tell many; and how many messages came later.
fn stops(args: &Args, server: &Server, setup: &Setup, sink: &Sink) -> anyhow::Result<(f64, u64)> {
    let cluster = Cluster::start(server, setup, "bench_stop", 2)?;
    let (mut took, mut late) = (Vec::new(), 0);
    for n in 0..args.stops {
        sink.reset()?;
        let id = cluster.brokers[0].draw_of(&format!("outage-{n}"), "investigating", "critical")?.broadcast;
        waited("it has begun", || Ok(sink.caught()?.seen > args.recipients / 20))?;
        let (answered, milliseconds) = cluster.brokers[1].stop(&id)?;
        std::thread::sleep(Duration::from_millis(300));
        took.push(milliseconds);
        late += sink.after(answered)?.0;
        let shown = cluster.brokers[0].shown(&id)?;
        ensure!(shown["state"] == "cancelled", "void: {shown}");
    }
    drop(cluster);
    server.run("DROP DATABASE bench_stop WITH (FORCE)")?;
    Ok((median(took.into_iter()), late))
}

/// From the death of one of two nodes until the other owns every shard: the rest of its lease, and what it takes to see that.
fn takeover(server: &Server, setup: &Setup) -> anyhow::Result<f64> {
    let mut cluster = Cluster::start(server, setup, "bench_takeover", 2)?;
    let mut took = Vec::new();
    for _ in 0..5 {
        drop(cluster.brokers.pop());
        let orphans = "SELECT count(*) FROM shard WHERE node NOT IN (SELECT id FROM node)";
        let died = Instant::now();
        waited("the dead one's lease ends", || Ok(server.number("bench_takeover", "SELECT count(*) FROM node")? == 1))?;
        waited("all shards are owned", || Ok(server.number("bench_takeover", orphans)? == 0))?;
        took.push(died.elapsed().as_secs_f64() * 1e3);
        cluster.brokers.push(cluster.places[1].serve()?);
        let share = "SELECT count(*) FROM node n WHERE (SELECT count(*) FROM shard s WHERE s.node = n.id) >= 30";
        waited("both have their shares again", || Ok(server.number("bench_takeover", share)? == 2))?;
    }
    drop(cluster);
    server.run("DROP DATABASE bench_takeover WITH (FORCE)")?;
    Ok(median(took.into_iter()))
}
