//! What of an incident was told to everyone, update by update: what the public page is made of, and an alert each. What was held,
//! stopped, or said to few is none of it.

use std::collections::BTreeMap;

use crate::clock::Time;
use crate::config::Config;
use crate::id::{IncidentId, UpdateId};
use crate::incident::{Clearance, Facts, Status};
use crate::store::{Broadcast, BroadcastFilter, BroadcastState, Store, StoreError};

/// Broadcasts read at one time, and how often at most: an incident has a few for each update and reminder.
const PAGE: usize = 1000;
const PAGES: usize = 20;

#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub id: UpdateId,
    /// When it was first released to an audience of everyone. A stop that comes later does not change it.
    pub sent: Time,
    /// As far as everyone may know them.
    pub facts: Facts,
}

impl Told {
    pub fn ended(&self) -> bool {
        self.facts.status.is_some_and(Status::ended)
    }
}

/// Oldest first.
pub async fn of(store: &dyn Store, config: &Config, incident: IncidentId) -> Result<Vec<Told>, StoreError> {
    let mut all = Vec::new();
    let mut before = None;
    for _ in 0..PAGES {
        let filter = BroadcastFilter { incident: Some(incident), before, ..Default::default() };
        let page = store.broadcasts(filter, PAGE).await?;
        before = page.last().map(|(broadcast, _)| broadcast.id);
        let whole = page.len() == PAGE;
        all.extend(page.into_iter().map(|(broadcast, _)| broadcast));
        if !whole {
            break;
        }
    }
    Ok(told(config, &all))
}

fn told(config: &Config, broadcasts: &[Broadcast]) -> Vec<Told> {
    let mut by_number: BTreeMap<i64, Vec<(&Broadcast, Time)>> = BTreeMap::new();
    for broadcast in broadcasts.iter().filter(|broadcast| is_for_everyone(config, broadcast)) {
        if let Some(released) = broadcast.released {
            by_number.entry(broadcast.number).or_default().push((broadcast, released));
        }
    }
    let told = by_number.into_iter().filter_map(|(number, said)| {
        let stands = said.iter().filter(|(broadcast, _)| broadcast.state != BroadcastState::Cancelled);
        let (first, _) = stands.min_by_key(|(broadcast, _)| (broadcast.version, broadcast.id))?;
        let id = UpdateId { incident: first.incident, number };
        let sent = said.iter().map(|(_, released)| *released).min()?;
        Some(Told { id, sent, facts: first.facts.view(Clearance::Public) })
    });
    told.collect()
}

pub fn is_for_everyone(config: &Config, broadcast: &Broadcast) -> bool {
    config.audiences.get(&broadcast.audience).is_some_and(|audience| audience.clearance == Clearance::Public)
}
