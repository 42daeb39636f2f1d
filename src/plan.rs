//! Plans: which incidents they are for, and which steps tell whom. `draw` decides, purely, the broadcasts of an update.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rust_embed::Embed;
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::incident::{CauseCategory, Change, Clearance, Facts, Kind, Mode, Occasion, Severity, Status, words};
use crate::quantity::{Limit, Span};
use crate::store::Broadcast;

words!(
    /// What goes before what. Declared in rising order, so that the greatest is the most urgent.
    Priority { Bulk = "bulk", Normal = "normal", High = "high", Critical = "critical" }
);
words!(
    Purpose {
        Update = "update", Correction = "correction", Retraction = "retraction", Holding = "holding", Reminder = "reminder",
    }
);

impl Priority {
    /// 0 is the most urgent: the number that the store sorts by.
    pub fn rank(self) -> u8 {
        3 - self as u8
    }

    pub fn from_rank(rank: u8) -> Priority {
        *Priority::ALL.get(3usize.saturating_sub(rank.into())).unwrap_or(&Priority::Bulk)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// From the file's name.
    #[serde(default)]
    pub name: String,
    pub title: String,
    /// Lower comes first where two plans tell the same person.
    #[serde(default)]
    pub order: i64,
    #[serde(rename = "match", default)]
    pub matches: Match,
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// Each list that is given must hold; an absent one matches all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    pub kind: Option<Vec<Kind>>,
    pub mode: Option<Vec<Mode>>,
    pub severity: Option<Vec<Severity>>,
    pub status: Option<Vec<Status>>,
    pub cause: Option<Vec<CauseCategory>>,
    pub components: Option<Vec<String>>,
    pub regions: Option<Vec<String>>,
    /// Incidents that name a component which is not registered.
    pub unknown_components: Option<bool>,
    /// Only by hand (`loudhailer send --plan`).
    pub by_hand: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub name: String,
    pub audience: String,
    /// In order of preference; `sms+email` is both at once.
    pub routes: Vec<Route>,
    pub priority: Priority,
    #[serde(default)]
    pub status: Option<Vec<Status>>,
    #[serde(default)]
    pub severity: Option<Vec<Severity>>,
    /// At most this many releases to the audience; a change of status or severity breaks it.
    #[serde(default)]
    pub at_most: Option<Limit>,
    /// Speak at least this often while the incident is open.
    #[serde(default)]
    pub at_least: Option<Span>,
    #[serde(default)]
    pub deadline: Option<Span>,
    /// Wait for a person's release.
    #[serde(default)]
    pub approval: bool,
    /// Tell also those whom another step of the update tells.
    #[serde(default)]
    pub also: bool,
    /// Only those whom an earlier message of the thread reached, or may have. `resolved` and `completed` have it by default.
    #[serde(default)]
    pub only_if_told: Option<bool>,
}

/// One or several kinds or channels at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Route(pub Vec<String>);

impl TryFrom<String> for Route {
    type Error = String;
    fn try_from(text: String) -> Result<Route, String> {
        let members: Vec<String> = text.split('+').map(|member| member.trim().to_string()).collect();
        match members.iter().any(String::is_empty) {
            true => Err(format!("{text:?} is not a route; write a kind or a channel, or several joined by +")),
            false => Ok(Route(members)),
        }
    }
}

impl From<Route> for String {
    fn from(route: Route) -> String {
        route.0.join("+")
    }
}

/// Whom a broadcast is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Empty: everyone of the audience. The union of an update's own and those inherited from superseded broadcasts.
    pub components: BTreeSet<String>,
    pub regions: BTreeSet<String>,
    pub severity: Severity,
    pub mode: Mode,
    pub only_if_told: bool,
    /// The earlier broadcasts whose recipients are meant: told or unknown in one of them. For corrections.
    #[serde(default)]
    pub told_by: Vec<i64>,
    /// Those whom none of these earlier broadcasts told, for sure, are meant: in mid-broadcast of a wrong update, whoever is not
    /// told yet hears the true state in its place.
    #[serde(default)]
    pub untold_by: Vec<i64>,
    /// Audiences of earlier steps of the same update: their members are theirs.
    pub not_in: Vec<Selected>,
    /// Only these addresses (`kind:address`), for a trial to oneself.
    #[serde(default)]
    pub listed: Vec<String>,
}

