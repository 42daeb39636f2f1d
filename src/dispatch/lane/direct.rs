//! A permit for what goes past the lane, such as a test or a mail that asks for consent: it counts like every attempt.

use std::time::Duration;

use crate::audience::route::ChannelId;
use crate::dispatch::permit::Refusal;
use crate::dispatch::{Engine, lock};
use crate::store::Result;

/// What stands in the way of an attempt past the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    Paused,
    /// The channel's limits leave no room for so long.
    Limited(Duration),
}

impl Engine {
    /// Spends a permit of a channel, if one comes within `patience`.
    pub async fn permit(&self, channel: ChannelId, patience: Duration) -> Result<std::result::Result<(), Barred>> {
        let Some(lane) = self.lanes.get(&channel) else { return Ok(Err(Barred::Paused)) };
        let until = self.clock.monotonic() + patience;
        loop {
            if lane.paused() {
                return Ok(Err(Barred::Paused));
            }
            let spent = lock(&lane.inner).permits.spend(self.clock.steady());
            match spent {
                Ok(()) => return Ok(Ok(())),
                Err(Refusal::Until(due)) if due > until => {
                    return Ok(Err(Barred::Limited(due.saturating_sub(self.clock.monotonic()))));
                }
                Err(Refusal::Until(due)) => self.clock.sleep_until(due).await,
                Err(Refusal::Reserve { name, bucket, count }) => {
                    self.store.spend(&name, bucket, count).await?;
                    lane.reserved(&name, bucket, count);
                }
            }
        }
    }
}
