//! One person in one broadcast: all that is kept of them, for whoever asks why they were told, or not.

use super::{AttemptRow, Broadcast, Decided, DeliveryRow};
use crate::audience::Subscriber;
use crate::clock::Time;
use crate::id::BroadcastId;

#[derive(Debug, Clone)]
pub struct Recipient {
    pub broadcast: Broadcast,
    /// What its manifest says of them, and when that was decided. `None`: no page with them has been decided.
    pub decided: Option<(Time, Decided)>,
    /// They themselves as it was decided for them, if that version is still kept.
    pub then: Option<Subscriber>,
    pub today: Option<Subscriber>,
    /// Whether a broadcast that the selection asks about told them, or may have, as far as is known today.
    pub told: bool,
    /// Since when they are in the broadcast's audience.
    pub member_since: Option<Time>,
    /// Their deliveries by place, and 0 for themselves as a whole.
    pub rows: Vec<DeliveryRow>,
    /// By place, and in their order.
    pub attempts: Vec<AttemptRow>,
    /// The other broadcasts of the same update, with their audiences.
    pub beside: Vec<(BroadcastId, String)>,
    /// The first that was released after it in its thread.
    pub newer: Option<BroadcastId>,
}
