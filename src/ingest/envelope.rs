//! The envelope of a CloudEvent 1.0. Enters: attributes and data, as the JSON format or a transport's headers carry them.
//! Leaves: a CloudEvent that the specification allows, or, of our own type, the Event in its data.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::event::{self, BadEvent, Envelope, Event, Principal, at_key};
use super::fields::{self, quoted};
use super::json;
use crate::clock::Time;

/// A CloudEvent whose attributes are those the specification allows.
#[derive(Debug)]
pub(super) struct CloudEvent {
    attributes: BTreeMap<String, String>,
    /// What stands before an attribute's name where it came in: `/`, `ce-`, `ce_`.
    prefix: &'static str,
    time: Option<Time>,
    data: Data,
}

#[derive(Debug, PartialEq)]
enum Data {
    None,
    Json(Value),
    Bytes(Vec<u8>),
}

/// The JSON format: an object whose members are the attributes, `data` and `data_base64`.
pub(super) fn structured(value: Value) -> Result<CloudEvent, BadEvent> {
    let Value::Object(members) = value else {
        return Err(BadEvent::new("", format!("expected an object, not {}", fields::name_of(&value))));
    };
    let (mut attributes, mut data) = (BTreeMap::new(), Data::None);
    for (name, value) in members {
        let place = at_key("", &name);
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("data" | "data_base64", _) if data != Data::None => {
                return Err(BadEvent::new("", "has both data and data_base64"));
            }
            ("data", value) => data = Data::Json(value),
            ("data_base64", Value::String(text)) => {
                let bytes = STANDARD.decode(text).map_err(|_| BadEvent::new(place, "is not base64"))?;
                data = Data::Bytes(bytes);
            }
            ("data_base64", other) => return Err(fields::expected("a text", &other, &place)),
            (_, Value::String(text)) => drop(attributes.insert(name, text)),
            // Only extensions have other types, and an integer is one of 32 bits.
            (known, other) if CORE.contains(&known) => return Err(fields::expected("a text", &other, &place)),
            (_, Value::Bool(flag)) => drop(attributes.insert(name, flag.to_string())),
            (_, Value::Number(number)) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                attributes.insert(name, number.to_string());
            }
            (_, other) => return Err(fields::expected("a text, a flag or a whole number", &other, &place)),
        }
    }
    CloudEvent::checked(attributes, data, "/")
}

/// Attributes in headers, data in the body. `None`: no attribute is there, so this is no CloudEvent.
pub(super) fn binary(
    headers: impl Iterator<Item = Result<(String, String), BadEvent>>,
    content_type: Option<&str>,
    body: Option<&[u8]>,
    prefix: &'static str,
) -> Result<Option<CloudEvent>, BadEvent> {
    let mut attributes = BTreeMap::new();
    for header in headers {
        let (name, value) = header?;
        let place = format!("{prefix}{name}");
        if name == "datacontenttype" {
            return Err(BadEvent::new(place, "is given by content-type and by no other header"));
        }
        if attributes.insert(name, value).is_some() {
            return Err(BadEvent::new(place, "is given twice"));
        }
    }
    if attributes.is_empty() {
        return Ok(None);
    }
    if let Some(media) = content_type {
        attributes.insert("datacontenttype".into(), media.trim().into());
    }
    let data = body.filter(|body| !body.is_empty()).map_or(Data::None, |body| Data::Bytes(body.into()));
    CloudEvent::checked(attributes, data, prefix).map(Some)
}

const REQUIRED: &[&str] = &["specversion", "id", "source", "type"];
const CORE: &[&str] = &["specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time"];

