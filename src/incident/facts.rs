//! Facts: what is true of an incident, in words and figures that were checked when they came. Leave by `view`: what a reader of a
//! clearance may know, and no cause that nobody has confirmed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words;
use crate::clock::Time;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
