//! What happened, offered to others: every row of the journal, in its order, as CloudEvents on a topic of Kafka (`kafka.outcomes`).
//! The node that leads does it for all. How far it has come stands in the store, and moves only once the brokers have acknowledged
//! everything before: after a crash, or when another node takes over, some events come again, each under the id that it had.
//! While Kafka is away this waits, and nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use ring::hmac;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::known::Known;
use self::topic::Topic;
use crate::clock::Clock;
use crate::config;
use crate::ingest::kafka::KafkaSetup;
use crate::store::{Leases, Store, StoreError};

/// A row of the journal as events.
mod event;

/// What has to be asked for them.
mod known;

/// The topic.
mod topic;

/// Under this name the store keeps the last row of which everything is acknowledged.
const OFFERED: &str = "outcomes_offered";

/// Rows in memory at one time; one may be hundreds of events.
const ROWS: usize = 16;

/// What happens meanwhile is offered together, so that the store is not written for each row.
const GATHER: Duration = Duration::from_millis(100);

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum NotOffered {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Setup(#[from] KafkaSetup),
    #[error("topic {topic:?}: {error}{}", hint(.error))]
    Kafka { topic: String, error: KafkaError },
    #[error("topic {0:?}: the brokers acknowledge nothing")]
    Silent(String),
}

fn hint(error: &KafkaError) -> &'static str {
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => "; make it, or empty kafka.outcomes",
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => "; allow writing to it",
        _ => "",
    }
}

/// Where offering begins: at the end of the journal when it is switched on, since what happened before was for nobody. Where it is
/// off that is forgotten.
pub async fn begin(config: &config::Kafka, store: &dyn Store) -> Result<(), StoreError> {
    match (config.offers(), offered(store).await?) {
        (true, None) => store.set_meta(OFFERED, &store.journal_end().await?.to_string()).await,
        (false, Some(_)) => store.set_meta(OFFERED, "").await,
        _ => Ok(()),
    }
}

async fn offered(store: &dyn Store) -> Result<Option<i64>, StoreError> {
    Ok(store.meta(OFFERED).await?.and_then(|text| text.parse().ok()))
}

pub struct Offer {
    pub config: config::Kafka,
    pub store: Arc<dyn Store>,
    pub leases: Arc<Leases>,
    pub clock: Arc<Clock>,
    /// Signs the ids of deliveries.
    pub key: hmac::Key,
    /// Changes whenever there may be something new in the journal.
    pub happenings: watch::Receiver<u64>,
}

impl Offer {
    /// Runs until `last`, then offers what there is by then.
    pub async fn run(mut self, last: CancellationToken) {
        let mut known = Known::new(&self.key);
        let mut topic = None;
        let mut failures = 0;
        let mut leases = self.leases.changes();
        loop {
            // Before the look: what happens after it is for another one.
            let ends = last.is_cancelled();
            self.happenings.mark_unchanged();
            leases.mark_unchanged();
            let turn = match self.leads() {
                true => self.turn(&mut known, &mut topic).await,
                false => {
                    lag(0, Duration::ZERO);
                    Ok(false)
                }
            };
            let wait = match turn {
                Ok(more) => {
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!("what happened is offered again");
                    }
                    if more {
                        continue;
                    }
                    None
                }
                Err(error) => {
                    // What it still holds must not come after what is offered anew.
                    if let Some(topic) = topic.take() {
                        drop(tokio::task::spawn_blocking(move || drop::<Topic>(topic)).await);
                    }
                    let wait = FIRST.saturating_mul(1 << failures.min(6)).min(LONGEST);
                    failures += 1;
                    tracing::warn!(%error, failures, "what happened can't be offered; trying again in {} s", wait.as_secs());
                    Some(wait)
                }
            };
            if ends {
                return;
            }
            let woken = async {
                match wait {
                    Some(wait) => self.clock.sleep(wait).await,
                    None => {
                        tokio::select! {
                            changed = self.happenings.changed() => drop(changed),
                            () = leases.changed() => {}
                        }
                        tokio::time::sleep(GATHER).await;
                    }
                }
            };
            tokio::select! {
                biased;
                () = last.cancelled() => {}
                () = woken => {}
            }
        }
    }

    fn leads(&self) -> bool {
        self.leases.lead(self.clock.monotonic())
    }

    /// Offers the next rows; says whether there may be more.
    async fn turn(&self, known: &mut Known, topic: &mut Option<Topic>) -> Result<bool, NotOffered> {
        let Some(after) = offered(&*self.store).await? else {
            // Another node, on which it is off, has started.
            return begin(&self.config, &*self.store).await.map(|()| false).map_err(NotOffered::from);
        };
        let rows = self.store.journal(after, ROWS, true).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            lag(0, Duration::ZERO);
            return Ok(false);
        };
        let age = self.clock.calendar().0.saturating_sub(first.at.0).max(0) as u64;
        let end = self.store.journal_end().await?.max(last.sequence);
        lag(end - after, Duration::from_millis(age));
        known.ask(&*self.store, &rows).await?;
        let mut events = Vec::new();
        // Their numbers have no gaps.
        let mut lost = last.sequence - after - rows.len() as i64;
        for row in &rows {
            match event::of(row, known) {
                Some(some) => events.extend(some),
                None => lost += 1,
            }
        }
        if topic.is_none() && !events.is_empty() {
            *topic = Some(Topic::new(&self.config, self.clock.clone())?);
        }
        if let Some(topic) = topic {
            topic.offer(&events).await?;
        }
        if lost > 0 && after > 0 {
            metrics::counter!("loudhailer_outcomes_lost_total").increment(lost as u64);
            tracing::error!(lost, "rows of the journal were too old, and deleted, before they could be offered");
        }
        // Another may have taken over meanwhile, and be further.
        if self.leads() {
            self.store.set_meta(OFFERED, &last.sequence.to_string()).await?;
        }
        metrics::counter!("loudhailer_outcomes_offered_total").increment(events.len() as u64);
        let more = end > last.sequence;
        lag(end - last.sequence, if more { Duration::from_millis(age) } else { Duration::ZERO });
        Ok(more)
    }
}

/// Rows not offered yet, and how long the first of them has waited.
fn lag(rows: i64, age: Duration) {
    metrics::gauge!("loudhailer_outcomes_lag").set(rows as f64);
    metrics::gauge!("loudhailer_outcomes_lag_seconds").set(age.as_secs_f64());
}