impl CloudEvent {
    fn checked(attributes: BTreeMap<String, String>, data: Data, prefix: &'static str) -> Result<CloudEvent, BadEvent> {
        let bad = |name: &str, message: String| Err(BadEvent::new(format!("{prefix}{name}"), message));
        for (name, value) in &attributes {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
                return bad(name, "is no attribute name; those are of a-z and 0-9".into());
            }
            if value.is_empty() && CORE.contains(&name.as_str()) {
                return bad(name, "is empty".into());
            }
            if value.contains(char::is_control) {
                return bad(name, "has a control character".into());
            }
        }
        if let Some(name) = REQUIRED.iter().find(|name| !attributes.contains_key(**name)) {
            return bad(name, "is required".into());
        }
        if attributes["specversion"] != "1.0" {
            return bad("specversion", format!("{} is not 1.0", quoted(&attributes["specversion"])));
        }
        let time = match attributes.get("time") {
            Some(text) => Some(fields::time(&Value::from(text.as_str()), &format!("{prefix}time"))?),
            None => None,
        };
        if let Some(media) = attributes.get("datacontenttype")
            && !essence(media).split_once('/').is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty())
        {
            return bad("datacontenttype", format!("{} is no media type", quoted(media)));
        }
        Ok(CloudEvent { attributes, prefix, time, data })
    }

    /// The event in the data. `at`: when it came in, used where neither the data nor the envelope has a time.
    pub(super) fn event(mut self, at: Option<Time>, by: &Principal) -> Result<Event, BadEvent> {
        let prefix = self.prefix;
        let bad = |name: &str, message: String| Err(BadEvent::new(format!("{prefix}{name}"), message));
        let mut key = |name: &str| {
            let value = Value::String(self.attributes.remove(name).unwrap_or_default());
            fields::key(&value, &format!("{prefix}{name}"))
        };
        let (kind, id, source) = (key("type")?, key("id")?, key("source")?);
        if kind != event::TYPE {
            return bad("type", format!("{} is not taken here; expected {:?}", quoted(&kind), event::TYPE));
        }
        if let Some(media) = self.attributes.get("datacontenttype").filter(|media| !is_json(media)) {
            return bad("datacontenttype", format!("{} is not read here; expected application/json", quoted(media)));
        }
        let sequence = match self.attributes.get("sequence").map(|text| text.parse()) {
            Some(Ok(number)) => Some(number),
            Some(Err(_)) => return bad("sequence", "expected a whole number".into()),
            None => None,
        };
        let place = if prefix == "/" { "/data" } else { "" };
        let data = match self.data {
            Data::None => return Err(BadEvent::new(place, "has no data")),
            Data::Json(value) => value,
            Data::Bytes(bytes) => json::read(&bytes).map_err(|error| BadEvent::new(place, error.message))?,
        };
        let Value::Object(data) = data else {
            return Err(fields::expected("an object", &data, place));
        };
        if let Some(name) = ["id", "source"].into_iter().find(|name| data.contains_key(*name)) {
            return Err(BadEvent::new(
                at_key(place, name),
                format!("{name} is an attribute of a CloudEvent, not of its data"),
            ));
        }
        let subject = self.attributes.remove("subject");
        event::parse_data(data, Envelope { source, id, subject, at: self.time.or(at), sequence, place, prefix }, by)
    }
}

