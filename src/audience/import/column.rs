//! The columns that a file may have, by their names, and which of them a file speaks of.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What a file may have: a column of CSV, a key of NDJSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Key,
    Name,
    Locale,
    Zone,
    Quiet,
    Severity,
    Audiences,
    Components,
    Regions,
    Exercises,
    Address(String),
    Verified(String),
    /// What a webhook's messages are signed with.
    Secret,
}

pub(super) const NAMES: &[(&str, Column)] = &[
    ("key", Column::Key),
    ("name", Column::Name),
    ("locale", Column::Locale),
    ("time_zone", Column::Zone),
    ("quiet_hours", Column::Quiet),
    ("min_severity", Column::Severity),
    ("audiences", Column::Audiences),
    ("components", Column::Components),
    ("regions", Column::Regions),
    ("exercises", Column::Exercises),
    ("url_secret", Column::Secret),
];

impl Column {
    pub(super) fn name(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Column::Address(kind) => kind.as_str().into(),
            Column::Verified(kind) => format!("{kind}_verified").into(),
            other => NAMES.iter().find(|(_, known)| known == other).map_or("", |(name, _)| name).into(),
        }
    }
}

/// What the file speaks of; the rest of a subscriber who is there already stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Given {
    columns: u16,
    /// The kinds of address; `None`: the row has them all.
    pub kinds: Option<Arc<BTreeSet<String>>>,
}

impl Given {
    pub(super) fn note(&mut self, column: &Column) {
        if let Some(at) = NAMES.iter().position(|(_, known)| known == column) {
            self.columns |= 1 << at;
        }
    }

    pub(super) fn has(&self, column: &Column) -> bool {
        NAMES.iter().position(|(_, known)| known == column).is_some_and(|at| self.columns & 1 << at != 0)
    }
}
