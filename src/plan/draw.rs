//! The draw: which broadcasts a change of an incident calls for, to whom, and whether they go at once. A pure decision: the
//! threads as they stand, the time and chance come in.

use serde::{Deserialize, Serialize};

use super::{Plans, Purpose, Selected, Selection, Step};
use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::incident::{Change, Clearance, Facts, Occasion, Severity, Status};
use crate::store::Broadcast;

/// A broadcast as the plan calls for it; the store gives it an id.
#[derive(Debug, Clone)]
pub struct Draw {
    pub plan: String,
    pub step: Step,
    pub purpose: Purpose,
    pub occasion: Occasion,
    pub held: Held,
    pub deadline: Time,
    pub selection: Selection,
    pub facts: Facts,
    /// `code` of its messages; the store draws again where a live broadcast has it.
    pub code: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    Not,
    /// Held off by `at_most`, or to a set time.
    Until(Time),
    Approval,
}

/// One incident towards one audience, as far as drawing needs it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thread {
    pub audience: String,
    /// When broadcasts of the thread were last released, youngest first.
    pub released: Vec<Time>,
    /// Status and severity when last released.
    pub status: Option<Status>,
    pub severity: Option<Severity>,
}

/// The broadcasts that a change calls for, in the order in which their steps own a person of several audiences.
/// `by_hand`: the plan that a person named, instead of those that match.
pub fn draw(
    change: &Change,
    threads: &[Thread],
    plans: &Plans,
    by_hand: Option<&str>,
    now: Time,
    chance: &mut fastrand::Rng,
) -> Vec<Draw> {
    if change.update.late || change.update.corrects.is_some() {
        return Vec::new(); // corrections go to those whom the wrong update reached: `corrections`
    }
    let mut draws: Vec<Draw> = Vec::new();
    let mut owners: Vec<Selected> = Vec::new();
    for plan in &plans.all {
        let chosen = match by_hand {
            Some(name) => plan.name == name,
            None => !plan.matches.by_hand && plan.matches.fits(&change.after, change.incident.mode, &plans.components),
        };
        if !chosen {
            continue;
        }
        for step in plan.steps.iter().filter(|step| step.fits(&change.after)) {
            let clearance = plans.audiences.get(&step.audience).copied().unwrap_or(Clearance::Public);
            let said = change.after.view(clearance);
            let thread = threads.iter().find(|thread| thread.audience == step.audience);
            let news = thread.is_none() || change.before.as_ref().is_none_or(|before| before.view(clearance) != said);
            let selected = Selected::of(step, &change.after);
            if news || by_hand.is_some() {
                draws.push(Draw {
                    plan: plan.name.clone(),
                    purpose: Purpose::Update,
                    occasion: change.occasion,
                    held: hold(step, thread, &change.after, now),
                    deadline: now.plus(step.deadline.map_or(plans.deadline, |span| span.0)),
                    selection: Selection {
                        components: selected.components.clone(),
                        regions: selected.regions.clone(),
                        severity: selected.severity,
                        mode: change.incident.mode,
                        only_if_told: step.only_if_told.unwrap_or(change.after.status.is_some_and(Status::ended)),
                        told_by: Vec::new(),
                        untold_by: Vec::new(),
                        not_in: match step.also && !fault::on(Fault::AlsoIgnored) || fault::on(Fault::ToldByTwoSteps) {
                            true => Vec::new(),
                            false => owners.clone(),
                        },
                        listed: Vec::new(),
                    },
                    facts: change.after.clone(),
                    code: code(chance),
                    step: step.clone(),
                });
                owners.push(selected);
            }
        }
    }
    draws
}

fn hold(step: &Step, thread: Option<&Thread>, facts: &Facts, now: Time) -> Held {
    if step.approval {
        return Held::Approval;
    }
    let (Some(limit), Some(thread)) = (step.at_most, thread) else { return Held::Not };
    if thread.status != facts.status || thread.severity != facts.severity {
        return Held::Not;
    }
    match thread.released.get(limit.count as usize - 1).map(|release| release.plus(limit.window)) {
        Some(free) if free > now => Held::Until(free),
        _ => Held::Not,
    }
}

/// The same again, to the same, because nothing newer was said for as long as the step allows.
pub fn remind(last: &Broadcast, facts: &Facts, now: Time, chance: &mut fastrand::Rng) -> Draw {
    Draw {
        plan: last.plan.clone(),
        step: last.step.clone(),
        purpose: Purpose::Reminder,
        occasion: Occasion::Reminder,
        held: if last.step.approval { Held::Approval } else { Held::Not },
        deadline: now.plus(last.deadline.since(last.created)),
        selection: last.selection.clone(),
        facts: facts.clone(),
        code: code(chance),
    }
}

