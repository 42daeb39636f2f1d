//! CloudEvents 1.0. Enters: an HTTP request or a Kafka record, in structured, binary or (HTTP) batch mode. Leaves: the Event
//! in its `data`. Native JSON comes by the same doors and is told apart by the absence of any CloudEvents mark.

use serde_json::Value;

use super::envelope::{binary, structured};
use super::event::{self, BadEvent, Event, Principal};
use super::fields::{self, quoted};
use super::{header, json};

/// Events in one batch.
const BATCH: usize = 1000;

/// What one HTTP request brought. Each item of a batch stands for itself.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    One(Event),
    Batch(Vec<Result<Event, BadEvent>>),
}

/// How the Content-Type marks a CloudEvent; `batch` is asked for first, since one prefix contains the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Batch,
    Structured,
    None,
}

pub fn read_http<'a>(
    content_type: Option<&str>,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    body: &[u8],
    by: &Principal,
) -> Result<Incoming, BadEvent> {
    match mark(content_type, "content-type")? {
        Mark::Batch => match json::read(body)? {
            Value::Array(items) => batch(items, |item| structured(item)?.event(None, by)),
            other => Err(BadEvent::new("", format!("expected a list of events, not {}", fields::name_of(&other)))),
        },
        Mark::Structured => structured(json::read(body)?)?.event(None, by).map(Incoming::One),
        Mark::None => {
            let attributes = headers
                .filter_map(|(name, value)| {
                    let name = name.to_ascii_lowercase();
                    Some((name.strip_prefix("ce-")?.to_string(), value))
                })
                .map(|(name, value)| {
                    let value = header::decode(value).map_err(|error| BadEvent::new(format!("ce-{name}"), error))?;
                    Ok((name, value))
                });
            match binary(attributes, content_type, Some(body), "ce-")? {
                Some(event) => event.event(None, by).map(Incoming::One),
                None => match json::read(body)? {
                    Value::Array(items) => batch(items, |item| event::parse_value(item, by)),
                    value => event::parse_value(value, by).map(Incoming::One),
                },
            }
        }
    }
}

fn batch(items: Vec<Value>, parse: impl Fn(Value) -> Result<Event, BadEvent>) -> Result<Incoming, BadEvent> {
    if items.len() > BATCH {
        return Err(BadEvent::new("", format!("has {} events; the most is {BATCH}", items.len())));
    }
    Ok(Incoming::Batch(items.into_iter().map(parse).collect()))
}

