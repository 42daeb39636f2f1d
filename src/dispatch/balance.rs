//! The weights of the engine's channels: what the lanes observed, decided kind by kind a few seconds apart, and read once a page.
//! Kept in memory alone; after a restart each channel has its configured weight.

use std::collections::BTreeMap;

use super::failover::{self, Peer, STEP, Share};
use super::lane::Lane;
use super::{Engine, lock};
use crate::audience::route::ChannelId;
use crate::clock::Instant;

/// Steps made up for at one time, after nobody asked for long: by then nothing of before is remembered.
const STEPS: u32 = 600;

#[derive(Default)]
pub(crate) struct Balance {
    shares: BTreeMap<ChannelId, Share>,
    stepped: Instant,
}

impl Engine {
    /// The weight that each channel has now, in thousandths of the configured unit.
    pub fn weights(&self) -> BTreeMap<ChannelId, u32> {
        let now = self.clock.monotonic();
        let mut balance = lock(&self.balance);
        let missed = (now.saturating_sub(balance.stepped).as_secs() / STEP.as_secs()).min(STEPS.into()) as u32;
        for left in (0..missed).rev() {
            self.step(&mut balance.shares, now.saturating_sub(STEP * left));
        }
        if missed > 0 {
            balance.stepped = now;
        }
        let of = |lane: &Lane| balance.shares.get(&lane.settings.id).copied().unwrap_or_default();
        self.lanes.iter().map(|(id, lane)| (*id, of(lane).of(lane.settings.weight))).collect()
    }

    fn step(&self, shares: &mut BTreeMap<ChannelId, Share>, now: Instant) {
        let mut kinds: BTreeMap<(&str, &str), Vec<&Lane>> = BTreeMap::new();
        for lane in self.lanes.values() {
            kinds.entry((&lane.settings.kind, &lane.settings.address_kind)).or_default().push(lane);
        }
        for lanes in kinds.into_values().filter(|lanes| lanes.len() > 1) {
            let mut own: Vec<Share> =
                lanes.iter().map(|lane| shares.get(&lane.settings.id).copied().unwrap_or_default()).collect();
            let peers: Vec<Peer> = lanes.iter().zip(&own).map(|(lane, share)| lane.peer(share.healthy, now)).collect();
            let before: Vec<f64> = own.iter().map(|share| share.part).collect();
            failover::choose(&peers, &mut own, now);
            for ((lane, share), before) in lanes.iter().zip(own).zip(before) {
                if before == 1.0 && share.part < 1.0 {
                    tracing::warn!(
                        channel = lane.settings.name,
                        "does worse than the others of its kind; weight moves away"
                    );
                } else if before < 1.0 && share.part == 1.0 {
                    tracing::info!(channel = lane.settings.name, "has its whole weight again");
                }
                shares.insert(lane.settings.id, share);
            }
        }
    }
}
