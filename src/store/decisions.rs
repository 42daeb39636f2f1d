//! What a manifest says, packed: one entry a recipient; and what follows from it without asking the store.

use std::collections::BTreeSet;

use super::pack::{Damaged, Packer, Unpacker};
use super::{Decided, Decision, Fact, StoreError};
use crate::audience::route::{Blocked, ChannelId, LeftOut, Way};
use crate::audience::{Address, Omission, Subscriber};
use crate::id::SubscriberId;

impl From<Damaged> for StoreError {
    fn from(damaged: Damaged) -> StoreError {
        StoreError::Failed(damaged.to_string())
    }
}

/// Who waits, with what stood in the way; 1 is who waits as the first versions wrote it, without.
const WAITS: u64 = 127;

fn pack_left_out(packer: &mut Packer, left_out: &[LeftOut]) {
    packer.number(left_out.len() as u64);
    for left in left_out {
        packer.number(left.way.place.into());
        packer.number(left.way.channel.0.into());
        packer.number(left.why as u64);
    }
}

pub fn pack(decided: &[Decided]) -> Vec<u8> {
    let mut packer = Packer(Vec::with_capacity(decided.len() * 6));
    let mut last = 0;
    for Decided { subscriber, version, decision } in decided {
        packer.number((subscriber.0 - last) as u64);
        last = subscriber.0;
        packer.number(*version as u64);
        match decision {
            Decision::Ways(ways, left_out) => {
                packer.number(0);
                packer.number(ways.len() as u64);
                for way in ways {
                    packer.number(way.place.into());
                    packer.number(way.channel.0.into());
                }
                pack_left_out(&mut packer, left_out);
            }
            Decision::Waits(left_out) => {
                packer.number(WAITS);
                pack_left_out(&mut packer, left_out);
            }
            Decision::Omitted(omission) => packer.number(2 + *omission as u64),
        }
    }
    packer.0
}

fn unpack_way(read: &mut Unpacker<'_>) -> std::result::Result<Way, Damaged> {
    let small = |n: u64| u16::try_from(n).map_err(|_| Damaged);
    Ok(Way { place: small(read.number()?)?, channel: ChannelId(small(read.number()?)?) })
}

fn unpack_left_out(read: &mut Unpacker<'_>) -> std::result::Result<Vec<LeftOut>, Damaged> {
    let mut left_out = Vec::new();
    for _ in 0..read.number()? {
        let way = unpack_way(read)?;
        let why = usize::try_from(read.number()?).ok().and_then(|why| Blocked::ALL.get(why));
        left_out.push(LeftOut { way, why: *why.ok_or(Damaged)? });
    }
    Ok(left_out)
}

pub fn unpack(bytes: &[u8]) -> std::result::Result<Vec<Decided>, Damaged> {
    let mut read = Unpacker(bytes);
    let mut decided = Vec::new();
    let mut last = 0i64;
    while !read.is_empty() {
        last = last.checked_add_unsigned(read.number()?).ok_or(Damaged)?;
        let version = read.number()? as i64;
        let decision = match read.number()? {
            0 => {
                let mut ways = Vec::new();
                for _ in 0..read.number()? {
                    ways.push(unpack_way(&mut read)?);
                }
                Decision::Ways(ways, unpack_left_out(&mut read)?)
            }
            1 => Decision::Waits(Vec::new()),
            WAITS => Decision::Waits(unpack_left_out(&mut read)?),
            n => Decision::Omitted(*Omission::ALL.get(n as usize - 2).ok_or(Damaged)?),
        };
        decided.push(Decided { subscriber: SubscriberId(last), version, decision });
    }
    Ok(decided)
}

/// How many of them are skipped, and how many unreachable.
pub fn omitted(decided: &[Decided]) -> (i64, i64) {
    decided.iter().fold((0, 0), |(skipped, unreachable), decided| match &decided.decision {
        Decision::Omitted(omission) if omission.unreachable() => (skipped, unreachable + 1),
        Decision::Omitted(_) => (skipped + 1, unreachable),
        Decision::Ways(..) | Decision::Waits(_) => (skipped, unreachable),
    })
}

/// Whether somebody in it is to be told whose row is not among those written with it.
pub fn is_open(decided: &[Decided], rows: &[Fact]) -> bool {
    let with_rows: BTreeSet<i64> = rows.iter().map(|row| row.delivery.subscriber.0).collect();
    decided
        .iter()
        .any(|decided| matches!(decided.decision, Decision::Ways(..)) && !with_rows.contains(&decided.subscriber.0))
}

/// Whether the address that was decided for may still be written to.
pub fn still_allowed(decided_for: &Subscriber, way: Way, today: Option<&Subscriber>, audience: &str) -> bool {
    let wanted = decided_for.addresses.iter().find(|address| address.place == way.place);
    today.is_some_and(|today| {
        let same = |a: &Address| Some(a.place) == wanted.map(|w| w.place) && Some(&a.value) == wanted.map(|w| &w.value);
        let member = today.audiences.contains(audience);
        member && !today.withdrawn && today.addresses.iter().any(|a| same(a) && a.verified && !a.suppressed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_read_back_as_packed() {
        let way = |place, channel| Way { place, channel: ChannelId(channel) };
        let decided = vec![
            Decided { subscriber: SubscriberId(5), version: 1, decision: Decision::Omitted(Omission::NotInterested) },
            Decided { subscriber: SubscriberId(6), version: 300, decision: Decision::Ways(vec![way(1, 2)], vec![]) },
            Decided {
                subscriber: SubscriberId(7 << 48),
                version: 2,
                decision: Decision::Waits(vec![LeftOut { way: way(1, 2), why: Blocked::Paused }]),
            },
            Decided {
                subscriber: SubscriberId((7 << 48) + 1),
                version: 2,
                decision: Decision::Ways(
                    vec![way(1, 2), way(3, 400)],
                    vec![LeftOut { way: way(2, 9), why: Blocked::PlatformDown }],
                ),
            },
        ];
        let bytes = pack(&decided);
        assert_eq!(unpack(&bytes).expect("reads"), decided);
        assert!(unpack(&bytes[..bytes.len() - 1]).is_err());
    }
}
