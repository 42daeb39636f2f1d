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
use crate::dispatch::{self, Engine, recorder};
use crate::fault::{self, Fault};
use crate::incident::{self, Mode};
use crate::ingest::event::{BadEvent, Event};
use crate::ingest::{DeadRecord, IngestError, Ingested, Intake};
use crate::plan::{self, Priority};
use crate::store::{Applied, Apply, Committed, StoreError};

/// Takes an event in. When this returns, the incident's new state and every broadcast it calls for are on disk, and no try
/// of what they supersede begins any more.
pub async fn ingest(app: &App, event: Event, by_hand: Option<&str>) -> Result<Ingested, IngestError> {
    let event = Arc::new(event);
    let (engine, store) = (app.engine.clone(), app.store.clone());
    let (taken, apply) = (event.clone(), application(app, event.clone(), by_hand));
    let committed = dispatch::whole(async move {
        let mut committed = store.ingest(taken, apply).await?;
        if let Committed::Done { ingested, drawn, change } = &mut committed {
            if change.incident.mode == Mode::Real && !change.update.late {
                let over = change.incident.closed.is_some();
                let down = if over { Vec::new() } else { std::mem::take(&mut change.after.platforms_down) };
                engine.platforms_changed(ingested.incident, change.incident.version + 1, down.into_iter().collect());
            }
            engine.take_drawn(std::mem::take(drawn));
            store.obeyed().await;
        }
        Ok(committed)
    });
    match committed.await? {
        Committed::Done { ingested, .. } => {
            metrics::counter!("loudhailer_events_total").increment(1);
            Ok(ingested)
        }
        Committed::Seen { digest, ingested } if digest == event.digest => {
            // Whoever repeats may do so because the store failed after the commit, before the engine had heard of it.
            app.engine.notice(&ingested.broadcasts).await?;
            Ok(ingested)
        }
        Committed::Seen { .. } => Err(IngestError::Conflict { r#source: event.source.clone(), id: event.id.clone() }),
        Committed::Refused(refused) => Err(refused),
    }
}

/// How an event is applied to what the store knows, by the plans and templates of now.
pub fn application(app: &App, event: Arc<Event>, by_hand: Option<&str>) -> Apply {
    let (plans, templates) = (app.plans.load_full(), app.templates.load().digest());
    let (now, seed, oldest) = (app.clock.calendar(), app.engine.draw_seed(), app.max_event_age);
    let by_hand = by_hand.map(str::to_string);
    Box::new(move |known| {
        let change = incident::apply(known.incident, &event, now, oldest)?;
        let mut chance = fastrand::Rng::with_seed(seed);
        let draws = match event.corrects {
            _ if change.incident.state.proposed => Vec::new(),
            Some(_) => plan::corrections(&change, &known.wrong, &plans, now, &mut chance),
            None => plan::draw(&change, &known.threads, &plans, by_hand.as_deref(), now, &mut chance),
        };
        Ok(Applied { change, draws, templates })
    })
}

/// Sends one delivery whose slot, permit and room are taken, and records what came of it; then what the lane has next for the
/// slot that has come free, until there is nothing.
pub fn deliver(engine: &Arc<Engine>, lane: &Arc<Lane>, delivery: Delivery, room: OwnedSemaphorePermit) {
    let (engine, lane) = (engine.clone(), lane.clone());
    engine.attempts.clone().spawn(async move {
        let mut next = Some((delivery, room));
        while let Some((delivery, room)) = next {
            attempt(&engine, &lane, delivery, room).await;
            next = lane::next(&engine, &lane);
        }
    });
}

async fn attempt(engine: &Arc<Engine>, lane: &Lane, mut delivery: Delivery, room: OwnedSemaphorePermit) {
    let began = engine.clock.calendar();
    let started = engine.clock.monotonic();
    // A panic is contained to its attempt.
    let driver = &*lane.settings.driver;
    let sending = std::panic::AssertUnwindSafe(async { driver.send(parcel(engine, driver, &mut delivery)).await });
    let outcome =
        sending.catch_unwind().await.unwrap_or_else(|_| Outcome::Unknown { detail: "the driver panicked".into() });
    let ended = engine.clock.monotonic();
    // Read before the answer may close this way: what is written for later then moves at once.
    let ways = engine.ways();
    let priority = delivery.live.broadcast.priority;
    lane.meters.attempt(priority, &outcome, started.saturating_sub(delivery.queued), ended - started);
    engine.address_free(&delivery);
    let changes = lane.ended(&delivery, &outcome, started, &engine.clock);
    if let Some(row) = changes.breaker {
        engine.breaker_changed(lane, row);
    }
    if changes.lessons {
        engine.enter(Entry::Lessons(lane.settings.id));
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

/// The same id and the same bytes at every try. What only the parcel needs leaves the delivery, which is not sent twice.
fn parcel(engine: &Engine, driver: &dyn Driver, delivery: &mut Delivery) -> Parcel {
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
        incident: Some(broadcast.incident),
        to: delivery.to.clone(),
        secrets: std::mem::take(&mut delivery.secrets).into_vec(),
        message: delivery.message.clone(),
        name: delivery.name.take(),
        unsubscribe_url: unsubscribes.then(|| engine.unsubscribe_url(delivery.subscriber, delivery.place)),
        urgent: broadcast.priority == Priority::Critical,
        follows: delivery.follows.as_deref().cloned(),
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
            incident::Refused::NotProposed(incident) => IngestError::NotProposed { incident },
            incident::Refused::Mode { key, is, .. } => IngestError::ModeConflict { incident: key, mode: is },
            other => IngestError::Bad(BadEvent { pointer: String::new(), message: other.to_string() }),
        }
    }
}
