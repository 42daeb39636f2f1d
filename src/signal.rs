//! Signals: what somebody outside sees, before anybody of ours has said a word. Enter: reports of people and systems. Leave: an
//! incident in state `proposed` once enough different origins say the same of a component within the window; it tells nobody
//! anything until a person, or a plan that says so, confirms it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::app::App;
use crate::clock::Time;
use crate::id::IncidentId;
use crate::incident::{Incident, Mode, Text};
use crate::ingest::event::{BadEvent, Event, Principal, Proposal, parse_value_at};
use crate::ingest::{IngestError, Ingested};
use crate::pipeline;
use crate::store::Signal;

/// The source of the events that follow from signals.
pub const SOURCE: &str = "signals";

/// Of one signal, in characters.
pub const LONGEST: usize = 1000;

/// Incidents looked through for one that the signals are about, the newest first.
const RECENT: usize = 100;

/// What came of a signal.
#[derive(Debug, PartialEq)]
pub struct Heard {
    /// The different origins that say the same within the window.
    pub origins: usize,
    /// The incident that is open about the component, proposed or not.
    pub incident: Option<IncidentId>,
}

/// What follows from what is said of a component.
#[derive(Debug, PartialEq)]
enum Follows {
    Nothing,
    Known {
        incident: IncidentId,
        proposed: bool,
    },
    /// Since then.
    Proposes(Time),
}

/// Takes a signal in. What it says is on disk when this returns, and so is the incident that it proposes.
pub async fn take(app: &App, signal: Signal) -> Result<Heard, IngestError> {
    let since = signal.at;
    take_since(app, signal, since).await
}

/// The same of an origin that has said it, unchanged, since then. What it went on saying while an incident of the component ended is
/// nothing new after it, and is not heard.
pub async fn take_since(app: &App, signal: Signal, began: Time) -> Result<Heard, IngestError> {
    if began < signal.at {
        let incidents = app.store.incidents(None, false, RECENT).await?;
        let open = about(&signal.component, &incidents).any(|incident| incident.closed.is_none());
        if !open && ended(&signal.component, &incidents).is_some_and(|ended| began <= ended) {
            return Ok(Heard { origins: 0, incident: None });
        }
    }
    let settings = &app.config.signals;
    let since = Time(app.clock.calendar().0.saturating_sub(settings.window.0.as_millis() as i64));
    let kind = signal.origin.split('/').next().unwrap_or_default().to_string();
    metrics::counter!("loudhailer_signals_total", "from" => kind).increment(1);
    let component = signal.component.clone();
    let heard = app.store.signal(signal, since).await?;
    let incidents = app.store.incidents(None, false, RECENT).await?;
    let mut followed = follows(&component, &heard, &incidents, settings.origins);
    // Another origin may say the same in this moment: whoever comes second finds the incident of the first.
    let alone = match followed {
        Follows::Proposes(_) => Some(app.proposing.lock().await),
        _ => None,
    };
    if alone.is_some() {
        let incidents = app.store.incidents(None, false, RECENT).await?;
        followed = follows(&component, &heard, &incidents, settings.origins);
    }
    let incident = match followed {
        Follows::Nothing => None,
        Follows::Known { incident, proposed: false } => Some(incident),
        Follows::Known { incident, proposed: true } => {
            confirm_by_plan(app, incident, &heard).await?;
            Some(incident)
        }
        Follows::Proposes(since) => match propose(app, &component, since).await {
            Ok(ingested) => {
                if !ingested.duplicate {
                    tracing::warn!(incident = %ingested.incident, component, "signals propose an incident: confirm or dismiss it");
                }
                confirm_by_plan(app, ingested.incident, &heard).await?;
                Some(ingested.incident)
            }
            // Another signal has proposed it in this moment.
            Err(IngestError::Conflict { .. }) => None,
            Err(error) => return Err(error),
        },
    };
    drop(alone);
    let origins = heard.len();
    Ok(Heard { origins, incident })
}

/// `heard`: each origin once. What was said before the last incident of the component ended was about that one.
fn follows(component: &str, heard: &[Signal], incidents: &[Incident], wanted: usize) -> Follows {
    if let Some(open) = about(component, incidents).find(|incident| incident.closed.is_none()) {
        return Follows::Known { incident: open.id, proposed: open.state.proposed };
    }
    let ended = ended(component, incidents);
    let news = || heard.iter().filter(|signal| ended.is_none_or(|ended| signal.at > ended));
    match news().map(|signal| signal.at).min() {
        Some(since) if news().count() >= wanted => Follows::Proposes(since),
        _ => Follows::Nothing,
    }
}

/// The incidents of a component that are no drills.
fn about<'a>(component: &'a str, incidents: &'a [Incident]) -> impl Iterator<Item = &'a Incident> {
    let names = move |incident: &Incident| incident.state.facts().components.iter().any(|named| named == component);
    incidents.iter().filter(move |incident| incident.mode == Mode::Real && names(incident))
}

/// When the last of them ended.
fn ended(component: &str, incidents: &[Incident]) -> Option<Time> {
    about(component, incidents).filter_map(|incident| incident.closed).max()
}

async fn propose(app: &App, component: &str, since: Time) -> Result<Ingested, IngestError> {
    let title = app.config.components.get(component).map_or(Text::Plain(component.into()), |known| known.title.clone());
    let key = format!("{SOURCE}/{component}/{since}");
    let said = json!({
        "source": SOURCE, "id": key, "incident": key, "at": since, "started_at": since, "mode": Mode::Real,
        "status": "investigating", "severity": app.config.signals.severity, "title": titles(&title), "components": [component],
    });
    let mut event = parse_value_at(said, &Principal::Machine(SOURCE.into()), None)?;
    event.proposal = Some(Proposal::Propose);
    pipeline::ingest(app, event, None).await
}

