//! From JSON to a subscriber. What is named is checked and set, what is absent stays, `null` goes back to the default; what is
//! wrong is refused with its place and the nearest right name. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::api::gate::Door;
use crate::api::problem::Problem;
use crate::audience::{Address, Quiet, Subscriber};
use crate::config::Config;
use crate::id::SubscriberId;
use crate::incident::Severity;

const NAMES: &[&str] = &[
    "key",
    "name",
    "locale",
    "time_zone",
    "quiet_hours",
    "min_severity",
    "audiences",
    "components",
    "regions",
    "exercises",
    "withdrawn",
    "addresses",
];

/// Written by us, so that what was read can be sent back.
const OURS: &[&str] = &["id", "version"];

/// Addresses of one subscriber.
const MOST: usize = 32;

pub fn blank(config: &Config) -> Subscriber {
    Subscriber {
        id: SubscriberId(0),
        version: 0,
        key: None,
        name: None,
        locale: config.sender.locale.clone(),
        zone: config.sender.zone.clone(),
        quiet: None,
        severity: Severity::Info,
        exercises: false,
        withdrawn: false,
        audiences: BTreeSet::new(),
        components: BTreeSet::new(),
        regions: BTreeSet::new(),
        addresses: Vec::new(),
    }
}

pub fn apply(subscriber: &mut Subscriber, body: &Value, door: &Door) -> Result<(), Problem> {
    let config = &door.app.config;
    let Value::Object(fields) = body else { return Err(Problem::bad("", "expected an object")) };
    for (name, value) in fields {
        let at = format!("/{name}");
        match name.as_str() {
            "key" => subscriber.key = text(value, &at, 256)?,
            "name" => subscriber.name = text(value, &at, 256)?,
            "locale" => subscriber.locale = locale(value, &at)?.unwrap_or_else(|| config.sender.locale.clone()),
            "time_zone" => subscriber.zone = zone(value, &at)?.unwrap_or_else(|| config.sender.zone.clone()),
            "quiet_hours" => {
                let quiet = text(value, &at, 16)?.map(|text| Quiet::parse(&text)).transpose();
                subscriber.quiet = quiet.map_err(|error| Problem::bad(&at, error))?;
            }
            "min_severity" => {
                let severity = text(value, &at, 16)?.map(|text| text.parse()).transpose();
                subscriber.severity =
                    severity.map_err(|error: String| Problem::bad(&at, error))?.unwrap_or(Severity::Info);
            }
            "audiences" => subscriber.audiences = names(value, &at, config.audiences.keys(), true)?,
            "components" => {
                subscriber.components = names(value, &at, config.components.keys(), !config.components.is_empty())?;
            }
            "regions" => subscriber.regions = names(value, &at, config.regions.keys(), !config.regions.is_empty())?,
            "exercises" => subscriber.exercises = flag(value, &at)?,
            "withdrawn" => subscriber.withdrawn = flag(value, &at)?,
            "addresses" => subscriber.addresses = addresses(value, &subscriber.addresses, door)?,
            ours if OURS.contains(&ours) => {}
            other => return Err(unknown(other, "", NAMES)),
        }
    }
    Ok(())
}

fn unknown(name: &str, parent: &str, known: &[&str]) -> Problem {
    let near = known.iter().min_by_key(|known| strsim::levenshtein(known, name));
    let near = near.filter(|near| strsim::levenshtein(near, name) <= 3);
    let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    Problem::bad(format!("{parent}/{name}"), format!("unknown field {name:?}{near}"))
}

fn text(value: &Value, at: &str, most: usize) -> Result<Option<String>, Problem> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim(),
        _ => return Err(Problem::bad(at, "expected a text")),
    };
    if text.is_empty() || text.len() > most {
        return Err(Problem::bad(at, format!("has 1 to {most} bytes")));
    }
    match text.chars().position(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        Some(position) => Err(Problem::bad(at, format!("has a control character at character {position}"))),
        None => Ok(Some(text.into())),
    }
}

fn flag(value: &Value, at: &str) -> Result<bool, Problem> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(Problem::bad(at, "expected true or false")),
    }
}

