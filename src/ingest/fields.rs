//! The fields of an event, one row each: its name and what it may hold. Enters: a JSON object. Leaves: the same words checked,
//! bounded, in one form (times in UTC, language tags in their usual case) and flattened one level.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::event::{BadEvent, Principal, at_key};
use crate::clock::Time;
use crate::incident::{CauseCategory, DataEffect, Kind, Severity, Status};

const KEY: usize = 256;
const TITLE: usize = 1024;
const TEXT: usize = 16 * 1024;
const LIST: usize = 200;
const URL: usize = 2048;

enum Shape {
    Kind,
    Status,
    Severity,
    DataEffect,
    CauseCategory,
    Key,
    Title,
    Text,
    List,
    Url,
    Time,
    Count,
    Percent,
    ConfirmedBy,
}

const FIELDS: &[(&str, Shape)] = &[
    ("kind", Shape::Kind),
    ("status", Shape::Status),
    ("severity", Shape::Severity),
    ("owner", Shape::Key),
    ("title", Shape::Title),
    ("summary", Shape::Text),
    ("workaround", Shape::Text),
    ("action", Shape::Text),
    ("alternatives", Shape::Text),
    ("support_url", Shape::Url),
    ("compensation", Shape::Text),
    ("internal_notes", Shape::Text),
    ("components", Shape::List),
    ("regions", Shape::List),
    ("platforms_down", Shape::List),
    ("impact.users", Shape::Count),
    ("impact.businesses", Shape::Count),
    ("impact.functions", Shape::List),
    ("impact.data", Shape::DataEffect),
    ("cause.category", Shape::CauseCategory),
    ("cause.text", Shape::Text),
    ("cause.confirmed_by", Shape::ConfirmedBy),
    ("started_at", Shape::Time),
    ("ended_at", Shape::Time),
    ("next_update_at", Shape::Time),
    ("expected_restored_at", Shape::Time),
    ("restored_percent", Shape::Percent),
];

#[cfg(test)]
pub(super) const NAMES: [&str; FIELDS.len()] = {
    let mut names = [""; FIELDS.len()];
    let mut at = 0;
    while at < FIELDS.len() {
        names[at] = FIELDS[at].0;
        at += 1;
    }
    names
};

const GROUPS: &[&str] = &["impact", "cause"];

/// What an event holds beside its fields; read by `event`.
const AROUND: &[&str] = &["incident", "at", "sequence", "mode", "corrects", "retracts"];

pub(super) fn read(data: Map<String, Value>, place: &str, by: &Principal) -> Result<Map<String, Value>, BadEvent> {
    let mut says = Map::new();
    for (name, value) in data {
        let place = at_key(place, &name);
        if AROUND.contains(&name.as_str()) {
            continue;
        } else if GROUPS.contains(&name.as_str()) {
            read_group(&name, value, &place, by, &mut says)?;
        } else if let Some(shape) = shape(&name).filter(|_| !name.contains('.')) {
            read_field(name, shape, value, &place, by, &mut says)?;
        } else {
            let top = FIELDS.iter().map(|(name, _)| *name).filter(|name| !name.contains('.'));
            return Err(unknown(&name, &place, top.chain(GROUPS.iter().copied()).chain(AROUND.iter().copied())));
        }
    }
    Ok(says)
}

fn read_group(
    group: &str,
    value: Value,
    place: &str,
    by: &Principal,
    says: &mut Map<String, Value>,
) -> Result<(), BadEvent> {
    let members =
        || FIELDS.iter().filter_map(|(name, shape)| Some((name.strip_prefix(group)?.strip_prefix('.')?, shape)));
    match value {
        // With a cause its confirmation goes too: a later cause has to be confirmed anew.
        Value::Null => says.extend(members().map(|(name, shape)| (format!("{group}.{name}"), shape.nothing()))),
        Value::Object(given) => {
            for (name, value) in given {
                let place = at_key(place, &name);
                match members().find(|(known, _)| *known == name) {
                    Some((_, shape)) => read_field(format!("{group}.{name}"), shape, value, &place, by, says)?,
                    None => return Err(unknown(&name, &place, members().map(|(name, _)| name))),
                }
            }
        }
        other => return Err(expected("an object", &other, place)),
    }
    Ok(())
}

fn read_field(
    name: String,
    shape: &Shape,
    value: Value,
    place: &str,
    by: &Principal,
    says: &mut Map<String, Value>,
) -> Result<(), BadEvent> {
    let value = match (shape, value) {
        // A machine's template may carry the empty field along; it must not take back what a person confirmed.
        (Shape::ConfirmedBy, Value::Null) if matches!(by, Principal::Machine(_)) => return Ok(()),
        (shape, Value::Null) => shape.nothing(),
        (shape, value) => shape.read(value, place, by)?,
    };
    says.insert(name, value);
    Ok(())
}

