//! A broadcast at full speed with a million unsent is superseded, and the newer one stopped, while another goes on by a channel of its
//! own: nothing begins after the answer, and the other does not pause.

use std::time::{Duration, Instant};

use anyhow::ensure;
use loudhailer::id::BroadcastId;
use rusqlite::Connection;
use serde_json::json;

use super::compare::{median, round};
use super::people::{self, Group};
use super::place::{HOOKS, Place, Plan, Setup};
use super::process::pins;
use super::sink::{Sink, micros};
use super::{Args, Measured};

const BULK: Plan =
    Plan { severity: "major", component: "", audience: "businesses", routes: "\"hooks\"", priority: "bulk" };
/// By a channel of `1000/s`.
const STEADY: Plan =
    Plan { severity: "minor", component: "", audience: "regulators", routes: "\"steady\"", priority: "bulk" };

/// What is told before the stop comes on top of what is to be unsent.
const BEFORE: u64 = 50_000;
/// After each answer.
const WATCHED: Duration = Duration::from_millis(300);

pub fn stop(args: &Args) -> anyhow::Result<Measured> {
    let sink = Sink::start()?;
    let place = Place::new(&Setup::new(&[BULK, STEADY], &sink.mail))?;
    let steady = 5 * 1000 * args.stops.max(4);
    let groups = [
        Group { audience: "businesses", count: args.waiting + BEFORE, places: &sink.hooks },
        Group { audience: "regulators", count: steady, places: &sink.apart },
    ];
    people::write(&place.store(), &groups)?;
    let broker = place.serve()?;
    let other = broker.draw("minor")?;
    let (mut took, mut superseded, mut windows) = (Vec::new(), Vec::new(), Vec::new());
    let (mut late, mut begun_late) = (0, 0);
    let (mut told, mut unsent) = (0, u64::MAX);
    let begins = || {
        let (before, began) = (sink.caught()?.seen, Instant::now());
        while sink.caught()?.seen < before + 1000 {
            ensure!(began.elapsed() < Duration::from_secs(60), "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::Ok(())
    };
    for n in 0..args.stops {
        let incident = format!("outage-{n}");
        let older = broker.draw_of(&incident, "investigating", "major")?.broadcast;
        begins()?;
        let newer = broker.draw_of(&incident, "identified", "major")?;
        superseded.push(newer.milliseconds);
        begins()?;
        begun_late += begun_after(&place, &older, newer.answered)?;
        let from = micros();
        let (answered, milliseconds) = broker.stop(&newer.broadcast)?;
        std::thread::sleep(WATCHED);
        windows.push((from, micros()));
        took.push(milliseconds);
        late += sink.after(answered)?.0;
        for (id, ended, after) in [(&older, "superseded", newer.answered), (&newer.broadcast, "cancelled", answered)] {
            begun_late += begun_after(&place, id, after)?;
            let shown = broker.shown(id)?;
            let counts = &shown["counts"];
            let number = |name: &str| counts[name].as_u64().unwrap_or(0);
            ensure!(shown["state"] == ended && number("unknown") == 0, "void: {shown}");
            told += number("told");
            unsent = unsent.min(args.waiting + BEFORE - number("told"));
        }
        let caught = sink.caught()?;
        ensure!(
            caught.distinct == told && caught.seen == told && caught.forged == 0,
            "void: the broker recorded {told}, the sink {caught:?}"
        );
    }
    let shown = broker.shown(&other)?;
    ensure!(shown["state"] == "running", "void: the other broadcast did not last: {shown}");
    ensure!(unsent >= args.waiting, "void: only {unsent} were unsent");
    ensure!(
        (late, begun_late) == (0, 0),
        "after the answer to a stop, or to a newer word, {begun_late} attempts began and {late} messages came to the sink"
    );
    let times: Vec<u64> = sink.apart()?.into_iter().map(|arrival| arrival.0).collect();
    let gap = |within: &dyn Fn(u64) -> bool| {
        let pairs = times.windows(2).filter(|pair| within(pair[1]));
        pairs.map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(u64::MAX) as f64 / 1e3
    };
    let around = |at: u64| windows.iter().any(|(from, to)| (*from..=*to + 100_000).contains(&at));
    took.sort_by(f64::total_cmp);
    Ok(Measured {
        figures: vec![
            ("stop_ms", round(median(took.iter().copied()), 2)),
            ("stop_worst_ms", round(took.last().copied().unwrap_or(f64::NAN), 2)),
            ("supersede_ms", round(median(superseded.iter().copied()), 2)),
            ("stop_late", late as f64 + begun_late as f64),
            ("stop_other_lane_gap_ms", round(gap(&around), 2)),
        ],
        raw: json!({
            "recipients": args.waiting + BEFORE, "connections": HOOKS, "pins": pins(), "stops": args.stops,
            "unsent_at_least": unsent, "told": told, "came_after_the_answer": late, "begun_after_the_answer": begun_late,
            "other_lane": "1000/s", "other_lane_arrivals": times.len(), "gap_at_any_time_ms": round(gap(&|_| true), 2),
        }),
    })
}

/// Attempts of a broadcast that began after a time, as the broker recorded them.
fn begun_after(place: &Place, id: &str, micros: u64) -> anyhow::Result<i64> {
    let BroadcastId(broadcast) = id.parse().map_err(anyhow::Error::msg)?;
    let db = Connection::open(place.store())?;
    let sql = "SELECT count(*) FROM delivery WHERE broadcast = ?1 AND state IN (6, 7) AND began > ?2";
    Ok(db.query_row(sql, [broadcast, (micros / 1000) as i64], |row| row.get(0))?)
}
