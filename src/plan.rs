//! Plans: which incidents they are for, and which steps tell whom. `draw` decides, purely, the broadcasts of an update;
//! `corrections` those of one that was wrong.

mod confirm;
mod correction;
mod draw;
mod file;
mod selection;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::confirm::{Confirms, unconfirmable};
pub use self::correction::{Wrong, corrections};
pub use self::draw::{Draw, Held, Thread, code, draw, remind};
pub use self::file::{BadPlan, load, parse};
pub use self::selection::{Selected, Selection};
use crate::incident::{CauseCategory, Clearance, Facts, Kind, Mode, Severity, Status, words};
use crate::quantity::{Limit, Span};

words!(
    /// What goes before what. Declared in rising order, so that the greatest is the most urgent.
    Priority { Bulk = "bulk", Normal = "normal", High = "high", Critical = "critical" }
);
words!(
    Purpose {
        Update = "update", Correction = "correction", Retraction = "retraction", Holding = "holding", Reminder = "reminder",
    }
);

words!(
    /// How later messages of an incident follow the first one: under it, or in its place.
    Follow { Thread = "thread", Edit = "edit" }
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
    /// Confirms, by itself, a proposed incident that it matches once so many different origins say so that are not just anybody.
    #[serde(default)]
    pub confirm_signals: Option<usize>,
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
    /// Where what was accepted is not confirmed by then, the next route is taken, too.
    #[serde(default)]
    pub confirm_within: Option<Span>,
    /// How an update follows the first message of its incident, by channels that can; otherwise each is a message of its own.
    #[serde(default)]
    pub follow: Option<Follow>,
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

impl Step {
    fn fits(&self, facts: &Facts) -> bool {
        self.status.as_ref().is_none_or(|wanted| facts.status.is_some_and(|is| wanted.contains(&is)))
            && self.severity.as_ref().is_none_or(|wanted| wanted.contains(&facts.severity.unwrap_or(Severity::Minor)))
    }
}
