//! From what everyone was told to an alert: the elements in the order of section 3.4, and nothing that the facts given do not say.

use std::collections::BTreeSet;

use quick_xml::escape::partial_escape;

use super::event::CARRIED;
use super::told::Told;
use super::words::{Category, Certainty, MsgType, ResponseType, Scope, Severity, Status as Of, Urgency};
use super::{NAMESPACE, OWN, time};
use crate::clock::Time;
use crate::config::Config;
use crate::incident::{Facts, Kind, Mode, Status, Text};

/// Earlier alerts that a later one names: the first, and the latest.
const REFERENCES: usize = 32;
/// Languages of one alert.
const LANGUAGES: usize = 64;

/// XML by hand: an element with a text, or with others.
#[derive(Default)]
pub(super) struct Page(pub String);

impl Page {
    pub fn leaf(&mut self, name: &str, text: impl std::fmt::Display) {
        let text = text.to_string().replace("\r\n", "\n").replace('\r', "\n");
        let fits = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\n' | '\t');
        let text: String = text.chars().filter(fits).collect();
        self.0.push_str(&format!("<{name}>{}</{name}>\n", partial_escape(text.trim())));
    }

    pub fn group(&mut self, name: &str, inner: impl FnOnce(&mut Page)) {
        self.0.push_str(&format!("<{name}>\n"));
        inner(self);
        self.0.push_str(&format!("</{name}>\n"));
    }

    fn parameter(&mut self, name: &str, value: impl std::fmt::Display) {
        self.group("parameter", |page| {
            page.leaf("valueName", format_args!("{OWN}{name}"));
            page.leaf("value", value);
        });
    }
}

