//! What is critical while a million bulk messages wait on the same channel: from beginning the POST to arrival at the sink. Once
//! with a sink that answers at once, once with one that takes 200 ms over each answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::broker::event;
use super::compare::{percentile, round};
use super::people::{self, Group};
use super::place::{HOOKS, Place, Plan, Setup};
use super::process::{ask, pins};
use super::sink::{APART, Sink, micros};
use super::{Args, Measured};

const BULK: Plan =
    Plan { severity: "major", component: "", audience: "businesses", routes: "\"hooks\"", priority: "bulk" };
/// Audiences of ten that the events go round, each by a component of its own: one address is written to by one attempt at a time,
/// so at 200 ms an answer nobody can be told more than five times a second.
const URGENT: [(&str, &str); 5] =
    [("a", "executives"), ("b", "regulators"), ("c", "staff"), ("d", "press"), ("e", "customers")];

fn plans() -> Vec<Plan> {
    let urgent = URGENT.map(|(component, audience)| Plan {
        severity: "critical",
        component,
        audience,
        routes: "\"hooks\"",
        priority: "critical",
    });
    [BULK].into_iter().chain(urgent).collect()
}

/// Of the channel.
const LIMIT: &str = "5000/s";
const SLOW: u64 = 200;

pub fn urgent(args: &Args) -> anyhow::Result<Measured> {
    let instant = leg(args, 0, Duration::from_millis(40))?;
    let slow = leg(args, SLOW, Duration::from_millis(100))?;
    let figure = |leg: &Value, name: &str| leg[name].as_f64().unwrap_or(f64::NAN);
    Ok(Measured {
        figures: vec![
            ("urgent_p50_ms", figure(&instant, "p50_ms")),
            ("urgent_p99_ms", figure(&instant, "p99_ms")),
            ("urgent_slow_p50_ms", figure(&slow, "p50_ms")),
            ("urgent_slow_p99_ms", figure(&slow, "p99_ms")),
        ],
        raw: json!({
            "waiting": args.waiting, "recipients": APART, "events": args.events, "connections": HOOKS, "pins": pins(),
            "limit": LIMIT, "instant": instant, "slow": slow, "slow_answer_ms": SLOW,
        }),
    })
}

fn leg(args: &Args, wait: u64, every: Duration) -> anyhow::Result<Value> {
    let sink = Sink::start()?;
    let mut setup = Setup::new(&plans(), &sink.mail);
    (setup.concurrency, setup.rate) = (HOOKS, Some(LIMIT.into()));
    let place = Place::new(&setup)?;
    let many = Group { audience: "businesses", count: args.waiting, places: &sink.hooks };
    let few = URGENT.map(|(_, audience)| Group { audience, count: APART as u64, places: &sink.apart });
    let groups: Vec<Group<'_>> = [many].into_iter().chain(few).collect();
    people::write(&place.store(), &groups)?;
    let broker = place.serve()?;
    sink.wait(wait)?;
    let bulk = broker.draw("major")?;
    let began = Instant::now();
    while sink.caught()?.seen < 1000.min(args.waiting / 2) {
        ensure!(began.elapsed() < Duration::from_secs(60), "no bulk message comes");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut posted = HashMap::new();
    let first = Instant::now();
    for n in 0..args.events {
        std::thread::sleep((first + every * n as u32).saturating_duration_since(Instant::now()));
        let name = format!("urgent-{n}");
        let mut body = event(&name, &name, "critical");
        body["components"] = json!([URGENT[n as usize % URGENT.len()].0]);
        posted.insert(name, micros());
        let (status, answer) = ask(&broker.host, "POST", "/v1/events", &body.to_string())?;
        ensure!(status == 202, "{answer}");
    }
    let all = args.events as usize * APART;
    let patience = Instant::now();
    while sink.apart()?.len() < all {
        ensure!(patience.elapsed() < Duration::from_secs(30), "{} of {all} came", sink.apart()?.len());
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = broker.shown(&bulk)?;
    ensure!(left["state"] == "running", "void: the bulk was through before the urgent: {left}");
    let (mut took, mut last) = (Vec::new(), HashMap::new());
    for arrival in sink.apart()? {
        let began = posted.get(&arrival.1).with_context(|| format!("nobody posted {}", arrival.1))?;
        let milliseconds = arrival.0.saturating_sub(*began) as f64 / 1e3;
        took.push(milliseconds);
        let of = last.entry(arrival.1).or_insert((0, 0.0));
        *of = (of.0 + 1, milliseconds.max(of.1));
    }
    let caught = sink.caught()?;
    ensure!(caught.forged == 0 && caught.seen == caught.distinct, "the sink has {caught:?}");
    ensure!(took.len() == all && last.values().all(|(came, _)| *came == APART), "void: {} of {all} came", took.len());
    took.sort_by(f64::total_cmp);
    let mut whole: Vec<f64> = last.into_values().map(|(_, last)| last).collect();
    whole.sort_by(f64::total_cmp);
    Ok(json!({
        "p50_ms": round(percentile(&took, 0.5), 2), "p99_ms": round(percentile(&took, 0.99), 2),
        "worst_ms": round(percentile(&took, 1.0), 2), "all_ten_p99_ms": round(percentile(&whole, 0.99), 2),
        "every_ms": every.as_millis() as u64, "bulk_per_s": (caught.seen as f64 / began.elapsed().as_secs_f64()).round(),
    }))
}
