//! What the outside does next: an event, a stop, somebody who moves, a receipt, and what else can happen at any moment.

use std::time::Duration;

use loudhailer::channel::{Fault, ReceiptStatus};
use loudhailer::id::{BroadcastId, DeliveryId};
use loudhailer::ingest::Ingested;
use loudhailer::ingest::event::{Principal, parse_value};
use loudhailer::pipeline;
use loudhailer::store::{BroadcastState, DeliveryState, Matching, ReceiptFact, Store, Upserted};
use serde_json::{Value, json};

use super::channels::Channel;
use super::known::{Interval, Known};
use super::life::Life;
use super::people::Person;
use super::words::AUDIENCES;
use super::world::{Answer, World, lock};

const INCIDENTS: [&str; 4] = ["outage", "outage", "delay", "drill"];
const STATUSES: [&str; 6] = ["investigating", "identified", "monitoring", "investigating", "identified", "resolved"];

/// What must never be read outside.
pub const NOTES: &str = "SECRET-NOTES";
pub const CAUSE: &str = "SECRET-CAUSE";

/// The outside, through all lives.
#[derive(Default)]
pub struct Outside {
    pub known: Known,
    pub people: Vec<Person>,
    pub number: i64,
}

pub async fn act(life: &Life, world: &World, outside: &mut Outside) {
    let choice = world.chance().u32(..100);
    match choice {
        0..34 => events(life, world, outside).await,
        34..40 => again(life, world, &mut outside.known).await,
        40..45 => stop(life, world, &mut outside.known).await,
        45..53 => pause(life, world, &mut outside.known).await,
        53..59 => suppress(life, world, outside).await,
        59..74 => change(life, world, outside).await,
        74..87 => receipt(life, world, &mut outside.known).await,
        87..92 => replay(life, world, &mut outside.known).await,
        92..96 => {
            let until = life.now() + world.span(Duration::from_secs(90));
            lock(&world.storms)[world.pick(4)] = until;
        }
        96..98 => full_disk(life, world, &mut outside.known).await,
        _ => {}
    }
}

/// Nothing can be written for a while.
async fn full_disk(life: &Life, world: &World, known: &mut Known) {
    world.say(|| format!("{:?} the disk is full", life.now()));
    let from = life.now();
    known.full.push(Interval::since(from));
    life.store.refuse(true);
    life.clock.sleep(world.span(Duration::from_secs(4))).await;
    life.store.refuse(false);
    // Whoever failed to write waits a little before the next try.
    let to = Some(life.now() + Duration::from_secs(12));
    known.full.iter_mut().filter(|full| full.to.is_none()).for_each(|full| full.to = to);
}

struct Told {
    event: Value,
    incident: &'static str,
    down: Vec<&'static str>,
    /// Whether it says how the incident stands: that it is over, or not.
    says_state: bool,
    over: bool,
}

fn event(life: &Life, world: &World, outside: &mut Outside) -> Told {
    outside.number += 1;
    let number = outside.number;
    let incident = INCIDENTS[world.pick(INCIDENTS.len())];
    let status = STATUSES[world.pick(STATUSES.len())];
    let down = match world.pick(6) {
        0 => vec!["sms-net"],
        1 => vec!["mail"],
        2 => vec!["hook"],
        _ => vec![],
    };
    let mut event = json!({
        "source": "world", "id": format!("e{number}"), "incident": incident, "sequence": number, "at": life.clock.calendar(),
        "title": "Outage", "platforms_down": down,
    });
    let new = !outside.known.events.iter().any(|(event, ..)| event["incident"] == incident);
    // Now and then one that says nothing new.
    let news = new || world.percent(75);
    if news {
        event["status"] = json!(status);
        event["severity"] = json!("major");
        event["summary"] = json!(format!("Word number {number}."));
    }
    if incident == "drill" {
        event["mode"] = json!("exercise");
    }
    if world.percent(30) {
        event["internal_notes"] = json!(format!("{NOTES} {number}"));
    }
    if world.percent(30) {
        event["cause"] = json!({ "category": "cyberattack", "text": CAUSE });
    }
    Told { event, incident, down, says_state: news, over: status == "resolved" }
}

async fn ingest(life: &Life, event: &Value) -> Ingested {
    let event = parse_value(event.clone(), &Principal::Machine("world".into())).expect("an event");
    pipeline::ingest(&life.app, event, None).await.expect("is taken")
}

