//! The import of few and of many: time and memory of the command.

use serde_json::{Value, json};

use super::compare::round;
use super::people::{self, By};
use super::place::{Place, Setup};
use super::process::pins;
use super::sink::Sink;
use super::{Args, Measured};

pub fn import(args: &Args) -> anyhow::Result<Measured> {
    let many = args.waiting;
    let sink = Sink::start()?;
    let mut runs = Vec::new();
    for count in [many / 100, many] {
        let place = Place::new(&Setup::new(&[], &sink.mail))?;
        let (seconds, peak) = place.import(&people::file(By::Webhook, count, &sink), count)?;
        runs.push((count, seconds, peak));
    }
    let shown: Vec<Value> = runs
        .iter()
        .map(|(count, seconds, peak)| json!({ "recipients": count, "seconds": seconds, "peak_mib": peak }))
        .collect();
    Ok(Measured {
        figures: vec![
            ("import_per_s", (many as f64 / runs[1].1).round()),
            ("import_peak_mib", round(runs[1].2, 1)),
            ("import_memory_ratio", round(runs[1].2 / runs[0].2, 3)),
        ],
        raw: json!({ "recipients": many, "pins": pins(), "runs": shown }),
    })
}
