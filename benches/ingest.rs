//! Events taken in and synced, beside the same application with commits that answer at once; and how long each takes at half of
//! the most that it takes.

use anyhow::ensure;
use serde_json::{Value, json};

use super::compare::{Leg, alternate, round};
use super::place::{Place, Plan, Setup};
use super::post::Posting;
use super::process::{MEASURED, OTHER, Process, pins};
use super::{Args, Measured};

/// Speaks to an audience that has no members.
const NOBODY: Plan =
    Plan { severity: "minor", component: "", audience: "press", routes: "\"email\"", priority: "high" };

const CONNECTIONS: usize = 64;
const INCIDENTS: u64 = 1000;

struct Client<'a> {
    host: &'a str,
    token: &'a str,
}

impl Client<'_> {
    fn post(&self, server: &Process, from: u64, count: u64, rate: Option<f64>) -> anyhow::Result<Value> {
        let before = server.cpu()?;
        let posting = Posting {
            host: self.host.into(),
            token: self.token.into(),
            connections: CONNECTIONS,
            count,
            incidents: INCIDENTS,
            rate,
            from,
        };
        let mut ended = Process::role(OTHER, "post", &json!(posting))?.json()?;
        ensure!(ended["accepted"] == count, "accepted {} of {count}", ended["accepted"]);
        ended["cpu"] = json!(server.cpu()? - before);
        Ok(ended)
    }
}

/// Where the events were to be taken, every one of them is.
fn all_taken(place: &Place, count: u64) -> anyhow::Result<()> {
    let db = rusqlite::Connection::open(place.store())?;
    let taken: i64 = db.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
    let drawn: i64 = db.query_row("SELECT count(*) FROM broadcast", [], |row| row.get(0))?;
    ensure!(taken == drawn && taken == count as i64, "void: the store has {taken} events and {drawn} broadcasts");
    Ok(())
}

pub fn ingest(args: &Args) -> anyhow::Result<Measured> {
    let count = args.recipients;
    let setup = Setup::new(&[NOBODY], "127.0.0.1:9");
    let broker = || {
        let place = Place::new(&setup)?;
        let token = place.token()?;
        let broker = place.serve()?;
        let ended = Client { host: &broker.host, token: &token }.post(&broker.process, 0, count, None)?;
        all_taken(&place, count)?;
        Leg::read(&ended, count)
    };
    let bare = || {
        let place = Place::new(&setup)?;
        let token = place.token()?;
        let config = place.path().join("loudhailer.toml").display().to_string();
        let mut route = Process::role(MEASURED, "prompt", &json!(config))?;
        let host: String = serde_json::from_value(route.json()?)?;
        Leg::read(&Client { host: &host, token: &token }.post(&route, 0, count, None)?, count)
    };
    let legs = alternate(args.rounds, vec![("broker", Box::new(broker)), ("bare", Box::new(bare))])?;
    let top = legs.rate("broker");

    let place = Place::new(&setup)?;
    let token = place.token()?;
    let broker = place.serve()?;
    let client = Client { host: &broker.host, token: &token };
    // The first of each incident, and whatever else happens once.
    client.post(&broker.process, 0, INCIDENTS, None)?;
    let paced = ((top / 2.0 * args.paced as f64) as u64).max(1);
    let open = client.post(&broker.process, INCIDENTS, paced, Some(top / 2.0))?;
    all_taken(&place, INCIDENTS + paced)?;
    let figure = |name: &str| round(open[name].as_f64().unwrap_or(f64::NAN), 3);
    Ok(Measured {
        figures: vec![
            ("ingest_ratio", round(legs.ratio("broker", "bare"), 3)),
            ("ingest_cpu_us", round(legs.cpu_micros("broker"), 2)),
            ("ingest_per_s", top.round()),
            ("ingest_p50_ms", figure("p50_ms")),
            ("ingest_p99_ms", figure("p99_ms")),
        ],
        raw: json!({
            "events": count, "connections": CONNECTIONS, "incidents": INCIDENTS, "pins": pins(),
            "bare_per_s": legs.rate("bare").round(), "bare_cpu_us": round(legs.cpu_micros("bare"), 2),
            "cpu_ratio": round(legs.cpu_ratio("broker", "bare"), 3), "paced_per_s": (top / 2.0).round(),
            "paced_events": paced, "paced_worst_ms": figure("worst_ms"), "legs": legs.raw(),
        }),
    })
}
