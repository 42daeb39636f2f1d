//! Incidents: facts folded from events into numbered updates. `apply` decides, purely, what an event changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Time;
use crate::id::IncidentId;
use crate::ingest::event::{Event, Principal, fits};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $(#[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> std::result::Result<Self, String> {
                $name::ALL.iter().copied().find(|w| w.word() == text).ok_or_else(|| {
                    let words: Vec<&str> = $name::ALL.iter().map(|w| w.word()).collect();
                    format!("{text:?} is none of {}", words.join(" "))
                })
            }
        }
    };
}
pub(crate) use words;

words!(
    /// A drill reaches only addresses enrolled for drills, and every message says so.
    Mode { Real = "real", Exercise = "exercise" }
);
words!(Kind { Incident = "incident", Maintenance = "maintenance" });
words!(Status {
    Investigating = "investigating", Identified = "identified", Monitoring = "monitoring", Resolved = "resolved",
    Scheduled = "scheduled", InProgress = "in_progress", Verifying = "verifying", Completed = "completed",
});
words!(Severity { Info = "info", Minor = "minor", Major = "major", Critical = "critical" });
words!(CauseCategory {
    TechnicalFailure = "technical_failure", Cyberattack = "cyberattack", TrafficSurge = "traffic_surge",
    ThirdParty = "third_party", HumanError = "human_error", Unknown = "unknown",
});
words!(DataEffect { None = "none", AtRisk = "at_risk", Lost = "lost", Exposed = "exposed" });
words!(
    /// Who may read a fact: `public` is for everyone, `internal` for staff and executives.
    Clearance { Public = "public", Partner = "partner", Internal = "internal" }
);

impl Status {
    pub fn ended(self) -> bool {
        matches!(self, Status::Resolved | Status::Completed)
    }
}

/// A text in one language for all (`Plain`), or by language tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    Plain(String),
    ByLocale(BTreeMap<String, String>),
}

/// What is true of an incident, as folded from all its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub kind: Option<Kind>,
    pub status: Option<Status>,
    pub severity: Option<Severity>,
    pub owner: Option<String>,
    pub title: Option<Text>,
    pub summary: Option<Text>,
    pub workaround: Option<Text>,
    pub action: Option<Text>,
    pub alternatives: Option<Text>,
    pub support_url: Option<String>,
    pub compensation: Option<Text>,
    pub internal_notes: Option<Text>,
    pub components: Vec<String>,
    pub regions: Vec<String>,
    pub platforms_down: Vec<String>,
    pub impact: Impact,
    pub cause: Cause,
    pub started_at: Option<Time>,
    /// The end: of the outage once resolved, of the window for maintenance.
    pub ended_at: Option<Time>,
    pub next_update_at: Option<Time>,
    pub expected_restored_at: Option<Time>,
    pub restored_percent: Option<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Impact {
    pub users: Option<u64>,
    pub businesses: Option<u64>,
    pub functions: Vec<String>,
    pub data: Option<DataEffect>,
}

/// The cause as reported. Nothing outside may read it before `confirmed_by` names a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    pub category: Option<CauseCategory>,
    pub text: Option<Text>,
    pub confirmed_by: Option<String>,
}

impl Facts {
    /// What a reader with this clearance may know. A cause that no named person has confirmed is known to nobody.
    pub fn view(&self, clearance: Clearance) -> Facts {
        let mut view = self.clone();
        if view.cause.confirmed_by.is_none() {
            view.cause = Cause::default();
        }
        if clearance < Clearance::Internal {
            view.owner = None;
            view.internal_notes = None;
            view.platforms_down = Vec::new();
        }
        if clearance < Clearance::Partner {
            view.impact = Impact::default();
            view.compensation = None;
            view.severity = None;
        }
        view
    }
}

/// An incident as it is kept: its facts with, for each, who said so and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    pub id: IncidentId,
    pub key: String,
    /// Counts commits; a commit that read another version is stale.
    pub version: i64,
    pub mode: Mode,
    pub state: State,
    pub opened: Time,
    pub closed: Option<Time>,
    pub last_number: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    said: BTreeMap<String, Said>,
    /// The youngest event of each source.
    youngest: BTreeMap<String, Order>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    value: Value,
    source: String,
    order: Order,
}

/// Where an event stands among those of its source: by sequence where both have one, else by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    sequence: Option<i64>,
    at: i64,
}

impl Order {
    fn before(self, other: Order) -> bool {
        match (self.sequence, other.sequence) {
            (Some(own), Some(others)) if own != others => own < others,
            _ => self.at < other.at,
        }
    }
}

impl State {
    pub fn facts(&self) -> Facts {
        let mut root = serde_json::Map::new();
        for (name, said) in self.said.iter().filter(|(_, said)| !said.value.is_null()) {
            match name.split_once('.') {
                Some((outer, inner)) => {
                    let outer = root.entry(outer).or_insert_with(|| Value::Object(serde_json::Map::new()));
                    if let Some(object) = outer.as_object_mut() {
                        object.insert(inner.into(), said.value.clone());
                    }
                }
                None => {
                    root.insert(name.clone(), said.value.clone());
                }
            }
        }
        // Every value was checked against Facts when its event was parsed.
        serde_json::from_value(Value::Object(root)).unwrap_or_default()
    }

