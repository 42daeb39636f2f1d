//! From an alert to an event, purely. What has no field of its own stands in the internal notes, and nothing is guessed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::alert::{Alert, Area, Info};
use super::words::{MsgType, Severity, Status as Of};
use super::{OWN, time};
use crate::config::Region;
use crate::incident::{Kind, Status, Text};
use crate::ingest::event::{BadEvent, Event, Principal, parse_value};

/// Of a text, in bytes: what an event's field takes.
const TEXT: usize = 16 * 1024;

/// Fields that come in parameters of ours, as an alert that another broker wrote has them.
pub(super) const CARRIED: &[&str] =
    &["kind", "status", "ended_at", "next_update_at", "expected_restored_at", "restored_percent"];

/// Whom an event is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub id: String,
    /// The incident's key.
    pub key: String,
    /// As it is known; `None`: the event opens it.
    pub known: Option<(Kind, bool)>,
}

pub(super) fn event(
    alert: &Alert,
    target: &Target,
    regions: &BTreeMap<String, Region>,
    by: &Principal,
) -> Result<Event, BadEvent> {
    let mut said = says(alert, target, regions);
    said.insert("source".into(), alert.sender.clone().into());
    said.insert("id".into(), target.id.clone().into());
    said.insert("incident".into(), target.key.clone().into());
    let event = parse_value(Value::Object(said), by)
        .map_err(|error| BadEvent::new("/alert", format!("what it says makes no event: {error}")))?;
    // The incident's state and the regions of now are in the words, and make no other alert of it.
    Ok(Event { digest: alert.digest, ..event })
}

/// Whether there is something to begin an incident with.
pub(super) fn opens(alert: &Alert) -> bool {
    let status = status(alert, None);
    alert.msg_type != MsgType::Cancel && !alert.infos.is_empty() && status.is_none_or(|word| !ended(&word))
}

fn says(alert: &Alert, target: &Target, regions: &BTreeMap<String, Region>) -> Map<String, Value> {
    let mut said = Map::new();
    let mut put = |name: &str, value: Value| drop(said.insert(name.into(), value));
    put("at", json!(alert.sent));
    put("mode", json!(if alert.status == Of::Exercise { "exercise" } else { "real" }));
    if let Some(status) = status(alert, target.known) {
        put("status", json!(status));
    }
    put("internal_notes", json!(notes(alert)));
    for name in CARRIED.iter().filter(|name| **name != "status") {
        if let Some(value) = carried(alert, name) {
            let number = value.parse::<u64>().ok().filter(|_| *name == "restored_percent");
            put(name, number.map_or(json!(value), |number| json!(number)));
        }
    }
    let components: BTreeSet<&str> = parameters(alert, "component").collect();
    if !components.is_empty() {
        put("components", json!(components));
    }
    if alert.infos.is_empty() {
        return said;
    }
    let found = |area: &Area| regions.iter().find(|(id, region)| is_region(area, id, region)).map(|(id, _)| id);
    let matched: BTreeSet<&String> = alert.infos.iter().flat_map(|info| &info.areas).filter_map(found).collect();
    let whole = |info: &Info| {
        let unknown: Vec<&str> =
            info.areas.iter().filter(|area| found(area).is_none()).map(|a| a.name.as_str()).collect();
        let parts = [info.description.clone(), Some(unknown.join("; "))];
        let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    };
    let headline = |info: &Info| {
        let words: Vec<&str> = info.headline.as_deref().unwrap_or(&info.event).split_whitespace().collect();
        Some(words.join(" "))
    };
    // What nobody has judged changes no judgement that there is.
    let unjudged = alert.infos.iter().all(|info| info.severity == Severity::Unknown);
    if target.known.is_none() || !unjudged {
        put("severity", json!(alert.infos.iter().map(|info| info.severity.ours()).max()));
    }
    put("title", texts(alert, "; ", headline));
    // An Update takes the place of what was said before, also where it is silent; a Cancel adds to it.
    let silent = |value: &Value| value.is_null() && alert.msg_type == MsgType::Cancel;
    let links = alert.infos.iter().filter_map(|info| info.web.as_deref()).find(|web| is_link(web));
    for (name, value) in [
        ("summary", texts(alert, "\n\n", whole)),
        ("action", texts(alert, "\n\n", |info| info.instruction.clone())),
        ("support_url", json!(links)),
    ] {
        if !silent(&value) {
            put(name, value);
        }
    }
    if !matched.is_empty() {
        put("regions", json!(matched));
    }
    let onset = alert.infos.iter().filter_map(|info| info.onset).min().filter(|onset| *onset <= alert.sent);
    if let Some(onset) = onset {
        put("started_at", json!(onset));
    }
    said
}

