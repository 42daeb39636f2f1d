//! One typed configuration. `default.toml`, embedded and commented, is the default; the operator's file goes over it, then the
//! environment. Unknown keys are refused with their place and the nearest right name.

mod check;
pub mod files;
mod heartbeat;
mod kafka;
mod place;
mod secret;
mod server;
mod store;
pub mod watcher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::incident::{Clearance, Severity, Text};
use crate::quantity::{Limit, Span};

pub use self::heartbeat::Heartbeat;
pub use self::kafka::Kafka;
pub(crate) use self::place::{nearest, suggest};
use self::place::{path_of, place, place_of};
pub use self::secret::Secret;
pub use self::server::Server;
pub use self::store::{Place, Store};

pub const DEFAULT: &str = include_str!("default.toml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub sender: Sender,
    pub events: Events,
    pub signals: Signals,
    pub kafka: Kafka,
    pub engine: Engine,
    pub heartbeat: Heartbeat,
    pub retention: Retention,
    pub paths: Paths,
    pub log: Log,
    #[serde(default)]
    pub components: BTreeMap<String, Component>,
    #[serde(default)]
    pub regions: BTreeMap<String, Region>,
    #[serde(default)]
    pub audiences: BTreeMap<String, Audience>,
    #[serde(default)]
    pub channels: BTreeMap<String, Channel>,
    #[serde(default)]
    pub sources: BTreeMap<String, Source>,
    #[serde(default)]
    pub watchers: BTreeMap<String, watcher::Watcher>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub name: String,
    pub email: String,
    pub status_page: String,
    pub locale: String,
    pub zone: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    pub max_event_age: Span,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signals {
    pub window: Span,
    pub origins: usize,
    pub severity: Severity,
    pub public: bool,
    pub rate: Limit,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    pub deadline: Span,
    pub lane: usize,
    pub page: usize,
    pub attempt_room: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub incidents: Span,
    pub events: Span,
    pub journal: Span,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    pub templates: PathBuf,
    pub channels: PathBuf,
    pub plans: PathBuf,
    pub sources: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: String,
    pub filter: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub title: Text,
    #[serde(default)]
    pub platforms: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub title: Text,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audience {
    pub clearance: Clearance,
    /// Which templates speak to it, by default those of its own name.
    #[serde(default)]
    pub templates: Option<String>,
    /// Whether its messages carry a link to unsubscribe.
    #[serde(default = "yes")]
    pub unsubscribe: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    pub platform: String,
    #[serde(default)]
    pub kind: Option<String>,
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default)]
    pub depends: Vec<String>,
    #[serde(default)]
    pub rate: Vec<Limit>,
    #[serde(default)]
    pub account_rate: Vec<Limit>,
    #[serde(default)]
    pub host_rate: Vec<Limit>,
    #[serde(default)]
    pub address_rate: Vec<Limit>,
    #[serde(default)]
    pub concurrency: Option<usize>,
    #[serde(default)]
    pub allow_private: bool,
    #[serde(default)]
    pub settings: BTreeMap<String, Secret>,
}

/// Where foreign webhooks come in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A file in `sources/`; by default that of the source's own name.
    #[serde(default)]
    pub format: Option<String>,
    /// Of the vendor's signature.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Of Amazon SNS, whose messages are taken: `arn:aws:sns:…`.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Expressions in place of the file's own.
    #[serde(default)]
    pub event: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

/// What is wrong with the configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{place}: {message}")]
    Wrong { place: String, message: String },
}

