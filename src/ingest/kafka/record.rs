//! One Kafka record. Enters: key, headers, value. Leaves: the Event in it, by the CloudEvents Kafka binding in both modes (1.0.2)
//! or as native JSON, or the reason why there is none.

use std::hash::{DefaultHasher, Hash, Hasher};

use rdkafka::Message;
use rdkafka::message::Headers;

use crate::clock::Time;
use crate::ingest::cloudevents::{Mark, mark};
use crate::ingest::envelope::{binary, structured};
use crate::ingest::event::{self, BadEvent, Event, Principal};
use crate::ingest::json;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// `None`: a tombstone.
    pub value: Option<Vec<u8>>,
    pub at: Option<Time>,
}

impl Record {
    pub fn of(message: &impl Message) -> Record {
        let headers = message.headers().map(|headers| headers.iter().map(|h| (h.key.into(), h.value.map(Into::into))));
        Record {
            topic: message.topic().into(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Into::into),
            headers: headers.map(Iterator::collect).unwrap_or_default(),
            value: message.payload().map(Into::into),
            at: message.timestamp().to_millis().map(Time),
        }
    }

    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        self.value.as_ref().map_or(0, Vec::len) + self.key.as_ref().map_or(0, Vec::len) + headers.sum::<usize>()
    }

    pub fn event(&self) -> Result<Event, BadEvent> {
        let by = Principal::Machine(format!("kafka:{}", self.topic));
        let content_type = self.content_type()?;
        match mark(content_type, "content-type")? {
            Mark::Batch => Err(BadEvent::new("content-type", "a Kafka record holds one event, not a batch")),
            Mark::Structured => structured(json::read(self.value()?)?)?.event(self.at, &by),
            Mark::None => match binary(self.attributes(), content_type, self.value.as_deref(), "ce_")? {
                Some(event) => event.event(self.at, &by),
                None => event::parse_value_at(json::read(self.value()?)?, &by, self.at),
            },
        }
    }

    fn value(&self) -> Result<&[u8], BadEvent> {
        self.value.as_deref().ok_or_else(|| BadEvent::new("", "is a tombstone: a record without a value"))
    }

    fn content_type(&self) -> Result<Option<&str>, BadEvent> {
        let mut found = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let value = found.next().and_then(|(_, value)| value.as_deref());
        if found.next().is_some() {
            return Err(BadEvent::new("content-type", "is given twice"));
        }
        value.map(|value| utf8(value, "content-type")).transpose()
    }

    fn attributes(&self) -> impl Iterator<Item = Result<(String, String), BadEvent>> {
        self.headers.iter().filter_map(|(name, value)| {
            let (attribute, value) = (name.strip_prefix("ce_")?, value.as_deref()?);
            Some(utf8(value, name).map(|value| (attribute.to_string(), value.to_string())))
        })
    }
}

fn utf8<'a>(value: &'a [u8], place: &str) -> Result<&'a str, BadEvent> {
    std::str::from_utf8(value).map_err(|_| BadEvent::new(place, "is not UTF-8"))
}

