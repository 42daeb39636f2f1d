//! Broadcasts: the list, and one with how far it is, whom it did not reach, and its words.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{self, Refused};
use super::{messages, progress, words};
use crate::api::{Caller, Problem, broadcasts, gate::Door, messages as api_messages};
use crate::id::BroadcastId;
use crate::store::{Broadcast, BroadcastFilter, Counts, DeliveryFilter, DeliveryRow, DeliveryState};
use crate::telemetry::masked;

/// Broadcasts on one page of the list.
const PAGE: usize = 40;

/// Deliveries without success that are shown.
const LOST: usize = 20;

#[derive(Deserialize)]
pub struct After {
    pub after: Option<String>,
}

#[derive(Deserialize)]
pub struct Asked {
    message: Option<String>,
}

pub async fn list(door: web::Data<Door>, caller: Caller, after: web::Query<After>) -> Result<HttpResponse, Refused> {
    let before: Option<BroadcastId> = after.after.as_deref().and_then(|id| id.parse().ok());
    let found = door.app.store.broadcasts(BroadcastFilter { before, ..Default::default() }, PAGE).await?;
    let next = found.last().filter(|_| found.len() == PAGE).map(|(last, _)| last.id);
    let mut items = Vec::new();
    for (broadcast, counts) in &found {
        items.push(row(&door, broadcast, counts).await?);
    }
    Ok(page::console(
        &caller,
        "broadcasts",
        "broadcasts",
        json!({ "items": items, "next": next, "earlier": before.is_some() }),
    ))
}

/// A broadcast as lists show it. Only what is live needs more than its counts.
pub async fn row(door: &Door, broadcast: &Broadcast, counts: &Counts) -> Result<Value, Refused> {
    let mut document = match broadcast.state.live() {
        true => broadcasts::whole(door, broadcast).await?,
        false => broadcasts::shown(broadcast, counts),
    };
    progress::add(&mut document);
    document["title"] = json!(title(door, broadcast));
    document["exercise"] = json!(document["mode"] == "exercise");
    Ok(document)
}

fn title(door: &Door, broadcast: &Broadcast) -> String {
    let title = broadcast.facts.title.as_ref().map(|title| words::text(title, &door.app.config.sender.locale));
    title.unwrap_or_else(|| broadcast.incident_key.clone())
}

pub async fn one(
    door: web::Data<Door>,
    caller: Caller,
    id: web::Path<String>,
    asked: web::Query<Asked>,
) -> Result<HttpResponse, Refused> {
    let broadcast = broadcasts::find(&door, &id).await?;
    let mut document = broadcasts::whole(&door, &broadcast).await?;
    progress::add(&mut document);
    document["title"] = json!(title(&door, &broadcast));
    document["exercise"] = json!(document["mode"] == "exercise");
    document["ways"] = broadcast.step.routes.iter().map(|route| json!(route.0.join(" + "))).collect();
    let (items, preview) = api_messages::of(&door, &broadcast).await?;
    let languages = languages(&door);
    document["preview"] = json!(preview);
    if let Some(chosen) = messages::chosen(&items, asked.message.as_deref(), &door.app.config.sender.locale) {
        document["choice"] = messages::choice(&items, chosen, &languages);
        document["message"] = messages::shown(chosen, &languages);
    }
    document["lost"] = json!(lost(&door, &broadcast).await?);
    Ok(page::console(&caller, "broadcast", "broadcasts", document))
}

/// The HTML of a mail, for a frame in which nothing can run.
pub async fn mail(
    door: web::Data<Door>,
    id: web::Path<String>,
    asked: web::Query<Asked>,
) -> Result<HttpResponse, Refused> {
    let broadcast = broadcasts::find(&door, &id).await?;
    let (items, _) = api_messages::of(&door, &broadcast).await?;
    let chosen = messages::chosen(&items, asked.message.as_deref(), &door.app.config.sender.locale);
    let html = chosen.and_then(|item| item["html"].as_str());
    let html = html.ok_or_else(|| Problem::not_found("This message has no HTML."))?;
    Ok(page::mail(html.into()))
}

fn languages(door: &Door) -> BTreeMap<String, String> {
    let mut names = door.app.templates.load().locale("en").languages.clone();
    names.entry("en".into()).or_insert_with(|| "English".into());
    names
}

/// The first deliveries that were refused or whose end is not known. Nobody's address is shown whole.
async fn lost(door: &Door, broadcast: &Broadcast) -> Result<Vec<Value>, Refused> {
    let mut shown = Vec::new();
    for state in [DeliveryState::Rejected, DeliveryState::Unknown] {
        let filter = DeliveryFilter { broadcast: Some(broadcast.id), state: Some(state), ..Default::default() };
        for delivery in door.app.store.deliveries(filter, LOST).await? {
            shown.push(lost_one(door, &delivery).await?);
        }
    }
    Ok(shown)
}

async fn lost_one(door: &Door, delivery: &DeliveryRow) -> Result<Value, Refused> {
    let subscriber = door.app.store.subscriber(delivery.id.subscriber).await?;
    let address = subscriber
        .as_ref()
        .and_then(|subscriber| subscriber.addresses.iter().find(|address| address.place == delivery.id.place));
    let (kind, to) = address.map_or(("", String::new()), |address| (address.kind.as_str(), masked(&address.value)));
    // A platform may repeat the address in its answer.
    let detail = delivery.detail.as_ref().zip(address).map(|(detail, address)| detail.replace(&address.value, &to));
    Ok(json!({
        "state": delivery.state, "kind": kind, "to": to, "channel": door.app.channel_name(delivery.channel),
        "tries": delivery.tries, "detail": detail, "ended": delivery.ended,
    }))
}