/// One event, the same twice at one time, or two at one time.
async fn events(life: &Life, world: &World, outside: &mut Outside) {
    let told = event(life, world, outside);
    let other = match world.pick(10) {
        0 => Some(None),
        1 => Some(Some(event(life, world, outside))),
        _ => None,
    };
    outside.known.asked += 1;
    let (first, second) = tokio::join!(ingest(life, &told.event), async {
        match &other {
            None => None,
            Some(None) => Some(ingest(life, &told.event).await),
            Some(Some(other)) => Some(ingest(life, &other.event).await),
        }
    });
    outside.known.asked -= 1;
    match (second, other) {
        (Some(second), Some(Some(other))) if second.update < first.update => {
            note(life, world, &mut outside.known, other, second);
            note(life, world, &mut outside.known, told, first);
        }
        (Some(second), Some(Some(other))) => {
            note(life, world, &mut outside.known, told, first);
            note(life, world, &mut outside.known, other, second);
        }
        (Some(second), _) => {
            let same = (first.update, &first.broadcasts) == (second.update, &second.broadcasts);
            outside.known.repeated.push((format!("{} and {}", told.event["id"], second.key), same));
            note(life, world, &mut outside.known, told, first);
        }
        (None, _) => note(life, world, &mut outside.known, told, first),
    }
}

fn note(life: &Life, world: &World, known: &mut Known, told: Told, ingested: Ingested) {
    let now = life.now();
    world.say(|| {
        format!(
            "{now:?} {} is answered {:?} late {}, down {:?}",
            told.event, ingested.broadcasts, ingested.late, told.down
        )
    });
    if told.says_state && !ingested.late {
        known.over.insert(told.incident, told.over);
    }
    if told.incident != "drill" && !ingested.late {
        // What is over has nothing down.
        let open = known.over.get(told.incident) == Some(&false);
        let down = if open { told.down } else { Vec::new() };
        known.up(told.incident, &down, now);
        for domain in down {
            if !known.is_down(told.incident, domain) {
                known.down.push((told.incident.into(), domain.into(), Interval::since(now)));
            }
        }
    }
    known.events.push((told.event, ingested, now));
}

/// Says that nothing is down any more, or that an incident is over.
pub async fn last_word(life: &Life, world: &World, outside: &mut Outside, over: bool) {
    for incident in ["outage", "delay", "drill"] {
        if !outside.known.events.iter().any(|(event, ..)| event["incident"] == incident) {
            continue;
        }
        outside.number += 1;
        let number = outside.number;
        let mut event = json!({
            "source": "world", "id": format!("e{number}"), "incident": incident, "sequence": number,
            "at": life.clock.calendar(), "title": "Outage", "platforms_down": [],
        });
        if over {
            event["status"] = json!("resolved");
        }
        let told = Told { event, incident, down: Vec::new(), says_state: over, over };
        let ingested = ingest(life, &told.event).await;
        note(life, world, &mut outside.known, told, ingested);
    }
}

/// An event that was taken before: the same answer, and nothing else.
async fn again(life: &Life, world: &World, known: &mut Known) {
    if known.events.is_empty() {
        return;
    }
    let (event, before, _) = known.events[world.pick(known.events.len())].clone();
    let answer = ingest(life, &event).await;
    let same = answer.duplicate && (answer.update, &answer.broadcasts) == (before.update, &before.broadcasts);
    known.repeated.push((event["id"].to_string(), same));
}

/// One of the last broadcasts.
fn one_of(world: &World, known: &Known) -> Option<BroadcastId> {
    let all: Vec<BroadcastId> =
        known.events.iter().rev().take(4).flat_map(|(_, event, _)| event.broadcasts.clone()).collect();
    all.get(world.pick(all.len())).copied()
}

async fn stop(life: &Life, world: &World, known: &mut Known) {
    use BroadcastState::{Cancelled, Held, Paused, Running};
    let Some(id) = one_of(world, known) else { return };
    if life.app.engine.change_state(id, vec![Held, Running, Paused], Cancelled, "world").await.expect("stops") {
        world.say(|| format!("{:?} stopped {id}", life.now()));
        known.stopped.push((id, life.now()));
    }
}

async fn pause(life: &Life, world: &World, known: &mut Known) {
    use BroadcastState::{Paused, Running};
    let Some(id) = one_of(world, known) else { return };
    if life.app.engine.change_state(id, vec![Running], Paused, "world").await.expect("pauses") {
        world.say(|| format!("{:?} paused {id}", life.now()));
        let at = known.paused.len();
        known.paused.push((id, Interval::since(life.now())));
        let span = world.span(Duration::from_secs(40));
        life.clock.sleep(span).await;
        known.paused[at].1.to = Some(life.now());
        life.app.engine.change_state(id, vec![Paused], Running, "world").await.expect("resumes");
        world.say(|| format!("{:?} resumed {id}", life.now()));
    }
}