fn shape(name: &str) -> Option<&'static Shape> {
    FIELDS.iter().find(|(known, _)| *known == name).map(|(_, shape)| shape)
}

impl Shape {
    fn nothing(&self) -> Value {
        if matches!(self, Shape::List) { Value::Array(Vec::new()) } else { Value::Null }
    }

    fn read(&self, value: Value, place: &str, by: &Principal) -> Result<Value, BadEvent> {
        let word = |word: &'static str| Value::from(word);
        match self {
            Shape::Kind => self::word::<Kind>(&value, place).map(|w| word(w.word())),
            Shape::Status => self::word::<Status>(&value, place).map(|w| word(w.word())),
            Shape::Severity => self::word::<Severity>(&value, place).map(|w| word(w.word())),
            Shape::DataEffect => self::word::<DataEffect>(&value, place).map(|w| word(w.word())),
            Shape::CauseCategory => self::word::<CauseCategory>(&value, place).map(|w| word(w.word())),
            Shape::Key => key(&value, place).map(Value::String),
            Shape::Title => text(value, place, |text, place| line(text, TITLE, place)),
            Shape::Text => text(value, place, |text, place| lines(text, TEXT, place)),
            Shape::List => list(value, place),
            Shape::Url => url(value, place),
            Shape::Time => time(&value, place).map(|time| Value::String(time.to_string())),
            Shape::Count => whole(value, "a whole number from 0 up", u64::MAX, place),
            Shape::Percent => whole(value, "a whole number from 0 to 100", 100, place),
            Shape::ConfirmedBy => confirmed_by(value, place, by),
        }
    }
}

fn confirmed_by(value: Value, place: &str, by: &Principal) -> Result<Value, BadEvent> {
    match by {
        Principal::Machine(_) => Err(BadEvent::new(
            place,
            "cause.confirmed_by is stamped from a person's token, never read from a machine's event",
        )),
        Principal::Person(name) if value == Value::Bool(true) || value.as_str() == Some(name) => {
            Ok(Value::from(name.as_str()))
        }
        Principal::Person(_) => Err(BadEvent::new(place, "expected true or the name on the token that confirms")),
    }
}

/// A name that stands in one line and in ids, 256 bytes at most.
pub(super) fn key(value: &Value, place: &str) -> Result<String, BadEvent> {
    let text = value.as_str().ok_or_else(|| expected("a text", value, place))?;
    if text.is_empty() {
        return Err(BadEvent::new(place, "is empty"));
    }
    line(text, KEY, place)?;
    Ok(text.into())
}

/// One word of a closed set.
pub(super) fn word<W: FromStr<Err = String>>(value: &Value, place: &str) -> Result<W, BadEvent> {
    let text = key(value, place)?;
    text.parse().map_err(|message: String| {
        let words = message.rsplit_once(" is none of ").map_or("", |(_, words)| words);
        let hint = nearest(&text, words.split(' ')).map(|word| format!("; did you mean {word:?}?"));
        BadEvent::new(place, message.clone() + &hint.unwrap_or_default())
    })
}

/// RFC 3339 to the letter: the parser alone would also take a time without seconds or an offset without minutes.
pub(super) fn time(value: &Value, place: &str) -> Result<Time, BadEvent> {
    let text = value.as_str().ok_or_else(|| expected("a time", value, place))?;
    rfc3339(text).ok_or_else(|| {
        BadEvent::new(place, format!("{} is not an RFC 3339 time such as 2021-10-04T15:39:00Z", quoted(text)))
    })
}

pub(crate) fn rfc3339(text: &str) -> Option<Time> {
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s })
    };
    let upper = text.to_ascii_uppercase();
    let (stamp, rest) = upper.split_at_checked(19).filter(|(stamp, _)| shape(stamp, "0000-00-00T00:00:00"))?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let fraction = &rest[..rest.len() - offset.len()];
    let offset_fits = offset == "Z"
        || (shape(offset, "+00:00") || shape(offset, "-00:00")) && &offset[1..3] < "24" && &offset[4..] < "60";
    if fraction == "." || !offset_fits {
        return None;
    }
    // Digits past the nanosecond are below what a Time keeps.
    Time::parse(&format!("{stamp}{}{offset}", &fraction[..fraction.len().min(10)])).ok()
}

fn whole(value: Value, what: &str, most: u64, place: &str) -> Result<Value, BadEvent> {
    match value.as_u64().filter(|number| *number <= most) {
        Some(number) => Ok(Value::from(number)),
        None => Err(expected(what, &value, place)),
    }
}

