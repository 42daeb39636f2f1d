//! What comes back after an attempt: a platform's receipt, or a person's wish to have it sent again.

use std::time::Duration;

use loudhailer::channel::{Fault, ReceiptStatus};
use loudhailer::id::DeliveryId;
use loudhailer::store::{DeliveryState, Matching, ReceiptFact};

use super::channels::Channel;
use super::known::Known;
use super::life::Life;
use super::world::{Answer, Attempt, World, lock};

/// A receipt that a platform sent.
#[derive(Debug, Clone, Copy)]
pub struct Reported {
    pub id: DeliveryId,
    pub channel: u16,
    pub bounced: bool,
    /// When its attempt began.
    pub began: Duration,
    pub asked: Duration,
    pub answered: Option<Duration>,
}

/// A platform reports on one of the last attempts: perhaps before its answer, perhaps once more.
pub async fn receipt(life: &Life, world: &World) {
    let attempt = {
        let attempts = lock(&world.attempts);
        let last = attempts.len().saturating_sub(40);
        let arrived: Vec<_> =
            attempts[last..].iter().filter(|a| matches!(a.answer, Answer::Accepted | Answer::Unknown)).collect();
        match arrived.get(world.pick(arrived.len())) {
            Some(attempt) => (*attempt).clone(),
            None => return,
        }
    };
    // Nobody heard what the platform calls it.
    if Channel::of(attempt.channel).by_reference && attempt.answer == Answer::Unknown {
        return;
    }
    assert!(report(life, world, &attempt, |world| world.percent(35)).await, "a receipt is taken");
}

/// Platforms report by themselves what has arrived, where a world wants it.
pub async fn reports(life: &Life, world: &World) {
    loop {
        let more = world.more_due.notified();
        match world.next_report() {
            None => more.await,
            Some((at, _)) if at > life.now() => tokio::select! {
                biased;
                () = more => {}
                () = life.clock.sleep(at - life.now()) => {}
            },
            Some((at, number)) => {
                let attempt = lock(&world.attempts)[number].clone();
                world.reported_at(at);
                if !report(life, world, &attempt, |_| false).await {
                    // The disk is full: the platform says it once more.
                    world.will_report(life.now() + Duration::from_secs(10), number);
                }
            }
        }
    }
}

/// The same at each report of the same. `bounces`: whether it has bounced, where nothing was reported before. False: it was not taken.
async fn report(life: &Life, world: &World, attempt: &Attempt, bounces: impl FnOnce(&World) -> bool) -> bool {
    let Ok(id) = DeliveryId::read(&attempt.id, &life.app.key) else { return true };
    let same = |reported: &&Reported| (reported.id, reported.channel) == (id, attempt.channel);
    let before = lock(&world.reported).iter().find(same).map(|before| before.bounced);
    let bounced = before.unwrap_or_else(|| bounces(world));
    let fault = if world.percent(30) { Fault::Address } else { Fault::Message };
    let number = {
        let mut reported = lock(&world.reported);
        let (channel, began, asked) = (attempt.channel, attempt.at, life.now());
        reported.push(Reported { id, channel, bounced, began, asked, answered: None });
        reported.len() - 1
    };
    let fact = ReceiptFact {
        channel: loudhailer::audience::route::ChannelId(attempt.channel),
        matching: match Channel::of(attempt.channel).by_reference {
            true => Matching::Reference(attempt.reference.clone()),
            false => Matching::Delivery(id),
        },
        status: if bounced { ReceiptStatus::Bounced } else { ReceiptStatus::Delivered },
        fault: bounced.then_some(fault),
        at: life.clock.calendar(),
        detail: "simulated".into(),
    };
    let Ok(matched) = life.app.engine.receipt(fact).await else { return false };
    lock(&world.reported)[number].answered = Some(life.now());
    world.say(|| format!("{:?} receipt of {id:?}: bounced {bounced}, matched {matched}", life.now()));
    true
}

/// A person wants something sent again that came to nothing.
pub async fn replay(life: &Life, world: &World, known: &mut Known) {
    let text = {
        let attempts = lock(&world.attempts);
        let last = attempts.len().saturating_sub(60);
        match attempts.get(last + world.pick(attempts.len() - last)) {
            Some(attempt) => attempt.id.clone(),
            None => return,
        }
    };
    let Ok(id) = DeliveryId::read(&text, &life.app.key) else { return };
    let Some((row, _)) = life.store.delivery(id).await.expect("reads") else { return };
    if matches!(row.state, DeliveryState::Rejected | DeliveryState::Unknown | DeliveryState::Expired) {
        known.replayed.push((id, life.now()));
        known.changed.push((id.subscriber, life.now()));
        let replayed = life.app.engine.replay(id, "world").await.expect("replays");
        world.say(|| format!("{:?} replay of {id:?}: {replayed:?}", life.now()));
    }
}