async fn suppress(life: &Life, world: &World, outside: &mut Outside) {
    let Outside { known, people, .. } = outside;
    let person = &people[world.pick(people.len())];
    let addresses = &person.wanted.addresses;
    let Some(address) = addresses.get(world.pick(addresses.len())) else { return };
    known.changed.push((person.id, life.now()));
    let now = life.clock.calendar();
    let whose = life.store.suppress(&address.kind, &address.value, "wish", now).await.expect("suppresses");
    if let Some(id) = whose {
        let version = life.store.subscriber(id).await.expect("reads").map_or(0, |now| now.version);
        life.app.engine.subscriber_changed(id, version);
        world.say(|| format!("{:?} suppressed {}", life.now(), address.value));
        known.silent.push((address.value.clone(), life.now()));
    }
}

/// Somebody withdraws, moves, joins, leaves, or has an address verified.
async fn change(life: &Life, world: &World, outside: &mut Outside) {
    let Outside { known, people, .. } = outside;
    let at = world.pick(people.len());
    let asked = life.now();
    let person = &mut people[at];
    let what = world.chance().u32(..10);
    let which = world.pick(3);
    match what {
        0..2 => {
            person.wanted.withdrawn = true;
            write(life, person, known).await;
            known.withdrawn.push((person.id, life.now()));
        }
        2..5 => {
            let Some(old) = person.moves(at, which) else { return };
            write(life, person, known).await;
            known.silent.push((old, life.now()));
        }
        5..8 => {
            let (audience, _) = AUDIENCES[world.pick(AUDIENCES.len())];
            if person.wanted.audiences.remove(audience) {
                write(life, person, known).await;
                known.left.push((person.id, audience.into(), Interval::since(life.now())));
            } else {
                person.wanted.audiences.insert(audience.into());
                known.joined.push((person.id, audience.into(), asked));
                let of = |(who, what, away): &&mut (_, String, Interval)| {
                    *who == person.id && what == audience && away.to.is_none()
                };
                known.left.iter_mut().filter(of).for_each(|(_, _, away)| away.to = Some(asked));
                write(life, person, known).await;
            }
        }
        _ => {
            let Some(address) = person.wanted.addresses.iter_mut().find(|address| !address.verified) else { return };
            address.verified = true;
            known.unverified.entry(address.value.clone()).or_default().get_or_insert(asked);
            write(life, person, known).await;
        }
    }
    world.say(|| format!("{:?} changed {} since {asked:?}: {what}", life.now(), person.id));
}

async fn write(life: &Life, person: &Person, known: &mut Known) {
    known.changed.push((person.id, life.now()));
    known.touched.insert(person.id);
    let written = life.store.upsert(vec![person.draft()], life.clock.calendar()).await.expect("writes");
    match written[..] {
        [Upserted::Updated(id) | Upserted::Unchanged(id)] => {
            let version = life.store.subscriber(id).await.expect("reads").map_or(0, |now| now.version);
            life.app.engine.subscriber_changed(id, version);
        }
        _ => panic!("{written:?}"),
    }
    known.changed.push((person.id, life.now()));
}

/// A platform reports on one of the last attempts: perhaps before its answer, perhaps once more.
async fn receipt(life: &Life, world: &World, known: &mut Known) {
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
    let Ok(id) = DeliveryId::read(&attempt.id, &life.app.key) else { return };
    let channel = Channel::of(attempt.channel);
    let matching = match channel.by_reference {
        // Nobody heard what the platform calls it.
        true if attempt.answer == Answer::Unknown => return,
        true => Matching::Reference(attempt.reference.clone()),
        false => Matching::Delivery(id),
    };
    let before = known.reported.iter().find(|reported| (reported.id, reported.channel) == (id, attempt.channel));
    let bounced = before.map_or_else(|| world.percent(35), |before| before.bounced);
    let fault = if world.percent(30) { Fault::Address } else { Fault::Message };
    known.changed.push((id.subscriber, life.now()));
    let at = known.reported.len();
    let report =
        Reported { id, channel: attempt.channel, bounced, began: attempt.at, asked: life.now(), answered: false };
    known.reported.push(report);
    let fact = ReceiptFact {
        channel: loudhailer::audience::route::ChannelId(attempt.channel),
        matching,
        status: if bounced { ReceiptStatus::Bounced } else { ReceiptStatus::Delivered },
        fault: bounced.then_some(fault),
        at: life.clock.calendar(),
        detail: "simulated".into(),
    };
    let matched = life.app.engine.receipt(fact).await.expect("takes a receipt");
    known.reported[at].answered = true;
    world.say(|| format!("{:?} receipt of {id:?}: bounced {bounced}, matched {matched}", life.now()));
}

/// A person wants something sent again that came to nothing.
async fn replay(life: &Life, world: &World, known: &mut Known) {
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

/// A receipt that a platform sent.
#[derive(Debug, Clone, Copy)]
pub struct Reported {
    pub id: DeliveryId,
    pub channel: u16,
    pub bounced: bool,
    /// When its attempt began.
    pub began: Duration,
    pub asked: Duration,
    pub answered: bool,
}
