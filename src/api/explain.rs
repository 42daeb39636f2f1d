//! Why somebody was told, or not: of a delivery, or of a person in a broadcast, whether there is a delivery or none.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::body::query;
use super::broadcasts;
use super::gate::Door;
use super::problem::Problem;
use crate::explain::{Channels, explain};
use crate::id::{BroadcastId, DeliveryId, SubscriberId};

pub async fn delivery(door: web::Data<Door>, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let missing = || Problem::not_found(format!("there is no delivery {:?}", id.as_str()));
    let of = DeliveryId::read(&id, &door.app.key).map_err(|_| missing())?;
    answer(&door, of.broadcast, of.subscriber).await?.ok_or_else(missing)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    subscriber: SubscriberId,
}

pub async fn recipient(
    door: web::Data<Door>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let Asked { subscriber } = query(&request)?;
    let broadcast = broadcasts::find(&door, &id).await?.id;
    let missing = || Problem::not_found(format!("there is no subscriber {subscriber}"));
    answer(&door, broadcast, subscriber).await?.ok_or_else(missing)
}

async fn answer(door: &Door, broadcast: BroadcastId, who: SubscriberId) -> Result<Option<HttpResponse>, Problem> {
    let (store, engine) = (&*door.app.store, &door.app.engine);
    let channels = Channels::new(store, engine.lanes.values().map(|lane| &lane.settings)).await?;
    let explained = explain(store, &channels, &door.app.key, broadcast, who).await?;
    Ok(explained.map(|explained| HttpResponse::Ok().json(explained)))
}
