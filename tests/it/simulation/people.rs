//! The people of a world, as the outside has written them: who belongs where, and which addresses they have.

use loudhailer::audience::{Address, Quiet, Subscriber};
use loudhailer::id::SubscriberId;
use loudhailer::store::SubscriberDraft;

use super::words::AUDIENCES;
use crate::harness::draft;

#[derive(Debug, Clone)]
pub struct Person {
    pub id: SubscriberId,
    pub wanted: Subscriber,
    /// How often they have got another address: none is used twice.
    moves: u32,
}

pub fn draw(chance: &mut fastrand::Rng) -> Vec<Person> {
    (0..chance.usize(4..13))
        .map(|n| {
            let audiences =
                AUDIENCES.iter().filter(|_| chance.u32(..100) < 45).map(|(name, _)| name.to_string()).collect();
            let mut addresses = Vec::new();
            for kind in ["phone", "email", "url"] {
                if chance.u32(..100) < 65 {
                    addresses.push(address(kind, n, 0, chance.u32(..10) > 0));
                }
            }
            let exercises = chance.bool();
            let wanted = Subscriber { audiences, addresses, exercises, ..draft(&format!("k{n}"), "", &[]) };
            Person { id: SubscriberId(-1), wanted, moves: 0 }
        })
        .collect()
}

fn address(kind: &str, n: usize, moves: u32, verified: bool) -> Address {
    let value = match kind {
        "phone" => format!("+49{n:05}{moves}"),
        "email" => format!("p{n}.{moves}@example.org"),
        _ => format!("https://h{n}-{moves}.example"),
    };
    Address { place: 0, kind: kind.into(), value, verified, suppressed: false, secrets: Vec::new() }
}

/// Where people live who want quiet hours, and what their clocks are ahead of UTC by, in minutes.
const ZONES: [(&str, u16); 3] = [("UTC", 0), ("Europe/Berlin", 120), ("Asia/Kolkata", 330)];

impl Person {
    /// Wants other quiet hours, or none; they begin around when the world does, and end before everything has to have ended.
    pub fn wants_quiet(&mut self, chance: &mut fastrand::Rng) {
        let (zone, ahead) = ZONES[chance.usize(..ZONES.len())];
        self.wanted.zone = zone.into();
        // A world begins at 15:39 UTC.
        let from = 15 * 60 + 30 + chance.u16(..30);
        let quiet = Quiet { from: from + ahead, to: from + ahead + chance.u16(2..50) };
        self.wanted.quiet = (chance.u32(..4) > 0).then_some(quiet);
    }

    pub fn known_as(&self, id: SubscriberId) -> Person {
        Person { id, ..self.clone() }
    }

    pub fn draft(&self) -> SubscriberDraft {
        let id = (self.id.0 >= 0).then_some(self.id);
        SubscriberDraft { id, subscriber: self.wanted.clone() }
    }

    /// Gets another address in the place of one; answers the old one.
    pub fn moves(&mut self, n: usize, which: usize) -> Option<String> {
        self.moves += 1;
        let which = which % self.wanted.addresses.len().max(1);
        let old = self.wanted.addresses.get_mut(which)?;
        let new = address(&old.kind, n, self.moves, true);
        Some(std::mem::replace(old, new).value)
    }
}
