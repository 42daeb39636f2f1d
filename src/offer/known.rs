//! What a row of the journal does not say itself, asked of the store once: of its broadcast the incident, the audience and the mode, and
//! the names of channels.

use std::collections::BTreeMap;

use ring::hmac;

use crate::id::{BroadcastId, DeliveryId, IncidentId};
use crate::incident::Mode;
use crate::store::{JournalRow, Result, Store};

/// Broadcasts in memory; beyond that they are asked for again.
const ROOM: usize = 1024;

#[derive(Debug, Clone)]
pub struct About {
    pub incident: IncidentId,
    pub incident_key: String,
    pub audience: String,
    pub mode: Mode,
}

pub struct Known {
    /// Of this installation, the same on all of its nodes.
    pub source: String,
    key: hmac::Key,
    pub broadcasts: BTreeMap<BroadcastId, About>,
    pub channels: BTreeMap<u16, String>,
}

impl Known {
    pub fn new(key: &hmac::Key) -> Known {
        let tag = hmac::sign(key, b"source of what is offered");
        let tag: String = tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Known {
            source: format!("urn:loudhailer:{tag}"),
            key: key.clone(),
            broadcasts: BTreeMap::new(),
            channels: BTreeMap::new(),
        }
    }

    /// Learns what these rows need.
    pub async fn ask(&mut self, store: &dyn Store, rows: &[JournalRow]) -> Result<()> {
        if self.broadcasts.len() >= ROOM {
            self.broadcasts.clear();
        }
        for row in rows {
            let Some(id) = broadcast(row).filter(|id| !self.broadcasts.contains_key(id)) else { continue };
            let Some(found) = store.broadcast(id).await? else { continue };
            let about = About {
                incident: found.incident,
                incident_key: found.incident_key,
                audience: found.audience,
                mode: found.selection.mode,
            };
            self.broadcasts.insert(id, about);
        }
        // One that is set up later has a number that is not known yet.
        let numbers = rows.iter().flat_map(channels).collect::<Vec<u16>>();
        if numbers.iter().any(|number| *number != 0 && !self.channels.contains_key(number)) {
            let all = store.channels(Vec::new()).await?;
            self.channels = all.into_iter().map(|(name, id, _)| (id.0, name)).collect();
        }
        Ok(())
    }

    pub fn delivery(&self, id: DeliveryId) -> String {
        id.public(&self.key)
    }
}

pub fn broadcast(row: &JournalRow) -> Option<BroadcastId> {
    row.body["broadcast"].as_str()?.parse().ok()
}

/// The channels that a row names by number.
fn channels(row: &JournalRow) -> Vec<u16> {
    let number = |value: &serde_json::Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    match row.body["outcomes"].as_array() {
        Some(outcomes) => outcomes.iter().filter_map(|outcome| number(&outcome[3])).collect(),
        None => number(&row.body["channel"]).into_iter().collect(),
    }
}