/// Which of `lanes` a record waits in: events of one incident share one, so that they stay in order.
pub(super) fn lane(record: &Record, event: &Result<Event, BadEvent>, lanes: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    match event {
        Ok(event) => event.incident.hash(&mut hasher),
        Err(_) => (record.partition, record.offset).hash(&mut hasher),
    }
    (hasher.finish() % lanes as u64) as usize
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(headers: &[(&str, &str)], value: Option<&str>) -> Record {
        Record {
            topic: "incidents".into(),
            partition: 0,
            offset: 7,
            key: None,
            headers: headers.iter().map(|(name, value)| (name.to_string(), Some(value.as_bytes().to_vec()))).collect(),
            value: value.map(|value| value.as_bytes().to_vec()),
            at: Some(Time(1_633_362_660_000)),
        }
    }

    const DATA: &str = r#"{"incident":"i","status":"investigating"}"#;
    const ATTRIBUTES: [(&str, &str); 6] = [
        ("ce_specversion", "1.0"),
        ("ce_id", "1234-1234-1234"),
        ("ce_type", "loudhailer.incident"),
        ("ce_source", "/mycontext/subcontext"),
        ("ce_time", "2018-04-05T03:56:24Z"),
        ("content-type", "application/json"),
    ];

    fn enveloped() -> String {
        json!({ "specversion": "1.0", "type": "loudhailer.incident", "time": "2018-04-05T03:56:24Z",
            "id": "1234-1234-1234", "source": "/mycontext/subcontext", "datacontenttype": "application/json",
            "data": serde_json::from_str::<serde_json::Value>(DATA).expect("json") })
        .to_string()
    }

    #[test]
    fn both_modes_of_the_binding_bring_the_same_event() {
        let binary = record(&ATTRIBUTES, Some(DATA)).event().expect("binary");
        assert_eq!((binary.id.as_str(), binary.source.as_str()), ("1234-1234-1234", "/mycontext/subcontext"));
        assert_eq!(binary.at.to_string(), "2018-04-05T03:56:24Z");
        assert_eq!(binary.by, Principal::Machine("kafka:incidents".into()));
        for media in ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8"] {
            let headers = [("Content-Type", media), ("ce_id", "other")];
            assert_eq!(record(&headers, Some(&enveloped())).event(), Ok(binary.clone()), "{media}");
        }
    }

    #[test]
    fn a_native_event_without_a_time_has_that_of_its_record() {
        let native = json!({ "id": "1", "source": "s", "incident": "i" }).to_string();
        let event = record(&[("traceparent", "x")], Some(&native)).event().expect("native");
        assert_eq!(event.at.to_string(), "2021-10-04T15:51:00Z");
    }

    #[test]
    fn header_values_are_taken_as_they_are() {
        let headers = [&ATTRIBUTES[..], &[("ce_subject", "100% \"€\"")]].concat();
        assert_eq!(record(&headers, Some("{}")).event().expect("event").incident, "100% \"€\"");
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_reason() {
        let with = |name, value| [&ATTRIBUTES[..], &[(name, value)]].concat();
        let batch = [("content-type", "application/cloudevents-batch+json")];
        for (headers, value, reason) in [
            (vec![], None, "is a tombstone: a record without a value"),
            (ATTRIBUTES.to_vec(), None, "has no data"),
            (vec![], Some(""), "is not JSON: EOF while parsing a value at line 1 column 0"),
            (vec![], Some("[]"), "expected an object, not a list"),
            (batch.to_vec(), Some("[]"), "content-type: a Kafka record holds one event, not a batch"),
            (with("ce_id", "2"), Some(DATA), "ce_id: is given twice"),
            (with("content-type", "text/plain"), Some(DATA), "content-type: is given twice"),
            (ATTRIBUTES[1..].to_vec(), Some(DATA), "ce_specversion: is required"),
        ] {
            assert_eq!(record(&headers, value).event().expect_err("refused").to_string(), reason);
        }
        let mut broken = record(&ATTRIBUTES, Some(DATA));
        broken.headers.push(("ce_subject".into(), Some(vec![0xc0, 0xa0])));
        assert_eq!(broken.event().expect_err("refused").to_string(), "ce_subject: is not UTF-8");
    }

    #[test]
    fn events_of_one_incident_share_a_lane() {
        let lanes: Vec<usize> = (0..200)
            .map(|n| {
                let native =
                    json!({ "id": n.to_string(), "source": "s", "incident": (n % 100).to_string() }).to_string();
                let record = record(&[], Some(&native));
                lane(&record, &record.event(), 64)
            })
            .collect();
        assert_eq!(lanes[..100], lanes[100..]);
        let distinct: std::collections::BTreeSet<_> = lanes.iter().collect();
        assert!(distinct.len() > 32, "{} lanes of 64 are used", distinct.len());
    }
}
