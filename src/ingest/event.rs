//! The Event: what came in. Enters: JSON, native or the `data` of an envelope. Leaves: a value that is checked in every field,
//! or the place and the reason why not. Equal content has an equal digest, however its keys are ordered or spaced.

use serde_json::{Map, Value};

use super::digest::digest;
use super::{fields, json};
use crate::clock::Time;
use crate::id::{IncidentId, UpdateId};
use crate::incident::{Kind, Mode, Status};

/// The CloudEvents type of a native event; part of the digest, so that both forms of one event are equal.
pub const TYPE: &str = "loudhailer.incident";

/// A checked event. `(source, id)` is its idempotency key, `digest` tells equal content from other content.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub source: String,
    pub id: String,
    pub digest: [u8; 32],
    /// The incident's key as the source names it.
    pub incident: String,
    pub at: Time,
    pub sequence: Option<i64>,
    /// `None`: as the incident has it, `real` for a new one.
    pub mode: Option<Mode>,
    /// What the event says, field by field, checked and flattened one level (`impact.users`, `cause.text`). An absent field
    /// is unchanged; `null`, or `[]` for a list, clears.
    pub says: Map<String, Value>,
    /// The wrong update's number that this event corrects.
    pub corrects: Option<i64>,
    /// The wrong update is withdrawn altogether.
    pub retracts: bool,
    /// The incident of the wrong update, when it was named by its id (`upd_…`): it has to be this event's own.
    pub corrects_of: Option<IncidentId>,
    /// What it means for an incident that only signals speak of. Nothing that comes in says so by itself.
    pub proposal: Option<Proposal>,
    /// Whose token sent it: a person's name may confirm a cause, a machine's may not.
    pub by: Principal,
}

/// Signals propose an incident, and a person or a plan confirms or dismisses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposal {
    Propose,
    Confirm,
    Dismiss,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Machine(String),
    Person(String),
}

/// Why something that came in is no event, and where: a JSON pointer or the path of an element, empty for the whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{message}", pointer, if pointer.is_empty() { "" } else { ": " })]
pub struct BadEvent {
    pub pointer: String,
    pub message: String,
}

impl BadEvent {
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> BadEvent {
        BadEvent { pointer: pointer.into(), message: message.into() }
    }
}

/// What stands around the data: attributes of an envelope, or the keys of a native event that are not content.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    pub source: String,
    pub id: String,
    pub subject: Option<String>,
    /// Used where the data names none.
    pub at: Option<Time>,
    pub sequence: Option<i64>,
    /// The pointer of the data: empty for a native event.
    pub place: &'static str,
    /// What stands before the name of an attribute.
    pub prefix: &'static str,
}

pub fn parse_native(body: &[u8], by: &Principal) -> Result<Event, BadEvent> {
    parse_value(json::read(body)?, by)
}

pub fn parse_value(value: Value, by: &Principal) -> Result<Event, BadEvent> {
    parse_value_at(value, by, None)
}

/// `at`: when the event came in by a way that keeps its own time; used where the event names none.
pub(crate) fn parse_value_at(value: Value, by: &Principal, at: Option<Time>) -> Result<Event, BadEvent> {
    let Value::Object(mut data) = value else {
        return Err(BadEvent::new("", format!("expected an object, not {}", fields::name_of(&value))));
    };
    let mut key = |name: &str| match data.remove(name) {
        None | Some(Value::Null) => Err(BadEvent::new(format!("/{name}"), "is required")),
        Some(value) => fields::key(&value, &format!("/{name}")),
    };
    let (source, id) = (key("source")?, key("id")?);
    parse_data(data, Envelope { source, id, at, ..Envelope::default() }, by)
}