/// What the alert makes of the incident; `None`: it leaves it as it is.
fn status(alert: &Alert, known: Option<(Kind, bool)>) -> Option<String> {
    let over = || match known {
        Some((Kind::Maintenance, _)) => "completed".to_string(),
        _ => "resolved".to_string(),
    };
    let given = carried(alert, "status").map(str::to_string);
    match alert.msg_type {
        MsgType::Cancel => Some(given.filter(|word| ended(word)).unwrap_or_else(over)),
        _ if given.is_some() => given,
        _ if alert.all_clear() => Some(over()),
        MsgType::Alert => Some("investigating".into()),
        // It goes on, or begins again.
        _ => match known {
            Some((Kind::Maintenance, true)) => Some("in_progress".into()),
            Some((_, false)) => None,
            _ => Some("investigating".into()),
        },
    }
}

fn ended(word: &str) -> bool {
    word.parse().is_ok_and(Status::ended)
}

/// The values of a parameter of ours.
fn parameters<'a>(alert: &'a Alert, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = alert.infos.iter().flat_map(|info| &info.parameters);
    pairs.filter(move |(given, _)| given.strip_prefix(OWN) == Some(name)).map(|(_, value)| value.as_str())
}

fn carried<'a>(alert: &'a Alert, name: &str) -> Option<&'a str> {
    parameters(alert, name).find(|value| !value.is_empty())
}

/// What the infos say, by language: those of one language one after another, and each thing once.
fn texts(alert: &Alert, between: &str, of: impl Fn(&Info) -> Option<String>) -> Value {
    let mut by_language: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for info in &alert.infos {
        let texts = by_language.entry(&info.language).or_default();
        if let Some(text) = of(info).filter(|text| !texts.contains(text)) {
            texts.push(text);
        }
    }
    by_language.retain(|_, texts| !texts.is_empty());
    let joined = by_language.iter().map(|(language, texts)| (language.to_string(), json!(texts.join(between))));
    let joined: Map<String, Value> = joined.collect();
    if joined.is_empty() { Value::Null } else { Value::Object(joined) }
}

/// An area is a region that is registered where its name, or one of its codes, is the region's id or title.
fn is_region(area: &Area, id: &str, region: &Region) -> bool {
    let titles: Vec<&str> = match &region.title {
        Text::Plain(title) => vec![title],
        Text::ByLocale(titles) => titles.values().map(String::as_str).collect(),
    };
    let same = |text: &str| std::iter::once(id).chain(titles.iter().copied()).any(|known| known.to_lowercase() == text);
    std::iter::once(&area.name).chain(&area.codes).any(|text| same(&text.to_lowercase()))
}

fn is_link(web: &str) -> bool {
    web.len() <= 2048
        && !web.contains(char::is_whitespace)
        && url::Url::parse(web).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        })
}

/// For those who deal with it: what an event has no field for.
fn notes(alert: &Alert) -> String {
    let mut lines = vec![format!("CAP {} {} of {}", alert.msg_type, alert.identifier, alert.sender)];
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push(format!("{name}: {value}"));
        }
    };
    line("note", alert.note.clone());
    line("incidents", alert.incidents.clone());
    for info in &alert.infos {
        line("language", Some(info.language.clone()));
        line("sender", info.sender_name.clone());
        line("event", Some(info.event.clone()));
        line("category", Some(info.categories.join(" ")));
        let responses: Vec<&str> = info.responses.iter().map(|word| word.word()).collect();
        line("response", Some(responses.join(" ")));
        line("urgency, severity, certainty", Some(format!("{}, {}, {}", info.urgency, info.severity, info.certainty)));
        for (name, at) in [("effective", info.effective), ("onset", info.onset), ("expires", info.expires)] {
            line(name, at.map(time));
        }
        let areas: Vec<&str> = info.areas.iter().map(|area| area.name.as_str()).collect();
        line("areas", Some(areas.join("; ")));
        line("contact", info.contact.clone());
        line("web", info.web.clone());
    }
    let mut text = lines.join("\n");
    if text.len() > TEXT {
        let mut end = TEXT - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