fn essence(media: &str) -> String {
    media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(media: &str) -> bool {
    let subtype = essence(media).split_once('/').map(|(_, subtype)| subtype.to_string()).unwrap_or_default();
    subtype == "json" || subtype.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minimal() -> Value {
        json!({ "specversion": "1.0", "id": "minimal", "type": "io.cloudevents.test", "source": "https://cloudevents.io" })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut event = minimal();
        event[name] = value;
        event
    }

    fn without(name: &str) -> Value {
        let mut event = minimal();
        event.as_object_mut().expect("object").remove(name);
        event
    }

    // The tables are those of the project's own conformance suite, format/json.
    #[test]
    fn events_that_the_specification_allows_are_taken() {
        let nulls = ["datacontenttype", "dataschema", "subject", "time", "data", "data_base64", "ext"];
        let nulled = nulls.into_iter().fold(minimal(), |mut event, name| {
            event[name] = Value::Null;
            event
        });
        assert_eq!(structured(nulled).expect("taken").attributes.len(), 4);
        for time in [
            "2018-04-05T17:31:00Z",
            "2018-04-05T17:31:00.000000000Z",
            "2018-04-05T18:31:00+01:00",
            "2018-04-05T16:31:00-01:00",
            "2018-04-05t17:31:00.0000000000000z",
        ] {
            let event = structured(with("time", json!(time))).expect(time);
            assert_eq!(event.time.map(|time| time.to_string()).as_deref(), Some("2018-04-05T17:31:00Z"), "{time}");
        }
        let extensions = json!({ "extinteger": 10, "extboolean": true, "extstring": "text", "extbinary": "TWE=" });
        let mut event = minimal();
        event.as_object_mut().expect("object").extend(extensions.as_object().expect("object").clone());
        let event = structured(event).expect("taken");
        assert_eq!((event.attributes["extinteger"].as_str(), event.attributes["extboolean"].as_str()), ("10", "true"));
        assert_eq!(structured(with("source", json!("#fragment"))).expect("taken").attributes["source"], "#fragment");
        assert_eq!(structured(with("data", json!("text"))).expect("taken").data, Data::Json(json!("text")));
        assert_eq!(structured(with("data_base64", json!("TWE="))).expect("taken").data, Data::Bytes(b"Ma".into()));
    }

    #[test]
    fn events_that_the_specification_forbids_are_refused_where_they_are_wrong() {
        let both = {
            let mut event = with("data", json!("text"));
            event["data_base64"] = json!("eyAieHl6IjogMTIzIH0=");
            event
        };
        let table = [
            (without("specversion"), "/specversion"),
            (without("id"), "/id"),
            (without("type"), "/type"),
            (without("source"), "/source"),
            (with("id", Value::Null), "/id"),
            (with("time", json!("lunchtime")), "/time"),
            (with("time", json!("2018-04-05T18:31Z")), "/time"),
            (with("time", json!("2018-04-05T18:31:00X")), "/time"),
            (with("time", json!("2018-04-05T18:31:00")), "/time"),
            (with("time", json!("2018-04-05 18:31:00Z")), "/time"),
            (with("time", json!("2018-04-05T18:31:00+25:00")), "/time"),
            (with("time", json!("2018-04-05T18:31:00+xx:00")), "/time"),
            (with("time", json!("2018-04-05T18:31:00+05")), "/time"),
            (with("id", json!("")), "/id"),
            (with("type", json!("")), "/type"),
            (with("source", json!("")), "/source"),
            (with("specversion", json!("")), "/specversion"),
            (with("specversion", json!("0.9")), "/specversion"),
            (with("datacontenttype", json!("xyz")), "/datacontenttype"),
            (with("datacontenttype", json!("")), "/datacontenttype"),
            (with("dataschema", json!("")), "/dataschema"),
            (with("subject", json!("")), "/subject"),
            (with("id", json!(25)), "/id"),
            (with("id", json!({ "xyz": "abc" })), "/id"),
            (with("MyExtension", json!("bad")), "/MyExtension"),
            (with("my.extension", json!("bad")), "/my.extension"),
            (with("ext", json!(1.5)), "/ext"),
            (with("ext", json!(1i64 << 31)), "/ext"),
            (with("ext", json!([])), "/ext"),
            (with("ext", json!("a\u{1}")), "/ext"),
            (with("data_base64", json!("*")), "/data_base64"),
            (with("data_base64", json!(1)), "/data_base64"),
            (both, ""),
            (json!("not an object"), ""),
        ];
        for (event, place) in table {
            assert_eq!(structured(event.clone()).expect_err("refused").pointer, place, "{event}");
        }
    }

    #[test]
    fn data_counts_as_an_event_only_under_our_type_as_json_and_as_an_object() {
        let by = Principal::Machine("m".into());
        let ours = |name: &str, value: Value| {
            let mut event = with("type", json!(event::TYPE));
            event["data"] = json!({ "incident": "i", "at": "2021-10-04T15:51:00Z" });
            event[name] = value;
            structured(event).expect("allowed").event(None, &by).map_err(|error| error.to_string())
        };
        assert!(ours("datacontenttype", json!("application/vnd.x+json; charset=utf-8")).is_ok());
        for (name, value, message) in [
            (
                "type",
                json!("com.example.someevent"),
                r#"/type: "com.example.someevent" is not taken here; expected "loudhailer.incident""#,
            ),
            (
                "datacontenttype",
                json!("text/plain"),
                r#"/datacontenttype: "text/plain" is not read here; expected application/json"#,
            ),
            ("data", json!("{\"incident\":\"i\"}"), "/data: expected an object, not a text"),
            ("data", Value::Null, "/data: has no data"),
            ("data", json!({ "incident": "i" }), "/data/at: is required"),
            ("data", json!({ "incident": "i", "sumary": "" }), "/data/at: is required"),
            (
                "data",
                json!({ "id": "1", "incident": "i", "at": "2021-10-04T15:51:00Z" }),
                "/data/id: id is an attribute of a CloudEvent, not of its data",
            ),
            ("sequence", json!("first"), "/sequence: expected a whole number"),
        ] {
            assert_eq!(ours(name, value).expect_err("refused"), message);
        }
    }

    #[test]
    fn the_envelope_fills_what_the_data_leaves_out_and_no_more() {
        let by = Principal::Machine("m".into());
        let read = |data: Value| {
            let mut event = with("type", json!(event::TYPE));
            event["time"] = json!("2021-10-04T16:00:00Z");
            event["sequence"] = json!("7");
            event["subject"] = json!("outer");
            event["data_base64"] = json!(STANDARD.encode(data.to_string()));
            structured(event).expect("allowed").event(None, &by).expect("event")
        };
        let bare = read(json!({ "status": "resolved" }));
        assert_eq!((bare.incident.as_str(), bare.sequence), ("outer", Some(7)));
        assert_eq!(bare.at.to_string(), "2021-10-04T16:00:00Z");
        let full =
            read(json!({ "status": "resolved", "incident": "inner", "sequence": 2, "at": "2021-10-04T15:00:00Z" }));
        assert_eq!((full.incident.as_str(), full.sequence), ("inner", Some(2)));
        assert_eq!(full.at.to_string(), "2021-10-04T15:00:00Z");
    }
}