    fn says(&self, name: &str) -> Option<&Value> {
        self.said.get(name).map(|said| &said.value).filter(|value| !value.is_null())
    }
}

/// One numbered update, as an event made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub number: i64,
    pub source: String,
    pub sequence: Option<i64>,
    pub at: Time,
    /// Came after a younger one of its source, or was older than the configuration allows: kept, and draws nothing.
    pub late: bool,
    pub says: serde_json::Map<String, Value>,
    pub by: String,
    pub corrects: Option<i64>,
}

/// What an event does to an incident.
#[derive(Debug, Clone)]
pub struct Change {
    pub incident: Incident,
    pub update: Update,
    /// `None`: a new incident.
    pub before: Option<Facts>,
    pub after: Facts,
    pub occasion: Occasion,
    /// The event's idempotency key and digest, written with the rest.
    pub event: (String, String),
    pub digest: [u8; 32],
    pub at: Time,
}

words!(
    /// What moment of an incident a message speaks at.
    Occasion {
        Investigating = "investigating", Acknowledged = "acknowledged", Identified = "identified", Update = "update",
        Restoring = "restoring", Resolved = "resolved", Relapse = "relapse", Scheduled = "scheduled", Started = "started",
        Extended = "extended", Completed = "completed", Correction = "correction", Retraction = "retraction",
        Holding = "holding", Reminder = "reminder", Summary = "summary",
    }
);

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
    let before = known.as_ref().map(|incident| incident.state.facts());
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
    Ok(Change {
        incident,
        update,
        before,
        after,
        occasion,
        event: (event.source.clone(), event.id.clone()),
        digest: event.digest,
        at: now,
    })
}

/// Folds field by field. A late event fills only what nobody younger has said; across sources the arrival decides.
fn fold(state: &mut State, event: &Event, order: Order, overtaken: bool) {
    let mut cause_said = false;
    for (name, value) in &event.says {
        let stands = state
            .said
            .get(name)
            .is_some_and(|said| overtaken && (said.source != event.source || order.before(said.order)));
        if stands {
            continue;
        }
        cause_said |= matches!(name.as_str(), "cause.text" | "cause.category") && state.says(name) != Some(value);
        let said = Said { value: value.clone(), source: event.source.clone(), order };
        state.said.insert(name.clone(), said);
    }
    // A confirmation holds for the words that were confirmed, not for later ones.
    if cause_said && !event.says.contains_key("cause.confirmed_by") {
        state.said.remove("cause.confirmed_by");
    }
    if !overtaken {
        state.youngest.insert(event.source.clone(), order);
    }
}

fn occasion(before: Option<&Facts>, after: &Facts, event: &Event) -> Occasion {
    if event.corrects.is_some() {
        return if event.retracts { Occasion::Retraction } else { Occasion::Correction };
    }
    let was = before.and_then(|facts| facts.status);
    let Some(is) = after.status else { return Occasion::Update };
    let same = was == Some(is);
    match is {
        Status::Investigating if was.is_some_and(Status::ended) => Occasion::Relapse,
        Status::Investigating if !same => Occasion::Investigating,
        Status::Investigating => {
            let first = |said: fn(&Facts) -> bool| said(after) && !before.is_some_and(said);
            match first(|facts| facts.owner.is_some()) || first(|facts| facts.summary.is_some()) {
                true => Occasion::Acknowledged,
                false => Occasion::Update,
            }
        }
        Status::Monitoring => Occasion::Restoring,
        Status::Identified if !same => Occasion::Identified,
        Status::Resolved if !same => Occasion::Resolved,
        Status::Scheduled if !same => Occasion::Scheduled,
        Status::InProgress if !same => Occasion::Started,
        Status::Completed if !same => Occasion::Completed,
        Status::InProgress if before.is_some_and(|facts| facts.ended_at < after.ended_at) => Occasion::Extended,
        Status::Resolved | Status::Completed => Occasion::Summary,
        _ => Occasion::Update,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
    fn a_view_holds_nothing_above_its_clearance() {
        let text = || Some(Text::Plain("x".into()));
        let facts = Facts {
            severity: Some(Severity::Major),
            summary: text(),
            owner: Some("vera".into()),
            compensation: text(),
            internal_notes: text(),
            platforms_down: vec!["whatsapp".into()],
            impact: Impact { users: Some(1), ..Impact::default() },
            ..Facts::default()
        };
        assert_eq!(facts.view(Clearance::Internal), facts);
        let partner = Facts { owner: None, internal_notes: None, platforms_down: Vec::new(), ..facts.clone() };
        assert_eq!(facts.view(Clearance::Partner), partner);
        assert_eq!(facts.view(Clearance::Public), Facts { summary: text(), ..Facts::default() });
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
