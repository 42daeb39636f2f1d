//! What becomes of one record. Enters: a record and the event or the fault in it. Leaves: nothing before the record is safe: taken
//! into the store, or dead, in the table and in the topic. What passes is tried again for as long as it takes; nothing is skipped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::dead::{DeadTopic, NotBuried};
use super::record::Record;
use crate::clock::Clock;
use crate::ingest::event::{BadEvent, Event};
use crate::ingest::{DeadRecord, IngestError, Intake};

/// A record that makes us panic so often is poison.
const PANICS: u32 = 3;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Settler {
    pub intake: Arc<dyn Intake>,
    pub dead: Arc<DeadTopic>,
    pub clock: Arc<Clock>,
    pub stop: CancellationToken,
}

/// The stop came first; the record is read again by whoever is next.
pub(super) struct Stopped;

enum Answer {
    Taken,
    Dead(String),
}

impl Settler {
    pub async fn settle(&self, record: Record, event: Result<Event, BadEvent>) -> Result<(), Stopped> {
        let reason = match event {
            Err(bad) => bad.to_string(),
            Ok(event) => match self.take(&record, event).await? {
                Answer::Taken => return Ok(()),
                Answer::Dead(reason) => reason,
            },
        };
        self.bury(record, reason).await
    }

    async fn take(&self, record: &Record, event: Event) -> Result<Answer, Stopped> {
        let (mut tries, mut panics) = (0, 0);
        loop {
            let wait = match AssertUnwindSafe(self.intake.ingest(event.clone())).catch_unwind().await {
                Ok(Ok(ingested)) => {
                    count(if ingested.duplicate { "duplicate" } else { "taken" });
                    return Ok(Answer::Taken);
                }
                Ok(Err(
                    error @ (IngestError::Bad(_)
                    | IngestError::Conflict { .. }
                    | IngestError::ModeConflict { .. }
                    | IngestError::NotProposed { .. }),
                )) => return Ok(Answer::Dead(error.to_string())),
                Ok(Err(IngestError::Full { retry_after })) => retry_after.clamp(SHORTEST, LONGEST),
                Ok(Err(error @ IngestError::Store(_))) => {
                    self.tell(record, tries, &error);
                    backoff(tries)
                }
                Err(_) => {
                    panics += 1;
                    if panics == PANICS {
                        return Ok(Answer::Dead("could not be taken: it made the broker panic".into()));
                    }
                    backoff(tries)
                }
            };
            tries += 1;
            self.wait(wait).await?;
        }
    }

    /// First into the table, which is ours and safe, then into the topic.
    async fn bury(&self, record: Record, reason: String) -> Result<(), Stopped> {
        let (topic, partition, offset) = (record.topic.as_str(), record.partition, record.offset);
        tracing::warn!(topic, partition, offset, reason, "a record is no event and goes to the dead topic");
        let row =
            DeadRecord { topic: topic.into(), partition, offset, reason: reason.clone(), body: record.value.clone() };
        let mut tries = 0;
        while let Err(error) = self.intake.dead(row.clone()).await {
            self.tell(&record, tries, &error);
            self.wait(backoff(tries)).await?;
            tries += 1;
        }
        let mut tries = 0;
        loop {
            match self.dead.bury(&record, &reason).await {
                Ok(()) => break,
                Err(NotBuried::Passing(error)) => {
                    self.tell(&record, tries, &error);
                    self.wait(backoff(tries)).await?;
                    tries += 1;
                }
                // The table has it. Waiting for a topic that nobody makes would hold up every event behind.
                Err(NotBuried::ForEver(error)) => {
                    tracing::error!(topic, partition, offset, %error, "a dead record is in the table alone");
                    break;
                }
            }
        }
        count("dead");
        Ok(())
    }

    /// The first failure and then ever fewer of them are worth a line.
    fn tell(&self, record: &Record, tries: u32, error: &dyn std::fmt::Display) {
        if tries == 0 || tries.is_power_of_two() {
            let (topic, partition, offset) = (&record.topic, record.partition, record.offset);
            tracing::warn!(topic, partition, offset, tries, %error, "a record is tried again");
        }
    }

    async fn wait(&self, span: Duration) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            () = self.clock.sleep(span) => Ok(()),
        }
    }
}

fn backoff(tries: u32) -> Duration {
    SHORTEST.saturating_mul(1 << tries.min(10)).min(LONGEST)
}

fn count(result: &'static str) {
    metrics::counter!("loudhailer_kafka_records_total", "result" => result).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_ever_more_slowly_to_a_bound() {
        let spans: Vec<u128> = (0..8).map(|tries| backoff(tries).as_millis()).collect();
        assert_eq!(spans, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff(u32::MAX), LONGEST);
    }
}
