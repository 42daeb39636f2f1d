//! The broker as its own process, told of incidents and watched until the last outcome is on disk.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use loudhailer::clock::Time;
use serde_json::{Value, json};

use super::compare::Leg;
use super::process::{Process, ask};

pub fn event(id: &str, incident: &str, severity: &str) -> Value {
    let now = Time(jiff::Timestamp::now().as_millisecond());
    json!({
        "id": id, "source": "bench", "incident": incident, "at": now, "started_at": now,
        "next_update_at": now.plus(Duration::from_secs(3600)), "status": "investigating", "severity": severity,
        "title": "The website is unreachable", "summary": "Nobody can open the website.",
        "components": [], "regions": [],
    })
}

pub struct Drawn {
    pub broadcast: String,
    /// In microseconds of the calendar, and how long it took.
    pub answered: u64,
    pub milliseconds: f64,
}

pub struct Broker {
    pub process: Process,
    pub host: String,
}

impl Broker {
    pub fn new(process: Process, host: String) -> Broker {
        Broker { process, host }
    }

    /// An event of a new incident; the broadcast that it drew.
    pub fn draw(&self, severity: &str) -> anyhow::Result<String> {
        Ok(self.draw_of(&format!("{severity}-{}", super::sink::micros()), "investigating", severity)?.broadcast)
    }

    /// An event of an incident: the broadcast that it drew, which supersedes what the one before drew.
    pub fn draw_of(&self, incident: &str, status: &str, severity: &str) -> anyhow::Result<Drawn> {
        let mut event = event(&format!("{severity}-{}", super::sink::micros()), incident, severity);
        event["status"] = json!(status);
        let began = Instant::now();
        let (code, answer) = ask(&self.host, "POST", "/v1/events", &event.to_string())?;
        let (answered, took) = (super::sink::micros(), began.elapsed());
        ensure!(code == 202, "{answer}");
        let broadcast = answer["broadcasts"][0].as_str().context("a broadcast")?.to_string();
        Ok(Drawn { broadcast, answered, milliseconds: took.as_secs_f64() * 1e3 })
    }

    /// Tells everyone once, from the event to the last outcome on disk. `arrived` counts what the sink has.
    pub fn tell(&self, count: u64, arrived: &dyn Fn() -> anyhow::Result<u64>) -> anyhow::Result<Leg> {
        self.tell_by(count, arrived, &|| self.process.cpu())
    }

    /// The same where others have a part in it: `cpu` is what all of them have had.
    pub fn tell_by(
        &self,
        count: u64,
        arrived: &dyn Fn() -> anyhow::Result<u64>,
        cpu: &dyn Fn() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Leg> {
        let before = cpu()?;
        let began = Instant::now();
        let id = self.draw("critical")?;
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            let now = arrived()?;
            if now >= count {
                break;
            }
            if now > seen {
                (seen, moved) = (now, Instant::now());
            }
            if moved.elapsed() > Duration::from_secs(30) {
                bail!("nothing came for 30 s after {seen}: {}", self.shown(&id)?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let counts = loop {
            let shown = self.shown(&id)?;
            if shown["state"] == "done" {
                break shown["counts"].clone();
            }
            ensure!(moved.elapsed() < Duration::from_secs(120), "it does not end: {shown}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let leg = Leg { seconds: began.elapsed().as_secs_f64(), cpu: cpu()? - before, count };
        ensure!(counts["told"] == count, "void: the broker recorded {counts}");
        Ok(leg)
    }

    pub fn shown(&self, broadcast: &str) -> anyhow::Result<Value> {
        Ok(ask(&self.host, "GET", &format!("/v1/broadcasts/{broadcast}"), "")?.1)
    }

    /// Stops a broadcast; when that was answered, in microseconds of the calendar, and how long it took in milliseconds.
    pub fn stop(&self, broadcast: &str) -> anyhow::Result<(u64, f64)> {
        let began = Instant::now();
        let (status, answer) = ask(&self.host, "POST", &format!("/v1/broadcasts/{broadcast}:stop"), "")?;
        let (answered, took) = (super::sink::micros(), began.elapsed());
        ensure!(status == 200, "{answer}");
        Ok((answered, took.as_secs_f64() * 1e3))
    }
}
