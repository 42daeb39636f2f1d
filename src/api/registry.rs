//! What is registered in the configuration and the plans in force: `/v1/plans`, `/v1/components`, `/v1/regions`, `/v1/audiences`.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::gate::Door;
use super::problem::Problem;

pub async fn plans(door: web::Data<Door>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "items": door.app.plans.load().all }))
}

pub async fn components(door: web::Data<Door>) -> HttpResponse {
    let items = door.app.config.components.iter();
    let items: Vec<Value> =
        items.map(|(id, c)| json!({ "id": id, "title": c.title, "platforms": c.platforms })).collect();
    HttpResponse::Ok().json(json!({ "items": items }))
}

pub async fn regions(door: web::Data<Door>) -> HttpResponse {
    let items = door.app.config.regions.iter();
    let items: Vec<Value> = items.map(|(id, region)| json!({ "id": id, "title": region.title })).collect();
    HttpResponse::Ok().json(json!({ "items": items }))
}

pub async fn audiences(door: web::Data<Door>) -> Result<HttpResponse, Problem> {
    let members: BTreeMap<String, i64> = door.app.store.audiences().await?.into_iter().collect();
    let items = door.app.config.audiences.iter();
    let items: Vec<Value> = items
        .map(|(id, audience)| {
            json!({ "id": id, "clearance": audience.clearance, "members": members.get(id).copied().unwrap_or(0) })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items })))
}
