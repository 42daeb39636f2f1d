//! A source: a foreign webhook format as a file in `sources/`. What a vendor posts comes in; native events leave. A *format* is the
//! file; a *source* is a format that the operator has set up (`[sources.NAME]`).

/// The expressions of a file.
mod expression;

/// Who sent it.
mod proof;

/// The same of Amazon SNS.
pub mod sns;

/// From a document to events.
mod reading;

/// Its examples, which are its tests.
pub mod example;

/// What becomes of a document.
pub mod intake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use self::example::Example;
use self::expression::{Expression, Ordered};
pub use self::proof::Proof;
pub use self::reading::{Wrong, native};
use crate::config::files::{Files, Kind};
use crate::config::{Config, ConfigError, nearest, suggest};

/// What `[event]` may have.
const FIELDS: &[&str] = &[
    "when",
    "id",
    "incident",
    "at",
    "sequence",
    "mode",
    "kind",
    "status",
    "severity",
    "title",
    "summary",
    "workaround",
    "action",
    "alternatives",
    "compensation",
    "internal_notes",
    "support_url",
    "owner",
    "components",
    "regions",
    "platforms_down",
    "started_at",
    "ended_at",
    "next_update_at",
    "expected_restored_at",
    "restored_percent",
];
const TIMES: &[&str] = &["at", "started_at", "ended_at", "next_update_at", "expected_restored_at"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Format {
    /// The file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    pub title: String,
    /// The vendor's documentation of the document.
    pub docs: String,
    pub verify: Option<Proof>,
    document: Option<Inner>,
    each: Option<Each>,
    #[serde(default, rename = "let")]
    names: Ordered,
    event: BTreeMap<String, Expression>,
    #[serde(default, rename = "example")]
    pub examples: Vec<Example>,
}

/// The document stands as text within what came, which is then `envelope`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    json: Expression,
}

/// A document of several events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Each {
    #[serde(rename = "in")]
    list: Expression,
}

impl Format {
    pub fn parse(name: &str, text: &str, place: &str) -> Result<Format, ConfigError> {
        let wrong = |line: Option<usize>, message: String| ConfigError::Wrong {
            place: line.map_or(place.to_string(), |line| format!("{place}:{line}")),
            message,
        };
        let mut format: Format = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            wrong(line, nearest(error.message()))
        })?;
        format.name = name.into();
        known_fields(&format.event).map_err(|(field, message)| {
            let line = text.lines().position(|line| line.trim_start().starts_with(field.as_str())).map(|at| at + 1);
            wrong(line, message)
        })?;
        if !format.event.contains_key("incident") {
            return Err(wrong(None, "[event] needs incident: what is the same from its beginning to its end".into()));
        }
        Ok(format)
    }
}

fn known_fields(event: &BTreeMap<String, Expression>) -> Result<(), (String, String)> {
    match event.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        None => Ok(()),
        Some(field) => {
            let near = suggest(field, FIELDS.iter().copied());
            Err((field.clone(), format!("an event has no {field:?}{near}")))
        }
    }
}

#[derive(rust_embed::RustEmbed)]
#[folder = "sources/"]
#[include = "*.toml"]
pub struct Embedded;

/// The formats at hand.
pub type Formats = Files<Format>;

impl Kind for Format {
    type Embedded = Embedded;
    const WORD: &str = "format";
    const FOLDER: &str = "sources";

    fn parse(name: &str, text: &str, place: &str) -> Result<Format, ConfigError> {
        Format::parse(name, text, place)
    }
}

/// A format that the operator has set up.
pub struct Source {
    pub name: String,
    pub format: Arc<Format>,
    /// Of the vendor's signature; without one a token of ours is needed.
    secret: Option<String>,
    /// Of Amazon SNS, whose messages are taken.
    pub topics: Vec<String>,
    /// What stands in place of the file's own expressions.
    over: BTreeMap<String, Expression>,
}

/// All of them, and which are muted.
#[derive(Default)]
pub struct Sources {
    all: BTreeMap<String, Source>,
    muted: Mutex<BTreeSet<String>>,
    pub amazon: sns::Amazon,
}

impl Sources {
    pub fn build(config: &Config, formats: &Formats) -> Result<Sources, ConfigError> {
        let mut all = BTreeMap::new();
        for (name, own) in &config.sources {
            let wrong =
                |key: &str, message: String| ConfigError::Wrong { place: format!("sources.{name}{key}"), message };
            let format = own.format.as_deref().unwrap_or(name);
            let format = formats.get(format).map_err(|message| wrong(".format", message))?.clone();
            let mut over = BTreeMap::new();
            for (field, text) in &own.event {
                let expression =
                    Expression::parse(text).map_err(|message| wrong(&format!(".event.{field}"), message))?;
                over.insert(field.clone(), expression);
            }
            known_fields(&over).map_err(|(field, message)| wrong(&format!(".event.{field}"), message))?;
            let secret =
                own.secret.as_ref().map(|secret| secret.expose().to_string()).filter(|secret| !secret.is_empty());
            if secret.is_some() && format.verify.is_none() {
                let message = format!("{} signs nothing: it needs a token, and no secret", format.title);
                return Err(wrong(".secret", message));
            }
            let sns = matches!(format.verify, Some(Proof::Sns));
            if sns && (own.topics.is_empty() || secret.is_some()) {
                let message = "name the topics whose messages are taken, and no secret: topics = [\"arn:aws:sns:…\"]";
                return Err(wrong("", message.into()));
            }
            if !sns && !own.topics.is_empty() {
                return Err(wrong(".topics", format!("{} does not come by Amazon SNS", format.title)));
            }
            let topics = own.topics.clone();
            all.insert(name.clone(), Source { name: name.clone(), format, secret, topics, over });
        }
        Ok(Sources { all, ..Sources::default() })
    }

    pub fn get(&self, name: &str) -> Option<&Source> {
        self.all.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.all.values()
    }

    pub fn is_muted(&self, name: &str) -> bool {
        self.muted.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// As the store has it.
    pub fn mute(&self, muted: BTreeSet<String>) {
        *self.muted.lock().unwrap_or_else(PoisonError::into_inner) = muted;
    }
}
