//! What platforms report over the connections of their channels, kept as what they post to `/v1/receipts` is. A report is answered once
//! it is on disk; what could not be kept, and whatever comes of a channel that is compromised, the platform is to repeat.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::App;
use crate::audience::route::ChannelId;
use crate::channel::Report;
use crate::channel::registry::Channel;
use crate::id::DeliveryId;
use crate::receipt::{Matching, Receipt};
use crate::store::{self, ReceiptFact, StoreError};

/// Reports of one channel that are on their way to disk at one time: they share its commits.
const AT_ONCE: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    #[error("the delivery's id is not one of ours")]
    Foreign,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// Answers whether it belonged to a delivery that is known.
    pub async fn keep(&self, id: ChannelId, channel: &Channel, receipt: Receipt) -> Result<bool, NotKept> {
        let matching = match receipt.matching {
            Matching::ById(text) => {
                store::Matching::Delivery(DeliveryId::read(&text, &self.key).map_err(|_| NotKept::Foreign)?)
            }
            Matching::ByReference(reference) => store::Matching::Reference(reference),
        };
        let at = receipt.at.unwrap_or(self.clock.calendar());
        let status = receipt.status;
        let fact = ReceiptFact { channel: id, matching, status, fault: receipt.fault, at, detail: receipt.detail };
        let matched = self.engine.receipt(fact).await?;
        metrics::counter!("loudhailer_receipts_total", "channel" => channel.name.clone(), "status" => status.word())
            .increment(1);
        Ok(matched)
    }

    /// Whether anybody may report for this channel: whoever has its credentials could.
    pub fn is_compromised(&self, id: ChannelId) -> bool {
        self.engine.lanes.get(&id).is_some_and(|lane| lane.compromised().is_some())
    }
}

/// Listens to every channel, until it is dropped.
pub fn listen(app: &Arc<App>) -> JoinSet<()> {
    let mut listening = JoinSet::new();
    for (id, channel) in &app.channels {
        let (reports, heard) = mpsc::channel(AT_ONCE);
        channel.driver.listen(reports);
        listening.spawn(hear(app.clone(), *id, heard));
    }
    listening
}

/// Ends at once where the driver reports nothing: it keeps no sender.
async fn hear(app: Arc<App>, id: ChannelId, mut heard: mpsc::Receiver<Report>) {
    let mut under_way = JoinSet::new();
    while let Some(Report { said, kept }) = heard.recv().await {
        while under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let app = app.clone();
        under_way.spawn(async move {
            let Some((_, channel)) = app.channels.iter().find(|(known, _)| *known == id) else { return };
            let _ = kept.send(take(&app, id, channel, &said).await);
        });
    }
}

/// Answers whether the platform may forget it.
async fn take(app: &App, id: ChannelId, channel: &Channel, said: &serde_json::Value) -> bool {
    if app.is_compromised(id) {
        metrics::counter!("loudhailer_receipts_refused_total", "channel" => channel.name.clone()).increment(1);
        return false;
    }
    match channel.reported(said) {
        Ok(Some(receipt)) => match app.keep(id, channel, receipt).await {
            Ok(_) => true,
            Err(NotKept::Foreign) => true,
            Err(NotKept::Store(error)) => {
                tracing::warn!(channel = channel.name, %error, "a receipt could not be kept");
                false
            }
        },
        // Neither would be more the next time.
        Ok(None) => true,
        Err(error) => {
            tracing::warn!(channel = channel.name, %error, "a receipt can't be read");
            true
        }
    }
}
