//! The lint: what one finished message says, judged against its facts. Enters a rendered message with its scene; leaves
//! findings that block it or warn. Words are looked for by the lists of the locale's file.

mod facts;
mod form;
mod said;
mod words;

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;
use serde::Deserialize;

use super::locale::Locale;
use super::message::{Fields, Format, Message};
use super::view::View;
use super::{Level, Occasion, Scene, Templates, Wording, times};
use crate::incident::{Clearance, Mode};

/// What the lint looks for in a language. A word stands alone; with `*` at its end, what begins with it counts too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordLists {
    /// Claim a cause.
    pub cause: Vec<String>,
    /// Sentences that speak of the cause and claim none.
    pub cause_allowed: Vec<String>,
    pub forbidden: Vec<String>,
    /// Make an effect small when near one of `minimised`.
    pub minimising: Vec<String>,
    pub minimised: Vec<String>,
    /// A promise is one of `promise` and one of `promised` in a sentence.
    pub promise: Vec<String>,
    pub promised: Vec<String>,
    pub vague: Vec<String>,
    pub sorry: Vec<String>,
    pub sorry_if: Vec<String>,
    pub effect: Vec<String>,
    pub action: Vec<String>,
    pub secrets: Vec<String>,
    pub negations: Vec<String>,
    pub no_drill: Vec<String>,
    pub your: Vec<String>,
    pub familiar: Vec<String>,
    pub formal: Vec<String>,
    pub midnight: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub check: &'static str,
    pub message: String,
}

/// A message as it is read, with what is known about it.
struct Spoken<'a> {
    scene: &'a Scene<'a>,
    wording: &'a Wording,
    locale: &'a Locale,
    view: View<'a>,
    zone: TimeZone,
    occasion: Occasion,
    title: Option<String>,
    text: String,
    /// `text` without what the layout adds (who speaks, how to unsubscribe) and without the label of a drill.
    own: String,
    found: Vec<Finding>,
}

/// Judges one message. A webhook is for machines and carries texts that are judged in the other formats.
pub fn lint(templates: &Templates, message: &Message, scene: &Scene<'_>, wording: &Wording) -> Vec<Finding> {
    if matches!(message.format, Format::Webhook | Format::Cap) {
        return Vec::new();
    }
    let locale = templates.locale(&message.locale);
    let filled = message.fill(&Fields { delivery: "dlv_0", ..Fields::default() });
    let view = View::new(scene, wording, locale);
    let own = without_frame(&filled.text, &view);
    let zone = times::zone(&wording.zone);
    let title = filled.title.map(|title| without_label(&title, locale, scene.mode));
    let occasion = wording.occasion;
    let mut spoken =
        Spoken { scene, wording, locale, view, zone, occasion, title, text: filled.text, own, found: Vec::new() };
    spoken.placeholder();
    spoken.next_update();
    spoken.time_zone();
    spoken.cause();
    spoken.forbidden();
    spoken.minimising();
    spoken.promise();
    spoken.apology();
    spoken.first_segment();
    spoken.length();
    spoken.reading();
    spoken.link();
    spoken.secrets();
    spoken.shouting();
    spoken.exercise();
    spoken.correction();
    spoken.code();
    spoken.clearance();
    spoken.same_facts();
    spoken.address();
    spoken.voice();
    spoken.public_needs();
    spoken.found
}

impl Spoken<'_> {
    fn block(&mut self, check: &'static str, message: impl Into<String>) {
        self.report(Level::Block, check, message.into());
    }

    fn warn(&mut self, check: &'static str, message: impl Into<String>) {
        self.report(Level::Warn, check, message.into());
    }

    fn report(&mut self, level: Level, check: &'static str, message: String) {
        let finding = Finding { level, check, message };
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    fn lists(&self) -> &WordLists {
        &self.locale.lint
    }

    /// Title and text together, as they are read.
    fn all(&self) -> String {
        match &self.title {
            Some(title) => format!("{title}\n\n{}", self.own),
            None => self.own.clone(),
        }
    }

    fn is_drill(&self) -> bool {
        self.scene.mode == Mode::Exercise
    }

    /// To people outside, who must be told everything in each message.
    fn is_public(&self) -> bool {
        self.wording.clearance == Clearance::Public
    }
}

fn without_frame(text: &str, view: &View<'_>) -> String {
    let (genuine, manage) = (view.genuine(), &view.locale.words.manage);
    let frame = |line: &str| line == genuine || line.starts_with(manage);
    let label = without_label(text, view.locale, view.scene.mode);
    let own: Vec<&str> = label.lines().filter(|line| !frame(line.trim())).collect();
    own.join("\n").trim().to_string()
}

fn without_label(text: &str, locale: &Locale, mode: Mode) -> String {
    let label = &locale.words.exercise;
    match mode {
        Mode::Real => text.to_string(),
        Mode::Exercise => {
            let text = text.strip_prefix(label).unwrap_or(text).trim_start_matches(['.', ' ', '\n']);
            text.strip_suffix(label).unwrap_or(text).trim_end().to_string()
        }
    }
}