/// A language tag such as `en` or `pt-BR`.
fn locale(value: &Value, at: &str) -> Result<Option<String>, Problem> {
    let Some(text) = text(value, at, 35)? else { return Ok(None) };
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    let good = (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    match good {
        true => Ok(Some(text)),
        false => Err(Problem::bad(at, format!("{text:?} is not a language tag such as en or pt-BR"))),
    }
}

fn zone(value: &Value, at: &str) -> Result<Option<String>, Problem> {
    let Some(text) = text(value, at, 64)? else { return Ok(None) };
    match jiff::tz::TimeZone::get(&text) {
        Ok(_) => Ok(Some(text)),
        Err(_) => Err(Problem::bad(at, format!("{text:?} is not a time zone such as Europe/Berlin"))),
    }
}

fn names<'a>(
    value: &Value,
    at: &str,
    known: impl Iterator<Item = &'a String>,
    registered: bool,
) -> Result<BTreeSet<String>, Problem> {
    let items = match value {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Array(items) if items.len() <= 1000 => items,
        Value::Array(_) => return Err(Problem::bad(at, "has at most 1000 names")),
        _ => return Err(Problem::bad(at, "expected a list of names")),
    };
    let known: Vec<&str> = known.map(String::as_str).collect();
    let mut names = BTreeSet::new();
    for (n, item) in items.iter().enumerate() {
        let at = format!("{at}/{n}");
        let name = text(item, &at, 128)?.ok_or_else(|| Problem::bad(&at, "expected a name"))?;
        if registered && !known.contains(&name.as_str()) {
            let near = known.iter().min_by_key(|known| strsim::levenshtein(known, &name)).copied().unwrap_or_default();
            return Err(Problem::bad(&at, format!("{name:?} is not registered; did you mean {near:?}?")));
        }
        names.insert(name);
    }
    Ok(names)
}

/// The whole list of addresses: one that is not in it any more is given up.
fn addresses(value: &Value, before: &[Address], door: &Door) -> Result<Vec<Address>, Problem> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) if items.len() <= MOST => items,
        Value::Array(_) => {
            return Err(Problem::bad("/addresses", format!("a subscriber has at most {MOST} addresses")));
        }
        _ => return Err(Problem::bad("/addresses", "expected a list of addresses")),
    };
    let mut addresses: Vec<Address> = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        let at = format!("/addresses/{n}");
        let Value::Object(fields) = item else { return Err(Problem::bad(at, "expected an object")) };
        let address = address(fields, &at, before, door)?;
        if addresses.iter().any(|other| other.kind == address.kind && other.value == address.value) {
            return Err(Problem::bad(format!("{at}/address"), "is given twice"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

const OF_ADDRESS: &[&str] = &["kind", "address", "verified"];
const OURS_OF_ADDRESS: &[&str] = &["place", "suppressed", "secrets", "secret", "verification"];

fn address(fields: &Map<String, Value>, at: &str, before: &[Address], door: &Door) -> Result<Address, Problem> {
    if let Some(name) =
        fields.keys().find(|n| !OF_ADDRESS.contains(&n.as_str()) && !OURS_OF_ADDRESS.contains(&n.as_str()))
    {
        return Err(unknown(name, at, OF_ADDRESS));
    }
    let needed = |name: &str, most: usize| {
        let at = format!("{at}/{name}");
        text(fields.get(name).unwrap_or(&Value::Null), &at, most)?.ok_or_else(|| Problem::bad(at, "is required"))
    };
    let (kind, given) = (needed("kind", 32)?, needed("address", 2048)?);
    let mut platforms = door.platforms.iter().filter(|platform| platform.address.kind == kind).peekable();
    if platforms.peek().is_none() {
        let kinds: BTreeSet<&str> = door.platforms.iter().map(|platform| platform.address.kind.as_str()).collect();
        let kinds: Vec<&str> = kinds.into_iter().collect();
        return Err(Problem::bad(format!("{at}/kind"), format!("{kind:?} is none of {}", kinds.join(" "))));
    }
    // Any platform that takes this kind of address may like it.
    let mut wrong = String::new();
    let value = platforms.find_map(|platform| platform.address(&given).map_err(|error| wrong = error).ok());
    let value = value.ok_or_else(|| Problem::bad(format!("{at}/address"), wrong))?;
    let verified = fields.get("verified").map(|value| flag(value, &format!("{at}/verified"))).transpose()?;
    let known = before.iter().find(|known| known.kind == kind && known.value == value);
    Ok(Address {
        place: known.map_or(0, |known| known.place),
        verified: verified.unwrap_or_default() || known.is_some_and(|known| known.verified),
        suppressed: known.is_some_and(|known| known.suppressed),
        secrets: known.map(|known| known.secrets.clone()).unwrap_or_default(),
        kind,
        value,
    })
}
