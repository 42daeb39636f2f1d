//! What runs beside everything else: what is old is deleted, what another node has changed is taken up, and what happened is
//! offered to others.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::App;
use crate::clock::Time;
use crate::offer::Offer;

/// How long the last events may take to be acknowledged when the process stops.
const LAST_OFFERS: Duration = Duration::from_secs(5);

/// Takes up what was changed on another node.
pub async fn settings(app: Arc<App>) {
    let mut changes = app.engine.settings_changes();
    while changes.changed().await.is_ok() {
        if let Err(error) = app.hear_muted().await {
            tracing::warn!(%error, "which sources are muted can't be read");
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

/// What happened is being offered.
pub struct Offering {
    last: CancellationToken,
    running: JoinHandle<()>,
}

/// `None`: nobody wants it.
pub fn offering(app: &App) -> Option<Offering> {
    let offer = Offer {
        config: app.config.kafka.clone(),
        store: app.store.clone(),
        leases: app.engine.leases.clone(),
        clock: app.clock.clone(),
        key: app.key.clone(),
        happenings: app.engine.happenings(),
    };
    let last = CancellationToken::new();
    app.config.kafka.offers().then(|| Offering { running: tokio::spawn(offer.run(last.clone())), last })
}

impl Offering {
    /// Nothing more happens: the last of it is offered, too. Where that takes too long, it is after the next start.
    pub async fn finish(self) {
        self.last.cancel();
        let ending = self.running.abort_handle();
        if tokio::time::timeout(LAST_OFFERS, self.running).await.is_err() {
            tracing::warn!("what happened last is offered only after the next start");
            ending.abort();
        }
    }
}