/// The selection of another step, as far as it is needed to say whether a person is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    pub audience: String,
    pub components: BTreeSet<String>,
    pub regions: BTreeSet<String>,
    pub severity: Severity,
}

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

/// The plans in force, in order, with the audiences that their steps name.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    pub all: Vec<Plan>,
    pub audiences: BTreeMap<String, Clearance>,
    pub components: BTreeSet<String>,
    pub deadline: Duration,
}

impl Match {
    pub fn fits(&self, facts: &Facts, mode: Mode, registered: &BTreeSet<String>) -> bool {
        fn one<T: PartialEq>(wanted: &Option<Vec<T>>, is: Option<T>) -> bool {
            wanted.as_ref().is_none_or(|wanted| is.is_some_and(|is| wanted.contains(&is)))
        }
        fn any(wanted: &Option<Vec<String>>, are: &[String]) -> bool {
            wanted.as_ref().is_none_or(|wanted| are.iter().any(|is| wanted.contains(is)))
        }
        let unknown = facts.components.iter().any(|component| !registered.contains(component));
        let cause = facts.cause.confirmed_by.as_ref().and(facts.cause.category).unwrap_or(CauseCategory::Unknown);
        one(&self.kind, Some(facts.kind.unwrap_or(Kind::Incident)))
            && one(&self.mode, Some(mode))
            && one(&self.severity, Some(facts.severity.unwrap_or(Severity::Minor)))
            && one(&self.status, facts.status)
            && one(&self.cause, Some(cause))
            && any(&self.components, &facts.components)
            && any(&self.regions, &facts.regions)
            && self.unknown_components.is_none_or(|wanted| wanted == unknown)
    }
}

impl Plans {
    pub fn new(
        mut all: Vec<Plan>,
        audiences: BTreeMap<String, Clearance>,
        components: BTreeSet<String>,
        deadline: Duration,
    ) -> Plans {
        all.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
        Plans { all, audiences, components, deadline }
    }

