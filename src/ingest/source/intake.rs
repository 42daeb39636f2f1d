//! What becomes of a foreign document: it proves its sender, is read into events, and each is taken in as if it had come natively.
//! A vendor repeats what it is not sure of, and sends what says nothing: neither makes an event twice, and the end of what never
//! began makes none.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use serde_json::{Map, Value};

use super::expression::short;
use super::{Source, native};
use crate::app::App;
use crate::clock::Time;
use crate::incident::{Incident, Status};
use crate::ingest::event::{BadEvent, Event, Principal, parse_value_at};
use crate::ingest::{IngestError, Ingested};
use crate::pipeline;

/// What one event of a document came to.
#[derive(Debug)]
pub enum Taken {
    Ingested(Ingested),
    /// The last thing that this source said of the incident, once more.
    Repeated(String),
    /// Nothing is open that it could speak of.
    OpensNothing(String),
}

impl Source {
    /// Whether the vendor signs, and we know with what.
    pub fn is_signed(&self) -> bool {
        self.secret.is_some() || !self.topics.is_empty()
    }

    /// Whether the vendor's signature holds.
    pub fn proves(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        match (&self.format.verify, &self.secret) {
            (Some(proof), Some(secret)) => proof.holds(secret, headers, body),
            _ => false,
        }
    }

    /// The events of a document, in their native form.
    pub fn read(
        &self,
        document: &Value,
        headers: &BTreeMap<String, String>,
    ) -> Result<Vec<Map<String, Value>>, BadEvent> {
        let events = self.format.read(document, headers, &self.over);
        let events = events.map_err(|wrong| BadEvent::new(wrong.place, wrong.message))?;
        Ok(events.into_iter().map(native).collect())
    }

    /// Takes one of them in.
    pub async fn take(&self, app: &App, mut said: Map<String, Value>) -> Result<Taken, IngestError> {
        let now = app.clock.calendar();
        let name = format!("sources/{}", self.name);
        let key = said.get("incident").and_then(Value::as_str).unwrap_or_default().to_string();
        let digest = short(&serde_json::to_vec(&said).unwrap_or_default());
        let own = said.get("id").and_then(Value::as_str).map(str::to_string);
        let known = app.store.known(&name, own.as_ref().unwrap_or(&digest), &key, None).await?;
        if own.is_some() && known.seen.is_some() {
            return Ok(Taken::Repeated(key));
        }
        match &known.incident {
            None if !opens(&said) => return Ok(Taken::OpensNothing(key)),
            None => {}
            Some(incident) => {
                keep_the_earliest_start(&mut said, incident);
                // What others have said since does not make a repetition news.
                let latest = app.store.latest_event(&name, incident.id).await?;
                let is_latest = |id: String| id == digest || id.starts_with(&format!("{digest}."));
                if own.is_none() && latest.is_some_and(is_latest) {
                    return Ok(Taken::Repeated(key));
                }
            }
        }
        let id = match (own, known.seen, known.incident) {
            (Some(own), ..) => own,
            // The same words as once before, and others of this source since: it is new.
            (None, Some(_), Some(incident)) => format!("{digest}.{}", incident.last_number),
            (None, ..) => digest,
        };
        said.insert("id".into(), id.into());
        let event = event(&name, said, now)?;
        pipeline::ingest(app, event, None).await.map(Taken::Ingested)
    }
}

/// The event of a native form. A time that the vendor's clock has and ours has not yet is now.
pub fn event(source: &str, mut said: Map<String, Value>, now: Time) -> Result<Event, BadEvent> {
    said.insert("source".into(), source.into());
    said.entry("id").or_insert_with(|| "example".into());
    let ahead = said.get("at").and_then(Value::as_str).and_then(|at| Time::parse(at).ok()).is_some_and(|at| at > now);
    if ahead {
        said.remove("at");
    }
    parse_value_at(Value::Object(said), &Principal::Machine(source.into()), Some(now))
}

fn opens(said: &Map<String, Value>) -> bool {
    let status: Option<Status> = said.get("status").and_then(Value::as_str).and_then(|word| word.parse().ok());
    said.contains_key("title") && status.is_some_and(|status| !status.ended())
}

/// The earliest of several alerts may end first, and the group then begins later than it was said to.
fn keep_the_earliest_start(said: &mut Map<String, Value>, incident: &Incident) {
    let started = said.get("started_at").and_then(Value::as_str).and_then(|at| Time::parse(at).ok());
    let before = incident.state.facts().started_at.filter(|_| incident.closed.is_none());
    if let (Some(started), Some(before)) = (started, before)
        && before <= started
    {
        said.remove("started_at");
    }
}
