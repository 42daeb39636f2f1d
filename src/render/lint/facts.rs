//! Checks of what a message says against what is known: times, cause, correction, code, clearance, services.

use super::Spoken;
use super::said::{self, CLOCK, RANGE, SLASHED, URL, ZONE};
use crate::clock::Time;
use crate::incident::{Clearance, Kind, Text};
use crate::render::message::Format;
use crate::render::{Occasion, times};

impl Spoken<'_> {
    /// Whether the text has that time, in the reader's zone or in UTC, with its zone.
    fn has_time(&self, time: Time) -> bool {
        self.time_count(time) > 0
    }

    fn time_count(&self, time: Time) -> usize {
        let parts = times::parts(time, self.scene.now, &self.zone, self.locale);
        let both = [parts["short"].as_str().unwrap_or(""), parts["utc"].as_str().unwrap_or("")];
        let text = self.all();
        both.iter().map(|written| text.matches(written).count()).max().unwrap_or(0)
    }

    pub(super) fn next_update(&mut self) {
        let maintenance = self.scene.facts.kind == Some(Kind::Maintenance);
        if !self.occasion.has_next() || self.is_drill() {
            return;
        }
        let Some(next) = self.scene.facts.next_update_at else {
            return self.block("next-update", "nobody has said when the next update comes");
        };
        if !self.has_time(next) {
            return self.block("next-update", "does not say when the next update comes, with its zone");
        }
        let minutes = (next.0 - self.scene.now.0) / 60_000;
        let most = if self.occasion == Occasion::Restoring { 240 } else { 60 };
        if minutes < 1 {
            self.block("next-update", "the next update is not later than this message");
        } else if maintenance {
            if self.scene.facts.ended_at.is_some_and(|end| next > end) {
                self.block("next-update", "the next update comes after the window's end");
            }
        } else if minutes > most {
            self.block("next-update", format!("the next update comes after {minutes} minutes; {most} at most"));
        }
    }

    pub(super) fn cause(&mut self) {
        if self.view.cause().is_some() {
            return;
        }
        let mut text = self.all().to_lowercase();
        for allowed in &self.lists().cause_allowed {
            text = text.replace(&allowed.to_lowercase(), " ");
        }
        if let Some(word) = said::first(&text, &self.lists().cause) {
            let message = format!("{word:?} names a cause, and nobody has confirmed one");
            self.block("cause", message);
        }
    }

    pub(super) fn correction(&mut self) {
        if !matches!(self.occasion, Occasion::Correction | Occasion::Retraction) {
            return;
        }
        let begins = |text: &str| {
            let text = text.trim_start_matches(['*', ' ']).to_lowercase();
            self.locale.words.correction.iter().any(|word| text.starts_with(&word.to_lowercase()))
        };
        // A push or a post begins with its title, a mail with its subject.
        let starts = self.title.as_deref().map_or_else(|| begins(&self.own), begins);
        if !starts {
            self.block("correction", format!("does not begin with {:?}", self.locale.words.correction[0]));
        }
        let cited = self
            .scene
            .wrong
            .is_some_and(|wrong| self.has_time(wrong.sent) || said::has(&self.all(), &wrong.number.to_string()));
        if !cited && self.wording.format != Format::Push {
            self.block("correction", "does not say which message was wrong");
        }
    }

    pub(super) fn code(&mut self) {
        let code = self.scene.code;
        let none = self.wording.format == Format::Voice || self.is_drill();
        let count = self.text.matches(code).count();
        if none && count > 0 {
            return self.block("code", "has a check code, which voice and drills have not");
        }
        if !none && count != 1 {
            self.block("code", format!("has the check code {count} times, not once"));
        }
        let lower = self.text.to_lowercase();
        let before = lower.find(&code.to_lowercase()).map_or("", |at| &lower[..at]);
        let words = said::words(before);
        let near = words[words.len().saturating_sub(3)..].join(" ");
        if let Some(word) = said::first(&near, &self.lists().your) {
            let message = format!("{word:?} before the check code makes it look like a one-time password");
            self.block("code", message);
        }
    }

    /// Facts above the clearance, found by their values.
    pub(super) fn clearance(&mut self) {
        let facts = self.scene.facts;
        let mut hidden: Vec<(&str, String)> = Vec::new();
        let mut hide = |name, text: Option<&Text>| match text {
            Some(Text::Plain(text)) => hidden.push((name, text.clone())),
            Some(Text::ByLocale(texts)) => hidden.extend(texts.values().map(|text| (name, text.clone()))),
            None => {}
        };
        if self.wording.clearance < Clearance::Internal {
            hide("internal_notes", facts.internal_notes.as_ref());
        }
        if self.wording.clearance < Clearance::Partner {
            hide("compensation", facts.compensation.as_ref());
        }
        if self.view.cause().is_none() {
            hide("cause.text", facts.cause.text.as_ref());
        }
        // A single word (network) may stand in any sentence.
        let owner =
            facts.owner.clone().filter(|owner| owner.contains(' ') && self.wording.clearance < Clearance::Internal);
        hidden.extend(owner.map(|owner| ("owner", owner)));
        hidden.extend(facts.cause.confirmed_by.clone().map(|name| ("cause.confirmed_by", name)));
        if self.wording.clearance < Clearance::Partner {
            let numbers = [("impact.users", facts.impact.users), ("impact.businesses", facts.impact.businesses)];
            for (name, number) in numbers.into_iter().filter_map(|(name, n)| Some((name, n.filter(|n| *n >= 10_000)?)))
            {
                hidden.push((name, self.locale.number(number)));
                hidden.push((name, number.to_string()));
            }
        }
        let text = self.all().to_lowercase();
        let hits: Vec<&str> = hidden
            .iter()
            .filter(|(_, value)| value.trim().chars().count() > 3 && text.contains(&value.trim().to_lowercase()))
            .map(|(name, _)| *name)
            .collect();
        for name in hits {
            self.block("clearance", format!("says {name}, which its readers may not know"));
        }
    }

    /// A service that is registered, and not among those affected.
    pub(super) fn same_facts(&mut self) {
        let named = self.view.services().join(" ").to_lowercase() + &self.scene.sender.name.to_lowercase();
        let mut facts_say = String::new();
        for text in [
            &self.scene.facts.title,
            &self.scene.facts.summary,
            &self.scene.facts.action,
            &self.scene.facts.workaround,
            &self.scene.facts.alternatives,
        ] {
            facts_say += &self.view.said_or_marked(text).unwrap_or_default().to_lowercase();
        }
        let others = self.scene.components.values().filter_map(|component| match &component.title {
            Text::Plain(title) => Some(title.clone()),
            Text::ByLocale(titles) => titles.get(&self.locale.tag).cloned(),
        });
        let text = self.all();
        let wrong = others
            .filter(|title| !named.contains(&title.to_lowercase()) && !facts_say.contains(&title.to_lowercase()))
            .find(|title| said::has(&text, title));
        if let Some(title) = wrong {
            self.block("same-facts", format!("names {title}, which is not among the affected components"));
        }
    }

    /// What a public message never lacks: what, since when, where, what to do (by `first_segment`'s lists), next.
    pub(super) fn public_needs(&mut self) {
        let whole = matches!(self.wording.format, Format::Email | Format::Chat | Format::Post);
        if !self.is_public() || !whole || self.is_drill() {
            return;
        }
        let text = self.all();
        let services = self.view.services();
        let ours = [&self.locale.words.our_services, &self.locale.words.our_services_start];
        if !services.iter().any(|service| text.contains(service)) && !ours.iter().any(|ours| text.contains(*ours)) {
            self.block("public", "does not say what is affected");
        }
        let started = self.view.started();
        if !self.has_time(started) && self.occasion != Occasion::Retraction {
            self.block("public", "does not say since when, with its zone");
        }
        let place = self.view.places().0;
        let whom = place.as_deref().is_none_or(|place| text.contains(place));
        if !whom && !matches!(self.occasion, Occasion::Retraction | Occasion::Holding) {
            self.block("public", "does not say where, though it is known");
        }
        if said::first(&text.replace(&self.view.check(), ""), &self.lists().action).is_none() {
            self.block("public", "does not say what to do, nor that nothing is needed");
        }
    }

    pub(super) fn voice(&mut self) {
        if self.wording.format != Format::Voice {
            return;
        }
        if URL.is_match(&self.text) || self.text.contains(['@', '#', '/']) {
            self.block("voice", "has a URL, @, # or /, which nobody can hear");
        }
        if let Some(next) = self.scene.facts.next_update_at.filter(|_| self.occasion.has_next() && !self.is_drill())
            && self.time_count(next) < 2
        {
            self.block("voice", "does not say the next time twice");
        }
    }

    pub(super) fn time_zone(&mut self) {
        let text = URL.replace_all(&self.all(), "").into_owned();
        let own: Vec<&String> = self.locale.time.zones.values().collect();
        let zoned = |rest: &str| {
            let near: String = rest.chars().take(14).collect();
            near.char_indices().take(13).any(|(at, _)| ZONE.is_match(&near[at..]))
                || own.iter().any(|name| rest.find(name.as_str()).is_some_and(|at| rest[..at].chars().count() <= 12))
        };
        let scaled = |rest: &str| {
            self.locale
                .number
                .scales
                .iter()
                .any(|s| rest.trim_start().starts_with(&s.one) || rest.trim_start().starts_with(&s.many))
        };
        let mut bare = None;
        for found in CLOCK.find_iter(&text) {
            let rest = &text[found.end()..];
            let ranged = RANGE.find(rest).is_some_and(|range| zoned(&rest[range.end()..]));
            if !(zoned(rest) || ranged || found.as_str().contains('.') && (scaled(rest) || rest.starts_with('%'))) {
                bare = Some(found.as_str().to_string());
            }
        }
        if let Some(time) = bare {
            self.block("time-zone", format!("{time} has no zone"));
        }
        if let Some(date) = SLASHED.find_iter(&text).find(|found| found.as_str() != "24/7") {
            self.block("time-zone", format!("{} may be read as two different days; write the month", date.as_str()));
        }
        let summer = self.zone.to_offset_info(self.scene.now.timestamp()).dst().is_dst();
        let standard = ["EST", "CST", "MST", "PST", "CET", "MEZ", "EET", "OEZ", "WET", "WEZ"];
        if let Some(name) = standard.iter().find(|name| summer && said::words(&text).contains(*name)) {
            self.block("time-zone", format!("{name} is standard time, and it is summer"));
        }
        if let Some(name) = ["IST", "CST", "BST"].iter().find(|name| said::words(&text).contains(*name)) {
            self.warn("time-zone", format!("{name} means several zones"));
        }
        if let Some(word) = said::first(&text, &self.lists().midnight) {
            let message = format!("{word:?} may belong to either day; write 23:59");
            self.warn("time-zone", message);
        }
    }
}