pub(super) fn parse_data(data: Map<String, Value>, envelope: Envelope, by: &Principal) -> Result<Event, BadEvent> {
    let Envelope { source, id, subject, at, sequence, place, prefix } = envelope;
    let digest = digest(&data, subject.as_deref());
    let given = |name: &str| data.get(name).filter(|value| !value.is_null()).map(|value| (value, at_key(place, name)));

    let incident = match (given("incident"), subject) {
        (Some((value, place)), _) => fields::key(value, &place)?,
        (None, Some(subject)) => fields::key(&Value::String(subject), &format!("{prefix}subject"))?,
        (None, None) => return Err(BadEvent::new(at_key(place, "incident"), "is required")),
    };
    let at = match given("at") {
        Some((value, place)) => fields::time(value, &place)?,
        None => at.ok_or_else(|| BadEvent::new(at_key(place, "at"), "is required"))?,
    };
    let sequence = match given("sequence") {
        Some((value, place)) => Some(value.as_i64().ok_or_else(|| fields::expected("a whole number", value, &place))?),
        None => sequence,
    };
    let mode = match given("mode") {
        Some((value, place)) => Some(fields::word::<Mode>(value, &place)?),
        None => None,
    };
    let (corrects, corrects_of) = match given("corrects") {
        Some((value, place)) => corrects(value, &place)?,
        None => (None, None),
    };
    let retracts = match given("retracts") {
        Some((value, place)) => value.as_bool().ok_or_else(|| fields::expected("true or false", value, &place))?,
        None => false,
    };

    let says = fields::read(data, place, by)?;
    let word = |name: &str| says.get(name).and_then(Value::as_str).unwrap_or_default().parse();
    if let (Ok(kind), Ok(status)) = (word("kind"), says_status(&says))
        && !fits(kind, status)
    {
        let right: Vec<&str> = Status::ALL.iter().filter(|s| fits(kind, **s)).map(|s| s.word()).collect();
        let message = format!("{status} is no status of {kind}; it has {}", right.join(" "));
        return Err(BadEvent::new(at_key(place, "status"), message));
    }
    Ok(Event {
        source,
        id,
        digest,
        incident,
        at,
        sequence,
        mode,
        says,
        corrects,
        corrects_of,
        retracts,
        proposal: None,
        by: by.clone(),
    })
}

fn says_status(says: &Map<String, Value>) -> Result<Status, String> {
    says.get("status").and_then(Value::as_str).unwrap_or_default().parse()
}

/// Has an incident of this kind this status? An event need not say both, so whoever folds it asks again.
pub fn fits(kind: Kind, status: Status) -> bool {
    let maintenance = matches!(status, Status::Scheduled | Status::InProgress | Status::Verifying | Status::Completed);
    maintenance == (kind == Kind::Maintenance)
}

fn corrects(value: &Value, place: &str) -> Result<(Option<i64>, Option<IncidentId>), BadEvent> {
    if let Some(number) = value.as_i64().filter(|number| *number > 0) {
        return Ok((Some(number), None));
    }
    match value.as_str().map(str::parse::<UpdateId>) {
        Some(Ok(update)) => Ok((Some(update.number), Some(update.incident))),
        _ => Err(fields::expected("the id (upd_…) or the number of an update", value, place)),
    }
}

