//! Checks by words alone: what a message in a crisis never says, and what it must.

use super::Spoken;
use super::said::{self, CLOCK, PLACEHOLDER, SHARE, URL};
use crate::incident::Text;
use crate::render::message::Format;
use crate::render::{Occasion, sms};

impl Spoken<'_> {
    pub(super) fn placeholder(&mut self) {
        let all = format!("{} {}", self.title.as_deref().unwrap_or(""), self.text);
        if let Some(found) = PLACEHOLDER.find(&all) {
            self.block("placeholder", format!("{:?} is left over", found.as_str()));
        }
    }

    pub(super) fn forbidden(&mut self) {
        let all = self.all();
        if let Some(word) = said::first(&all, &self.lists().forbidden) {
            let message = format!("{word:?} is never said");
            self.block("forbidden", message);
        }
        if let Some(word) = said::first(&all, &self.lists().sorry_if) {
            let message = format!("{word:?} is no apology: name what happened");
            self.block("apology", message);
        }
    }

    /// A small word within three words of those it is said about, without the share.
    pub(super) fn minimising(&mut self) {
        if matches!(self.occasion, Occasion::Correction | Occasion::Retraction) {
            return;
        }
        for sentence in said::sentences(&self.all()) {
            if SHARE.is_match(&sentence) {
                continue;
            }
            let words = said::words(&sentence);
            let hit = words.iter().enumerate().find(|(at, word)| {
                said::first(word, &self.lists().minimising).is_some()
                    && said::first(&words[*at..words.len().min(at + 4)].join(" "), &self.lists().minimised).is_some()
            });
            if let Some((_, word)) = hit {
                let message = format!("{word:?} makes the effect small without saying how large it is");
                return self.block("minimising", message);
            }
        }
    }

    pub(super) fn promise(&mut self) {
        let facts = self.scene.facts;
        let known = facts.expected_restored_at.is_some() || facts.ended_at.is_some() || facts.next_update_at.is_some();
        for sentence in said::sentences(&self.all()) {
            if known && CLOCK.is_match(&sentence) {
                continue;
            }
            if let Some(word) = said::first(&sentence, &self.lists().vague) {
                let message = format!("{word:?} is a time that nobody can hold us to");
                return self.block("promise", message);
            }
            if let (Some(will), Some(what)) =
                (said::first(&sentence, &self.lists().promise), said::first(&sentence, &self.lists().promised))
            {
                let message = format!("\"{will} … {what}\" promises without a time that somebody has said");
                return self.block("promise", message);
            }
        }
    }

    pub(super) fn apology(&mut self) {
        let needs = matches!(
            self.occasion,
            Occasion::Resolved | Occasion::Correction | Occasion::Retraction | Occasion::Extended
        );
        let told = matches!(self.wording.template.as_str(), "customers" | "businesses" | "press" | "public");
        if needs && told && !self.is_drill() && said::first(&self.all(), &self.lists().sorry).is_none() {
            self.block("apology", "does not say sorry");
        }
    }

    /// Who, what, that it fails, and what to do stand in the first segment of an SMS.
    pub(super) fn first_segment(&mut self) {
        if self.wording.format != Format::Sms || self.is_drill() {
            return;
        }
        let first = sms::segments(&self.text).first().map(|first| first.to_string()).unwrap_or_default();
        let mut lacks = Vec::new();
        if !first.contains(&self.view.sender()) {
            lacks.push("the sender");
        }
        let services = self.view.services();
        let ours = [&self.locale.words.our_services, &self.locale.words.our_services_start];
        if !services.iter().any(|s| first.contains(s)) && !ours.iter().any(|s| first.contains(*s)) {
            lacks.push("a service");
        }
        if said::first(&first, &self.lists().effect).is_none() {
            lacks.push("the effect");
        }
        let first = first.replace(&self.view.check(), "");
        let acts = !matches!(self.wording.template.as_str(), "executives" | "regulators" | "press");
        if acts && said::first(&first, &self.lists().action).is_none() {
            lacks.push("what to do");
        }
        if !lacks.is_empty() {
            self.block("first-segment", format!("the first segment lacks {}", lacks.join(", ")));
        }
    }

    pub(super) fn secrets(&mut self) {
        for sentence in said::sentences(&self.all()) {
            if said::first(&sentence, &self.lists().negations).is_some() {
                continue;
            }
            if let Some(word) = said::first(&sentence, &self.lists().secrets) {
                let message = format!("{word:?}: we never ask for that");
                return self.block("secrets", message);
            }
        }
    }

    pub(super) fn shouting(&mut self) {
        const KNOWN: &[&str] = &[
            "HTTP", "HTTPS", "JSON", "GDPR", "NIS2", "MESZ", "OESZ", "WESZ", "CEST", "EEST", "WEST", "AEST", "AEDT",
            "AWST", "NZST", "NZDT", "SAST", "CDMX",
        ];
        let mut known: Vec<String> = self.view.services();
        known.extend([self.view.sender(), self.scene.code.to_string()]);
        known.extend(self.scene.components.values().filter_map(|c| match &c.title {
            Text::Plain(title) => Some(title.clone()),
            Text::ByLocale(_) => None,
        }));
        let known = known.join(" ");
        let all = URL.replace_all(&self.all(), "").into_owned();
        let capitals = |word: &&str| {
            word.chars().filter(|c| c.is_alphabetic()).count() >= 4
                && word.chars().all(|c| !c.is_lowercase() && (c.is_ascii() || c.is_uppercase()))
                && !KNOWN.contains(word)
                && !known.contains(*word)
        };
        if said::words(&all).iter().filter(|word| capitals(word)).count() >= 2 {
            self.block("shouting", "capitals for force");
        }
        if all.matches('!').count() > 1 {
            self.block("shouting", "more than one exclamation mark");
        }
        if all.chars().any(said::is_emoji) {
            self.block("shouting", "an emoji");
        }
    }

    pub(super) fn exercise(&mut self) {
        let label = self.locale.words.exercise.clone();
        if self.is_drill() {
            let whole = self.text.trim();
            if !(whole.starts_with(&label) && whole.ends_with(&label)) {
                self.block("exercise", format!("{label} does not stand first and last"));
            }
        } else if said::words(&self.all()).contains(&label.as_str()) {
            self.block("exercise", format!("{label} in a real message"));
        }
        if let Some(word) = said::first(&self.all(), &self.lists().no_drill) {
            let message = format!("{word:?}: never say what it is not");
            self.block("exercise", message);
        }
    }

    /// One form of address.
    pub(super) fn address(&mut self) {
        let all = self.all();
        // The polite German Sie is told from she and they by its capital.
        let words = said::words(&all);
        let formal = self.lists().formal.iter().find(|word| words.contains(&word.as_str()));
        if let (Some(formal), Some(familiar)) = (formal, said::first(&all, &self.lists().familiar)) {
            let message = format!("says both {familiar:?} and {formal:?}");
            self.warn("address", message);
        }
    }
}
