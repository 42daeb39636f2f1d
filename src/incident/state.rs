//! What was said of an incident, by whom and when, field by field. Enter: events in any order. Leave: the same facts whatever the
//! order in which those of one source came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Facts;
use crate::ingest::event::Event;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Only signals say so yet: nobody is told anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proposed: bool,
    said: BTreeMap<String, Said>,
    /// The youngest event of each source.
    pub(super) youngest: BTreeMap<String, Order>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    value: Value,
    source: String,
    order: Order,
}

/// Where an event stands among those of its source: by sequence where both have one, else by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub sequence: Option<i64>,
    pub at: i64,
}

impl Order {
    pub(super) fn before(self, other: Order) -> bool {
        match (self.sequence, other.sequence) {
            (Some(own), Some(others)) if own != others => own < others,
            _ => self.at < other.at,
        }
    }
}

impl State {
    /// For tests: somebody said all of this.
    #[cfg(test)]
    pub fn of(says: Value) -> State {
        let said = |value| Said { value, source: "s".into(), order: Order { sequence: None, at: 0 } };
        let said = says.as_object().cloned().unwrap_or_default().into_iter().map(|(name, value)| (name, said(value)));
        State { said: said.collect(), ..State::default() }
    }

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

/// Folds field by field. A late event fills only what nobody younger has said; across sources the arrival decides.
pub(super) fn fold(state: &mut State, event: &Event, order: Order, overtaken: bool) {
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
