//! `/v1/deliveries`: by broadcast or by subscriber, one with its attempts and its words, and dead letters sent again. Addresses
//! are shown masked.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{limit, query};
use super::gate::Door;
use super::problem::Problem;
use super::token::Caller;
use crate::audience::Subscriber;
use crate::channel::Follows;
use crate::dispatch::follow;
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::render::message::{Fields, Message};
use crate::store::{AttemptRow, DeliveryFilter, DeliveryRow, DeliveryState, Replayed, WordingKey};
use crate::telemetry::masked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    broadcast: Option<BroadcastId>,
    subscriber: Option<SubscriberId>,
    state: Option<DeliveryState>,
    after: Option<String>,
    limit: Option<usize>,
}

pub async fn list(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: Asked = query(&request)?;
    if asked.broadcast.is_none() && asked.subscriber.is_none() {
        return Err(Problem::bad("query", "name a broadcast or a subscriber"));
    }
    let after = asked.after.map(|text| DeliveryId::read(&text, &door.app.key)).transpose();
    let after = after.map_err(|error| Problem::bad("after", error.to_string()))?;
    let limit = limit(asked.limit)?;
    let filter = DeliveryFilter { broadcast: asked.broadcast, subscriber: asked.subscriber, state: asked.state, after };
    let found = door.app.store.deliveries(filter, limit).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.id.public(&door.app.key));
    let items: Vec<Value> = found.iter().map(|row| shown(&door, row)).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": next })))
}

pub async fn one(door: web::Data<Door>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (row, attempts) = find(&door, &id).await?;
    let mut document = shown(&door, &row);
    let follows = follow::of(&door.app.engine, &row).await?;
    document["follows"] = json!(follows.map(|follows| {
        let how = if matches!(follows, Follows::Reply(_)) { "reply" } else { "edit" };
        json!({ "how": how, "reference": follows.reference() })
    }));
    document["attempts"] = attempts.iter().map(|attempt| tried(&door, attempt)).collect();
    if let Some(subscriber) = door.app.store.subscriber(row.id.subscriber).await? {
        let address = subscriber.addresses.iter().find(|address| address.place == row.id.place);
        document["to"] =
            json!(address.map(|address| json!({ "kind": address.kind, "address": masked(&address.value) })));
        document["message"] = words(&door, &row, &subscriber).await?;
    }
    Ok(HttpResponse::Ok().json(document))
}

/// The words that went, or would go, to this recipient.
async fn words(door: &Door, row: &DeliveryRow, subscriber: &Subscriber) -> Result<Value, Problem> {
    let Some(lane) = door.app.engine.lanes.get(&row.channel) else { return Ok(Value::Null) };
    let key = crate::dispatch::wordings::wording_key(subscriber, lane);
    let bytes = door.app.store.wording(row.id.broadcast, &key).await?;
    let Some(message) = bytes.and_then(|bytes| Message::from_bytes(&bytes).ok()) else { return Ok(Value::Null) };
    let id = row.id.public(&door.app.key);
    let fields = Fields { delivery: &id, name: subscriber.name.as_deref(), unsubscribe_url: Some("…") };
    Ok(message_shown(&key, &message, &fields))
}

pub fn message_shown(key: &WordingKey, message: &Message, fields: &Fields<'_>) -> Value {
    let filled = message.fill(fields);
    json!({
        "format": key.format, "markup": key.markup, "locale": key.locale, "zone": key.zone,
        "said_in": filled.locale, "title": filled.title, "text": filled.text, "html": filled.html,
    })
}

pub async fn replay(door: web::Data<Door>, caller: Caller, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (row, _) = find(&door, &id).await?;
    match door.app.engine.replay(row.id, &caller.name).await? {
        Replayed::Open { .. } => {
            let (row, _) = find(&door, &id).await?;
            Ok(HttpResponse::Accepted().json(shown(&door, &row)))
        }
        Replayed::NotThere => Err(Problem::not_found(format!("there is no delivery {:?}", id.as_str()))),
        Replayed::Refused(why) => Err(Problem::conflict(why)),
    }
}

async fn find(door: &Door, text: &str) -> Result<(DeliveryRow, Vec<AttemptRow>), Problem> {
    let missing = || Problem::not_found(format!("there is no delivery {text:?}"));
    let id = DeliveryId::read(text, &door.app.key).map_err(|_| missing())?;
    door.app.store.delivery(id).await?.ok_or_else(missing)
}

fn shown(door: &Door, row: &DeliveryRow) -> Value {
    json!({
        "id": row.id.public(&door.app.key), "broadcast": row.id.broadcast, "subscriber": row.id.subscriber,
        "place": row.id.place, "state": row.state, "channel": door.app.channel_name(row.channel), "began": row.began,
        "ended": (row.state != DeliveryState::Open).then_some(row.ended), "tries": row.tries, "detail": row.detail,
        "reference": row.reference, "receipt": row.receipt,
        "due": (row.state == DeliveryState::Open).then_some(row.due),
    })
}

fn tried(door: &Door, attempt: &AttemptRow) -> Value {
    json!({
        "began": attempt.began, "channel": door.app.channel_name(attempt.channel), "outcome": attempt.outcome,
        "fault": attempt.fault, "detail": attempt.detail, "reference": attempt.reference,
    })
}
