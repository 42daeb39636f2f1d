//! The broker as its own process: the real binary over a folder with a generated configuration, and people to tell.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use loudhailer::clock::Time;
use serde_json::{Value, json};

use super::process::{MEASURED, Process, ask};
use super::sink::{HOSTS, Sink};
use super::{Leg, SECRET};

const BINARY: &str = env!("CARGO_BIN_EXE_loudhailer");

/// Requests on the wire at one time: the broker keeps an eighth of its slots from all but critical broadcasts.
pub const HOOKS: usize = 64;
const HOOK_SLOTS: usize = 73;
/// Connections for mail: the broker opens one for two slots, and keeps an eighth of them from all but critical broadcasts.
pub const MAILS: usize = 33;
const MAIL_SLOTS: usize = 74;

pub fn write_plans(folder: &Path) -> anyhow::Result<()> {
    let plans = folder.join("plans");
    std::fs::create_dir(&plans)?;
    let plan = |severity: &str, audience: &str, routes: &str| {
        format!(
            "title = \"All\"\n[match]\nseverity = [\"{severity}\"]\n[[step]]\nname = \"{audience}\"\n\
             audience = \"{audience}\"\nroutes = [{routes}]\npriority = \"high\"\n"
        )
    };
    // The first replaces the one that ships; the second speaks to nobody.
    std::fs::write(plans.join("outage.toml"), plan("critical", "businesses", "\"webhook\", \"email\""))?;
    std::fs::write(plans.join("nobody.toml"), plan("minor", "press", "\"email\""))?;
    Ok(())
}

pub fn event(id: &str, incident: &str, severity: &str) -> Value {
    let now = Time(jiff::Timestamp::now().as_millisecond());
    json!({
        "id": id, "source": "bench", "incident": incident, "at": now, "started_at": now,
        "next_update_at": now.plus(Duration::from_secs(3600)), "status": "investigating", "severity": severity,
        "title": "The website is unreachable", "summary": "Nobody can open the website.",
        "components": [], "regions": [],
    })
}

/// How people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Webhook,
    Mail,
}

/// A file of subscribers, each with an address and a name of their own.
pub fn people(by: By, count: u64, sink: &Sink) -> String {
    let mut text = String::from("key,name,audiences,url,url_secret,email\n");
    for n in 0..count {
        let _ = match by {
            // Mixed, so that no page has one host alone.
            By::Webhook => {
                let host = &sink.hooks[(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % HOSTS];
                writeln!(text, "s{n},Person {n},businesses,http://{host}/s{n},{SECRET},")
            }
            By::Mail => writeln!(text, "s{n},Person {n},businesses,,,s{n}@example.org"),
        };
    }
    text
}

/// A folder with a configuration and, later, a store.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new(sink: &Sink) -> anyhow::Result<Place> {
        let folder = tempfile::tempdir()?;
        write_plans(folder.path())?;
        let at = folder.path().display();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nrate = \"1000000/s\"\n[store]\nurl = \"sqlite:{at}/store.db\"\n\
             [paths]\nplans = \"{at}/plans\"\n[log]\nfilter = \"warn\"\n\
             [channels.hooks]\nplatform = \"webhook\"\nallow_private = true\nconcurrency = {HOOK_SLOTS}\n\
             [channels.mail]\nplatform = \"smtp\"\nconcurrency = {MAIL_SLOTS}\n\
             [channels.mail.settings]\nurl = \"smtp://{}\"\ntls = \"none\"\n",
            sink.mail
        );
        std::fs::write(folder.path().join("loudhailer.toml"), text)?;
        Ok(Place(folder))
    }

    fn arguments<'a>(&'a self, config: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        more.iter().copied().chain(["--config", config]).collect()
    }

    fn config(&self) -> String {
        self.0.path().join("loudhailer.toml").display().to_string()
    }

    /// Imports a file by the command; how long it took in seconds, and the peak in MiB.
    pub fn import(&self, file: &str, count: u64) -> anyhow::Result<(f64, f64)> {
        let path = self.0.path().join("people.csv");
        std::fs::write(&path, file)?;
        let (config, path) = (self.config(), path.display().to_string());
        let arguments = self.arguments(&config, &["import", "subscribers", "--verified", "--json", &path]);
        let began = Instant::now();
        let (peak, printed) = Process::start(MEASURED, BINARY, &arguments)?.into_end()?;
        let seconds = began.elapsed().as_secs_f64();
        let report: Value = serde_json::from_str(&printed)?;
        ensure!(report["created"] == count, "{printed}");
        Ok((seconds, peak))
    }

    pub fn serve(&self) -> anyhow::Result<Broker> {
        let config = self.config();
        let mut process = Process::start(MEASURED, BINARY, &self.arguments(&config, &["serve"]))?;
        loop {
            if let Some(host) = process.line()?.strip_prefix("listening on http://") {
                return Ok(Broker { host: host.to_string(), process, told: 0 });
            }
        }
    }
}

pub struct Broker {
    pub process: Process,
    pub host: String,
    told: u64,
}

impl Broker {
    /// Tells everyone once, from the event to the last outcome on disk.
    pub fn tell(&mut self, sink: &Sink, count: u64) -> anyhow::Result<Leg> {
        sink.reset()?;
        self.told += 1;
        let name = format!("outage-{}", self.told);
        let before = self.process.cpu()?;
        let began = Instant::now();
        let (status, answer) = ask(&self.host, "POST", "/v1/events", &event(&name, &name, "critical").to_string())?;
        ensure!(status == 202, "{answer}");
        let id = answer["broadcasts"][0].as_str().context("a broadcast")?.to_string();
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            let caught = sink.caught()?;
            if caught.distinct >= count {
                break;
            }
            if caught.seen > seen {
                (seen, moved) = (caught.seen, Instant::now());
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
            ensure!(moved.elapsed() < Duration::from_secs(60), "it does not end: {shown}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let leg = Leg { seconds: began.elapsed().as_secs_f64(), cpu: self.process.cpu()? - before, count };
        ensure!(counts["told"] == count, "void: the broker recorded {counts}");
        Ok(leg)
    }

    fn shown(&self, broadcast: &str) -> anyhow::Result<Value> {
        Ok(ask(&self.host, "GET", &format!("/v1/broadcasts/{broadcast}"), "")?.1)
    }
}
