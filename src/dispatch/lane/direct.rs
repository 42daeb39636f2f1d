//! A permit for what goes past the lane, such as a test or a mail that asks for consent: it counts like every attempt.

use std::time::Duration;

use super::Lane;
use crate::audience::route::ChannelId;
use crate::clock::{Instant, Time};
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
    /// Spends a permit of a channel for an attempt at an address, if one comes within `patience`.
    pub async fn permit(
        &self,
        channel: ChannelId,
        to: &str,
        patience: Duration,
    ) -> Result<std::result::Result<(), Barred>> {
        let Some(lane) = self.lanes.get(&channel) else { return Ok(Err(Barred::Paused)) };
        let until = self.clock.monotonic() + patience;
        loop {
            if lane.paused() {
                return Ok(Err(Barred::Paused));
            }
            let now = self.clock.monotonic();
            let due = match lane.spend_directly(to, now, self.clock.steady()) {
                Ok(()) => return Ok(Ok(())),
                Err(Refusal::Reserve(reservation)) => {
                    let reserved = self.reserve(&reservation).await?;
                    lane.reserved(&reserved, self.clock.monotonic());
                    continue;
                }
                Err(Refusal::Until(due) | Refusal::Address(due)) => due,
                Err(Refusal::Turn) => now,
            };
            if due > until {
                return Ok(Err(Barred::Limited(due.saturating_sub(now))));
            }
            self.clock.sleep_until(due).await;
        }
    }
}

impl Lane {
    fn spend_directly(&self, to: &str, now: Instant, steady: Time) -> std::result::Result<(), Refusal> {
        let mut inner = lock(&self.inner);
        let host = self.settings.driver.host(to);
        host.map_or(Ok(()), |host| inner.hosts.limits.check(host, now))?;
        inner.limits.spend_directly(to, now, steady)?;
        host.into_iter().for_each(|host| inner.hosts.limits.spend(host, now));
        Ok(())
    }
}
