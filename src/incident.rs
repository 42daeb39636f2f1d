//! Incidents: facts folded from events into numbered updates. `apply` decides, purely, what an event changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
            fn from_str(text: &str) -> Result<Self, String> {
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
