//! A folder with a configuration, plans and a store, and the real binary over it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use serde_json::Value;

use super::broker::Broker;
use super::process::{MEASURED, Process};

const BINARY: &str = env!("CARGO_BIN_EXE_loudhailer");

/// A plan of one step: what severity of an event tells which audience, how, and how urgently.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub severity: &'static str,
    /// That the event must name; empty: any.
    pub component: &'static str,
    pub audience: &'static str,
    pub routes: &'static str,
    pub priority: &'static str,
}

/// What a measurement says to the broker.
#[derive(Debug, Clone)]
pub struct Setup {
    pub plans: Vec<Plan>,
    /// Of `hooks`.
    pub concurrency: usize,
    /// Of `hooks`, such as `10/s`; without it none.
    pub rate: Option<String>,
    pub mail: String,
    /// Mails on the wire at one time.
    pub mails: usize,
    /// Whether a mail is its recipient's own, with a link to unsubscribe.
    pub own: bool,
    /// Deliveries waiting in memory; without it the default.
    pub lane: Option<usize>,
    /// URL and password of a database; without it a file beside the configuration.
    pub store: Option<(String, String)>,
}

impl Setup {
    pub fn new(plans: &[Plan], mail: &str) -> Setup {
        let (plans, mail) = (plans.to_vec(), mail.into());
        Setup {
            plans,
            concurrency: HOOK_SLOTS,
            rate: None,
            mail,
            mails: MAIL_SLOTS,
            own: true,
            lane: None,
            store: None,
        }
    }
}

/// Requests on the wire at one time: the broker keeps an eighth of its slots from all but critical broadcasts.
pub const HOOKS: usize = 64;
const HOOK_SLOTS: usize = 73;
/// Connections for mail: at most, the broker opens one for two slots, and keeps an eighth of them from all but critical
/// broadcasts; where answers come at once, it opens fewer.
pub const MAILS: usize = 33;
const MAIL_SLOTS: usize = 74;

/// A folder with a configuration and, later, a store.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new(setup: &Setup) -> anyhow::Result<Place> {
        let place = Place(tempfile::tempdir()?);
        place.set_up(setup)?;
        Ok(place)
    }

    pub fn set_up(&self, setup: &Setup) -> anyhow::Result<()> {
        let plans = self.path().join("plans");
        std::fs::create_dir_all(&plans)?;
        for Plan { severity, component, audience, routes, priority } in &setup.plans {
            let named = match *component {
                "" => String::new(),
                component => format!("components = [\"{component}\"]\n"),
            };
            let text = format!(
                "title = \"All\"\n[match]\nseverity = [\"{severity}\"]\n{named}[[step]]\nname = \"{audience}\"\n\
                 audience = \"{audience}\"\nroutes = [{routes}]\npriority = \"{priority}\"\n"
            );
            std::fs::write(plans.join(format!("{audience}.toml")), text)?;
        }
        std::fs::write(self.path().join("loudhailer.toml"), self.text(setup))?;
        Ok(())
    }

    fn text(&self, setup: &Setup) -> String {
        let Setup { concurrency, rate, mail, mails, own, lane, store, .. } = setup;
        let at = self.path().display();
        let rate = rate.as_ref().map_or(String::new(), |rate| format!("rate = [\"{rate}\"]\n"));
        let mut named: Vec<&str> =
            setup.plans.iter().map(|plan| plan.component).filter(|name| !name.is_empty()).collect();
        named.dedup();
        let components: String =
            named.iter().map(|name| format!("[components.{name}]\ntitle = \"{name}\"\n")).collect();
        let lane = lane.map_or(String::new(), |lane| format!("[engine]\nlane = {lane}\n"));
        let store = match store {
            Some((url, password)) => format!("url = \"{url}\"\npassword = \"{password}\"\n"),
            None => format!("url = \"sqlite:{at}/store.db\"\n"),
        };
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nrate = \"1000000/s\"\n[store]\n{store}\
             [paths]\nplans = \"{at}/plans\"\n[log]\nfilter = \"warn\"\n{lane}{components}\
             [channels.hooks]\nplatform = \"webhook\"\nallow_private = true\nconcurrency = {concurrency}\n{rate}\
             [channels.steady]\nplatform = \"webhook\"\nallow_private = true\nrate = [\"1000/s\"]\n\
             [channels.mail]\nplatform = \"smtp\"\nconcurrency = {mails}\n\
             [channels.mail.settings]\nurl = \"smtp://{mail}\"\ntls = \"none\"\n\
             [audiences.businesses]\nclearance = \"partner\"\nunsubscribe = {own}\n"
        )
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn store(&self) -> PathBuf {
        self.path().join("store.db")
    }

    fn command(&self, command: &[&str]) -> anyhow::Result<Process> {
        let config = self.path().join("loudhailer.toml").display().to_string();
        let arguments: Vec<&str> = command.iter().copied().chain(["--config", &config]).collect();
        Process::start(MEASURED, BINARY, &arguments)
    }

    /// Imports a file by the command; how long it took in seconds, and the peak in MiB.
    pub fn import(&self, file: &str, count: u64) -> anyhow::Result<(f64, f64)> {
        let path = self.path().join("people.csv");
        std::fs::write(&path, file)?;
        let path = path.display().to_string();
        let began = Instant::now();
        let (peak, printed) = self.command(&["import", "subscribers", "--verified", "--json", &path])?.into_end()?;
        let seconds = began.elapsed().as_secs_f64();
        let report: Value = serde_json::from_str(&printed)?;
        ensure!(report["created"] == count, "{printed}");
        Ok((seconds, peak))
    }

    /// Makes a token that may take events in; from then on every request needs one.
    pub fn token(&self) -> anyhow::Result<String> {
        let made = self.command(&["token", "create", "--name", "bench", "--scope", "ingest"])?;
        Ok(made.into_end()?.1.trim().to_string())
    }

    pub fn serve(&self) -> anyhow::Result<Broker> {
        let mut process = self.command(&["serve"])?;
        loop {
            if let Some(host) = process.line()?.strip_prefix("listening on http://") {
                return Ok(Broker::new(process, host.to_string()));
            }
        }
    }
}
