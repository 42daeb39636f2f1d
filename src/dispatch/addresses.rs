//! Addresses with an attempt on the wire, over all lanes: two channels may lead to one address, and its tries go one at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::live::Delivery;
use super::{Engine, lock};
use crate::audience::route::ChannelId;
use crate::id::SubscriberId;

/// Each with the lanes that have passed over a delivery to it, and look again when it is free.
#[derive(Default)]
pub(crate) struct Addresses(BTreeMap<(SubscriberId, u16), BTreeSet<ChannelId>>);

impl Addresses {
    /// Whether an attempt to this delivery's address is on the wire; if so, `lane` is told when it has ended.
    pub fn taken(&mut self, delivery: &Delivery, lane: ChannelId) -> bool {
        let passed_over = self.0.get_mut(&(delivery.subscriber, delivery.place));
        passed_over.map(|lanes| lanes.insert(lane)).is_some()
    }

    pub fn begins(&mut self, delivery: &Delivery) {
        self.0.entry((delivery.subscriber, delivery.place)).or_default();
    }

    /// Answers which lanes have passed it over.
    fn ended(&mut self, delivery: &Delivery) -> BTreeSet<ChannelId> {
        self.0.remove(&(delivery.subscriber, delivery.place)).unwrap_or_default()
    }
}

impl Engine {
    /// The address of an attempt that has ended is free: whoever passed it over looks again.
    pub(crate) fn address_free(&self, delivery: &Delivery) {
        let passed_over = lock(&self.addresses).ended(delivery);
        passed_over.iter().filter_map(|lane| self.lanes.get(lane)).for_each(|lane| lane.wake());
    }
}
