//! Of everyone in every broadcast: what is explained is what was recorded, what the channels saw, and what the counts say.

use std::collections::BTreeMap;
use std::sync::Arc;

use loudhailer::channel::outbox::Outbox;
use loudhailer::dispatch::lane::Settings;
use loudhailer::explain::{Channels, Compared, Ended, Explained, explain};
use loudhailer::id::SubscriberId;
use loudhailer::store::{Broadcast, BroadcastFilter, BroadcastState, Store};
use ring::hmac;

use super::act::Outside;
use super::channels::{CHANNELS, Channel, lane_of};
use super::life::Life;
use super::people::Person;
use super::reports::Reported;
use super::run::lives;
use super::world::{Answer, Attempt, START, World, lock};

const SEEDS: u64 = 12;

#[test]
fn everyone_is_explained_as_it_was_recorded_seen_and_counted() {
    let mut all = Explanations::default();
    let mut worlds = 0;
    for seed in 1000..2000 {
        let world = Arc::new(World::new(seed, false));
        let end = async |life: &Life, outside: &Outside, _: &[Person]| {
            let attempts = lock(&world.attempts).clone();
            check(&*life.app.store, &life.app.key, &attempts, &outside.known.reported).await
        };
        let (outside, explained) = lives(seed, &world, end);
        // After a death, or by an owner that took over, is tried again what was begun before: what follows then is not what
        // anybody decided.
        if !outside.known.endings.is_empty() {
            continue;
        }
        let explained = explained.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        all.people += explained.people;
        all.tries += explained.tries;
        all.known_later += explained.known_later;
        worlds += 1;
        if worlds == SEEDS {
            break;
        }
    }
    assert_eq!(worlds, SEEDS, "worlds of one life");
    assert!(all.people > 200 && all.tries > 200, "{all:?}: the world is asleep");
    assert!(all.known_later * 20 < all.people, "{all:?}: too much is explained by what was known later");
}

/// How many people were explained, and how many of them by what only their moment knew.
#[derive(Debug, Default)]
struct Explanations {
    people: usize,
    tries: usize,
    known_later: usize,
}

async fn check(
    store: &dyn Store,
    key: &hmac::Key,
    attempts: &[Attempt],
    reported: &[Reported],
) -> Result<Explanations, String> {
    let failed = |error: loudhailer::store::StoreError| error.to_string();
    let set_up: Vec<Settings> = CHANNELS
        .iter()
        .map(|channel| Settings {
            repeat: channel.repeat,
            ..lane_of(channel.id, channel.name, channel.kind, channel.address_kind, Arc::new(Outbox))
        })
        .collect();
    let channels = Channels::new(store, set_up.iter()).await.map_err(failed)?;
    let people: Vec<SubscriberId> =
        store.subscribers(None, None, 1000).await.map_err(failed)?.iter().map(|someone| someone.id).collect();
    let mut seen: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        seen.entry(&attempt.id).or_default().push(attempt);
    }
    let mut explanations = Explanations::default();
    for (listed, _) in store.broadcasts(BroadcastFilter::default(), 10_000).await.map_err(failed)? {
        let Some(broadcast) = store.broadcast(listed.id).await.map_err(failed)? else { continue };
        let mut ended: BTreeMap<Ended, i64> = BTreeMap::new();
        for who in &people {
            let explained = explain(store, &channels, key, broadcast.id, *who).await.map_err(failed)?;
            let explained = explained.ok_or_else(|| format!("{who} in {} is not explained", broadcast.id))?;
            if !matches!(explained.recomputed, Compared::Equal | Compared::NothingRecorded) {
                return Err(format!("explained otherwise than recorded: {explained:#?}"));
            }
            if !broadcast.state.live() && !explained.next.is_empty() {
                return Err(format!("something comes after the end: {explained:#?}"));
            }
            explanations.people += 1;
            explanations.known_later +=
                usize::from(explained.recomputed == Compared::Equal && explained.recomputed_why.is_some());
            explanations.tries += tries(&explained, &seen, key, reported)?;
            *ended.entry(explained.outcome).or_default() += 1;
        }
        counted(store, &broadcast, &ended).await?;
    }
    Ok(explanations)
}

/// Not a try, but what was decided between two.
fn decided(one: &serde_json::Value) -> bool {
    ["replayed", "unconfirmed", "perhaps"].iter().any(|word| one["outcome"] == *word)
}

/// Every try that is explained was seen by that channel, at that time, with that answer.
fn tries(
    explained: &Explained,
    seen: &BTreeMap<&str, Vec<&Attempt>>,
    key: &hmac::Key,
    reported: &[Reported],
) -> Result<usize, String> {
    let mut count = 0;
    for delivery in &explained.deliveries {
        let id = delivery["id"].as_str().unwrap_or_default();
        for one in delivery["attempts"].as_array().into_iter().flatten().filter(|one| !decided(one)) {
            let began = loudhailer::clock::Time::parse(one["began"].as_str().unwrap_or_default());
            let began = began.map_err(|error| error.to_string())?.0 - START;
            let bounced = |attempt: &Attempt| {
                reported.iter().any(|r| r.bounced && r.channel == attempt.channel && r.id.public(key) == attempt.id)
            };
            let fits = |attempt: &&&Attempt| {
                let answer = match one["outcome"].as_str() {
                    Some("accepted") => attempt.was(Answer::Accepted),
                    // Who takes over from an owner that died, or was thought to have, writes down only that nobody knows.
                    Some("unknown") if !attempt.was(Answer::Accepted) && began >= attempt.at.as_millis() as i64 => {
                        return one["channel"] == Channel::of(attempt.channel).name;
                    }
                    // What bounces has been refused after all.
                    Some("rejected") if bounced(attempt) => true,
                    _ => !attempt.was(Answer::Accepted) && !attempt.was(Answer::Unknown),
                };
                let at = attempt.at.as_millis() as i64;
                // Of two that began at one time, one is kept as a little later.
                one["channel"] == Channel::of(attempt.channel).name && answer && (at..at + 3).contains(&began)
            };
            if seen.get(id).is_none_or(|attempts| !attempts.iter().any(|attempt| fits(&attempt))) {
                return Err(format!("no channel saw {one} of {id}: {:#?}", seen.get(id)));
            }
            count += 1;
        }
    }
    Ok(count)
}

/// As many have ended in each way as the store has counted.
async fn counted(store: &dyn Store, broadcast: &Broadcast, ended: &BTreeMap<Ended, i64>) -> Result<(), String> {
    let (counts, unread) = store.counts(broadcast).await.map_err(|error| error.to_string())?;
    let left = counts.open() + unread;
    let by = |state: BroadcastState| if broadcast.state == state { left } else { 0 };
    for (how, expected) in [
        (Ended::Told, counts.told),
        (Ended::Unknown, counts.unknown),
        (Ended::Unreachable, counts.unreachable),
        (Ended::Skipped, counts.skipped),
        (Ended::Superseded, counts.superseded + by(BroadcastState::Superseded)),
        (Ended::Cancelled, counts.cancelled + by(BroadcastState::Cancelled)),
        (Ended::Expired, counts.expired + by(BroadcastState::Expired)),
        (Ended::Open, if broadcast.state.live() { left } else { 0 }),
    ] {
        let explained = ended.get(&how).copied().unwrap_or(0);
        if explained != expected {
            return Err(format!("{}: {explained} are explained as {how}, and {expected} counted", broadcast.id));
        }
    }
    Ok(())
}