pub(super) fn mark(content_type: Option<&str>, place: &str) -> Result<Mark, BadEvent> {
    let Some(media) = content_type.map(|text| text.trim().to_ascii_lowercase()) else { return Ok(Mark::None) };
    let (mark, format) = if media.starts_with("application/cloudevents-batch") {
        (Mark::Batch, "application/cloudevents-batch+json")
    } else if media.starts_with("application/cloudevents") {
        (Mark::Structured, "application/cloudevents+json")
    } else {
        return Ok(Mark::None);
    };
    let mut parts = media.split(';').map(str::trim);
    if parts.next() != Some(format) {
        return Err(BadEvent::new(place, format!("{} is a format not read here; expected {format}", quoted(&media))));
    }
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    match charset {
        None | Some("utf-8" | "us-ascii") => Ok(mark),
        Some(other) => Err(BadEvent::new(place, format!("charset {} is not read here; JSON is UTF-8", quoted(other)))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STRUCTURED: &str = "application/cloudevents+json";
    const BATCHED: &str = "application/cloudevents-batch+json; charset=UTF-8";

    fn by() -> Principal {
        Principal::Machine("m".into())
    }

    fn http(content_type: &str, headers: &[(&str, &str)], body: &str) -> Result<Incoming, String> {
        let content_type = Some(content_type).filter(|text| !text.is_empty());
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        read_http(content_type, headers, body.as_bytes(), &by()).map_err(|error| error.to_string())
    }

    fn one(incoming: Result<Incoming, String>) -> Event {
        match incoming {
            Ok(Incoming::One(event)) => event,
            other => panic!("expected one event, not {other:?}"),
        }
    }

    const DATA: &str = r#"{"incident":"i","status":"investigating","title":"Down"}"#;

    fn attributes() -> Vec<(&'static str, &'static str)> {
        vec![
            ("Host", "example.com"),
            ("ce-specversion", "1.0"),
            ("Ce-Type", "loudhailer.incident"),
            ("ce-time", "2018-04-05T03:56:24Z"),
            ("ce-id", "1234-1234-1234"),
            ("CE-Source", "/mycontext/subcontext"),
        ]
    }

    fn envelope() -> Value {
        json!({ "specversion": "1.0", "type": "loudhailer.incident", "time": "2018-04-05T03:56:24Z",
            "id": "1234-1234-1234", "source": "/mycontext/subcontext", "datacontenttype": "application/json",
            "data": serde_json::from_str::<Value>(DATA).expect("json") })
    }

    #[test]
    fn every_mode_brings_the_same_event_with_the_same_digest() {
        let native = json!({ "id": "1234-1234-1234", "source": "/mycontext/subcontext", "incident": "i",
            "status": "investigating", "title": "Down", "at": "2018-04-05T03:56:24Z" });
        let native = one(http("application/json", &[("accept", "*/*")], &native.to_string()));
        for (content_type, headers, body) in [
            ("application/json", attributes(), DATA.to_string()),
            ("application/json; charset=utf-8", attributes(), DATA.to_string()),
            ("", attributes(), DATA.to_string()),
            (STRUCTURED, vec![], envelope().to_string()),
            ("Application/CloudEvents+JSON; charset=utf-8", vec![("ce-id", "other")], envelope().to_string()),
        ] {
            let event = one(http(content_type, &headers, &body));
            assert_eq!((&event.source, &event.id, event.at), (&native.source, &native.id, native.at), "{content_type}");
            assert_eq!((&event.says, &event.incident), (&native.says, &native.incident), "{content_type}");
        }
        let same = one(http(STRUCTURED, &[], &envelope().to_string()));
        assert_eq!(same.digest, one(http("", &attributes(), DATA)).digest);
    }

    #[test]
    fn header_values_are_decoded_before_they_are_read() {
        let mut headers = attributes();
        headers.push(("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"));
        assert_eq!(one(http("", &headers, r#"{"status":"resolved"}"#)).incident, "Euro € 😀");
    }

    #[test]
    fn a_binary_event_that_is_not_to_the_letter_is_refused_at_its_header() {
        let mut lacking = attributes();
        lacking.retain(|(name, _)| *name != "ce-id");
        let added = |name, value| [attributes(), vec![(name, value)]].concat();
        for (content_type, headers, body, message) in [
            ("", lacking, DATA, "ce-id: is required"),
            ("", added("ce-subject", "%C0%A0"), DATA, "ce-subject: is not UTF-8 once decoded"),
            ("", added("ce-my_ext", "1"), DATA, "ce-my_ext: is no attribute name; those are of a-z and 0-9"),
            ("", added("CE-ID", "2"), DATA, "ce-id: is given twice"),
            ("", added("ce-subject", ""), DATA, "ce-subject: is empty"),
            (
                "",
                added("ce-datacontenttype", "application/json"),
                DATA,
                "ce-datacontenttype: is given by content-type and by no other header",
            ),
            (
                "text/plain; charset=us-ascii",
                attributes(),
                DATA,
                r#"ce-datacontenttype: "text/plain; charset=us-ascii" is not read here; expected application/json"#,
            ),
            ("", attributes(), "", "has no data"),
            ("", attributes(), "\"{}\"", "expected an object, not a text"),
            ("", attributes(), "{", "is not JSON: EOF while parsing an object at line 1 column 1"),
        ] {
            assert_eq!(http(content_type, &headers, body).expect_err("refused"), message);
        }
    }

    #[test]
    fn a_batch_reports_each_item_for_itself() {
        let mut other = envelope();
        other["id"] = json!("2");
        let mut old = envelope();
        old["specversion"] = json!("0.9");
        let body = json!([envelope(), old, "not an object", other]).to_string();
        let Ok(Incoming::Batch(items)) = http(BATCHED, &[], &body) else { panic!("expected a batch") };
        let ids: Vec<String> =
            items.into_iter().map(|item| item.map_or_else(|error| error.to_string(), |event| event.id)).collect();
        let expected = ["1234-1234-1234", "/specversion: \"0.9\" is not 1.0", "expected an object, not a text", "2"];
        assert_eq!(ids, expected);
        assert_eq!(http(BATCHED, &[], "[]"), Ok(Incoming::Batch(vec![])));
        let native = r#"[{"id":"1","source":"s","incident":"i","at":"2018-04-05T03:56:24Z"},{"id":"2"}]"#;
        let Ok(Incoming::Batch(items)) = http("application/json", &[], native) else { panic!("expected a batch") };
        assert!(items[0].is_ok());
        assert_eq!(items[1].as_ref().map_err(|error| error.pointer.as_str()), Err("/source"));
        let many = format!("[{}]", vec!["{}"; 1001].join(","));
        assert_eq!(http(BATCHED, &[], &many), Err("has 1001 events; the most is 1000".into()));
    }

    #[test]
    fn a_format_that_cannot_be_read_is_refused_and_not_taken_for_another() {
        for (content_type, body, message) in [
            (
                "application/cloudevents+avro",
                "{}",
                r#"content-type: "application/cloudevents+avro" is a format not read here; expected application/cloudevents+json"#,
            ),
            (
                "application/cloudevents-batch+xml",
                "[]",
                r#"content-type: "application/cloudevents-batch+xml" is a format not read here; expected application/cloudevents-batch+json"#,
            ),
            (
                "application/cloudevents+json; charset=utf-16",
                "{}",
                r#"content-type: charset "utf-16" is not read here; JSON is UTF-8"#,
            ),
            (BATCHED, "{}", "expected a list of events, not an object"),
            (STRUCTURED, "[]", "expected an object, not a list"),
        ] {
            assert_eq!(http(content_type, &[], body).expect_err("refused"), message);
        }
    }
}
