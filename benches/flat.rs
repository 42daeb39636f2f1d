//! Whether size matters: the peak of the broker process, its processor time a delivery and its rate with few recipients and with
//! many; and what a million deliveries cost that only wait.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::compare::{Leg, round};
use super::people::{self, Group};
use super::place::{HOOKS, Place, Plan, Setup};
use super::process::pins;
use super::sink::Sink;
use super::{Args, Measured};

const ALL: Plan =
    Plan { severity: "critical", component: "", audience: "businesses", routes: "\"hooks\"", priority: "high" };

pub fn flat(args: &Args) -> anyhow::Result<Measured> {
    let mut runs: Vec<(Leg, f64)> = Vec::new();
    for count in [args.recipients, args.many] {
        let sink = Sink::start()?;
        let place = Place::new(&Setup::new(&[ALL], &sink.mail))?;
        people::write(&place.store(), &[Group { audience: "businesses", count, places: &sink.hooks }])?;
        let broker = place.serve()?;
        let leg = broker.tell(count, &|| Ok(sink.caught()?.distinct))?;
        let caught = sink.caught()?;
        ensure!(caught.seen == count && caught.distinct == count && caught.forged == 0, "the sink has {caught:?}");
        runs.push((leg, broker.process.peak().unwrap_or(f64::NAN)));
    }
    let [(few, few_peak), (many, many_peak)] = runs[..] else { anyhow::bail!("two runs") };
    let shown = |(leg, peak): &(Leg, f64)| {
        json!({ "recipients": leg.count, "peak_mib": round(*peak, 1), "cpu_us": round(leg.cpu_micros(), 2),
            "per_s": leg.rate().round() })
    };
    Ok(Measured {
        figures: vec![
            ("memory_ratio", round(many_peak / few_peak, 3)),
            ("flat_cpu_ratio", round(many.cpu_micros() / few.cpu_micros(), 3)),
            ("flat_rate_ratio", round(many.rate() / few.rate(), 3)),
        ],
        raw: json!({
            "recipients": args.many, "connections": HOOKS, "pins": pins(),
            "runs": runs.iter().map(shown).collect::<Vec<Value>>(),
        }),
    })
}

/// Until what happens once, such as filling the lane, is over.
const SETTLED: Duration = Duration::from_secs(5);

pub fn idle(args: &Args) -> anyhow::Result<Measured> {
    let sink = Sink::start()?;
    let mut setup = Setup::new(&[ALL], &sink.mail);
    setup.rate = Some("10/s".into());
    let place = Place::new(&setup)?;
    people::write(&place.store(), &[Group { audience: "businesses", count: args.waiting, places: &sink.hooks }])?;
    let broker = place.serve()?;
    let id = broker.draw("critical")?;
    std::thread::sleep(SETTLED);
    let (before, sent) = (broker.process.cpu()?, sink.caught()?.seen);
    std::thread::sleep(Duration::from_secs(args.idle));
    let (cpu, sent) = (broker.process.cpu()? - before, sink.caught()?.seen - sent);
    let shown = broker.shown(&id)?;
    let expected = args.idle * 10;
    ensure!(shown["state"] == "running", "void: {shown}");
    ensure!(sent.abs_diff(expected) <= 10, "void: {sent} were sent in {} s at 10/s", args.idle);
    Ok(Measured {
        figures: vec![("idle_cpu_percent", round(cpu * 100.0 / args.idle as f64, 3))],
        raw: json!({
            "recipients": args.waiting, "seconds": args.idle, "sent": sent, "limit": "10/s", "pins": pins(),
            "peak_mib": broker.process.peak().map(|peak| round(peak, 1)),
        }),
    })
}