/// In the languages whose templates ship: nobody was asked for words yet.
fn titles(title: &Text) -> BTreeMap<&'static str, String> {
    let of = |locale| match title {
        Text::Plain(title) => title.clone(),
        Text::ByLocale(titles) => titles.get(locale).or_else(|| titles.get("en")).cloned().unwrap_or_default(),
    };
    BTreeMap::from([
        ("en", format!("Possible problem with {}", of("en"))),
        ("de", format!("Mögliche Störung: {}", of("de"))),
        ("es", format!("Posible problema con {}", of("es"))),
        ("pt", format!("Possível problema com {}", of("pt"))),
        ("hi", format!("{} में संभावित समस्या", of("hi"))),
    ])
}

/// A plan may trust so many origins, other than just anybody, that nobody need be asked.
async fn confirm_by_plan(app: &App, incident: IncidentId, heard: &[Signal]) -> Result<(), IngestError> {
    let trusted = heard.iter().filter(|signal| signal.trusted).count();
    let plans = app.plans.load_full();
    if plans.all.iter().all(|plan| plan.confirm_signals.is_none_or(|wanted| trusted < wanted)) {
        return Ok(());
    }
    let Some((incident, _)) = app.store.incident(incident).await? else { return Ok(()) };
    let facts = incident.state.facts();
    let trusts = plans.all.iter().find(|plan| {
        plan.confirm_signals.is_some_and(|wanted| trusted >= wanted)
            && plan.matches.fits(&facts, incident.mode, &plans.components)
    });
    let Some(plan) = trusts.filter(|_| incident.state.proposed) else { return Ok(()) };
    let by = Principal::Machine(format!("plan {}", plan.name));
    let event = settling(&incident, Proposal::Confirm, Map::new(), &by, app.clock.calendar())?;
    match pipeline::ingest(app, event, None).await {
        // A person was faster.
        Ok(_) | Err(IngestError::Conflict { .. } | IngestError::NotProposed { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The event by which a proposed incident is confirmed or dismissed; `says`: what else is known of it by now.
pub fn settling(
    incident: &Incident,
    proposal: Proposal,
    mut says: Map<String, Value>,
    by: &Principal,
    now: Time,
) -> Result<Event, BadEvent> {
    for fixed in ["source", "id", "incident", "at", "sequence", "mode", "corrects", "retracts"] {
        if says.contains_key(fixed) {
            return Err(BadEvent::new(format!("/{fixed}"), "is not said here: write what is known of the incident"));
        }
    }
    let word = match proposal {
        Proposal::Dismiss => {
            says.insert("status".into(), "resolved".into());
            "dismiss"
        }
        _ => "confirm",
    };
    says.insert("source".into(), SOURCE.into());
    says.insert("id".into(), format!("{word}:{}", incident.id).into());
    says.insert("incident".into(), incident.key.clone().into());
    let mut event = parse_value_at(Value::Object(says), by, Some(now))?;
    event.proposal = Some(proposal);
    Ok(event)
}

/// A signal as it comes in, checked.
pub fn signal(app: &App, component: &str, origin: String, trusted: bool, text: &str) -> Result<Signal, BadEvent> {
    let known = &app.config.components;
    if !known.contains_key(component) {
        let near = crate::config::suggest(component, known.keys().map(String::as_str));
        let message = format!("there is no component {component:?}{near} (they stand under [components])");
        return Err(BadEvent::new("/component", message));
    }
    let text = text.trim();
    if text.chars().count() > LONGEST {
        return Err(BadEvent::new("/text", format!("has at most {LONGEST} characters")));
    }
    let at = app.clock.calendar();
    Ok(Signal { component: component.into(), origin, trusted, at, count: 1, text: text.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::State;

    fn heard(said: &[(&str, i64)]) -> Vec<Signal> {
        let signal = |(origin, at): &(&str, i64)| Signal {
            component: "web".into(),
            origin: origin.to_string(),
            trusted: true,
            at: Time(*at),
            count: 1,
            text: String::new(),
        };
        said.iter().map(signal).collect()
    }

    fn incident(component: &str, closed: Option<i64>, proposed: bool) -> Incident {
        let mut state = State::of(json!({ "title": "t", "status": "investigating", "components": [component] }));
        state.proposed = proposed;
        Incident {
            id: IncidentId(7),
            key: "k".into(),
            version: 1,
            mode: Mode::Real,
            state,
            opened: Time(0),
            closed: closed.map(Time),
            last_number: 1,
        }
    }

    #[test]
    fn enough_origins_propose_an_incident_unless_one_is_open_or_has_just_ended() {
        let two = [("a", 10), ("b", 5)];
        let open = |proposed| Follows::Known { incident: IncidentId(7), proposed };
        for (said, incidents, expected) in [
            (&two[..1], vec![], Follows::Nothing),
            (&two[..], vec![], Follows::Proposes(Time(5))),
            (&two, vec![incident("mail", None, false)], Follows::Proposes(Time(5))),
            (&two, vec![incident("web", None, false)], open(false)),
            (&two, vec![incident("web", None, true)], open(true)),
            (&two, vec![incident("web", Some(4), false)], Follows::Proposes(Time(5))),
            (&two, vec![incident("web", Some(5), false)], Follows::Nothing),
            (&two, vec![incident("web", Some(20), true)], Follows::Nothing),
        ] {
            assert_eq!(follows("web", &heard(said), &incidents, 2), expected, "{said:?} {incidents:?}");
        }
        let drill = Incident { mode: Mode::Exercise, ..incident("web", None, false) };
        assert_eq!(follows("web", &heard(&two), &[drill], 2), Follows::Proposes(Time(5)), "a drill is no outage");
    }
}
