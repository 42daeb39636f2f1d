//! Values: a text, a list or an address into the draft of its row, or what is wrong with it. Whatever enters is bounded in length
//! and number and has no control characters; whatever leaves is what a subscriber may have.

use std::collections::BTreeSet;

use serde_json::Value;

use super::column::Column;
use super::draft::{Draft, Stated};
use super::reader::{Reader, Refused};
use crate::audience::Quiet;
use crate::incident::Severity;

const LONGEST_TEXT: usize = 256;
const MOST_ENTRIES: usize = 1000;

impl Reader {
    pub(super) fn value(&mut self, draft: &mut Draft, column: &Column, value: Value) -> Result<(), Refused> {
        match value {
            Value::Null => Ok(()),
            Value::String(text) if text.trim().is_empty() => Ok(()),
            Value::String(text) => self.text(draft, column, text.trim()),
            Value::Bool(flag) => self.text(draft, column, if flag { "true" } else { "false" }),
            Value::Array(items) => {
                let Some(list) = draft.list(column) else { return Err("expected one value, not a list".into()) };
                for item in items {
                    let Value::String(text) = item else { return Err("expected a list of names".into()) };
                    list.insert(checked(text.trim())?.to_string());
                }
                bounded(list)
            }
            Value::Number(_) | Value::Object(_) => Err("expected a text".into()),
        }
    }

    pub(super) fn text(&mut self, draft: &mut Draft, column: &Column, text: &str) -> Result<(), Refused> {
        match column {
            Column::Key => draft.subscriber.key = Some(checked(text)?.into()),
            Column::Name => draft.subscriber.name = Some(checked(text)?.into()),
            Column::Locale => {
                draft.subscriber.locale =
                    crate::ingest::language(checked(text)?).ok_or("is not a language tag such as en or pt-BR")?;
            }
            Column::Zone => draft.subscriber.zone = self.zone(checked(text)?)?,
            Column::Quiet => {
                let quiet = Quiet::parse(checked(text)?);
                draft.subscriber.quiet = Some(quiet.map_err(|_| "is not a span of quiet hours; write 22:00-07:00")?);
            }
            Column::Severity => {
                let words: Vec<&str> = Severity::ALL.iter().map(|severity| severity.word()).collect();
                draft.subscriber.severity = text.parse().map_err(|_| format!("is none of {}", words.join(" ")))?;
            }
            Column::Exercises => draft.subscriber.exercises = flag(text)?,
            Column::Secret => draft.secret = Some(secret(text)?),
            Column::Verified(kind) => drop(draft.verified.insert(kind.clone(), flag(text)?)),
            Column::Address(kind) => self.address(draft, kind, text, None, None)?,
            Column::Audiences | Column::Components | Column::Regions => {
                if let Some(list) = draft.list(column) {
                    for name in text.split(';').map(str::trim).filter(|name| !name.is_empty()) {
                        list.insert(checked(name)?.to_string());
                    }
                    bounded(list)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn addresses(&mut self, draft: &mut Draft, value: Value) -> Result<(), Refused> {
        let Value::Array(items) = value else { return Err("expected a list of {kind, address, verified}".into()) };
        for item in items {
            let Value::Object(item) = item else { return Err("expected {kind, address, verified}".into()) };
            let (mut kind, mut address, mut verified, mut signing) = (None, None, None, None);
            for (name, value) in item {
                match (name.as_str(), value) {
                    ("kind", Value::String(text)) => kind = Some(text),
                    ("address", Value::String(text)) => address = Some(text),
                    ("verified", Value::Bool(flag)) => verified = Some(flag),
                    ("secret", Value::String(text)) => signing = Some(secret(text.trim())?),
                    ("verified" | "secret", Value::Null) => {}
                    ("kind" | "address" | "verified" | "secret", _) => {
                        return Err(format!("{name} has the wrong type"));
                    }
                    _ => return Err("has an unknown key; it has kind, address, verified, secret".into()),
                }
            }
            let (Some(kind), Some(address)) = (kind, address) else { return Err("needs kind and address".into()) };
            self.address(draft, &kind, &address, verified, signing)?;
        }
        Ok(())
    }

    fn address(
        &self,
        draft: &mut Draft,
        kind: &str,
        text: &str,
        verified: Option<bool>,
        secret: Option<String>,
    ) -> Result<(), Refused> {
        let Some(validate) = self.options.validators.get(kind) else {
            return Err(format!("unknown kind of address; known: {}", self.kinds().join(" ")));
        };
        let value = validate(text)?;
        if draft.addresses.iter().any(|stated| stated.kind == kind && stated.value == value) {
            return Err("the same address twice in one row".into());
        }
        draft.addresses.push(Stated { kind: kind.into(), value, verified, secret });
        match draft.addresses.len() <= MOST_ENTRIES {
            true => Ok(()),
            false => Err("too many addresses".into()),
        }
    }

    fn zone(&mut self, name: &str) -> Result<String, Refused> {
        if let Some(known) = self.zones.get(name) {
            return Ok(known.clone());
        }
        let zone = jiff::tz::TimeZone::get(name).map_err(|_| "is not a time zone such as Europe/Berlin")?;
        let zone = zone.iana_name().unwrap_or(name).to_string();
        if self.zones.len() < 2000 {
            self.zones.insert(name.into(), zone.clone());
        }
        Ok(zone)
    }
}

fn secret(text: &str) -> Result<String, Refused> {
    crate::channel::webhook::SigningKey::parse(text).map(|_| text.to_string()).map_err(str::to_string)
}

fn checked(text: &str) -> Result<&str, Refused> {
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err("has a control character".into());
    }
    match text.len() {
        0 => Err("is empty".into()),
        1..=LONGEST_TEXT => Ok(text),
        length => Err(format!("is {length} bytes long; the most is {LONGEST_TEXT}")),
    }
}

fn bounded(list: &BTreeSet<String>) -> Result<(), Refused> {
    match list.len() <= MOST_ENTRIES {
        true => Ok(()),
        false => Err(format!("has more than {MOST_ENTRIES} entries")),
    }
}

fn flag(text: &str) -> Result<bool, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("is neither true nor false".into()),
    }
}
