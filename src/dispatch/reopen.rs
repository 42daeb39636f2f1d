//! Recipients who had come to an end and are open again, by a replay or a bounce, perhaps in a broadcast that was done. Promised:
//! each counts once, and no broadcast ends with somebody open.
//!
//! The store knows who has ended and what state a broadcast is in, and so does memory, for broadcasts that are under way.
//! `Engine::in_step` keeps the two together: what only counts changes the store and memory's count under a reader's lock; a broadcast
//! changes its state, ends, or is taken up again with the store's counts, under the writer's (`states.rs`, `recorder::finish`,
//! `take_up_again`).

use std::sync::Arc;

use super::{Engine, lock, recorder};
use crate::channel::ReceiptStatus;
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::plan::Priority;
use crate::store::{ReceiptFact, Replayed, Reported, Result, StoreError, UNDECIDED};

impl Engine {
    /// Opens a delivery again that ended rejected, unknown or expired.
    pub async fn replay(self: &Arc<Engine>, id: DeliveryId, by: &str) -> Result<Replayed> {
        let (engine, by) = (self.clone(), by.to_string());
        whole(async move { engine.replayed(id, &by).await }).await
    }

    async fn replayed(&self, id: DeliveryId, by: &str) -> Result<Replayed> {
        let counted = self.in_step.read().await;
        let live = self.live(id.broadcast);
        let due = self.clock.steady();
        let replayed = self.store.replay(id, due, self.clock.calendar(), by).await?;
        let reopened = matches!(replayed, Replayed::Open { reopened: true, .. });
        if let (Some(live), true) = (&live, reopened && self.owns(id.subscriber)) {
            live.ended(-1);
        }
        drop(counted);
        match live {
            // The planner may have ended it again before it was counted.
            Some(live) if reopened => recorder::finish(self, &live).await,
            None if reopened => self.take_up_again(id.broadcast).await?,
            _ => {}
        }
        if let Replayed::Open { channel, priority, .. } = replayed {
            self.hint(priority, channel, due);
            self.plan.notify_one();
        }
        Ok(replayed)
    }

    /// A platform's report; answers whether it belonged to a delivery. A bounce lets the recipient try on by another way.
    pub async fn receipt(self: &Arc<Engine>, fact: ReceiptFact) -> Result<bool> {
        let engine = self.clone();
        whole(async move { engine.reported(fact).await }).await
    }

    async fn reported(&self, fact: ReceiptFact) -> Result<bool> {
        let counted = self.in_step.read().await;
        let lane = self.lanes.get(&fact.channel).cloned();
        let arrived = matches!(fact.status, ReceiptStatus::Delivered | ReceiptStatus::Read);
        let observed = |began: Time| {
            if let Some(lane) = &lane {
                lane.reported(arrived, self.clock.calendar().since(began), self.clock.monotonic());
            }
        };
        let Some(Reported { delivery, ended, first, opened, suppressed, late }) = self.store.receipt(fact).await?
        else {
            // It was faster than the record of its attempt.
            observed(self.clock.calendar());
            return Ok(false);
        };
        first.into_iter().for_each(observed);
        let live = self.live(delivery.broadcast);
        if let Some(live) = &live {
            if self.owns(delivery.subscriber) {
                live.ended(ended);
            }
            if late {
                lock(&live.confirmed).note(delivery.subscriber);
                self.barrier();
            }
        }
        drop(counted);
        if suppressed && let Some(subscriber) = self.store.subscriber(delivery.subscriber).await? {
            self.note_changed(subscriber.id, subscriber.version);
        }
        match live {
            Some(live) => recorder::finish(self, &live).await,
            None if ended < 0 => self.take_up_again(delivery.broadcast).await?,
            None => {}
        }
        if opened {
            let now = self.clock.steady();
            Priority::ALL.iter().for_each(|priority| self.hint(*priority, UNDECIDED, now));
            self.plan.notify_one();
        }
        self.happened();
        if late || suppressed {
            // Nobody is told on another node either whom this forbids to tell.
            self.store.obeyed().await;
        }
        Ok(true)
    }

    /// Another node counts its own.
    fn owns(&self, subscriber: SubscriberId) -> bool {
        self.leases.epoch(subscriber.shard()).is_some()
    }

    /// Takes up a broadcast that was done. Whoever else was opened in it before is in the counts that are read here.
    pub(super) async fn take_up_again(&self, id: BroadcastId) -> Result<()> {
        let _alone = self.in_step.write().await;
        if self.live(id).is_none() {
            self.noticed(&[id]).await?;
        }
        Ok(())
    }
}

/// In a task of its own, so that nobody who stops waiting leaves memory behind the store.
pub(crate) async fn whole<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let lost = |error: tokio::task::JoinError| StoreError::Failed(error.to_string());
    tokio::spawn(work).await.map_err(lost)?
}
