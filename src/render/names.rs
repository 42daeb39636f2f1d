//! The names a template may use: who may read each, whether it is always there, and what it is. `guard` refuses all others
//! when a template loads; `view` gives the values.

use super::Occasion::{self, *};
use super::times;
use crate::incident::Clearance::{self, *};

pub enum Presence {
    Always,
    Optional,
    /// Always there in these occasions, optional in others.
    In(&'static [Occasion]),
    /// There with the group that it belongs to.
    With(&'static str),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    Text,
    /// A word to compare with one of these.
    Word(&'static [&'static str]),
    Time,
    /// Has names below it; stands in conditions only.
    Group,
}

pub struct Name {
    pub path: &'static str,
    pub clearance: Clearance,
    pub presence: Presence,
    pub shape: Shape,
}

const fn name(path: &'static str, clearance: Clearance, presence: Presence, shape: Shape) -> Name {
    Name { path, clearance, presence, shape }
}

const STATUS: &[&str] =
    &["investigating", "identified", "monitoring", "resolved", "scheduled", "in_progress", "verifying", "completed"];
const SEVERITY: &[&str] = &["info", "minor", "major", "critical"];
const KIND: &[&str] = &["incident", "maintenance"];
const CAUSE: &[&str] = &["technical_failure", "cyberattack", "traffic_surge", "third_party", "human_error", "unknown"];
const DATA: &[&str] = &["none", "at_risk", "lost", "exposed"];

use Presence::{Always, In, Optional, With};
use Shape::{Group, Text, Time, Word};

pub const NAMES: &[Name] = &[
    name("sender", Public, Always, Text),
    name("services", Public, Always, Text),
    name("Services", Public, Always, Text),
    name("started", Public, Always, Time),
    name("now", Public, Always, Time),
    name("status", Public, Always, Word(STATUS)),
    name("status_text", Public, Always, Text),
    name("kind", Public, Always, Word(KIND)),
    name("status_page", Public, Always, Text),
    name("code", Public, Always, Text),
    name("check", Public, Always, Text),
    name("update_number", Public, Always, Text),
    name("title", Public, Optional, Text),
    name("summary", Public, Optional, Text),
    name("workaround", Public, Optional, Text),
    name("action", Public, Optional, Text),
    name("alternatives", Public, Optional, Text),
    name("support_url", Public, Optional, Text),
    name("where", Public, Optional, Text),
    name("places", Public, Optional, Text),
    name("next", Public, Optional, Time),
    name("expected", Public, Optional, Time),
    name("ended", Public, In(&[Resolved, Completed, Summary]), Time),
    name("restored_percent", Public, Optional, Text),
    name("window_from", Public, In(&[Scheduled, Started, Extended, Completed]), Time),
    name("window_to", Public, Optional, Time),
    name("window_before", Public, Optional, Time),
    name("data", Public, Optional, Word(DATA)),
    name("cause", Public, Optional, Group),
    name("cause.category", Public, With("cause"), Word(CAUSE)),
    name("cause.name", Public, With("cause"), Text),
    name("cause.text", Public, Optional, Text),
    name("wrong", Public, In(&[Correction, Retraction]), Group),
    name("wrong.number", Public, With("wrong"), Text),
    name("wrong.sent", Public, With("wrong"), Time),
    name("wrong.said", Public, Optional, Text),
    name("severity", Partner, Optional, Word(SEVERITY)),
    name("severity_text", Partner, With("severity"), Text),
    name("impact", Partner, Optional, Group),
    name("impact.users", Partner, Optional, Text),
    name("impact.businesses", Partner, Optional, Text),
    name("impact.functions", Partner, Optional, Text),
    name("compensation", Partner, Optional, Text),
    name("owner", Internal, Optional, Text),
    name("internal_notes", Internal, Optional, Text),
];

/// The name that a path such as `next.when` or `cause.text` stands for, and the part of a time it asks for.
pub fn find(path: &str) -> Option<(&'static Name, Option<&str>)> {
    if let Some(name) = NAMES.iter().find(|name| name.path == path) {
        return Some((name, None));
    }
    let (head, part) = path.rsplit_once('.')?;
    let name = NAMES.iter().find(|name| name.path == head && name.shape == Time)?;
    times::PARTS.contains(&part).then_some((name, Some(part)))
}

/// The nearest name that this clearance may read.
pub fn nearest(path: &str, clearance: Clearance) -> Option<String> {
    let readable = NAMES.iter().filter(|name| name.clearance <= clearance);
    let with_parts = readable.flat_map(|name| {
        let parts: &[&str] = if name.shape == Time { times::PARTS } else { &[] };
        parts.iter().map(|part| format!("{}.{part}", name.path)).chain([name.path.to_string()])
    });
    super::nearest(path, with_parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{CauseCategory, DataEffect, Kind, Severity, Status};

    #[test]
    fn words_to_compare_are_those_of_the_facts() {
        let all = |words: &[&str], expected: Vec<&str>| assert_eq!(words, expected);
        all(STATUS, Status::ALL.iter().map(|w| w.word()).collect());
        all(SEVERITY, Severity::ALL.iter().map(|w| w.word()).collect());
        all(KIND, Kind::ALL.iter().map(|w| w.word()).collect());
        all(CAUSE, CauseCategory::ALL.iter().map(|w| w.word()).collect());
        all(DATA, DataEffect::ALL.iter().map(|w| w.word()).collect());
    }

    #[test]
    fn a_time_is_named_with_its_part() {
        assert!(find("next.when").is_some_and(|(name, part)| name.path == "next" && part == Some("when")));
        assert!(find("wrong.sent.short").is_some());
        assert!(find("next.foo").is_none());
        assert_eq!(nearest("next.wen", Public).as_deref(), Some("next.when"));
        assert_eq!(nearest("owner", Public), None);
    }
}
