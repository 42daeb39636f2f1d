//! `/v1/broadcasts/{id}/messages`: each message as its audience got it, by language, zone and format. Where nothing was rendered
//! yet (it is held, or just begun), the words are shown as they would be in the sender's language.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::broadcasts;
use super::deliveries::message_shown;
use super::gate::Door;
use super::problem::Problem;
use crate::render::message::{Fields, Message};
use crate::store::{Broadcast, WordingKey};

const FIELDS: Fields<'static> = Fields { delivery: "dlv_…", name: None, unsubscribe_url: Some("…") };

pub async fn list(door: web::Data<Door>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let broadcast = broadcasts::find(&door, &id).await?;
    let (items, preview) = of(&door, &broadcast).await?;
    Ok(HttpResponse::Ok().json(json!({ "items": items, "preview": preview, "audience": broadcast.audience })))
}

/// The messages, and whether they are only as they would be.
pub async fn of(door: &Door, broadcast: &Broadcast) -> Result<(Vec<Value>, bool), Problem> {
    let stored = door.app.store.wordings(broadcast.id).await?;
    let items: Vec<Value> = stored
        .iter()
        .filter_map(|(key, bytes)| Some(message_shown(key, &Message::from_bytes(bytes).ok()?, &FIELDS)))
        .collect();
    let preview = items.is_empty();
    Ok((if preview { previewed(door, broadcast).await } else { items }, preview))
}

async fn previewed(door: &Door, broadcast: &Broadcast) -> Vec<Value> {
    let names: BTreeSet<&String> = broadcast.step.routes.iter().flat_map(|route| &route.0).collect();
    let used = door.app.engine.lanes.values().map(|lane| &lane.settings);
    let keys: BTreeSet<WordingKey> = used
        .filter(|lane| names.contains(&lane.kind) || names.contains(&lane.name))
        .map(|lane| WordingKey {
            locale: door.app.config.sender.locale.clone(),
            zone: door.app.config.sender.zone.clone(),
            format: lane.format,
            markup: lane.markup,
        })
        .collect();
    let mut items = Vec::new();
    for key in keys {
        items.push(match door.app.engine.words.message(broadcast, &key).await {
            Ok(message) => message_shown(&key, &message, &FIELDS),
            Err(error) => json!({ "format": key.format, "markup": key.markup, "locale": key.locale, "error": error }),
        });
    }
    items
}
