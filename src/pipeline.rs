//! The whole flow. An event comes in and is on disk with every broadcast it calls for; the planner decides page after page of
//! recipients, on disk before anything is sent; each lane sends what is most urgent and records what came of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::channel::{Driver, Outcome, Parcel};
use crate::dispatch::lane::{self, Lane};
use crate::dispatch::live::Delivery;
use crate::dispatch::recorder::{Entry, Recorded};
use crate::dispatch::{Engine, recorder};
use crate::fault::{self, Fault};
use crate::incident::{self, Mode};
use crate::ingest::event::{BadEvent, Event};
use crate::ingest::{DeadRecord, IngestError, Ingested, Intake};
use crate::plan::{self, Priority};
use crate::store::{Committed, StoreError};

/// Takes an event in. When this returns, the incident's new state and every broadcast it calls for are on disk, and no try
/// of what they supersede begins any more.
pub async fn ingest(app: &App, event: Event, by_hand: Option<&str>) -> Result<Ingested, IngestError> {
    loop {
        let now = app.clock.calendar();
        let known = app.store.known(&event.source, &event.id, &event.incident, event.corrects).await?;
        if let Some((digest, seen)) = known.seen {
            return match digest == event.digest {
                true => {
                    // Whoever repeats may do so because the store failed after the commit, before the engine had heard of it.
                    app.engine.notice(&seen.broadcasts).await?;
                    Ok(seen)
                }
                false => Err(IngestError::Conflict { r#source: event.source, id: event.id }),
            };
        }
        let change = incident::apply(known.incident, &event, now, app.max_event_age)?;
        let draws = {
            let mut chance = fastrand::Rng::with_seed(app.engine.draw_seed());
            match event.corrects {
                Some(_) => plan::corrections(&change, &known.wrong, &app.plans.load(), now, &mut chance),
                None => plan::draw(&change, &known.threads, &app.plans.load(), by_hand, now, &mut chance),
            }
        };
        let (mode, late, down) = (change.incident.mode, change.update.late, change.after.platforms_down.clone());
        let over = change.incident.closed.is_some();
        match app.store.commit(change, draws, app.templates.load().digest()).await? {
            Committed::Done(ingested, drawn) => {
                if mode == Mode::Real && !late {
                    let down = if over { Default::default() } else { down.into_iter().collect() };
                    app.engine.platforms_changed(ingested.incident, down);
                }
                app.engine.take(drawn);
                metrics::counter!("loudhailer_events_total").increment(1);
                return Ok(ingested);
            }
            Committed::Stale => continue, // someone was faster: decide again
        }
    }
}

/// Sends one delivery whose slot, permit and room are taken, and records what came of it; then what the lane has next for the
/// slot that has come free, until there is nothing.
pub fn deliver(engine: &Arc<Engine>, lane: &Arc<Lane>, delivery: Delivery, room: OwnedSemaphorePermit) {
    engine.attempt_begins(&delivery);
    let (engine, lane) = (engine.clone(), lane.clone());
    engine.attempts.clone().spawn(async move {
        let mut next = Some((delivery, room));
        while let Some((delivery, room)) = next {
            attempt(&engine, &lane, delivery, room).await;
            next = lane::next(&engine, &lane);
            if let Some((delivery, _)) = &next {
                engine.attempt_begins(delivery);
            }
        }
    });
}

async fn attempt(engine: &Arc<Engine>, lane: &Lane, delivery: Delivery, room: OwnedSemaphorePermit) {
    let began = engine.clock.calendar();
    let started = engine.clock.monotonic();
    // A panic in a driver is contained to its attempt.
    let driver = &*lane.settings.driver;
    let sending = std::panic::AssertUnwindSafe(driver.send(parcel(engine, driver, &delivery)));
    let outcome =
        sending.catch_unwind().await.unwrap_or_else(|_| Outcome::Unknown { detail: "the driver panicked".into() });
    let ended = engine.clock.monotonic();
    // Read before the answer may close this way: what is written for later then moves at once.
    let ways = engine.ways();
    let priority = delivery.live.broadcast.priority;
    lane.meters.attempt(priority, &outcome, started.saturating_sub(delivery.queued), ended - started);
    engine.address_free(&delivery);
    if let Some(row) = lane.ended(&delivery, &outcome, started, &engine.clock) {
        engine.breaker_changed(lane, row);
    }
    let fact = recorder::outcome(engine, lane, &delivery, began, outcome);
    engine.enter(Entry::Fact(Box::new(Recorded {
        fact,
        manifest: delivery.manifest,
        ways,
        attempted: true,
        room: Some(room),
    })));
}

/// The same id and the same bytes at every try.
fn parcel(engine: &Engine, driver: &dyn Driver, delivery: &Delivery) -> Parcel {
    let mut id = delivery.id();
    if fault::on(Fault::RetryUnderNewId) && delivery.tries > 0 {
        id.place += 1000;
    }
    let id = id.public(&engine.key);
    let broadcast = &delivery.live.broadcast;
    let unsubscribes = (driver.writes_unsubscribe() || delivery.message.mentions("unsubscribe_url"))
        && !engine.without_unsubscribe.contains(&broadcast.audience);
    Parcel {
        id,
        broadcast: Some(broadcast.id),
        to: delivery.to.to_string(),
        secrets: delivery.secrets.to_vec(),
        message: delivery.message.clone(),
        name: delivery.name.clone(),
        unsubscribe_url: unsubscribes.then(|| engine.unsubscribe_url(delivery.subscriber, delivery.place)),
        urgent: broadcast.priority == Priority::Critical,
        at: if fault::on(Fault::RetryWithOtherBytes) { engine.clock.calendar() } else { delivery.at },
    }
}

#[async_trait]
impl Intake for App {
    async fn ingest(&self, event: Event) -> Result<Ingested, IngestError> {
        ingest(self, event, None).await
    }

    async fn dead(&self, record: DeadRecord) -> Result<(), IngestError> {
        Ok(self.store.dead(record, self.clock.calendar()).await?)
    }
}

impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => IngestError::Full { retry_after: Duration::from_secs(1) },
            other => IngestError::Store(other.to_string()),
        }
    }
}

impl From<incident::Refused> for IngestError {
    fn from(refused: incident::Refused) -> Self {
        match refused {
            incident::Refused::Mode { key, is, .. } => IngestError::ModeConflict { incident: key, mode: is },
            other => IngestError::Bad(BadEvent { pointer: String::new(), message: other.to_string() }),
        }
    }
}
