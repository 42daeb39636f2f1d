//! `/v1/subscribers`: who is told. POST makes one, or brings the one with the same `key` up to date; PATCH changes the fields that
//! it names; a change is obeyed by whatever is under way when it is answered.

mod address;
pub mod challenge;
pub mod confirm;
mod read;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

pub use address::{rotate, test, unsuppress, verify};

use super::body::{Body, limit, query};
use super::gate::Door;
use super::problem::Problem;
use crate::audience::Subscriber;
use crate::id::SubscriberId;
use crate::store::{SubscriberDraft, Upserted};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    audience: Option<String>,
    key: Option<String>,
    /// `kind:address`.
    address: Option<String>,
    after: Option<SubscriberId>,
    limit: Option<usize>,
}

pub async fn list(door: web::Data<Door>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let asked: Asked = query(&request)?;
    let limit = limit(asked.limit)?;
    let store = &door.app.store;
    let found = match (&asked.key, &asked.address) {
        (Some(key), _) => store.subscriber_by_key(key).await?.into_iter().collect(),
        (None, Some(address)) => {
            let (kind, value) = address.split_once(':').ok_or_else(|| {
                Problem::bad("address", "is of the form kind:address, such as email:alex@example.org")
            })?;
            store.subscriber_by_address(kind, value).await?.into_iter().collect()
        }
        (None, None) => store.subscribers(asked.after, asked.audience.as_deref(), limit).await?,
    };
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.id);
    let items: Vec<Value> = found.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items, "next": next })))
}

pub async fn one(door: web::Data<Door>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(shown(&find(&door, &id).await?)))
}

pub async fn create(door: web::Data<Door>, body: Body) -> Result<HttpResponse, Problem> {
    let wanted = body.json()?;
    let mut subscriber = read::blank(&door.app.config);
    read::apply(&mut subscriber, &wanted, &door)?;
    if subscriber.addresses.is_empty() && subscriber.key.is_none() {
        return Err(Problem::bad("", "a subscriber has a key, or at least one address"));
    }
    let (upserted, secrets) = write(&door, None, subscriber).await?;
    let (id, created) = match upserted {
        Upserted::Created(id) => (id, true),
        Upserted::Updated(id) | Upserted::Unchanged(id) => (id, false),
        other => return Err(refused(&other)),
    };
    let document = settle(&door, id, &secrets).await?;
    let mut response = if created { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.insert_header((LOCATION, format!("/v1/subscribers/{id}"))).json(document))
}

pub async fn change(door: web::Data<Door>, id: web::Path<String>, body: Body) -> Result<HttpResponse, Problem> {
    let wanted = body.json()?;
    loop {
        let mut subscriber = find(&door, &id).await?;
        read::apply(&mut subscriber, &wanted, &door)?;
        let id = subscriber.id;
        match write(&door, Some(id), subscriber).await? {
            (Upserted::Stale, _) => continue, // someone was faster: change what is there now
            (Upserted::Created(id) | Upserted::Updated(id) | Upserted::Unchanged(id), secrets) => {
                return Ok(HttpResponse::Ok().json(settle(&door, id, &secrets).await?));
            }
            (other, _) => return Err(refused(&other)),
        }
    }
}

pub async fn remove(door: web::Data<Door>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let subscriber = find(&door, &id).await?;
    door.app.store.remove_subscriber(subscriber.id, door.app.clock.calendar()).await?;
    door.app.engine.subscriber_changed(subscriber.id, i64::MAX).await;
    Ok(HttpResponse::NoContent().finish())
}

async fn find(door: &Door, text: &str) -> Result<Subscriber, Problem> {
    let missing = || Problem::not_found(format!("there is no subscriber {text:?}"));
    let id: SubscriberId = text.parse().map_err(|_| missing())?;
    door.app.store.subscriber(id).await?.ok_or_else(missing)
}

/// Secrets made just now, by address: shown once.
type Secrets = Vec<(String, String)>;

/// Writes a subscriber; a webhook without a secret gets one. When this returns, what is under way obeys.
async fn write(
    door: &Door,
    id: Option<SubscriberId>,
    mut subscriber: Subscriber,
) -> Result<(Upserted, Secrets), Problem> {
    let store = &door.app.store;
    let mut secrets = Secrets::new();
    for address in subscriber.addresses.iter_mut().filter(|a| a.kind == "url" && a.secrets.is_empty()) {
        let known = store.subscriber_by_address(&address.kind, &address.value).await?;
        let known = known.and_then(|known| known.addresses.into_iter().find(|a| a.value == address.value));
        match known.filter(|known| !known.secrets.is_empty()) {
            Some(known) => address.secrets = known.secrets,
            None => {
                let secret =
                    crate::channel::webhook::new_secret().map_err(|_| Problem::unavailable("no randomness", 1))?;
                secrets.push((address.value.clone(), secret.clone()));
                address.secrets = vec![secret];
            }
        }
    }
    let drafts = vec![SubscriberDraft { id, subscriber }];
    let upserted = store.upsert(drafts, door.app.clock.calendar()).await?.pop();
    let upserted = upserted.ok_or_else(|| Problem::unavailable("the store did not answer", 1))?;
    if let Upserted::Updated(id) = &upserted
        && let Some(now) = store.subscriber(*id).await?
    {
        door.app.engine.subscriber_changed(now.id, now.version).await;
    }
    Ok((upserted, secrets))
}

/// Asks the addresses that are new and unverified whether they want this, and shows the subscriber with secrets made now.
async fn settle(door: &web::Data<Door>, id: SubscriberId, secrets: &Secrets) -> Result<Value, Problem> {
    let asked = address::ask_all(door, id).await?;
    let subscriber = find(door, &id.to_string()).await?;
    let mut document = shown(&subscriber);
    for (at, address) in subscriber.addresses.iter().enumerate() {
        if let Some((_, secret)) = secrets.iter().find(|(value, _)| *value == address.value && address.kind == "url") {
            document["addresses"][at]["secret"] = json!(secret);
        }
        if let Some((_, answer)) = asked.iter().find(|(place, _)| *place == address.place) {
            document["addresses"][at]["verification"] = json!(answer);
        }
    }
    Ok(document)
}

fn refused(upserted: &Upserted) -> Problem {
    match upserted {
        Upserted::Taken { kind, place } => Problem {
            pointer: Some(format!("/addresses/{place}/address")),
            ..Problem::conflict(format!("this {kind} address belongs to another subscriber"))
        },
        _ => Problem::conflict("the subscriber was changed meanwhile; try again"),
    }
}

pub fn shown(subscriber: &Subscriber) -> Value {
    let addresses: Vec<Value> = subscriber
        .addresses
        .iter()
        .map(|a| {
            json!({ "place": a.place, "kind": a.kind, "address": a.value, "verified": a.verified,
                "suppressed": a.suppressed, "secrets": a.secrets.len() })
        })
        .collect();
    json!({
        "id": subscriber.id, "version": subscriber.version, "key": subscriber.key, "name": subscriber.name,
        "locale": subscriber.locale, "time_zone": subscriber.zone,
        "quiet_hours": subscriber.quiet.map(|quiet| quiet.to_string()), "min_severity": subscriber.severity,
        "exercises": subscriber.exercises, "withdrawn": subscriber.withdrawn, "audiences": subscriber.audiences,
        "components": subscriber.components, "regions": subscriber.regions, "addresses": addresses,
    })
}
