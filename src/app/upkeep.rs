//! What runs beside everything else: what is old is deleted, and what another node has changed is taken up.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use crate::clock::Time;

/// Takes up what was changed on another node.
pub async fn settings(app: Arc<App>) {
    let mut changes = app.engine.settings_changes();
    while changes.changed().await.is_ok() {
        match super::muted(&*app.store).await {
            Ok(muted) => app.sources.mute(muted),
            Err(error) => tracing::warn!(%error, "which sources are muted can't be read"),
        }
    }
}

/// Deletes by age what the configuration no longer wants kept. One node does it for all.
pub async fn retention(app: Arc<App>) {
    loop {
        let now = app.clock.calendar();
        let before = |span: Duration| Time(now.0.saturating_sub(span.as_millis() as i64));
        let keep = &app.config.retention;
        let waits = Duration::from_secs(24 * 3600); // receipts that match nothing yet
        while app.engine.leases.lead(app.clock.monotonic()) {
            match app
                .store
                .retain(before(keep.incidents.0), before(keep.events.0), before(keep.journal.0), before(waits))
                .await
            {
                Ok(0) => break,
                Ok(rows) => tracing::debug!(rows, "deleted by age"),
                Err(error) => {
                    tracing::warn!(%error, "retention failed; trying again in an hour");
                    break;
                }
            }
        }
        app.clock.sleep(Duration::from_secs(3600)).await;
    }
}