/// A text, or an object of texts by language.
fn text(value: Value, place: &str, check: fn(&str, &str) -> Result<(), BadEvent>) -> Result<Value, BadEvent> {
    let full = |text: &str, place: &str| match text.trim().is_empty() {
        true => Err(BadEvent::new(place, "is empty; null clears")),
        false => check(text, place),
    };
    match value {
        Value::String(text) => full(&text, place).map(|()| Value::String(text)),
        Value::Object(by_language) => {
            bounded(by_language.len(), place)?;
            if by_language.is_empty() {
                return Err(BadEvent::new(place, "names no language; null clears"));
            }
            let mut texts = Map::new();
            for (tag, value) in by_language {
                let place = at_key(place, &tag);
                let tag = language(&tag).ok_or_else(|| {
                    BadEvent::new(&place, format!("{} is not a language tag such as en or pt-BR", quoted(&tag)))
                })?;
                let Value::String(text) = value else { return Err(expected("a text", &value, &place)) };
                full(&text, &place)?;
                if texts.insert(tag, Value::String(text)).is_some() {
                    return Err(BadEvent::new(place, "is given twice"));
                }
            }
            Ok(Value::Object(texts))
        }
        other => Err(expected("a text or texts by language", &other, place)),
    }
}

/// A language tag in its usual case (RFC 5646, section 2.1.1): `pt-BR`, `zh-Hant`.
pub fn language(tag: &str) -> Option<String> {
    let mut parts = Vec::new();
    for (at, part) in tag.split('-').enumerate() {
        let letters = part.bytes().all(|b| b.is_ascii_alphabetic());
        parts.push(match (at, part.len()) {
            (0, 2..=3) if letters => part.to_ascii_lowercase(),
            (1.., 4) if letters => part[..1].to_ascii_uppercase() + &part[1..].to_ascii_lowercase(),
            (1.., 2) if letters => part.to_ascii_uppercase(),
            (1..=7, 1..=8) if part.bytes().all(|b| b.is_ascii_alphanumeric()) => part.to_ascii_lowercase(),
            _ => return None,
        });
    }
    Some(parts.join("-"))
}

fn list(value: Value, place: &str) -> Result<Value, BadEvent> {
    let Value::Array(items) = value else { return Err(expected("a list of names", &value, place)) };
    bounded(items.len(), place)?;
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let name = key(item, &format!("{place}/{at}"))?;
        if seen.insert(name.clone()) {
            names.push(Value::String(name));
        }
    }
    Ok(Value::Array(names))
}

fn bounded(entries: usize, place: &str) -> Result<(), BadEvent> {
    if entries > LIST {
        return Err(BadEvent::new(place, format!("has {entries} entries; the most is {LIST}")));
    }
    Ok(())
}

fn url(value: Value, place: &str) -> Result<Value, BadEvent> {
    let Value::String(text) = value else { return Err(expected("an http or https address", &value, place)) };
    line(&text, URL, place)?;
    if text.contains(char::is_whitespace) {
        return Err(BadEvent::new(place, "has a blank"));
    }
    let url = url::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| BadEvent::new(place, "is not an http or https address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadEvent::new(place, "has a user name or password"));
    }
    Ok(Value::String(text))
}

fn line(text: &str, most: usize, place: &str) -> Result<(), BadEvent> {
    clean(text, most, place, |c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

fn lines(text: &str, most: usize, place: &str) -> Result<(), BadEvent> {
    clean(text, most, place, |c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

fn clean(text: &str, most: usize, place: &str, bad: fn(char) -> bool) -> Result<(), BadEvent> {
    if text.len() > most {
        return Err(BadEvent::new(place, format!("is {} bytes long; the most is {most}", text.len())));
    }
    match text.find(bad) {
        Some(at) => Err(BadEvent::new(place, format!("has a control character at byte {at}"))),
        None => Ok(()),
    }
}

pub(super) fn expected(what: &str, value: &Value, place: &str) -> BadEvent {
    BadEvent::new(
        place,
        format!("expected {what}, not {}", if what.contains("number") { shown(value) } else { name_of(value).into() }),
    )
}

fn shown(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { name_of(value).into() }
}

pub(super) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn unknown<'a>(name: &str, place: &str, known: impl Iterator<Item = &'a str>) -> BadEvent {
    let hint = match nearest(name, known) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => String::new(),
    };
    BadEvent::new(place, format!("unknown field {}{hint}", quoted(name)))
}

/// The known name that differs in at most three letters, and in less than half of them.
fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.get(..64.min(given.len())).unwrap_or_default();
    let distance = |name: &str| strsim::damerau_levenshtein(given, name);
    known.min_by_key(|name| distance(name)).filter(|name| distance(name) <= 3 && distance(name) * 2 < name.len())
}

/// A given text for a message: quoted, and never longer than a line.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((at, _)) => format!("{:?}…", &text[..at]),
        None => format!("{text:?}"),
    }
}
