//! `POST /v1/preview`: what an event would do with a plan, without doing it. Body: `{"event": {…}, "plan": "…"}`.

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value};

use super::body::Body;
use super::gate::Door;
use super::problem::Problem;
use super::token::Caller;
use crate::ingest::event::{Event, parse_value};
use crate::preview;

/// What a person wants said, by which plan.
pub struct Wish {
    pub event: Event,
    pub plan: Option<String>,
    pub to_me: Option<String>,
}

impl Wish {
    pub fn read(door: &Door, caller: &Caller, body: &Body, may_have: &[&str]) -> Result<Wish, Problem> {
        let Value::Object(mut wish) = body.json()? else { return Err(Problem::bad("", "expected an object")) };
        let event = wish.remove("event").ok_or_else(|| Problem::bad("/event", "is required"))?;
        let event = parse_value(event, &caller.principal())
            .map_err(|bad| Problem::bad(format!("/event{}", bad.pointer), bad.message))?;
        let plan = text(&mut wish, "plan")?;
        let to_me = if may_have.contains(&"to_me") { text(&mut wish, "to_me")? } else { None };
        if let Some(unknown) = wish.keys().next() {
            return Err(Problem::bad(format!("/{unknown}"), "unknown key; there are event, plan"));
        }
        if let Some(name) = &plan {
            known_plan(door, name)?;
        }
        Ok(Wish { event, plan, to_me })
    }
}

fn text(wish: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match wish.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::bad(format!("/{name}"), "expected a text")),
    }
}

fn known_plan(door: &Door, name: &str) -> Result<(), Problem> {
    let plans = door.app.plans.load();
    if plans.all.iter().any(|plan| plan.name == name) {
        return Ok(());
    }
    let nearest = plans.all.iter().map(|plan| plan.name.as_str()).min_by_key(|known| strsim::levenshtein(known, name));
    let nearest = nearest.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
    Err(Problem::bad("/plan", format!("there is no plan {name:?}{nearest}")))
}

pub async fn show(door: web::Data<Door>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    let Wish { event, plan, .. } = Wish::read(&door, &caller, &body, &[])?;
    // Off this thread: an audience may be large.
    let app = door.app.clone();
    let looking = door.runtime.spawn(async move { preview::preview(&app, &event, plan.as_deref()).await });
    let preview = looking.await.map_err(|_| Problem::unavailable("the preview failed", 1))??;
    Ok(HttpResponse::Ok().json(preview))
}
