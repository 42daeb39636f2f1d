//! `/v1/watchers`: what others publish and we read, whether it can be read, and what it says.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::gate::Door;
use crate::watch::Watcher;

pub async fn list(door: web::Data<Door>) -> HttpResponse {
    let items: Vec<Value> = door.app.watchers.iter().map(|watcher| shown(watcher)).collect();
    HttpResponse::Ok().json(json!({ "items": items }))
}

fn shown(watcher: &Watcher) -> Value {
    let (settings, view) = (&watcher.settings, watcher.view());
    let health = match (view.asked, &view.error) {
        (None, _) => "new",
        (_, Some(_)) => "failing",
        (_, None) => "working",
    };
    let says: Vec<Value> = view
        .says
        .iter()
        .map(|(component, said)| json!({ "component": component, "text": said.text, "since": said.since }))
        .collect();
    json!({
        "name": settings.name, "kind": settings.reads.word(), "host": settings.host, "components": settings.speaks.ours(),
        "health": health, "error": view.error, "note": view.note, "failures": view.failures,
        "asked_at": view.asked, "read_at": view.read, "next_at": view.next,
        "looks": { "changed": view.changed, "unchanged": view.unchanged, "failed": view.failed }, "says": says,
    })
}
