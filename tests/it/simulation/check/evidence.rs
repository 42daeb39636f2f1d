//! What the checks look at, read once: the attempts with the deliveries that they belong to, and what the store says in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::time::Duration;

use loudhailer::clock::Time;
use loudhailer::id::{BroadcastId, DeliveryId, SubscriberId};
use loudhailer::ingest::Ingested;
use loudhailer::store::{AttemptRow, Broadcast, BroadcastFilter, Counts, Decision, DeliveryFilter, DeliveryRow};

use crate::simulation::known::Known;
use crate::simulation::life::Life;
use crate::simulation::people::Person;
use crate::simulation::variety::Variety;
use crate::simulation::world::{Answer, Attempt, START, World, lock};
use crate::store::noted::{Followed, followed};

/// An attempt and the delivery that its id names, if that is one of ours.
pub struct Seen {
    attempt: Attempt,
    pub delivery: Option<DeliveryId>,
}

impl Deref for Seen {
    type Target = Attempt;
    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

/// More than any world has.
const ALL: usize = 10_000;

pub struct Evidence<'a> {
    pub known: &'a Known,
    pub variety: Variety,
    /// As they were when the world began.
    pub people: &'a [Person],
    pub attempts: Vec<Seen>,
    pub broadcasts: BTreeMap<BroadcastId, Broadcast>,
    pub counts: BTreeMap<BroadcastId, Counts>,
    pub rows: BTreeMap<DeliveryId, DeliveryRow>,
    /// The attempts that the store tells of deliveries with an answer that nobody knows.
    pub tries: BTreeMap<DeliveryId, Vec<AttemptRow>>,
    /// What was decided before an end, and went another way after it before anybody knew whether it had been under way.
    pub perhaps: BTreeSet<DeliveryId>,
    pub decided: BTreeMap<(BroadcastId, SubscriberId), (Duration, Decision)>,
    /// For each event that was answered: what the store says of it today.
    pub events: Vec<(String, Option<Ingested>, &'a Ingested)>,
    pub live: Vec<Broadcast>,
    /// How everybody stands by the journal alone.
    pub followed: Followed,
}

/// When, since the world began.
pub fn since_start(time: Time) -> Duration {
    time.since(Time(START))
}

impl<'a> Evidence<'a> {
    pub async fn read(life: &Life, world: &World, known: &'a Known, people: &'a [Person]) -> Evidence<'a> {
        let store = &life.store;
        let seen = |attempt: &Attempt| Seen {
            delivery: DeliveryId::read(&attempt.id, &life.app.key).ok(),
            attempt: attempt.clone(),
        };
        let attempts: Vec<Seen> = lock(&world.attempts).iter().map(seen).collect();
        let mut evidence = Evidence {
            known,
            variety: world.variety,
            people,
            attempts,
            broadcasts: BTreeMap::new(),
            counts: BTreeMap::new(),
            rows: BTreeMap::new(),
            tries: BTreeMap::new(),
            perhaps: BTreeSet::new(),
            decided: BTreeMap::new(),
            events: Vec::new(),
            live: store.live().await.expect("reads"),
            followed: followed(&**store).await,
        };
        for (broadcast, counts) in store.broadcasts(BroadcastFilter::default(), ALL).await.expect("reads") {
            let id = broadcast.id;
            evidence.counts.insert(id, counts);
            let Some(broadcast) = store.broadcast(id).await.expect("reads") else { continue };
            let filter = DeliveryFilter { broadcast: Some(id), ..DeliveryFilter::default() };
            let rows = store.deliveries(filter, ALL).await.expect("reads");
            evidence.rows.extend(rows.into_iter().map(|row| (row.id, row)));
            for person in people.iter().filter(|_| broadcast.released.is_some()) {
                let kept = store.recipient(id, person.id).await.expect("reads");
                if let Some((at, decided)) = kept.and_then(|kept| kept.decided) {
                    evidence.decided.insert((id, person.id), (since_start(at), decided.decision));
                }
            }
            evidence.broadcasts.insert(id, broadcast);
        }
        let unknown: Vec<DeliveryId> = evidence
            .attempts
            .iter()
            .filter(|seen| seen.was(Answer::Unknown))
            .filter_map(|seen| seen.delivery)
            .collect();
        for id in unknown {
            if let Some((_, tries)) = store.delivery(id).await.expect("reads") {
                evidence.tries.insert(id, tries);
            }
        }
        let begun_before_an_end = evidence.rows.keys().filter(|id| {
            let decided = evidence.decided.get(&(id.broadcast, id.subscriber));
            decided.is_some_and(|(at, _)| known.ended_within(*at, Duration::MAX))
        });
        for id in begun_before_an_end {
            let tries = store.delivery(*id).await.expect("reads").map(|(_, tries)| tries).unwrap_or_default();
            if tries.iter().any(|attempt| attempt.outcome == "perhaps") {
                evidence.perhaps.insert(*id);
            }
        }
        for (event, answered, _) in &known.events {
            let id = event["id"].as_str().unwrap_or_default();
            let today = store.known("world", id, "outage", None).await.expect("reads").seen;
            evidence.events.push((id.to_string(), today.map(|(_, today)| today), answered));
        }
        evidence
    }

    pub fn person(&self, id: SubscriberId) -> Option<&Person> {
        self.people.iter().find(|person| person.id == id)
    }

    /// The broadcast of an attempt; attempts under ids that are none of ours are a breach of promise 2.
    pub fn broadcast(&self, seen: &Seen) -> Option<&Broadcast> {
        self.broadcasts.get(&seen.delivery?.broadcast)
    }
}
