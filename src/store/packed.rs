//! A subscriber as every store keeps them: numbers and words in columns, interests and addresses packed, addresses found by an
//! index that does not show them.

use std::collections::BTreeSet;

use ring::hmac;

use super::Result;
use super::pack::{Damaged, Packer, Unpacker};
use crate::audience::{Address, Quiet, Subscriber};
use crate::id::SubscriberId;
use crate::incident::Severity;

pub const SHARDS: i64 = 64;
pub const EXERCISES: i64 = 1;
pub const WITHDRAWN: i64 = 2;

/// The index under which an address is found without being readable in it.
pub fn blind(key: &hmac::Key, kind: &str, value: &str) -> Vec<u8> {
    let tag = hmac::sign(key, format!("{kind}:{value}").as_bytes());
    tag.as_ref()[..16].to_vec()
}

/// The columns that are not packed.
pub struct Kept {
    pub id: i64,
    pub version: i64,
    pub key: Option<String>,
    pub flags: i64,
    pub name: Option<String>,
    pub locale: String,
    pub zone: String,
    pub quiet: i64,
    pub severity: u8,
}

impl Kept {
    pub fn of(subscriber: &Subscriber) -> Kept {
        Kept {
            id: subscriber.id.0,
            version: subscriber.version,
            key: subscriber.key.clone(),
            flags: i64::from(subscriber.exercises) * EXERCISES + i64::from(subscriber.withdrawn) * WITHDRAWN,
            name: subscriber.name.clone(),
            locale: subscriber.locale.clone(),
            zone: subscriber.zone.clone(),
            quiet: subscriber.quiet.map_or(-1, |quiet| i64::from(quiet.from) * 1440 + i64::from(quiet.to)),
            severity: subscriber.severity as u8,
        }
    }

    pub fn read(self, interests: &[u8], addresses: &[u8]) -> std::result::Result<Subscriber, Damaged> {
        let mut interests = Unpacker(interests);
        let (audiences, components, regions) = (interests.texts()?, interests.texts()?, interests.texts()?);
        let (_, addresses) = unpack_addresses(addresses)?;
        let quiet = self.quiet;
        Ok(Subscriber {
            id: SubscriberId(self.id),
            version: self.version,
            key: self.key,
            name: self.name,
            locale: self.locale,
            zone: self.zone,
            quiet: (quiet >= 0).then_some(Quiet { from: (quiet / 1440) as u16, to: (quiet % 1440) as u16 }),
            severity: Severity::ALL.get(usize::from(self.severity)).copied().unwrap_or(Severity::Info),
            exercises: self.flags & EXERCISES != 0,
            withdrawn: self.flags & WITHDRAWN != 0,
            audiences,
            components,
            regions,
            addresses,
        })
    }
}

pub fn pack_interests(subscriber: &Subscriber) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.texts(subscriber.audiences.iter());
    packer.texts(subscriber.components.iter());
    packer.texts(subscriber.regions.iter());
    packer.0
}

/// The next free place, then each address: place, kind, flags, key number and bytes (key 0: plain), secrets.
pub fn pack_addresses(next_place: u16, addresses: &[Address]) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.number(next_place.into());
    for address in addresses {
        packer.number(address.place.into());
        packer.text(&address.kind);
        packer.number(u64::from(address.verified) | u64::from(address.suppressed) << 1);
        packer.number(0);
        packer.text(&address.value);
        packer.texts(address.secrets.iter());
    }
    packer.0
}

pub fn unpack_addresses(bytes: &[u8]) -> std::result::Result<(u16, Vec<Address>), Damaged> {
    let mut read = Unpacker(bytes);
    let small = |n: u64| u16::try_from(n).map_err(|_| Damaged);
    let next_place = small(read.number()?)?;
    let mut addresses = Vec::new();
    while !read.is_empty() {
        let place = small(read.number()?)?;
        let kind = read.text()?.to_string();
        let flags = read.number()?;
        if read.number()? != 0 {
            return Err(Damaged); // written by a newer program that encrypts
        }
        let value = read.text()?.to_string();
        let secrets = read.texts()?;
        addresses.push(Address { place, kind, value, verified: flags & 1 != 0, suppressed: flags & 2 != 0, secrets });
    }
    Ok((next_place, addresses))
}

/// Name, locale, zone and addresses of a version that is past.
pub type Past = (Option<String>, String, String, Vec<u8>);

/// The subscriber as they were when a decision was made for them; one who is gone and forgotten keeps only the id.
pub fn past_of(id: SubscriberId, version: i64, current: Option<&Subscriber>, past: Option<Past>) -> Result<Subscriber> {
    let (name, locale, zone, addresses) = past.unwrap_or_default();
    let (_, addresses) = match addresses.is_empty() {
        true => (1, Vec::new()),
        false => unpack_addresses(&addresses)?,
    };
    Ok(Subscriber {
        id,
        version,
        key: None,
        name,
        locale,
        zone,
        quiet: None,
        severity: Severity::Info,
        exercises: current.is_some_and(|current| current.exercises),
        withdrawn: current.is_none(),
        audiences: BTreeSet::new(),
        components: BTreeSet::new(),
        regions: BTreeSet::new(),
        addresses,
    })
}
