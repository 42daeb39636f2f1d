//! Whom a broadcast is for: what a step and an update select of its audience, what it inherits from broadcasts that it supersedes,
//! and whom an earlier step of the same update tells in its place.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Step;
use crate::incident::{Facts, Mode, Severity};

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

impl Selected {
    pub(super) fn of(step: &Step, facts: &Facts) -> Selected {
        Selected {
            audience: step.audience.clone(),
            components: facts.components.iter().cloned().collect(),
            regions: facts.regions.iter().cloned().collect(),
            severity: facts.severity.unwrap_or(Severity::Minor),
        }
    }
}
