//! Words: templates into messages. A Scene (facts, update, sender) and a Wording (whose templates, which language, zone,
//! format) go in; a Message leaves. It is rendered once for a broadcast, language, zone, format and markup, and cut into
//! segments and fields; a recipient costs only the fields.
//!
//! No text of a fact can break out of the format it stands in, name a field, or turn into a header.

pub mod check;
mod clean;
mod guard;
mod layout;
pub mod lint;
pub mod locale;
mod markdown;
pub mod message;
mod names;
mod parse;
mod problem;
mod registry;
pub mod sample;
pub mod sms;
pub mod templates;
mod times;
mod view;
mod webhook;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use problem::{Level, Problem};
pub use templates::{Fallback, Templates, clearances};
pub use write::render;

use crate::clock::Time;
use crate::config;
pub use crate::incident::Occasion;
use crate::incident::{Clearance, Facts, Mode, Text};
use message::{Format, Markup, Message};

impl Occasion {
    /// Whether the words of an update could stand in for it.
    pub fn is_an_update(self) -> bool {
        use Occasion::*;
        matches!(self, Investigating | Acknowledged | Identified | Update | Restoring | Relapse | Holding | Reminder)
    }

    /// Whether a reader is told when the next update comes.
    pub fn has_next(self) -> bool {
        use Occasion::*;
        self.is_an_update() || matches!(self, Correction | Retraction)
    }
}

/// What happened and who says so: the frozen facts of a broadcast with what the configuration calls things.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    pub facts: &'a Facts,
    /// The incident as shown outside.
    pub incident: &'a str,
    pub update: i64,
    pub mode: Mode,
    /// Four characters, one for each broadcast (`check_code`).
    pub code: &'a str,
    pub sender: &'a config::Sender,
    pub components: &'a BTreeMap<String, config::Component>,
    pub regions: &'a BTreeMap<String, config::Region>,
    /// When the incident was first known; stands in for a start that nobody has said.
    pub opened: Time,
    /// When the broadcast was released.
    pub now: Time,
    /// In a correction or retraction.
    pub wrong: Option<Wrong<'a>>,
    /// In `extended`: the window's end as last announced.
    pub window_before: Option<Time>,
}

/// The update that a correction corrects.
#[derive(Debug, Clone, Copy)]
pub struct Wrong<'a> {
    pub number: i64,
    pub sent: Time,
    /// The wrong words.
    pub said: Option<&'a Text>,
}

/// How it is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wording {
    /// The folder of templates that speaks to the audience.
    pub template: String,
    pub clearance: Clearance,
    pub occasion: Occasion,
    pub locale: String,
    pub zone: String,
    pub format: Format,
    pub markup: Markup,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub message: Message,
    /// The file whose words these are.
    pub file: String,
    pub fallbacks: Vec<Fallback>,
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("no template speaks to {audience} on {occasion} in {locale}")]
    NoTemplate { audience: String, occasion: Occasion, locale: String },
    #[error("{file}: {message}")]
    Failed { file: String, message: String },
}

/// A message as one reader will see it, with what the lint thinks of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub message: Message,
    pub filled: message::Filled,
    pub file: String,
    pub fallbacks: Vec<Fallback>,
    pub findings: Vec<lint::Finding>,
}

/// What `render` makes, shown before it is sent.
pub fn preview(templates: &Templates, scene: &Scene<'_>, wording: &Wording) -> Result<Preview, RenderError> {
    let Rendered { message, file, fallbacks } = render(templates, scene, wording)?;
    let findings = lint::lint(templates, &message, scene, wording);
    let filled = message.fill(&message::Fields::default());
    Ok(Preview { message, filled, file, fallbacks, findings })
}

/// The check code of a broadcast, from bytes that an outsider cannot guess. No letters that are taken for others; a digit
/// first, so that it never is a word.
pub fn check_code(seed: &[u8]) -> String {
    const LETTERS: &[u8] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digest = ring::digest::digest(&ring::digest::SHA256, seed);
    let pick = |at: usize, most: usize| char::from(LETTERS[usize::from(digest.as_ref()[at]) % most]);
    [pick(0, 8), pick(1, LETTERS.len()), pick(2, LETTERS.len()), pick(3, LETTERS.len())].iter().collect()
}

/// `de` of `de-AT`.
pub(crate) fn base(locale: &str) -> &str {
    locale.split(['-', '_']).next().unwrap_or(locale)
}

pub(crate) fn nearest(word: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let near = names.min_by_key(|name| strsim::levenshtein(word, name))?;
    (strsim::levenshtein(word, &near) <= 3.min(1 + word.chars().count() / 3)).then_some(near)
}

/// What must hold for any text as a file of words: see `fuzz::template`.
pub(crate) fn attacked(text: &str) {
    const FILE: &str = "customers/update.hbs";
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    match parse::parts(text) {
        Err(found) => {
            assert!(!found.is_empty());
            for (line, check, message) in found {
                assert!((1..=lines + 1).contains(&line) && !message.is_empty(), "{check} in line {line}: {message}");
            }
        }
        // Beside the set that ships, which it would say these words in.
        Ok(_) => {
            let mut texts = templates::embedded_texts();
            texts.insert(FILE.into(), text.into());
            match Templates::from_files(texts, BTreeMap::new()) {
                Err(problems) => assert!(problems.iter().all(|problem| problem.file.ends_with(".hbs")), "{problems:?}"),
                Ok(set) => {
                    let again = Templates::from_bytes(&set.to_bytes()).map(|again| again.digest());
                    assert_eq!(again.ok(), Some(set.digest()), "it reads back as it was printed");
                }
            }
        }
    }
}