/// One of status Test, which asks nobody to do anything, for who tries whether alerts arrive.
pub fn test(public_url: &str, identifier: &str, sent: Time, note: &str) -> String {
    let mut page = Page("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into());
    page.0.push_str(&format!("<alert xmlns=\"{NAMESPACE}\">\n"));
    page.leaf("identifier", identifier);
    page.leaf("sender", bare(public_url));
    page.leaf("sent", time(sent));
    page.leaf("status", Of::Test);
    page.leaf("msgType", MsgType::Alert);
    page.leaf("scope", Scope::Public);
    page.leaf("note", note);
    page.0.push_str("</alert>\n");
    page.0
}

/// The alert of `told[at]`; those before it are its references.
pub fn alert(config: &Config, mode: Mode, told: &[Told], at: usize) -> Option<String> {
    let update = told.get(at)?;
    let before = &told[..at];
    let exercise = mode == Mode::Exercise;
    let mut page = Page("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into());
    page.0.push_str(&format!("<alert xmlns=\"{NAMESPACE}\">\n"));
    page.leaf("identifier", update.id);
    page.leaf("sender", sender(config));
    page.leaf("sent", time(update.sent));
    page.leaf("status", if exercise { Of::Exercise } else { Of::Actual });
    page.leaf("msgType", msg_type(update, before));
    page.leaf("scope", Scope::Public);
    if exercise {
        page.leaf("note", "This is an exercise: nothing has happened, and nobody need do anything.");
    }
    if !before.is_empty() {
        let first = before.len().min(1);
        let latest = before.len().saturating_sub(REFERENCES - 1).max(first);
        let named = before[..first].iter().chain(&before[latest..]);
        let named: Vec<String> = named.map(|one| format!("{},{},{}", sender(config), one.id, time(one.sent))).collect();
        page.leaf("references", named.join(" "));
    }
    page.leaf("incidents", update.id.incident);
    for language in languages(config, &update.facts) {
        page.group("info", |page| info(page, config, update, &language, exercise));
    }
    page.0.push_str("</alert>\n");
    Some(page.0)
}

/// The end cancels what was said: whoever shows alerts takes them down. The first word of all refers to nothing.
fn msg_type(update: &Told, before: &[Told]) -> MsgType {
    match (before.is_empty(), update.ended()) {
        (true, _) => MsgType::Alert,
        (false, true) => MsgType::Cancel,
        (false, false) => MsgType::Update,
    }
}

fn info(page: &mut Page, config: &Config, update: &Told, language: &str, exercise: bool) {
    let facts = &update.facts;
    let own = &config.sender.locale;
    let maintenance = facts.kind == Some(Kind::Maintenance);
    let ended = update.ended();
    let title = facts.title.as_ref().and_then(|title| titled(title, language, own)).unwrap_or_default();
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = if exercise { format!("EXERCISE: {title}") } else { title };
    page.leaf("language", language);
    page.leaf("category", Category::Infra);
    page.leaf("event", if title.is_empty() { "Service incident" } else { title.as_str() });
    if ended {
        page.leaf("responseType", ResponseType::AllClear);
    }
    let scheduled = facts.status == Some(Status::Scheduled);
    page.leaf(
        "urgency",
        if ended {
            Urgency::Past
        } else if scheduled {
            Urgency::Future
        } else {
            Urgency::Unknown
        },
    );
    // How severe it is, is said to partners.
    page.leaf("severity", Severity::Unknown);
    page.leaf("certainty", if scheduled { Certainty::Likely } else { Certainty::Observed });
    if let Some(started) = facts.started_at {
        page.leaf("onset", time(started));
    }
    page.leaf(
        "senderName",
        if config.sender.name.trim().is_empty() { sender(config) } else { config.sender.name.clone() },
    );
    if !title.is_empty() {
        page.leaf("headline", &title);
    }
    let said = |texts: &[&Option<Text>]| {
        let texts = texts.iter().filter_map(|text| said(text.as_ref()?, language, own));
        texts.collect::<Vec<_>>().join("\n\n")
    };
    let texts = [
        ("description", said(&[&facts.summary, &facts.cause.text])),
        ("instruction", said(&[&facts.action, &facts.workaround, &facts.alternatives])),
        ("web", facts.support_url.clone().unwrap_or_default()),
    ];
    for (name, text) in texts.iter().filter(|(_, text)| !text.trim().is_empty()) {
        page.leaf(name, text);
    }
    for name in CARRIED {
        let value = match *name {
            "kind" => maintenance.then(|| Kind::Maintenance.to_string()),
            "status" => facts.status.map(|status| status.to_string()),
            "ended_at" => facts.ended_at.map(|time| time.to_string()),
            "next_update_at" => facts.next_update_at.filter(|_| !ended).map(|time| time.to_string()),
            "expected_restored_at" => facts.expected_restored_at.filter(|_| !ended).map(|time| time.to_string()),
            _ => facts.restored_percent.map(|percent| percent.to_string()),
        };
        if let Some(value) = value {
            page.parameter(name, value);
        }
    }
    for component in &facts.components {
        page.parameter("component", component);
    }
    for region in &facts.regions {
        let title = config.regions.get(region).and_then(|region| titled(&region.title, language, own));
        let worldwide = region == "global" && title.is_none();
        page.group("area", |page| {
            page.leaf("areaDesc", title.unwrap_or_else(|| if worldwide { "Worldwide".into() } else { region.clone() }));
            page.group("geocode", |page| {
                page.leaf("valueName", format_args!("{OWN}region"));
                page.leaf("value", region);
            });
        });
    }
}

/// Those that something is said in, the operator's own first. Nothing said: the operator's, for the title alone.
fn languages(config: &Config, facts: &Facts) -> Vec<String> {
    let own = &config.sender.locale;
    let mut languages = BTreeSet::new();
    for text in
        [&facts.title, &facts.summary, &facts.action, &facts.workaround, &facts.alternatives].into_iter().flatten()
    {
        match text {
            Text::Plain(_) => drop(languages.insert(own.clone())),
            Text::ByLocale(texts) => languages.extend(texts.keys().cloned()),
        }
    }
    let first = languages.take(own).into_iter().collect::<Vec<_>>();
    let all: Vec<String> = first.into_iter().chain(languages).take(LANGUAGES).collect();
    if all.is_empty() { vec![own.clone()] } else { all }
}

/// A text in a language; one that is plain is in the operator's.
pub(super) fn said(text: &Text, language: &str, own: &str) -> Option<String> {
    match text {
        Text::Plain(text) => (language == own).then(|| text.clone()),
        Text::ByLocale(texts) => texts.get(language).cloned(),
    }
}

/// A name, which is rather said in another language than not.
pub(super) fn titled(text: &Text, language: &str, own: &str) -> Option<String> {
    let any = || match text {
        Text::Plain(text) => Some(text.clone()),
        Text::ByLocale(texts) => texts.get("en").or(texts.values().next()).cloned(),
    };
    said(text, language, own).or_else(|| said(text, own, own)).or_else(any)
}

/// Who speaks: the one host that messages name, without what a sender may not have.
pub fn sender(config: &Config) -> String {
    let given = [config.sender.status_page.as_str(), config.server.public_url.as_str(), "loudhailer"];
    given.into_iter().map(bare).find(|text| !text.is_empty()).unwrap_or_default()
}

/// Without what a sender's name may not have in it (section 3.2.1).
fn bare(text: &str) -> String {
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let fits = |c: &char| !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '<' | '&');
    bare.trim_end_matches('/').chars().filter(fits).take(60).collect()
}