/// Four characters that can't be mistaken for one another when read aloud or typed.
pub fn code(chance: &mut fastrand::Rng) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";
    loop {
        let code: String = (0..4).map(|_| LETTERS[chance.usize(..LETTERS.len())] as char).collect();
        let letters = code.bytes().filter(u8::is_ascii_alphabetic).count();
        if (1..4).contains(&letters) {
            return code; // a mix of letters and digits is no word
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::incident::apply;
    use crate::ingest::event::{Event, Principal};
    use crate::plan::parse;

    fn change(before: Option<Change>, says: serde_json::Value) -> Change {
        let number = before.as_ref().map_or(0, |b| b.update.number);
        let event = Event {
            source: "s".into(),
            id: "i".into(),
            digest: [0; 32],
            incident: "k".into(),
            at: Time(number),
            sequence: None,
            mode: None,
            says: says.as_object().expect("object").clone(),
            corrects: None,
            corrects_of: None,
            retracts: false,
            proposal: None,
            by: Principal::Machine("m".into()),
        };
        apply(before.map(|b| b.incident), &event, Time(1_000), Duration::from_secs(3600)).expect("applies")
    }

    fn plans(text: &str) -> Plans {
        let plan = parse("p", "p.toml", text).expect("plan");
        let audiences = [("customers".into(), Clearance::Public), ("staff".into(), Clearance::Internal)].into();
        Plans::new(vec![plan], audiences, ["web".to_string()].into(), Duration::from_secs(86400))
    }

    const TWO_STEPS: &str = r#"
        title = "outage"
        [match]
        severity = ["major", "critical"]
        [[step]]
        name = "staff"
        audience = "staff"
        routes = ["chat", "sms+email"]
        priority = "critical"
        [[step]]
        name = "customers"
        audience = "customers"
        routes = ["sms"]
        priority = "high"
        at_most = "1/15min"
    "#;

    fn names(draws: &[Draw]) -> Vec<(&str, Held, bool)> {
        draws.iter().map(|d| (d.step.name.as_str(), d.held, d.selection.only_if_told)).collect()
    }

    #[test]
    fn steps_are_drawn_where_the_plan_fits_and_something_is_news_to_the_audience() {
        let plans = plans(TWO_STEPS);
        let mut chance = fastrand::Rng::with_seed(1);
        let mut drawn =
            |change: &Change, threads: &[Thread]| draw(change, threads, &plans, None, Time(1_000), &mut chance);
        let minor = change(None, json!({"title": "t", "status": "investigating", "severity": "minor"}));
        assert!(drawn(&minor, &[]).is_empty());
        let major = change(Some(minor), json!({"severity": "major"}));
        // Severity is above the customers' clearance, but nobody has told them anything yet.
        assert_eq!(names(&drawn(&major, &[])), [("staff", Held::Not, false), ("customers", Held::Not, false)]);
        let threads = ["staff", "customers"].map(|audience| Thread { audience: audience.into(), ..Thread::default() });
        let critical = change(Some(major), json!({"severity": "critical"}));
        assert_eq!(names(&drawn(&critical, &threads)), [("staff", Held::Not, false)]);
        let note = change(Some(critical), json!({"internal_notes": "psst"}));
        assert_eq!(names(&drawn(&note, &threads)), [("staff", Held::Not, false)]);
        let nothing = change(Some(note.clone()), json!({"internal_notes": "psst"}));
        assert!(drawn(&nothing, &threads).is_empty());
        let resolved = change(Some(note), json!({"status": "resolved"}));
        assert_eq!(names(&drawn(&resolved, &threads)), [("staff", Held::Not, true), ("customers", Held::Not, true)]);
    }

    #[test]
    fn at_most_holds_repeats_back_and_a_change_of_status_breaks_it() {
        let plans = plans(TWO_STEPS);
        let mut chance = fastrand::Rng::with_seed(1);
        let first = change(None, json!({"title": "t", "status": "investigating", "severity": "major"}));
        let second = change(Some(first), json!({"title": "u"}));
        let thread = Thread {
            audience: "customers".into(),
            released: vec![Time(500)],
            status: Some(Status::Investigating),
            severity: Some(Severity::Major),
        };
        let mut held = |change: &Change| {
            draw(change, std::slice::from_ref(&thread), &plans, None, Time(1_000), &mut chance)[1].held
        };
        assert_eq!(held(&second), Held::Until(Time(900_500)));
        assert_eq!(held(&change(Some(second), json!({"status": "identified"}))), Held::Not);
    }
}