pub(super) fn at_key(place: &str, key: &str) -> String {
    format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::incident::Facts;

    fn machine() -> Principal {
        Principal::Machine("monitoring".into())
    }

    fn whole() -> Value {
        json!({
            "id": "a-17", "source": "monitoring/eu", "incident": "meta-2021-10-04", "at": "2021-10-04T15:51:00Z",
            "sequence": 1, "mode": "real", "kind": "incident", "status": "investigating", "severity": "critical",
            "owner": "network", "title": "WhatsApp, Instagram and Facebook unreachable",
            "summary": { "en": "All is down.", "pt-br": "Nada funciona." }, "workaround": "Call.", "action": "Wait.",
            "alternatives": "SMS", "support_url": "https://status.example/help", "compensation": "Credits",
            "internal_notes": "Badges\nfail", "components": ["whatsapp", "instagram"], "regions": ["global"],
            "platforms_down": ["whatsapp"],
            "impact": { "users": 3_500_000_000u64, "businesses": null, "functions": ["login"], "data": "none" },
            "cause": { "category": "technical_failure", "text": "Backbone", "confirmed_by": null },
            "started_at": "2021-10-04T17:39:00+02:00", "ended_at": null, "next_update_at": "2021-10-04T16:30:00Z",
            "expected_restored_at": null, "restored_percent": 0, "corrects": "upd_2d_3"
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut event = whole();
        let (parent, key) = pointer.rsplit_once('/').expect("pointer");
        event.pointer_mut(parent).expect("parent")[key] = value;
        event
    }

    fn refused(event: Value) -> String {
        parse_value(event, &machine()).expect_err("refused").to_string()
    }

    /// The facts that an event's words make of nothing: the reverse of flattening.
    fn facts(says: &Map<String, Value>) -> Facts {
        let mut whole = json!({});
        for (name, value) in says {
            match name.split_once('.') {
                Some((group, field)) => whole[group][field] = value.clone(),
                None => whole[name] = value.clone(),
            }
        }
        serde_json::from_value(whole).expect("facts")
    }

    #[test]
    fn every_field_of_an_event_becomes_a_fact() {
        let event = parse_native(whole().to_string().as_bytes(), &machine()).expect("parses");
        assert_eq!((event.source.as_str(), event.id.as_str()), ("monitoring/eu", "a-17"));
        assert_eq!((event.sequence, event.mode, event.corrects), (Some(1), Some(Mode::Real), Some(3)));
        assert_eq!(event.corrects_of, Some(IncidentId(77)));
        assert_eq!(event.at, Time::parse("2021-10-04T15:51:00Z").expect("time"));
        let facts = facts(&event.says);
        let read = json!({ "impact": facts.impact, "cause": facts.cause, "status": facts.status, "summary": facts.summary,
            "started_at": facts.started_at, "functions": facts.impact.functions, "percent": facts.restored_percent });
        assert_eq!(
            read,
            json!({
                "impact": { "users": 3_500_000_000u64, "businesses": null, "functions": ["login"], "data": "none" },
                "cause": { "category": "technical_failure", "text": "Backbone", "confirmed_by": null },
                "status": "investigating", "summary": { "en": "All is down.", "pt-BR": "Nada funciona." },
                "started_at": "2021-10-04T15:39:00Z", "functions": ["login"], "percent": 0
            })
        );
        let said: Vec<&str> = event.says.keys().map(String::as_str).collect();
        for field in fields::NAMES.iter().filter(|field| **field != "cause.confirmed_by") {
            assert!(said.contains(field), "{field} is missing of {said:?}");
        }
    }

    #[test]
    fn absent_is_unchanged_and_null_or_an_empty_list_clears() {
        let least = json!({ "id": "1", "source": "s", "incident": "i", "at": "2021-10-04T15:51:00Z" });
        assert!(parse_value(least.clone(), &machine()).expect("parses").says.is_empty());
        let mut clearing = least;
        for name in fields::NAMES.iter().filter(|name| !name.contains('.')) {
            clearing[*name] = Value::Null;
        }
        clearing["impact"] = Value::Null;
        clearing["cause"] = Value::Null;
        let says = parse_value(clearing, &machine()).expect("parses").says;
        assert_eq!(says.len(), fields::NAMES.len());
        assert_eq!(facts(&says), Facts::default());
        assert_eq!(says["components"], json!([]));
        assert_eq!(says["impact.functions"], json!([]));
    }

    #[test]
    fn bad_values_are_refused_with_their_place_and_the_nearest_right_name() {
        let long = |bytes: usize| "x".repeat(bytes);
        let table = [
            (with("/sumary", json!("x")), r#"/sumary: unknown field "sumary"; did you mean "summary"?"#),
            (with("/impact/user", json!(1)), r#"/impact/user: unknown field "user"; did you mean "users"?"#),
            (with("/a~b", json!(1)), r#"/a~0b: unknown field "a~b""#),
            (with("/title", json!(7)), "/title: expected a text or texts by language, not a number"),
            (with("/title", json!("a\r\nBcc: b")), "/title: has a control character at byte 1"),
            (with("/title", json!({ "en": "a\u{2028}b" })), "/title/en: has a control character at byte 1"),
            (with("/title", json!(long(1025))), "/title: is 1025 bytes long; the most is 1024"),
            (with("/summary", json!(long(16385))), "/summary: is 16385 bytes long; the most is 16384"),
            (with("/summary", json!("a\u{0}")), "/summary: has a control character at byte 1"),
            (with("/summary", json!(" ")), "/summary: is empty; null clears"),
            (with("/summary", json!({})), "/summary: names no language; null clears"),
            (with("/summary", json!({ "e": "x" })), r#"/summary/e: "e" is not a language tag such as en or pt-BR"#),
            (with("/summary", json!({ "en": "x", "EN": "y" })), "/summary/en: is given twice"),
            (with("/summary", json!({ "en": null })), "/summary/en: expected a text, not null"),
            (with("/incident", json!("")), "/incident: is empty"),
            (with("/incident", json!(long(257))), "/incident: is 257 bytes long; the most is 256"),
            (with("/id", json!("a\u{7f}")), "/id: has a control character at byte 1"),
            (with("/id", Value::Null), "/id: is required"),
            (with("/source", json!(4)), "/source: expected a text, not a number"),
            (with("/at", Value::Null), "/at: is required"),
            (
                with("/at", json!("2021-10-04")),
                "/at: \"2021-10-04\" is not an RFC 3339 time such as 2021-10-04T15:39:00Z",
            ),
            (with("/sequence", json!(1.5)), "/sequence: expected a whole number, not 1.5"),
            (with("/mode", json!("drill")), r#"/mode: "drill" is none of real exercise"#),
            (
                with("/status", json!("identifed")),
                r#"/status: "identifed" is none of investigating identified monitoring resolved scheduled in_progress verifying completed; did you mean "identified"?"#,
            ),
            (
                with("/status", json!("completed")),
                "/status: completed is no status of incident; it has investigating identified monitoring resolved",
            ),
            (
                with("/kind", json!("maintenance")),
                "/status: investigating is no status of maintenance; it has scheduled in_progress verifying completed",
            ),
            (with("/support_url", json!("javascript:alert(1)")), "/support_url: is not an http or https address"),
            (with("/support_url", json!("https://u:p@x.example/")), "/support_url: has a user name or password"),
            (with("/support_url", json!("https://x.example/ y")), "/support_url: has a blank"),
            (with("/components", json!("whatsapp")), "/components: expected a list of names, not a text"),
            (with("/components", json!(["a", 1])), "/components/1: expected a text, not a number"),
            (with("/regions", json!(vec!["r"; 201])), "/regions: has 201 entries; the most is 200"),
            (with("/impact", json!([])), "/impact: expected an object, not a list"),
            (with("/impact/users", json!(-1)), "/impact/users: expected a whole number from 0 up, not -1"),
            (
                with("/restored_percent", json!(101)),
                "/restored_percent: expected a whole number from 0 to 100, not 101",
            ),
            (with("/corrects", json!(0)), "/corrects: expected the id (upd_…) or the number of an update, not 0"),
            (
                with("/cause/confirmed_by", json!("Ann")),
                "/cause/confirmed_by: cause.confirmed_by is stamped from a person's token, never read from a machine's event",
            ),
            (json!(["x"]), "expected an object, not a list"),
        ];
        for (event, message) in table {
            assert_eq!(refused(event.clone()), message, "for {event}");
        }
        let error = parse_native(b"{\"id\": }", &machine()).expect_err("refused");
        assert_eq!(error.to_string(), "is not JSON: expected value at line 1 column 8");
    }

    #[test]
    fn a_cause_is_confirmed_by_the_name_on_the_token_and_by_no_other() {
        let ann = Principal::Person("Ann".into());
        let confirmed = |value: Value, by: &Principal| parse_value(with("/cause/confirmed_by", value), by);
        for (given, stamped) in [(json!(true), json!("Ann")), (json!("Ann"), json!("Ann")), (json!(null), json!(null))]
        {
            assert_eq!(confirmed(given, &ann).expect("parses").says["cause.confirmed_by"], stamped);
        }
        assert!(confirmed(json!("Bob"), &ann).is_err());
        assert!(confirmed(json!(false), &ann).is_err());
        assert!(!confirmed(json!(null), &machine()).expect("parses").says.contains_key("cause.confirmed_by"));
    }

    #[test]
    fn equal_content_has_an_equal_digest_whatever_its_order_and_blanks() {
        let digest = |text: &str| parse_native(text.as_bytes(), &machine()).expect("parses").digest;
        let one =
            r#"{"id":"1","source":"s","incident":"i","at":"2021-10-04T15:51:00Z","impact":{"users":1,"data":"none"}}"#;
        let other = r#"{ "impact": {"data":"\u006eone", "users":1}, "at":"2021-10-04T15:51:00Z",
            "incident":"i", "source":"s", "id":"2" }"#;
        assert_eq!(digest(one), digest(other));
        assert_ne!(digest(one), digest(&one.replace("\"users\":1", "\"users\":2")));
        assert_ne!(digest(one), digest(&one.replace("\"users\":1", "\"users\":null")));
    }
}