    pub fn step(&self, name: &str) -> Option<(&Plan, &Step)> {
        let (plan, step) = name.split_once('/')?;
        let plan = self.all.iter().find(|p| p.name == plan)?;
        Some((plan, plan.steps.iter().find(|s| s.name == step)?))
    }
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
                        not_in: if step.also { Vec::new() } else { owners.clone() },
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

/// One broadcast for each audience that the wrong update was told to, for exactly those whom it reached or may have; and where it
/// was still under way or was stopped, an ordinary one with the true state for the others.
pub fn corrections(
    change: &Change,
    wrong: &[Wrong],
    plans: &Plans,
    now: Time,
    chance: &mut fastrand::Rng,
) -> Vec<Draw> {
    if change.update.late {
        return Vec::new();
    }
    let retracts = change.occasion == Occasion::Retraction;
    let mut draws = Vec::new();
    for wrong in wrong {
        let mut draw = |purpose, occasion, selection| {
            draws.push(Draw {
                plan: wrong.plan.clone(),
                purpose,
                occasion,
                held: if wrong.step.approval { Held::Approval } else { Held::Not },
                deadline: now.plus(wrong.step.deadline.map_or(plans.deadline, |span| span.0)),
                selection,
                facts: change.after.clone(),
                code: code(chance),
                step: wrong.step.clone(),
            });
        };
        let reached = Selection {
            told_by: wrong.broadcasts.clone(),
            untold_by: Vec::new(),
            components: BTreeSet::new(),
            regions: BTreeSet::new(),
            severity: Severity::Critical,
            mode: change.incident.mode,
            only_if_told: false,
            not_in: Vec::new(),
            listed: Vec::new(),
        };
        draw(if retracts { Purpose::Retraction } else { Purpose::Correction }, change.occasion, reached);
        // Nobody is told that what they never heard is withdrawn.
        let untold = wrong.unfinished.as_ref().filter(|selection| !retracts && !selection.only_if_told);
        if let Some(selection) = untold.filter(|selection| selection.told_by.is_empty()) {
            let untold = Selection { untold_by: wrong.broadcasts.clone(), ..selection.clone() };
            draw(Purpose::Update, Occasion::Update, untold);
        }
    }
    draws
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

/// The broadcasts of a wrong update towards one audience.
#[derive(Debug, Clone)]
pub struct Wrong {
    pub plan: String,
    pub step: Step,
    pub broadcasts: Vec<i64>,
    /// Whom the last of them was for, if it is still under way or was stopped.
    pub unfinished: Option<Selection>,
}

impl Step {
    fn fits(&self, facts: &Facts) -> bool {
        self.status.as_ref().is_none_or(|wanted| facts.status.is_some_and(|is| wanted.contains(&is)))
            && self.severity.as_ref().is_none_or(|wanted| wanted.contains(&facts.severity.unwrap_or(Severity::Minor)))
    }
}

impl Selected {
    fn of(step: &Step, facts: &Facts) -> Selected {
        Selected {
            audience: step.audience.clone(),
            components: facts.components.iter().cloned().collect(),
            regions: facts.regions.iter().cloned().collect(),
            severity: facts.severity.unwrap_or(Severity::Minor),
        }
    }
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

#[derive(Embed)]
#[folder = "plans/"]
struct Shipped;

#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct BadPlan {
    pub place: String,
    pub message: String,
}

/// The plans that ship, with those of the operator's directory added or, by name, in their place.
pub fn load(directory: Option<&Path>) -> Result<Vec<Plan>, BadPlan> {
    let mut texts: BTreeMap<String, (String, String)> = BTreeMap::new();
    match directory {
        None => {
            for path in Shipped::iter().filter(|path| path.ends_with(".toml")) {
                let Some(file) = Shipped::get(&path) else { continue };
                let text = String::from_utf8_lossy(&file.data).into_owned();
                texts.insert(path.trim_end_matches(".toml").into(), (format!("plans/{path}"), text));
            }
        }
        Some(directory) => {
            let bad =
                |error: std::io::Error| BadPlan { place: directory.display().to_string(), message: error.to_string() };
            for entry in std::fs::read_dir(directory).map_err(bad)? {
                let path = entry.map_err(bad)?.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    texts.insert(name, (path.display().to_string(), std::fs::read_to_string(&path).map_err(bad)?));
                }
            }
        }
    }
    texts.into_iter().map(|(name, (place, text))| parse(&name, &place, &text)).collect()
}

pub fn parse(name: &str, place: &str, text: &str) -> Result<Plan, BadPlan> {
    let mut plan: Plan = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        BadPlan { place: format!("{place}:{line}"), message: crate::config::nearest(error.message()) }
    })?;
    plan.name = name.into();
    let mut names = BTreeSet::new();
    for step in &plan.steps {
        if !names.insert(&step.name) {
            return Err(BadPlan { place: place.into(), message: format!("two steps are named {:?}", step.name) });
        }
        if step.routes.is_empty() {
            return Err(BadPlan { place: place.into(), message: format!("step {:?} has no routes", step.name) });
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::apply;
    use crate::ingest::event::{Event, Principal};
    use serde_json::json;

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

    #[test]
    fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_name() {
        let error = parse(
            "p",
            "p.toml",
            "title = \"x\"\n[[step]]\nname = \"a\"\naudiense = \"b\"\nroutes = [\"sms\"]\npriority = \"high\"\n",
        )
        .expect_err("refused");
        assert_eq!(error.to_string(), "p.toml:4: unknown key \"audiense\"; did you mean \"audience\"?");
    }
}
