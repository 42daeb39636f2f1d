//! A row of the journal as CloudEvents 1.0, structured. Their ids follow from the row alone: its sequence, its time (a store that was
//! restored from a backup counts on from there, and its rows are other ones), and the place in it. What an event says is in
//! docs/asyncapi.json. No address, no name of a person and no words of a platform are in one.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::known::{About, Known, broadcast};
use crate::clock::Time;
use crate::id::{DeliveryId, IncidentId, SubscriberId, UpdateId};
use crate::store::{JournalRow, OUTCOMES, OutcomeRow};

#[derive(Debug)]
pub struct Event {
    /// The incident, so that what happens in one stays in order.
    pub key: String,
    pub text: String,
}

/// `None`: what it is about is gone from the store.
pub fn of(row: &JournalRow, known: &Known) -> Option<Vec<Event>> {
    let events = match row.kind.as_str() {
        "update" => vec![update(row, known)?],
        // `released` says by whom what a row of the broadcast says anyway.
        "broadcast" | "receipt" | "replayed" | OUTCOMES => {
            let about = known.broadcasts.get(&broadcast(row)?)?;
            match row.kind.as_str() {
                OUTCOMES => outcomes(row, known, about),
                "broadcast" => vec![of_broadcast(row, known, about)],
                _ => vec![of_delivery(row, known, about)?],
            }
        }
        _ => Vec::new(),
    };
    Some(events)
}

/// What an event is about.
struct Of<'a> {
    incident: IncidentId,
    incident_key: &'a str,
}

impl About {
    fn of(&self) -> Of<'_> {
        Of { incident: self.incident, incident_key: &self.incident_key }
    }

    /// What is said of everything that belongs to a broadcast.
    fn data(&self, row: &JournalRow) -> Value {
        json!({ "incident": self.incident, "broadcast": row.body["broadcast"], "audience": self.audience, "mode": self.mode })
    }
}

fn update(row: &JournalRow, known: &Known) -> Option<Event> {
    let body = &row.body;
    let incident: IncidentId = body["incident"].as_str()?.parse().ok()?;
    let id = UpdateId { incident, number: body["number"].as_i64()? };
    let data = json!({
        "incident": incident, "update": id, "mode": body["mode"], "status": body["status"], "severity": body["severity"],
        "occasion": body["occasion"], "late": body["late"], "broadcasts": body["broadcasts"],
    });
    let of = Of { incident, incident_key: body["key"].as_str()? };
    Some(event(row, 0, row.at, "loudhailer.update", known, of, data))
}

fn of_broadcast(row: &JournalRow, known: &Known, about: &About) -> Event {
    let mut data = about.data(row);
    data["state"] = row.body["state"].clone();
    data["counts"] = row.body["counts"].clone();
    event(row, 0, row.at, "loudhailer.broadcast", known, about.of(), data)
}

/// A receipt, or a delivery that is opened again.
fn of_delivery(row: &JournalRow, known: &Known, about: &About) -> Option<Event> {
    let body = &row.body;
    let subscriber: SubscriberId = body["subscriber"].as_str()?.parse().ok()?;
    let place = u16::try_from(body["place"].as_u64()?).ok()?;
    let mut data = about.data(row);
    data["subscriber"] = json!(subscriber);
    data["delivery"] = json!(known.delivery(DeliveryId { broadcast: broadcast(row)?, subscriber, place }));
    data["recipient"] = body["recipient"].clone();
    let kind = match row.kind.as_str() {
        "receipt" => {
            data["status"] = body["status"].clone();
            data["reason"] = body["fault"].clone();
            let number = body["channel"].as_u64().and_then(|number| u16::try_from(number).ok());
            data["channel"] = json!(number.and_then(|number| known.channels.get(&number)));
            "loudhailer.receipt"
        }
        _ => "loudhailer.replay",
    };
    Some(event(row, 0, row.at, kind, known, about.of(), data))
}

fn outcomes(row: &JournalRow, known: &Known, about: &About) -> Vec<Event> {
    let all = row.body["outcomes"].as_array().into_iter().flatten().enumerate();
    // A row is of our own making: what does not read was written by a later version, and is for it to say.
    let read = all.filter_map(|(place, one)| Some((place, OutcomeRow::deserialize(one).ok()?)));
    read.map(|(place, one)| {
        let mut data = about.data(row);
        data["subscriber"] = json!(one.subscriber);
        if let (Some(broadcast), true) = (broadcast(row), one.place > 0) {
            let id = DeliveryId { broadcast, subscriber: one.subscriber, place: one.place };
            data["delivery"] = json!(known.delivery(id));
            data["tries"] = json!(one.tries);
        }
        data["channel"] = json!(known.channels.get(&one.channel));
        data["state"] = json!(one.state);
        data["reason"] = json!(one.reason);
        data["recipient"] = json!(one.recipient);
        event(row, place, one.at, "loudhailer.outcome", known, about.of(), data)
    })
    .collect()
}

fn event(row: &JournalRow, place: usize, at: Time, kind: &str, known: &Known, of: Of<'_>, data: Value) -> Event {
    let data: Map<String, Value> = match data {
        Value::Object(data) => data.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    };
    let key = of.incident.to_string();
    let event = json!({
        "specversion": "1.0",
        "id": format!("{}-{}-{place}", row.sequence, row.at.0),
        "source": known.source,
        "type": kind,
        "subject": of.incident_key,
        "time": at,
        "datacontenttype": "application/json",
        "partitionkey": key,
        "data": data,
    });
    Event { key, text: event.to_string() }
}
