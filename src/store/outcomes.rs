//! What deliveries came to, for the journal: many in one row, and only where somebody asks for them (`kafka.outcomes`), since they are
//! as many as the recipients. No address and no words of a platform are among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tally::Ending;
use super::{Decision, DeliveryState, Fact, Manifest};
use crate::clock::Time;
use crate::id::{BroadcastId, SubscriberId};

/// The kind of such a row.
pub const OUTCOMES: &str = "outcomes";

/// In one row at most: whoever reads the journal has a few rows in memory.
const ROW: usize = 512;

/// One of them; in the journal a list, as short as it can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
pub struct OutcomeRow {
    pub subscriber: SubscriberId,
    /// Of the address; 0 where there is none.
    pub place: u16,
    /// Of the delivery; `skipped` or `unreachable` where there is none.
    pub state: String,
    /// By its number; 0 where there is none.
    pub channel: u16,
    pub at: Time,
    pub tries: u32,
    /// One of our own words: what was found fault with, or why nobody tried.
    pub reason: Option<String>,
    /// How its recipient stands from now on, where this changes it.
    pub recipient: Option<String>,
}

type Packed = (SubscriberId, u16, String, u16, i64, u32, Option<String>, Option<String>);

impl From<Packed> for OutcomeRow {
    fn from((subscriber, place, state, channel, at, tries, reason, recipient): Packed) -> OutcomeRow {
        OutcomeRow { subscriber, place, state, channel, at: Time(at), tries, reason, recipient }
    }
}

impl From<OutcomeRow> for Packed {
    fn from(noted: OutcomeRow) -> Packed {
        let OutcomeRow { subscriber, place, state, channel, at, tries, reason, recipient } = noted;
        (subscriber, place, state, channel, at.0, tries, reason, recipient)
    }
}

/// Those of one transaction.
pub struct Outcomes {
    wanted: bool,
    noted: BTreeMap<BroadcastId, Vec<OutcomeRow>>,
}

impl Outcomes {
    pub fn new(wanted: bool) -> Outcomes {
        Outcomes { wanted, noted: BTreeMap::new() }
    }

    /// Somebody asks for them.
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// A fact was merged, and the delivery stands like this now. What waits or goes another way is none, unless its recipient had ended.
    pub fn came(&mut self, fact: &Fact, state: DeliveryState, before: Ending, after: Ending) {
        let recipient = Ending::changed(before, after);
        if !self.wanted || recipient.is_none() && matches!(state, DeliveryState::Open | DeliveryState::Moved) {
            return;
        }
        let reason = fact.fault.filter(|_| state == DeliveryState::Rejected);
        self.noted.entry(fact.delivery.broadcast).or_default().push(OutcomeRow {
            subscriber: fact.delivery.subscriber,
            place: fact.delivery.place,
            state: state.word().into(),
            channel: fact.channel.0,
            at: fact.ended,
            tries: fact.tries,
            reason: reason.map(str::to_string),
            recipient: recipient.map(str::to_string),
        });
    }

    /// Whom a page leaves out has ended by that.
    pub fn left_out(&mut self, manifest: &Manifest) {
        if !self.wanted {
            return;
        }
        for decided in &manifest.decided {
            let Decision::Omitted(omission) = &decided.decision else { continue };
            let state = if omission.unreachable() { "unreachable" } else { "skipped" };
            self.noted.entry(manifest.key.broadcast).or_default().push(OutcomeRow {
                subscriber: decided.subscriber,
                place: 0,
                state: state.into(),
                channel: 0,
                at: manifest.at,
                tries: 0,
                reason: Some(omission.word().into()),
                recipient: Some(state.into()),
            });
        }
    }

    /// Takes them out, as rows of the journal. To be written before whatever follows from them.
    pub fn rows(&mut self) -> Vec<(Time, Value)> {
        let mut rows = Vec::new();
        for (broadcast, noted) in std::mem::take(&mut self.noted) {
            for part in noted.chunks(ROW) {
                let at = part.iter().map(|noted| noted.at).max().unwrap_or(Time(0));
                rows.push((at, json!({ "broadcast": broadcast, "outcomes": part })));
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_reads_back_as_written() {
        let noted = OutcomeRow {
            subscriber: SubscriberId(7),
            place: 1,
            state: "rejected".into(),
            channel: 3,
            at: Time(1_633_362_660_000),
            tries: 2,
            reason: Some("address".into()),
            recipient: None,
        };
        let text = serde_json::to_string(&noted).expect("JSON");
        assert_eq!(text, r#"["sub_7",1,"rejected",3,1633362660000,2,"address",null]"#);
        assert_eq!(serde_json::from_str::<OutcomeRow>(&text).expect("reads"), noted);
    }

    #[test]
    fn a_row_holds_no_more_than_whoever_reads_it_has_room_for() {
        let mut outcomes = Outcomes::new(true);
        let one = OutcomeRow {
            at: Time(1),
            ..serde_json::from_str(r#"["sub_1",1,"told",1,0,1,null,"told"]"#).expect("reads")
        };
        outcomes.noted.insert(BroadcastId(1), vec![one; 2 * ROW + 1]);
        let sizes: Vec<usize> =
            outcomes.rows().iter().map(|(_, body)| body["outcomes"].as_array().map_or(0, Vec::len)).collect();
        assert_eq!(sizes, [ROW, ROW, 1]);
        assert!(outcomes.rows().is_empty());
    }
}
