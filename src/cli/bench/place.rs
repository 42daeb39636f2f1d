//! Where a run happens: a folder beside the configured store, on the same disk, that goes away with it. The configuration is the
//! operator's but for what leads anywhere: store, address, Kafka, plans and every channel are the run's own.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::super::Failure;
use super::watch::{Sinks, URGENT};
use crate::config::{Audience, Channel, Config};
use crate::incident::Clearance;

/// Those of many, and the ten who are told what is urgent.
pub const MANY: &str = "bench-many";
pub const FEW: &str = "bench-few";
pub const URGENT_RECIPIENTS: u64 = 10;

/// A severity draws one broadcast: to whom, by which way and how urgently.
const PLANS: [(&str, &str, &str, &str, &str); 4] = [
    ("webhook", "major", MANY, "webhook", "bulk"),
    ("mail", "minor", MANY, "email", "bulk"),
    ("webhook-urgent", "critical", FEW, "webhook", "critical"),
    ("mail-urgent", "info", FEW, "email", "critical"),
];

pub struct Place(tempfile::TempDir);

impl Place {
    pub fn beside(store: &Path) -> Result<Place, Failure> {
        let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().prefix("loudhailer-bench-").tempdir_in(folder);
        Ok(Place(made.with_context(|| format!("{}: no folder for the run's own store", folder.display()))?))
    }

    /// The operator's configuration, with nothing in it that leads out of this process.
    pub fn configure(&self, mut config: Config, sinks: &Sinks) -> Result<Config, Failure> {
        let plans = self.0.path().join("plans");
        std::fs::create_dir(&plans).context("the run's plans")?;
        for (name, severity, audience, route, priority) in PLANS {
            let text = format!(
                "title = \"{name}\"\n[match]\nseverity = [\"{severity}\"]\n[[step]]\nname = \"{name}\"\n\
                 audience = \"{audience}\"\nroutes = [\"{route}\"]\npriority = \"{priority}\"\n"
            );
            std::fs::write(plans.join(format!("{name}.toml")), text).context("the run's plans")?;
        }
        let slots = |platform: &str| {
            let theirs = config.channels.values().filter(|channel| channel.platform == platform);
            theirs.filter_map(|channel| channel.concurrency).max()
        };
        let hooks = channel("webhook", slots("webhook"), "")?;
        let mail = channel("smtp", slots("smtp"), &format!("url = \"smtp://{}\"\ntls = \"none\"\n", sinks.mail))?;
        config.channels = [("bench-webhook".into(), hooks), ("bench-mail".into(), mail)].into();
        config.server.listen = ([127, 0, 0, 1], 0).into();
        (config.server.certificate, config.server.key) = Default::default();
        config.heartbeat.url = Default::default();
        config.server.rate = "100000/s".parse().map_err(|error| anyhow!("{error}"))?;
        config.store.url = format!("sqlite:{}", self.0.path().join("store.db").display());
        config.kafka.brokers = String::new();
        config.paths.plans = plans;
        // The platforms that ship: an operator's file might name another place.
        config.paths.channels = Default::default();
        for name in [MANY, FEW] {
            let words =
                Audience { clearance: Clearance::Public, templates: Some("customers".into()), unsubscribe: true };
            config.audiences.insert(name.into(), words);
        }
        Ok(config)
    }
}

fn channel(platform: &str, concurrency: Option<usize>, settings: &str) -> Result<Channel, Failure> {
    let slots = concurrency.map_or(String::new(), |slots| format!("concurrency = {slots}\n"));
    let text = format!("platform = \"{platform}\"\nallow_private = true\n{slots}[settings]\n{settings}");
    Ok(toml::from_str(&text).context("the run's own channel")?)
}

/// The people of a run as import reads them: each with a webhook and a mailbox that lead to the sinks.
pub fn people(sinks: &Sinks, many: u64) -> String {
    use std::fmt::Write;
    let mut text = String::from("key,name,audiences,url,url_secret,email,min_severity\n");
    let hosts = &sinks.hooks;
    let mut row = |audience: &str, name: &str, n: u64| {
        let host = hosts[(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % hosts.len()];
        let secret = &sinks.secret;
        let _ = writeln!(text, "{name},Person {n},{audience},http://{host}/{name},{secret},{name}@bench.invalid,info");
    };
    (0..many).for_each(|n| row(MANY, &format!("b{n}"), n));
    (0..URGENT_RECIPIENTS).for_each(|n| row(FEW, &format!("{URGENT}{n}"), n));
    text
}
