//! What parses, as properties of any bytes. Enter bytes from a fuzzer ([fuzz/](../fuzz/README.md)) or a test; leave is by return, or
//! by a panic where a property does not hold: nothing that comes in panics, an error says its place, what is printed reads back
//! as it was, and nothing is as long as a stranger likes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::cap;
use crate::channel::answer::{self, Answer};
use crate::channel::platforms::Platforms;
use crate::channel::{Holds, Outcome, publish, smtp};
use crate::clock::Time;
use crate::ingest::cloudevents::{Incoming, read_http};
use crate::ingest::event::{BadEvent, Principal, parse_native};
use crate::ingest::source::{Formats, intake, native};
use crate::ingest::{read_header, read_json};
use crate::render;

pub type Property = fn(&[u8]);

/// Each by the name of its target in `fuzz/`.
pub const TARGETS: &[(&str, Property)] = &[
    ("event", event),
    ("headers", headers),
    ("source", source),
    ("answer", answer),
    ("replies", replies),
    ("template", template),
    ("cap", cap),
    ("page", page),
    ("report", report),
];

fn sender() -> Principal {
    Principal::Machine("fuzz".into())
}

/// A native event.
pub fn event(bytes: &[u8]) {
    let read = parse_native(bytes, &sender());
    let Ok(value) = read_json(bytes) else {
        return placed(&read.expect_err("what is no JSON is no event"), None);
    };
    if !exact(&value) {
        return;
    }
    let printed = value.to_string();
    assert_eq!(read_json(printed.as_bytes()).as_ref(), Ok(&value), "JSON reads back as it was printed");
    match read {
        Ok(event) => assert_eq!(parse_native(printed.as_bytes(), &sender()), Ok(event)),
        Err(error) => placed(&error, Some(&value)),
    }
}

/// Without fractions, which are read as the nearest there is, or as one beside it.
fn exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(exact),
        Value::Object(members) => members.values().all(exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// A document of another system, read by every format.
pub fn source(bytes: &[u8]) {
    static FORMATS: LazyLock<Formats> = LazyLock::new(|| Formats::load(None).expect("they are in the binary"));
    let Ok(document) = serde_json::from_slice(bytes) else { return };
    for format in FORMATS.iter() {
        let Ok(events) = format.read(&document, &BTreeMap::new(), &BTreeMap::new()) else { continue };
        for said in events {
            match intake::event("fuzz", native(said), Time(1_633_363_740_000)) {
                Ok(event) => assert!(event.at <= Time(1_633_363_740_000), "what is ahead of our clock is now"),
                Err(error) => placed(&error, None),
            }
        }
    }
}

/// A request: header lines up to an empty one, then a body.
pub fn headers(bytes: &[u8]) {
    let (headers, body) = split(bytes);
    let named = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let content_type = named("content-type").and_then(|(_, value)| std::str::from_utf8(value).ok());
    let all = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    match read_http(content_type, all, body, &sender()) {
        Ok(Incoming::One(_)) => {}
        Ok(Incoming::Batch(items)) => {
            items.iter().flat_map(|item| item.as_ref().err()).for_each(|error| placed(error, None))
        }
        Err(error) => placed(&error, None),
    }
    for text in headers.iter().filter_map(|(_, value)| read_header(value).ok()) {
        assert!(!text.contains(char::is_control), "{text:?}");
        let printed: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_eq!(read_header(printed.as_bytes()), Ok(text));
    }
}

/// A platform's number, a status of two bytes, then header lines, an empty one and a body.
pub fn answer(bytes: &[u8]) {
    static PLATFORMS: LazyLock<Platforms> = LazyLock::new(|| Platforms::load(None).expect("they ship"));
    let [platform, high, low, rest @ ..] = bytes else { return };
    let count = PLATFORMS.iter().count();
    let Some(platform) = PLATFORMS.iter().nth(usize::from(*platform) % count) else { return };
    let status = 100 + u16::from_be_bytes([*high, *low]) % 500;
    let (lines, body) = split(rest);
    let mut headers = HeaderMap::new();
    for (name, value) in &lines {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let answer = Answer { status, headers: &headers, body };
    let (outcome, rule) =
        answer::read(&platform.answers, &answer, *low % 2 == 1, Holds::Channel, Time(1_633_363_740_000));
    assert!(rule.is_none_or(|rule| rule < platform.answers.len()));
    match &outcome {
        Outcome::Accepted { .. } => assert!(status < 300 || rule.is_some(), "{status} is no success"),
        Outcome::Deferred { after, detail, .. } => {
            assert!(after.is_none_or(|after| after.as_secs() <= 86_400), "{after:?}");
            short(detail);
        }
        Outcome::Rejected { detail, .. } | Outcome::Unknown { detail } => short(detail),
    }
}

fn short(detail: &str) {
    assert!(detail.len() <= 400 && !detail.contains(char::is_control), "{detail:?}");
}

/// What a mail server says, or a broker: the same however it is cut into packets.
pub fn replies(bytes: &[u8]) {
    smtp::attacked(bytes);
    publish::attacked(bytes);
}

/// A file of words.
pub fn template(bytes: &[u8]) {
    render::attacked(&String::from_utf8_lossy(bytes));
}

/// A page that a watcher reads, as every kind of it.
pub fn page(bytes: &[u8]) {
    crate::watch::attacked(bytes);
}

/// A mail that came to where bounces go.
pub fn report(bytes: &[u8]) {
    crate::receipt::mail::attacked(bytes);
}

/// An alert of CAP 1.2.
pub fn cap(bytes: &[u8]) {
    if let Err(error) = cap::read(bytes).and_then(|alert| cap::attacked(&alert)) {
        placed(&error, None);
    }
}

/// The place of an error is one in the document, or of a thing that is missing there; or the name of a header.
fn placed(error: &BadEvent, document: Option<&Value>) {
    let BadEvent { pointer, message } = error;
    assert!(!message.is_empty(), "{error:?}");
    let header = pointer.starts_with("ce-") || pointer == "content-type";
    assert!(pointer.is_empty() || pointer.starts_with('/') || (header && document.is_none()), "{error:?}");
    if let (Some(document), Some((parent, _))) = (document, pointer.rsplit_once('/')) {
        assert!(document.pointer(parent).is_some(), "{error:?} leads nowhere");
    }
}

/// Header lines, and what stands after the first empty one.
fn split(bytes: &[u8]) -> (Vec<(String, Vec<u8>)>, &[u8]) {
    let mut headers = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            headers.push((String::from_utf8_lossy(&line[..colon]).into_owned(), line[colon + 1..].to_vec()));
        }
    }
    (headers, rest)
}