impl Config {
    /// The default, then the operator's file, then `LOUDHAILER__SECTION__KEY` from the environment.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let text = match file {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.into(), error })?
            }
            None => String::new(),
        };
        let name = file.map_or("configuration".into(), |path| path.display().to_string());
        Config::from_toml(&text, &name, environment)
    }

    pub fn from_toml(
        text: &str,
        name: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let wrong = |place: String, message: String| ConfigError::Wrong { place, message };
        let mut table: toml::Table =
            DEFAULT.parse().map_err(|error: toml::de::Error| wrong("default.toml".into(), error.to_string()))?;
        let own: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| wrong(place(text, name, error.span()), error.message().to_string()))?;
        merge(&mut table, own);
        for (variable, value) in environment {
            let Some(path) = variable.strip_prefix("LOUDHAILER__") else { continue };
            let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
            set(&mut table, &path, &value).map_err(|message| wrong(variable.clone(), message))?;
        }
        let config = Config::deserialize(table).map_err(|error| {
            let (path, message) = (path_of(&error), nearest(error.message().trim()));
            let place = place_of(text, name, &path);
            // An unknown key is named by its message.
            let named = path.is_empty() || message.starts_with("unknown ");
            wrong(place, if named { message } else { format!("{}: {message}", path.join(".")) })
        })?;
        check::check(&config).map_err(|misfit| wrong(place_of(text, name, &misfit.path), misfit.why))?;
        Ok(config)
    }

    pub fn public_url(&self) -> String {
        match self.server.public_url.as_str() {
            "" => format!("{}://{}", self.server.scheme(), self.server.listen),
            url => url.trim_end_matches('/').to_string(),
        }
    }
}

fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Sets one key from the environment; the value has the type that the default has there.
fn set(table: &mut toml::Table, path: &[String], value: &str) -> Result<(), String> {
    let [key] = path else {
        let Some((head, rest)) = path.split_first() else { return Err("names no key".into()) };
        let inner = table.entry(head.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        return match inner {
            toml::Value::Table(inner) => set(inner, rest, value),
            _ => Err(format!("{head} has no keys below it")),
        };
    };
    let value = match table.get(key) {
        Some(toml::Value::Integer(_)) => value.parse().map(toml::Value::Integer).map_err(|_| "expected a number")?,
        Some(toml::Value::Boolean(_)) => {
            value.parse().map(toml::Value::Boolean).map_err(|_| "expected true or false")?
        }
        Some(toml::Value::Array(_)) => toml::Value::Array(
            value.split(',').filter(|v| !v.is_empty()).map(|v| toml::Value::String(v.trim().into())).collect(),
        ),
        _ => toml::Value::String(value.into()),
    };
    table.insert(key.clone(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        Config::from_toml(text, "own.toml", std::iter::empty()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_file_is_a_configuration() {
        assert_eq!(read("").expect("default").server.listen.port(), 8080);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
        let error = read("[server]\nlisten = \"127.0.0.1:1\"\ntrusted_proxys = []\n").expect_err("refused");
        assert_eq!(error, "own.toml:3: unknown key \"trusted_proxys\"; did you mean \"trusted_proxies\"?");
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_line_and_its_keys() {
        let error =
            read("[channels.rate]\nplatform = \"outbox\"\n[channels.page]\nrate = \"1/min\"\n").expect_err("refused");
        assert_eq!(error, "own.toml:4: channels.page.rate: invalid type: string \"1/min\", expected a sequence");
        let error = read("[server]\nqueue = -1\n").expect_err("refused");
        assert_eq!(error, "own.toml:2: server.queue: invalid value: integer `-1`, expected usize");
        let error = read("[channels.page]\nrate = [\"often\"]\n").expect_err("refused");
        assert!(error.starts_with("own.toml:2: channels.page.rate: "), "{error}");
        let error = read("[channels.page]\nrate = []\n").expect_err("refused");
        assert!(error.starts_with("own.toml:1: channels.page: missing field `platform`"), "{error}");
    }

    #[test]
    fn one_origin_alone_proposes_nothing() {
        let error = read("[signals]\nwindow = \"5m\"\norigins = 1\n").expect_err("refused");
        assert_eq!(error, "own.toml:3: signals.origins: one origin alone proposes nothing; write 2 or more");
        assert_eq!(read("[signals]\norigins = 3\n").expect("reads").signals.origins, 3);
    }

    #[test]
    fn broken_toml_is_refused_with_its_line() {
        let error = read("[server]\nlisten = \n").expect_err("refused");
        assert!(error.starts_with("own.toml:2: "), "{error}");
    }

    #[test]
    fn the_environment_goes_over_the_file_and_keeps_the_types() {
        let environment = [("LOUDHAILER__SERVER__QUEUE", "7"), ("LOUDHAILER__KAFKA__TOPICS", "a,b"), ("HOME", "/x")];
        let environment = environment.into_iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let config = Config::from_toml("[server]\nqueue = 5\n", "own.toml", environment).expect("reads");
        assert_eq!(config.server.queue, 7);
        assert_eq!(config.kafka.topics, ["a", "b"]);
    }
}
