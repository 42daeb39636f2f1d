//! A person's hand on a channel's brake. Promised: when a pause is answered, no attempt by the channel begins any more, and what
//! waits in its lane moves to other ways. A channel that is *compromised*, since somebody else has its credentials, is paused as
//! well, over every restart, until its credentials are others than those, or a person says on purpose that they may stay.
//!
//! Memory comes first where the brake is pulled, and the store where it is let go: whatever fails between leaves it pulled.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::lane::Lane;
use super::reopen::whole;
use super::{Engine, lock};
use crate::audience::route::ChannelId;
use crate::channel::credentials::{Digests, unchanged};
use crate::clock::Time;
use crate::store::{Result, Store};

/// Since when, and what the credentials were, by keyed digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compromised {
    pub since: Time,
    secrets: Digests,
}

/// What came of letting a channel go on.
#[derive(Debug, PartialEq)]
pub enum Resumed {
    Goes,
    /// It is compromised, and these secrets are those that somebody else has; none where its settings have none.
    Refused {
        since: Time,
        secrets: Vec<String>,
    },
}

impl Engine {
    /// `false`: there is no such channel.
    pub async fn pause_channel(self: &Arc<Engine>, id: ChannelId) -> Result<bool> {
        let engine = self.clone();
        whole(async move { engine.stop_channel(id, None).await }).await
    }

    /// Somebody else has its credentials, which are these. Said again, it is since then and about these.
    pub async fn compromise_channel(self: &Arc<Engine>, id: ChannelId, secrets: Digests) -> Result<bool> {
        let engine = self.clone();
        let compromised = Compromised { since: self.clock.calendar(), secrets };
        whole(async move { engine.stop_channel(id, Some(compromised)).await }).await
    }

    async fn stop_channel(&self, id: ChannelId, compromised: Option<Compromised>) -> Result<bool> {
        let alone = self.brake.lock().await;
        let Some(lane) = self.lanes.get(&id) else { return Ok(false) };
        lane.pause(true);
        if compromised.is_some() {
            lane.compromise(compromised.clone());
        }
        lane.barrier();
        lane.wake();
        self.ways_changed();
        self.happened();
        if let Some(compromised) = compromised {
            tracing::warn!(channel = lane.settings.name, "a channel was declared compromised");
            let kept = serde_json::to_string(&compromised).unwrap_or_default();
            self.store.set_meta(&lane.compromise_name(), &kept).await?;
        }
        self.store.pause_channel(id, true).await?;
        drop(alone);
        self.store.obeyed().await;
        Ok(true)
    }

    /// `secrets` are those of now; `same`: they may be those of then.
    pub async fn resume_channel(
        self: &Arc<Engine>,
        id: ChannelId,
        secrets: Digests,
        same: bool,
    ) -> Result<Option<Resumed>> {
        let engine = self.clone();
        whole(async move { engine.let_go(id, &secrets, same).await }).await
    }

    async fn let_go(&self, id: ChannelId, secrets: &Digests, same: bool) -> Result<Option<Resumed>> {
        let _alone = self.brake.lock().await;
        let Some(lane) = self.lanes.get(&id) else { return Ok(None) };
        if let Some(compromised) = lane.compromised() {
            if !same && unchanged(&compromised.secrets, secrets) {
                let secrets = compromised.secrets.into_keys().collect();
                return Ok(Some(Resumed::Refused { since: compromised.since, secrets }));
            }
            self.store.set_meta(&lane.compromise_name(), "null").await?;
            tracing::warn!(channel = lane.settings.name, same_credentials = same, "a channel is compromised no longer");
        }
        self.store.pause_channel(id, false).await?;
        lane.compromise(None);
        lane.pause(false);
        lane.barrier();
        lane.wake();
        self.ways_changed();
        self.happened();
        Ok(Some(Resumed::Goes))
    }
}

impl Lane {
    /// The name under which the store keeps that it is compromised.
    fn compromise_name(&self) -> String {
        format!("compromised/{}", self.settings.name)
    }

    /// As another node may have left it.
    pub(super) async fn compromise_heard(&self, store: &dyn Store) -> Result<()> {
        let kept = store.meta(&self.compromise_name()).await?;
        self.compromise(kept.and_then(|kept| serde_json::from_str(&kept).ok()).flatten());
        Ok(())
    }

    pub(super) async fn restore_compromise(&self, store: &dyn Store) -> Result<()> {
        let kept = store.meta(&self.compromise_name()).await?;
        if let Some(Ok(Some(compromised))) = kept.map(|kept| serde_json::from_str(&kept)) {
            self.compromise(Some(compromised));
            self.pause(true);
        }
        Ok(())
    }

    fn compromise(&self, compromised: Option<Compromised>) {
        *lock(&self.compromised) = compromised;
    }

    pub fn compromised(&self) -> Option<Compromised> {
        lock(&self.compromised).clone()
    }
}
