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
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use self::example::Example;
use self::expression::{Expression, Ordered};
pub use self::proof::Proof;
pub use self::reading::{Wrong, native};
use crate::channel::template::suggest;
use crate::config::{Config, ConfigError, nearest};

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
struct Embedded;

/// The formats at hand: those in the binary, and those of an operator's directory, which add or replace.
#[derive(Debug, Default)]
pub struct Formats(BTreeMap<String, Arc<Format>>);

impl Formats {
    pub fn load(directory: Option<&Path>) -> Result<Formats, ConfigError> {
        let mut formats = Formats::default();
        for file in Embedded::iter() {
            let Some(found) = Embedded::get(&file) else { continue };
            formats.add(&file, &String::from_utf8_lossy(&found.data), &format!("sources/{file}"))?;
        }
        let Some(directory) = directory else { return Ok(formats) };
        let unreadable = |path: &Path, error| ConfigError::Unreadable { path: path.into(), error };
        for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
            let path = entry.map_err(|error| unreadable(directory, error))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                formats.add(&file, &text, &path.display().to_string())?;
            }
        }
        Ok(formats)
    }

    fn add(&mut self, file: &str, text: &str, place: &str) -> Result<(), ConfigError> {
        let name = file.trim_end_matches(".toml");
        self.0.insert(name.into(), Arc::new(Format::parse(name, text, place)?));
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Format>> {
        self.0.values()
    }

    /// The format of that name, or what is wrong with the name.
    pub fn get(&self, name: &str) -> Result<&Arc<Format>, String> {
        self.0.get(name).ok_or_else(|| {
            let near = suggest(name, self.0.keys().map(String::as_str));
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("unknown format {name:?}{near} (known: {})", known.join(" "))
        })
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
