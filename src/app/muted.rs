//! Which sources are muted: in the store for all nodes, and in memory for who takes their documents.

use std::collections::BTreeSet;

use super::App;
use crate::store::{Result, Store};

/// The name under which the store keeps them.
const MUTED: &str = "muted_sources";

pub(super) async fn kept(store: &dyn Store) -> Result<BTreeSet<String>> {
    Ok(read(store.meta(MUTED).await?.as_deref()))
}

fn read(kept: Option<&str>) -> BTreeSet<String> {
    kept.and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default()
}

impl App {
    /// From here on a source's documents are answered, and nothing comes of them; or they count again.
    pub async fn mute_source(&self, name: &str, mute: bool) -> Result<()> {
        let _alone = self.muting.lock().await;
        loop {
            let kept = self.store.meta(MUTED).await?;
            let mut muted = read(kept.as_deref());
            if mute {
                muted.insert(name.to_string())
            } else {
                muted.remove(name)
            };
            let changed = serde_json::to_string(&muted).unwrap_or_default();
            // Otherwise another node has muted one meanwhile.
            if self.store.swap_meta(MUTED, kept.as_deref(), &changed).await? {
                self.sources.mute(muted);
                return Ok(());
            }
        }
    }

    /// Takes up what another node has muted. What this one mutes meanwhile is not undone by what was read before.
    pub(super) async fn hear_muted(&self) -> Result<()> {
        let _alone = self.muting.lock().await;
        self.sources.mute(kept(&*self.store).await?);
        Ok(())
    }
}
