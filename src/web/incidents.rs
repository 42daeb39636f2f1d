//! The overview, and one incident with its timeline: each update, and what was said of it to whom. A cause that nobody has
//! confirmed is shown to nobody here either.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::broadcast::{After, row};
use super::page::{self, Refused};
use super::words::{human, link, list, text, titled};
use crate::api::{Caller, Problem, channels, gate::Door};
use crate::clock::Time;
use crate::config::Config;
use crate::id::IncidentId;
use crate::incident::{Clearance, Facts, Incident, Mode, Status, Text};
use crate::store::{Broadcast, BroadcastFilter, Counts, UpdateRow};

/// Incidents on one page.
const PAGE: usize = 30;

/// Live broadcasts shown in full.
const LIVE: usize = 24;

pub async fn overview(
    door: web::Data<Door>,
    caller: Caller,
    after: web::Query<After>,
) -> Result<HttpResponse, Refused> {
    let store = &door.app.store;
    let before: Option<IncidentId> = after.after.as_deref().and_then(|id| id.parse().ok());
    let incidents = store.incidents(before, false, PAGE).await?;
    let next = incidents.last().filter(|_| incidents.len() == PAGE).map(|last| last.id);
    let now = door.app.clock.calendar();
    let items: Vec<Value> = incidents.iter().map(|incident| summary(&door.app.config, incident, now)).collect();
    let (live, live_more) = live(&door).await?;
    let channels = channels::all(&door);
    let troubled = channels.iter().filter(|channel| channel["health"] != "working").count();
    Ok(page::console(
        &caller,
        "overview",
        "incidents",
        json!({
            "items": items, "next": next, "earlier": before.is_some(), "live": live, "live_more": live_more,
            "open": store.open_incidents().await?.len(),
            "channels": channels.len(), "troubled": troubled,
        }),
    ))
}

/// What is going out or waits, the most urgent first, and how many more there are.
async fn live(door: &Door) -> Result<(Vec<Value>, usize), Refused> {
    let mut broadcasts = door.app.store.live().await?;
    broadcasts.sort_by_key(|broadcast| (broadcast.state, std::cmp::Reverse(broadcast.priority), broadcast.id));
    let mut shown = Vec::new();
    for broadcast in broadcasts.iter().take(LIVE) {
        shown.push(row(door, broadcast, &Counts::default()).await?);
    }
    Ok((shown, broadcasts.len().saturating_sub(LIVE)))
}

pub async fn one(door: web::Data<Door>, caller: Caller, id: web::Path<String>) -> Result<HttpResponse, Refused> {
    let missing = || Problem::not_found("There is no such incident.");
    let store = &door.app.store;
    let id: IncidentId = id.parse().map_err(|_| missing())?;
    let (incident, _) = store.incident(id).await?.ok_or_else(missing)?;
    let broadcasts = store.broadcasts(BroadcastFilter { incident: Some(id), ..Default::default() }, 1000).await?;
    let mut updates = Vec::new();
    for update in store.updates(id).await?.iter().rev() {
        updates.push(of_timeline(&door, update, &broadcasts).await?);
    }
    let mut document = summary(&door.app.config, &incident, door.app.clock.calendar());
    document["timeline"] = json!(updates);
    Ok(page::console(&caller, "incident", "incidents", document))
}

async fn of_timeline(door: &Door, update: &UpdateRow, all: &[(Broadcast, Counts)]) -> Result<Value, Refused> {
    let locale = &door.app.config.sender.locale;
    let facts = update.facts.view(Clearance::Internal);
    let mut rows = Vec::new();
    for (broadcast, counts) in all.iter().rev().filter(|(broadcast, _)| broadcast.number == update.number) {
        rows.push(row(door, broadcast, counts).await?);
    }
    let said = |said: &Option<Text>| said.as_ref().map(|said| text(said, locale));
    Ok(json!({
        "number": update.number, "occasion": update.occasion, "at": update.at, "taken": update.taken,
        "late": update.late, "by": update.said_by, "source": update.source, "corrects": update.corrects,
        "status": facts.status, "severity": facts.severity, "summary": said(&facts.summary), "broadcasts": rows,
        "said_to_nobody": rows_empty(all, update.number),
    }))
}

fn rows_empty(all: &[(Broadcast, Counts)], number: i64) -> bool {
    !all.iter().any(|(broadcast, _)| broadcast.number == number)
}

/// An incident with the facts that everybody in the console may know.
fn summary(config: &Config, incident: &Incident, now: Time) -> Value {
    let facts = incident.state.facts().view(Clearance::Internal);
    let mut document = told(config, &facts, now);
    document["id"] = json!(incident.id);
    document["key"] = json!(incident.key);
    document["exercise"] = json!(incident.mode == Mode::Exercise);
    document["proposed"] = json!(incident.state.proposed && incident.closed.is_none());
    document["dismissed"] = json!(incident.state.proposed && incident.closed.is_some());
    document["opened"] = json!(incident.opened);
    document["closed"] = json!(incident.closed);
    document["number"] = json!(incident.last_number);
    if document["title"].is_null() {
        document["title"] = json!(incident.key);
    }
    let began = facts.started_at.unwrap_or(incident.opened);
    let until = incident.closed.map(|closed| facts.ended_at.unwrap_or(closed)).unwrap_or(now);
    document["lasted"] = json!(human(until.since(began)));
    document
}

/// Facts, as far as the view goes that is given, in the words of pages.
pub fn told(config: &Config, facts: &Facts, now: Time) -> Value {
    let locale = &config.sender.locale;
    let said = |said: &Option<Text>| said.as_ref().map(|said| text(said, locale)).filter(|said| !said.is_empty());
    let components = titled(&facts.components, |id| config.components.get(id).map(|found| &found.title), locale);
    let mut regions = titled(&facts.regions, |id| config.regions.get(id).map(|found| &found.title), locale);
    if facts.regions.iter().any(|region| region == "global") && !config.regions.contains_key("global") {
        regions = vec!["Worldwide".into()];
    }
    let ended = facts.status.is_some_and(Status::ended);
    json!({
        "title": said(&facts.title), "status": facts.status, "severity": facts.severity, "kind": facts.kind,
        "summary": said(&facts.summary), "workaround": said(&facts.workaround), "action": said(&facts.action),
        "alternatives": said(&facts.alternatives), "compensation": said(&facts.compensation),
        "notes": said(&facts.internal_notes), "support": facts.support_url.as_deref().map(link),
        "components": list(&components), "regions": list(&regions), "platforms_down": facts.platforms_down.join(", "),
        "owner": facts.owner, "cause": said(&facts.cause.text), "cause_category": facts.cause.category,
        "confirmed_by": facts.cause.confirmed_by, "users": facts.impact.users, "businesses": facts.impact.businesses,
        "data": facts.impact.data, "functions": facts.impact.functions.join(", "),
        "started": facts.started_at, "end": facts.ended_at, "expected": facts.expected_restored_at,
        "restored": facts.restored_percent, "next_update": facts.next_update_at.filter(|_| !ended),
        "overdue": facts.next_update_at.is_some_and(|due| !ended && due < now), "ended": ended,
        "tone": tone(facts, ended),
    })
}

fn tone(facts: &Facts, ended: bool) -> &'static str {
    use crate::incident::Severity::{Critical, Info, Major, Minor};
    match (ended, facts.severity) {
        (true, _) => "good",
        (_, Some(Critical | Major)) => "bad",
        (_, Some(Minor) | None) => "wait",
        (_, Some(Info)) => "busy",
    }
}
