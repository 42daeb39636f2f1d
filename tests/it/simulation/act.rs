//! What the outside does next: an event, a stop, somebody who moves, a receipt, and what else can happen at any moment.

use std::time::Duration;

use loudhailer::id::BroadcastId;
use loudhailer::ingest::Ingested;
use loudhailer::ingest::event::{Principal, parse_value};
use loudhailer::pipeline;
use loudhailer::plan;
use loudhailer::store::BroadcastState;
use serde_json::{Value, json};

use super::changes::{change, suppress};
use super::known::{Interval, Known};
use super::life::Life;
use super::people::{self, Person};
use super::reports::{receipt, replay};
use super::world::{World, lock};

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

impl Outside {
    /// As a world begins: its people, whom nobody has written into a store yet.
    pub fn of(world: &World) -> Outside {
        let mut people = people::draw(&mut world.chance());
        if world.variety.quiet {
            people.iter_mut().for_each(|person| person.wants_quiet(&mut world.chance()));
        }
        let mut outside = Outside { people, ..Outside::default() };
        for person in &outside.people {
            let unverified = person.wanted.addresses.iter().filter(|address| !address.verified);
            outside.known.unverified.extend(unverified.map(|address| (address.value.clone(), None)));
        }
        outside
    }
}

pub async fn act(life: &Life, world: &World, outside: &mut Outside) {
    if world.variety.approval && world.percent(50) {
        approve(life, world, &mut outside.known).await;
    }
    let choice = world.chance().u32(..100);
    match choice {
        0..34 => events(life, world, outside).await,
        34..40 => again(life, world, &mut outside.known).await,
        40..45 => {
            if let Some(id) = one_of(world, &outside.known) {
                stop(life, world, &mut outside.known, id).await;
            }
        }
        45..53 => pause(life, world, &mut outside.known).await,
        53..59 => suppress(life, world, outside).await,
        59..74 => change(life, world, outside).await,
        74..87 => receipt(life, world).await,
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
    life.disk.refuse(true);
    life.clock.sleep(world.span(Duration::from_secs(4))).await;
    life.disk.refuse(false);
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
    if world.variety.corrections && !new && world.percent(40) {
        let of = outside.known.events.iter().filter(|(event, ..)| event["incident"] == incident);
        let said: Vec<i64> = of.filter_map(|(_, said, _)| Some(said.update?.number)).collect();
        event["corrects"] = json!(said[world.pick(said.len())]);
        event["retracts"] = json!(world.percent(30));
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
    let asked = life.now();
    let told = event(life, world, outside);
    let other = match world.pick(10) {
        0 => Some(None),
        1 => Some(Some(event(life, world, outside))),
        _ => None,
    };
    outside.known.asked = Some(asked);
    let (first, second) = tokio::join!(ingest(life, &told.event), async {
        match &other {
            None => None,
            Some(None) => Some(ingest(life, &told.event).await),
            Some(Some(other)) => Some(ingest(life, &other.event).await),
        }
    });
    outside.known.asked = None;
    match (second, other) {
        (Some(second), Some(Some(other))) if second.update < first.update => {
            note(life, world, &mut outside.known, other, second, asked);
            note(life, world, &mut outside.known, told, first, asked);
        }
        (Some(second), Some(Some(other))) => {
            note(life, world, &mut outside.known, told, first, asked);
            note(life, world, &mut outside.known, other, second, asked);
        }
        (Some(second), _) => {
            let same = (first.update, &first.broadcasts) == (second.update, &second.broadcasts);
            outside.known.repeated.push((format!("{} and {}", told.event["id"], second.key), same));
            note(life, world, &mut outside.known, told, first, asked);
        }
        (None, _) => note(life, world, &mut outside.known, told, first, asked),
    }
}

/// `asked`: from when on it may have been so.
fn note(life: &Life, world: &World, known: &mut Known, told: Told, ingested: Ingested, asked: Duration) {
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
        known.up(told.incident, &down, asked);
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
        let asked = life.now();
        let ingested = ingest(life, &told.event).await;
        note(life, world, &mut outside.known, told, ingested, asked);
    }
}

/// An event that was taken before: the same answer, and nothing else; perhaps while somebody stops what it drew.
async fn again(life: &Life, world: &World, known: &mut Known) {
    if known.events.is_empty() {
        return;
    }
    let (event, before, _) = known.events[world.pick(known.events.len())].clone();
    let stopped = before.broadcasts.get(world.pick(4)).copied();
    let (answer, ()) = tokio::join!(ingest(life, &event), async {
        if let Some(id) = stopped {
            stop(life, world, known, id).await;
        }
    });
    let same = answer.duplicate && (answer.update, &answer.broadcasts) == (before.update, &before.broadcasts);
    known.repeated.push((event["id"].to_string(), same));
}

/// One of the last broadcasts.
fn one_of(world: &World, known: &Known) -> Option<BroadcastId> {
    let all: Vec<BroadcastId> =
        known.events.iter().rev().take(4).flat_map(|(_, event, _)| event.broadcasts.clone()).collect();
    all.get(world.pick(all.len())).copied()
}

async fn stop(life: &Life, world: &World, known: &mut Known, id: BroadcastId) {
    use BroadcastState::{Cancelled, Held, Paused, Running};
    if life.app.engine.change_state(id, vec![Held, Running, Paused], Cancelled, "world").await.expect("stops") {
        world.say(|| format!("{:?} stopped {id}", life.now()));
        known.stopped.push((id, life.now()));
    }
}

/// A person releases what is held for approval, or rejects it.
async fn approve(life: &Life, world: &World, known: &mut Known) {
    use BroadcastState::{Cancelled, Held};
    let mut held = life.store.live().await.expect("reads");
    held.retain(|broadcast| broadcast.state == Held && broadcast.held == plan::Held::Approval);
    let Some(id) = held.get(world.pick(held.len())).map(|broadcast| broadcast.id) else { return };
    if world.percent(70) {
        known.approved.push((id, life.now()));
        if life.app.engine.release(id, "world").await.expect("releases") {
            world.say(|| format!("{:?} released {id}", life.now()));
        }
    } else if life.app.engine.change_state(id, vec![Held], Cancelled, "world").await.expect("rejects") {
        world.say(|| format!("{:?} rejected {id}", life.now()));
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
