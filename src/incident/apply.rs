//! What an event does to an incident. Enter: the incident as read and a checked event. Leave: the change, with the facts before and
//! after it, or why the event is refused. A pure decision; nothing is written.

use std::time::Duration;

use serde_json::Value;

use super::occasion::occasion;
use super::state::{Order, State, fold};
use super::{Change, Incident, Kind, Mode, Status, Update};
use crate::clock::Time;
use crate::id::IncidentId;
use crate::ingest::event::{Event, Principal, Proposal, fits};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("incident {key:?} is {is}; an event cannot make it {given}. Use another incident key for the drill")]
    Mode { key: String, is: Mode, given: Mode },
    #[error("a new incident needs a {0}")]
    Missing(&'static str),
    #[error("update {0} does not exist, so it cannot be corrected")]
    NoSuchUpdate(i64),
    #[error("the update to correct belongs to another incident")]
    OtherIncident,
    #[error("{1} is no status of an incident of kind {0}")]
    Status(Kind, Status),
    #[error("incident {0:?} is not proposed (any more): there is nothing to confirm or to dismiss")]
    NotProposed(String),
    #[error("at {0} lies in the future; a clock is wrong")]
    Future(Time),
}

/// How far ahead of ours a source's clock may run before its word would outlast everyone else's.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(600);

