//! One consumer. Enters: records from its topics, polled without ever waiting for the store. Leaves: each record settled, those of
//! one incident in order and the others beside each other, and per partition the highest offset below which all is settled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::clients::{Client, lock};
use super::progress::Ticket;
use super::record::{Record, lane};
use super::settle::{Settler, Stopped};
use crate::ingest::event::{BadEvent, Event};

/// Records settled at one time; those of one incident share a lane.
const LANES: usize = 64;
/// KiB of records in hand, waiting in the lanes.
const ROOM: u32 = 64 * 1024;
/// A record weighs at least so many KiB, so that no more than a thousand are in hand.
const LEAST: u32 = 64;
/// So long the next record waits for room before its partitions are paused, to go on polling.
const GRACE: Duration = Duration::from_secs(2);
/// For what is in hand at a stop, and for each of the last calls to librdkafka, which may hang.
const PARTING: Duration = Duration::from_secs(8);

struct Job {
    record: Record,
    event: Result<Event, BadEvent>,
    ticket: Ticket,
    _room: OwnedSemaphorePermit,
}

pub(super) struct Consumer {
    pub client: Client,
    pub settler: Settler,
}

/// Why a consumer ended.
pub(super) enum End {
    Stopped,
    /// librdkafka gave up, or a lane broke; a new client can go on from the stored offsets.
    Fatal(String),
}

impl Consumer {
    pub async fn run(self) -> End {
        let (done, mut settled) = mpsc::channel(1024);
        let mut workers = JoinSet::new();
        let lanes: Vec<mpsc::Sender<Job>> = (0..LANES)
            .map(|_| {
                // As long as the room: a lane can't be full while there is room.
                let (sender, jobs) = mpsc::channel((ROOM / LEAST) as usize);
                workers.spawn(work(jobs, self.settler.clone(), done.clone()));
                sender
            })
            .collect();
        drop(done);
        let end = self.read(&lanes, &mut workers, &mut settled).await;
        drop(lanes);
        if let End::Stopped = end {
            let parting = async {
                while let Some(ticket) = settled.recv().await {
                    self.store(&ticket);
                }
            };
            if tokio::time::timeout(PARTING, parting).await.is_err() {
                tracing::warn!("records in hand were not taken in time; they are read again after the next start");
            }
        }
        workers.shutdown().await;
        self.part().await;
        end
    }

    async fn read(
        &self,
        lanes: &[mpsc::Sender<Job>],
        workers: &mut JoinSet<()>,
        settled: &mut mpsc::Receiver<Ticket>,
    ) -> End {
        let room = Arc::new(Semaphore::new(ROOM as usize));
        let mut waiting: VecDeque<(Record, Result<Event, BadEvent>, Ticket)> = VecDeque::new();
        let (mut since, mut paused) = (Duration::ZERO, false);
        let Settler { clock, stop, .. } = &self.settler;
        loop {
            let next = waiting.front().map_or(LEAST, |(record, ..)| weight(record));
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                Some(broken) = workers.join_next() => return End::Fatal(format!("a lane ended: {broken:?}")),
                Some(ticket) = settled.recv() => self.store(&ticket),
                Ok(room) = room.clone().acquire_many_owned(next), if !waiting.is_empty() => {
                    let Some((record, event, ticket)) = waiting.pop_front() else { continue };
                    let lane = &lanes[lane(&record, &event, LANES)];
                    if let Err(error) = lane.try_send(Job { record, event, ticket, _room: room }) {
                        return End::Fatal(format!("a lane took no record: {error}"));
                    }
                    since = clock.monotonic();
                    if waiting.is_empty() && paused {
                        self.pause(false);
                        paused = false;
                    }
                }
                () = clock.sleep_until(since + GRACE), if !waiting.is_empty() && !paused => {
                    self.pause(true);
                    paused = true;
                }
                message = self.client.stream.recv(), if waiting.is_empty() || paused => match message {
                    Ok(message) => {
                        let record = Record::of(&message);
                        let ticket = lock(&self.client.progress).begin(&record.topic, record.partition, record.offset);
                        let event = record.event();
                        since = clock.monotonic();
                        *lock(&self.client.last) = since;
                        waiting.push_back((record, event, ticket));
                        if paused {
                            // Of a partition that came to us meanwhile.
                            self.pause(true);
                        }
                    }
                    Err(error @ KafkaError::MessageConsumptionFatal(_)) => return End::Fatal(error.to_string()),
                    // The context has reported it, and librdkafka goes on by itself.
                    Err(_) => {}
                },
            }
        }
    }

    fn store(&self, ticket: &Ticket) {
        let Some(offset) = lock(&self.client.progress).done(ticket) else { return };
        if let Err(error) = self.client.stream.store_offset(&ticket.topic, ticket.partition, offset) {
            // The partition is another's by now, who reads the record again; it is a duplicate then.
            let (topic, partition) = (&ticket.topic, ticket.partition);
            tracing::debug!(topic, partition, offset, %error, "an offset could not be stored");
        }
    }

    fn pause(&self, pause: bool) {
        let stream = &self.client.stream;
        let done = stream.assignment().and_then(|partitions| match pause {
            true => stream.pause(&partitions),
            false => stream.resume(&partitions),
        });
        self.client.status.send_modify(|status| status.paused = pause);
        if let Err(error) = done {
            tracing::warn!(%error, pause, "partitions could not be paused or resumed");
        }
    }

    /// Commits what is stored and lets the client go, on a thread of its own: either call may hang, and the end of the runtime
    /// would wait for a blocking task.
    async fn part(self) {
        let (done, ended) = oneshot::channel();
        let client = self.client.stream;
        std::thread::spawn(move || {
            if let Err(error) = client.commit_consumer_state(CommitMode::Sync) {
                tracing::debug!(%error, "nothing was committed at the end");
            }
            drop(client);
            // Nobody may wait any more.
            let _ = done.send(());
        });
        if tokio::time::timeout(PARTING, ended).await.is_err() {
            tracing::warn!("librdkafka did not end in time and is left behind");
        }
    }
}

fn weight(record: &Record) -> u32 {
    u32::try_from(record.bytes() / 1024).unwrap_or(ROOM).clamp(LEAST, ROOM)
}

/// Settles the records of one lane in their order.
async fn work(mut jobs: mpsc::Receiver<Job>, settler: Settler, done: mpsc::Sender<Ticket>) {
    while let Some(Job { record, event, ticket, _room }) = jobs.recv().await {
        if settler.stop.is_cancelled() {
            return;
        }
        match settler.settle(record, event).await {
            Ok(()) => drop(done.send(ticket).await),
            Err(Stopped) => return,
        }
    }
}
