//! What becomes of an alert: its references lead to the incidents that it is of, and each takes it as an event. Only what is Actual
//! or an Exercise tells anybody anything.

use super::alert::{Alert, Reference};
use super::event::{Target, event, opens};
use super::words::{MsgType, Status};
use crate::app::App;
use crate::id::IncidentId;
use crate::incident::{Incident, Kind};
use crate::ingest::event::Principal;
use crate::ingest::{IngestError, Ingested};
use crate::pipeline;
use crate::store::StoreError;

/// What an alert came to, for one incident.
#[derive(Debug)]
pub enum Taken {
    Ingested(Ingested),
    /// It was read and checked, and nobody is told: why.
    Nothing {
        key: String,
        why: &'static str,
    },
}

/// Takes an alert in: one result for each incident that it is of.
pub async fn take(
    app: &App,
    alert: &Alert,
    by: &Principal,
    plan: Option<&str>,
) -> Result<Vec<Result<Taken, IngestError>>, IngestError> {
    let nothing = |key: String, why| Ok(vec![Ok(Taken::Nothing { key, why })]);
    if let Some(why) = silent(alert) {
        return nothing(alert.reference().key(), why);
    }
    let targets = targets(app, alert).await?;
    let mut results = Vec::with_capacity(targets.len());
    for target in targets {
        if target.known.is_none() && !opens(alert) {
            return nothing(target.key, "no alert that it refers to is known, and it opens no incident");
        }
        results.push(match event(alert, &target, &app.config.regions, by) {
            Ok(event) => pipeline::ingest(app, event, plan).await.map(Taken::Ingested),
            Err(bad) => Err(bad.into()),
        });
    }
    Ok(results)
}

/// Why nobody hears of such an alert.
fn silent(alert: &Alert) -> Option<&'static str> {
    match (alert.status, alert.msg_type) {
        (Status::Test, _) => Some("status Test: it was read and checked, and tells nobody"),
        (Status::System, _) => Some("status System: it is for the alerting network itself"),
        (Status::Draft, _) => Some("status Draft: it is not to be acted on"),
        (_, MsgType::Ack) => Some("msgType Ack: it acknowledges what was sent"),
        (_, MsgType::Error) => Some("msgType Error: it says what somebody could not take"),
        (Status::Actual | Status::Exercise, _) => None,
    }
}

/// The incidents of an alert, in the order of its references, and first that which it was taken for before. One that nothing is
/// known of has the key that the first alert of all would have: who sends that one later adds to it.
async fn targets(app: &App, alert: &Alert) -> Result<Vec<Target>, StoreError> {
    let own = alert.reference();
    let mut found: Vec<Incident> = Vec::new();
    let mut lead = vec![&own];
    if alert.msg_type != MsgType::Alert {
        lead.extend(&alert.references);
    }
    for reference in lead {
        if let Some(incident) = incident(app, reference).await?
            && found.iter().all(|known| known.id != incident.id)
        {
            found.push(incident);
        }
    }
    if found.is_empty() {
        let earliest = alert.references.iter().filter(|_| alert.msg_type != MsgType::Alert).min_by_key(|one| one.sent);
        let key = earliest.unwrap_or(&own).key();
        return Ok(vec![Target { id: alert.identifier.clone(), key, known: None }]);
    }
    let targets = found.iter().enumerate().map(|(at, incident)| Target {
        // An event is of one incident. No identifier has a blank.
        id: if at == 0 { alert.identifier.clone() } else { format!("{} {}", alert.identifier, incident.id) },
        key: incident.key.clone(),
        known: Some((incident.state.facts().kind.unwrap_or(Kind::Incident), incident.closed.is_some())),
    });
    Ok(targets.collect())
}

/// The incident that an alert was taken for; or that it began, when its event has been deleted by age.
async fn incident(app: &App, reference: &Reference) -> Result<Option<Incident>, StoreError> {
    let known = app.store.known(&reference.sender, &reference.identifier, &reference.key(), None).await?;
    let seen: Option<IncidentId> = known.seen.map(|(_, ingested)| ingested.incident);
    match seen {
        Some(id) => Ok(app.store.incident(id).await?.map(|(incident, _)| incident)),
        None => Ok(known.incident),
    }
}
