//! What people change about themselves: they leave, move, join, fall silent, want quiet.

use loudhailer::store::Upserted;

use super::act::Outside;
use super::known::{Interval, Known};
use super::life::Life;
use super::people::Person;
use super::words::AUDIENCES;
use super::world::World;

pub async fn suppress(life: &Life, world: &World, outside: &mut Outside) {
    let Outside { known, people, .. } = outside;
    let person = &people[world.pick(people.len())];
    let addresses = &person.wanted.addresses;
    let Some(address) = addresses.get(world.pick(addresses.len())) else { return };
    known.changed.push((person.id, life.now()));
    let now = life.clock.calendar();
    let whose = life.store.suppress(&address.kind, &address.value, "wish", now).await.expect("suppresses");
    if let Some(id) = whose {
        let version = life.store.subscriber(id).await.expect("reads").map_or(0, |now| now.version);
        life.app.engine.subscriber_changed(id, version).await;
        world.say(|| format!("{:?} suppressed {}", life.now(), address.value));
        known.silent.push((address.value.clone(), life.now()));
    }
}

/// Somebody withdraws, moves, joins, leaves, or has an address verified.
pub async fn change(life: &Life, world: &World, outside: &mut Outside) {
    let Outside { known, people, .. } = outside;
    let at = world.pick(people.len());
    let asked = life.now();
    let person = &mut people[at];
    let what = world.chance().u32(..10);
    let which = world.pick(3);
    if world.variety.quiet && world.percent(30) {
        person.wants_quiet(&mut world.chance());
        known.no_quiet(person.id, asked);
        write(life, person, known).await;
        known.wants_quiet(person.id, &person.wanted, life.now());
        world.say(|| format!("{:?} {} wants quiet {:?} since {asked:?}", life.now(), person.id, person.wanted.quiet));
        return;
    }
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
            life.app.engine.subscriber_changed(id, version).await;
        }
        _ => panic!("{written:?}"),
    }
    known.changed.push((person.id, life.now()));
}