/// Decides what `event` changes. `known` is the incident as read, `None` for a new one.
pub fn apply(known: Option<Incident>, event: &Event, now: Time, max_age: Duration) -> Result<Change, Refused> {
    if event.at > now.plus(CLOCK_TOLERANCE) {
        return Err(Refused::Future(event.at));
    }
    // What was only proposed was said to nobody.
    let before = known.as_ref().filter(|incident| !incident.state.proposed).map(|incident| incident.state.facts());
    let opens = known.is_none();
    let mut incident = match known {
        Some(incident) => match event.mode {
            Some(mode) if mode != incident.mode => {
                return Err(Refused::Mode { key: incident.key, is: incident.mode, given: mode });
            }
            _ => incident,
        },
        None => {
            for name in ["title", "status"] {
                if event.says.get(name).is_none_or(Value::is_null) {
                    return Err(Refused::Missing(if name == "title" { "title" } else { "status" }));
                }
            }
            Incident {
                id: IncidentId(0),
                key: event.incident.clone(),
                version: 0,
                mode: event.mode.unwrap_or(Mode::Real),
                state: State::default(),
                opened: now,
                closed: None,
                last_number: 0,
            }
        }
    };
    if event.corrects_of.is_some_and(|other| other != incident.id) {
        return Err(Refused::OtherIncident);
    }
    if let Some(wrong) = event.corrects.filter(|wrong| !(1..=incident.last_number).contains(wrong)) {
        return Err(Refused::NoSuchUpdate(wrong));
    }

    let is_proposed = incident.state.proposed && incident.closed.is_none();
    match event.proposal {
        Some(Proposal::Propose) => incident.state.proposed |= opens,
        Some(_) if !is_proposed => return Err(Refused::NotProposed(incident.key)),
        Some(Proposal::Confirm) => incident.state.proposed = false,
        Some(Proposal::Dismiss) | None => {}
    }

    let order = Order { sequence: event.sequence, at: event.at.0 };
    let overtaken = incident.state.youngest.get(&event.source).is_some_and(|youngest| order.before(*youngest));
    fold(&mut incident.state, event, order, overtaken);
    let after = incident.state.facts();
    let kind = after.kind.unwrap_or(Kind::Incident);
    if let Some(status) = after.status.filter(|status| !fits(kind, *status)) {
        return Err(Refused::Status(kind, status));
    }
    let occasion = occasion(before.as_ref(), &after, event);
    let ended = after.status.is_some_and(Status::ended);
    incident.closed = if ended { incident.closed.or(Some(now)) } else { None };
    incident.last_number += 1;
    let update = Update {
        number: incident.last_number,
        source: event.source.clone(),
        sequence: event.sequence,
        at: event.at,
        late: overtaken || now.since(event.at) > max_age,
        says: event.says.clone(),
        by: match &event.by {
            Principal::Machine(name) | Principal::Person(name) => name.clone(),
        },
        corrects: event.corrects,
    };
    Ok(Change { incident, update, before, after, occasion, at: now })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::incident::{Clearance, Occasion, Severity, Text};

    fn event(id: &str, sequence: Option<i64>, at: i64, says: Value) -> Event {
        Event {
            source: "monitoring".into(),
            id: id.into(),
            digest: [0; 32],
            incident: "k".into(),
            at: Time(at),
            sequence,
            mode: None,
            says: says.as_object().expect("object").clone(),
            corrects: None,
            corrects_of: None,
            retracts: false,
            proposal: None,
            by: Principal::Machine("m".into()),
        }
    }

    fn run(events: &[Event]) -> (Incident, Vec<Change>) {
        let mut incident = None;
        let mut changes = Vec::new();
        for event in events {
            let change = apply(incident.take(), event, Time(1_000_000), Duration::from_secs(3600)).expect("applies");
            incident = Some(change.incident.clone());
            changes.push(change);
        }
        (incident.expect("some"), changes)
    }

    #[test]
    fn every_permutation_of_five_updates_of_one_source_ends_in_the_same_state() {
        let says = [
            json!({"title": "a", "status": "investigating", "severity": "minor"}),
            json!({"title": "b", "status": "investigating", "summary": "s"}),
            json!({"title": "c", "status": "identified", "severity": "major", "summary": null}),
            json!({"title": "d", "status": "monitoring", "components": ["x"]}),
            json!({"title": "e", "status": "resolved", "components": []}),
        ];
        for by_sequence in [true, false] {
            let events: Vec<Event> = (0..5)
                .map(|n| event(&n.to_string(), by_sequence.then_some(n), 500_000 + n * 10, says[n as usize].clone()))
                .collect();
            let expected = run(&events).0.state.facts();
            assert_eq!(expected.status, Some(Status::Resolved));
            assert_eq!(expected.severity, Some(Severity::Major));
            assert_eq!(expected.summary, None);
            let mut order = [0usize, 1, 2, 3, 4];
            let mut seen = 0;
            permute(&mut order, 0, &mut |order| {
                let events: Vec<Event> = order.iter().map(|n| events[*n].clone()).collect();
                let (incident, changes) = run(&events);
                assert_eq!(incident.state.facts(), expected, "{order:?}");
                let mut youngest = None;
                for (n, change) in order.iter().zip(&changes) {
                    assert_eq!(change.update.late, youngest.is_some_and(|y| y > n), "{order:?}");
                    youngest = youngest.max(Some(n));
                }
                seen += 1;
            });
            assert_eq!(seen, 120);
        }
    }

    fn permute(order: &mut [usize; 5], from: usize, each: &mut impl FnMut(&[usize; 5])) {
        if from == order.len() {
            return each(order);
        }
        for at in from..order.len() {
            order.swap(from, at);
            permute(order, from + 1, each);
            order.swap(from, at);
        }
    }

    #[test]
    fn across_sources_the_arrival_decides_but_a_late_event_yields() {
        let mut other = event("o", None, 400_000, json!({"title": "other"}));
        other.source = "other".into();
        let first = event("1", Some(2), 500_000, json!({"title": "first", "status": "investigating"}));
        let late = event("0", Some(1), 499_000, json!({"title": "late", "workaround": "w"}));
        let (incident, _) = run(&[first, other, late]);
        let facts = incident.state.facts();
        assert_eq!(facts.title, Some(Text::Plain("other".into())));
        assert_eq!(facts.workaround, Some(Text::Plain("w".into())));
    }

    #[test]
    fn the_cause_is_seen_by_nobody_until_confirmed_and_a_changed_cause_needs_a_new_confirmation() {
        let first = event("1", Some(1), 1, json!({"title": "t", "status": "identified", "cause.text": "a worm"}));
        let confirmed = event("2", Some(2), 2, json!({"cause.confirmed_by": "Ada"}));
        let changed = event("3", Some(3), 3, json!({"cause.text": "a mole"}));
        let (_, changes) = run(&[first, confirmed, changed]);
        let view = |n: usize| changes[n].after.view(Clearance::Internal).cause.text;
        assert_eq!(view(0), None);
        assert_eq!(view(1), Some(Text::Plain("a worm".into())));
        assert_eq!(view(2), None);
    }

    #[test]
    fn occasions_follow_from_the_statuses() {
        let table = [
            (json!({"title": "t", "status": "investigating"}), Occasion::Investigating),
            (json!({"summary": "we know"}), Occasion::Acknowledged),
            (json!({"summary": "we still know"}), Occasion::Update),
            (json!({"status": "identified"}), Occasion::Identified),
            (json!({"status": "monitoring"}), Occasion::Restoring),
            (json!({"restored_percent": 40}), Occasion::Restoring),
            (json!({"status": "resolved"}), Occasion::Resolved),
            (json!({"summary": "what it was"}), Occasion::Summary),
            (json!({"status": "investigating"}), Occasion::Relapse),
        ];
        let events: Vec<Event> = table
            .iter()
            .enumerate()
            .map(|(n, (says, _))| event(&n.to_string(), Some(n as i64), n as i64, says.clone()))
            .collect();
        let (incident, changes) = run(&events);
        for (change, (says, occasion)) in changes.iter().zip(&table) {
            assert_eq!(change.occasion, *occasion, "{says}");
        }
        assert_eq!(incident.closed, None);
    }

    #[test]
    fn a_drill_stays_a_drill() {
        let mut first = event("1", None, 1, json!({"title": "t", "status": "investigating"}));
        first.mode = Some(Mode::Exercise);
        let incident = apply(None, &first, Time(1), Duration::from_secs(1)).expect("applies").incident;
        let mut second = event("2", None, 2, json!({}));
        second.mode = Some(Mode::Real);
        assert!(matches!(apply(Some(incident), &second, Time(2), Duration::from_secs(1)), Err(Refused::Mode { .. })));
    }

    #[test]
    fn an_old_event_is_kept_and_marked() {
        let old = event("1", None, 1, json!({"title": "t", "status": "investigating"}));
        assert!(apply(None, &old, Time(2_000), Duration::from_secs(1)).expect("applies").update.late);
    }
}
