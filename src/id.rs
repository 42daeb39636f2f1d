//! Prefixed public ids over the integers the store uses. `inc_`, `brd_`, `sub_` carry one integer, `upd_` an incident and
//! a number; `dlv_` carries broadcast, subscriber and place with a keyed tag, so that it needs no index and cannot be guessed.

use std::fmt;
use std::str::FromStr;

use ring::hmac;
use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not an id of the form {expected}")]
pub struct BadId {
    pub given: String,
    pub expected: &'static str,
}

/// Crockford base 32 of an unsigned integer, without leading zeros.
fn encode(n: u64) -> String {
    let mut out = String::with_capacity(13);
    push(n, &mut out);
    out
}

fn push(n: u64, out: &mut String) {
    let digits = (64 - n.leading_zeros()).div_ceil(5).max(1);
    out.extend((0..digits).rev().map(|digit| char::from(ALPHABET[(n >> (5 * digit) & 31) as usize])));
}

fn decode(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 13 {
        return None;
    }
    text.bytes().try_fold(0u64, |n, byte| {
        let digit = ALPHABET.iter().position(|a| *a == byte)? as u64;
        n.checked_mul(32)?.checked_add(digit)
    })
}

macro_rules! integer_id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), encode(self.0 as u64))
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix)
                    .and_then(decode)
                    .and_then(|n| i64::try_from(n).ok())
                    .map($name)
                    .ok_or_else(|| BadId { given: text.into(), expected: concat!($prefix, "…") })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

integer_id!(IncidentId, "inc_", "An incident.");
integer_id!(BroadcastId, "brd_", "A broadcast; greater is younger.");
integer_id!(SubscriberId, "sub_", "A subscriber: `shard << 48 | n`, so that key order is shard order.");

impl SubscriberId {
    pub fn shard(self) -> u8 {
        (self.0 >> 48) as u8
    }
}

/// One update of one incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpdateId {
    pub incident: IncidentId,
    pub number: i64,
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upd_{}_{}", encode(self.incident.0 as u64), self.number)
    }
}

impl FromStr for UpdateId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let parse = || {
            let (incident, number) = text.strip_prefix("upd_")?.split_once('_')?;
            let incident = IncidentId(i64::try_from(decode(incident)?).ok()?);
            Some(UpdateId { incident, number: number.parse().ok().filter(|n| *n > 0)? })
        };
        parse().ok_or_else(|| BadId { given: text.into(), expected: "upd_…_N" })
    }
}

impl Serialize for UpdateId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// An address of a subscriber, as it stands in an unsubscribe link: forging one needs the installation's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    pub subscriber: SubscriberId,
    pub place: u16,
}

impl Withdrawal {
    pub fn public(self, key: &hmac::Key) -> String {
        sealed("uns", &[self.subscriber.0 as u64, self.place.into()], key)
    }

    pub fn read(text: &str, key: &hmac::Key) -> Result<Withdrawal, BadId> {
        let parse = || {
            let mut parts = signed(text.strip_prefix("uns_")?, "uns", key)?.split('_').map(decode);
            let subscriber = SubscriberId(i64::try_from(parts.next()??).ok()?);
            Some(Withdrawal { subscriber, place: u16::try_from(parts.next()??).ok()? })
        };
        parse().ok_or_else(|| BadId { given: text.into(), expected: "uns_…" })
    }
}

/// An address that is to say whether it wants this, as it stands in the link that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    pub subscriber: SubscriberId,
    pub place: u16,
    /// To the second.
    pub until: crate::clock::Time,
}

impl Confirmation {
    pub fn public(self, key: &hmac::Key) -> String {
        let until = self.until.0.div_euclid(1000).max(0) as u64;
        sealed("cnf", &[self.subscriber.0 as u64, self.place.into(), until], key)
    }

    pub fn read(text: &str, key: &hmac::Key) -> Result<Confirmation, BadId> {
        let parse = || {
            let mut parts = signed(text.strip_prefix("cnf_")?, "cnf", key)?.split('_').map(decode);
            let subscriber = SubscriberId(i64::try_from(parts.next()??).ok()?);
            let place = u16::try_from(parts.next()??).ok()?;
            let until = crate::clock::Time(i64::try_from(parts.next()??).ok()?.checked_mul(1000)?);
            Some(Confirmation { subscriber, place, until })
        };
        parse().ok_or_else(|| BadId { given: text.into(), expected: "cnf_…" })
    }
}

/// `purpose_number_number_…_tag`.
fn sealed(purpose: &str, numbers: &[u64], key: &hmac::Key) -> String {
    let mut out = String::with_capacity(64);
    out.push_str(purpose);
    for number in numbers {
        out.push('_');
        push(*number, &mut out);
    }
    let tag = tag(purpose, &out[purpose.len() + 1..], key);
    out.push('_');
    out.extend(tag.map(char::from));
    out
}

/// The body of a text that ends with its own tag.
fn signed<'a>(text: &'a str, purpose: &str, key: &hmac::Key) -> Option<&'a str> {
    let (body, given) = text.rsplit_once('_')?;
    bool::from(subtle::ConstantTimeEq::ct_eq(&tag(purpose, body, key)[..], given.as_bytes())).then_some(body)
}

/// 80 bits of an HMAC, so that a tag for one purpose is none for another.
fn tag(purpose: &str, body: &str, key: &hmac::Key) -> [u8; 16] {
    let mut context = hmac::Context::with_key(key);
    for part in [purpose, ":", body] {
        context.update(part.as_bytes());
    }
    let tag = context.sign();
    std::array::from_fn(|at| tag.as_ref().get(at).map_or(b'0', |byte| ALPHABET[usize::from(byte & 31)]))
}

/// One broadcast to one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    pub broadcast: BroadcastId,
    pub subscriber: SubscriberId,
    pub place: u16,
}

impl DeliveryId {
    /// The public form, with a tag made with the installation's key.
    pub fn public(self, key: &hmac::Key) -> String {
        sealed("dlv", &[self.broadcast.0 as u64, self.subscriber.0 as u64, self.place.into()], key)
    }

    pub fn read(text: &str, key: &hmac::Key) -> Result<DeliveryId, BadId> {
        let parse = || {
            let mut parts = signed(text.strip_prefix("dlv_")?, "dlv", key)?.split('_').map(decode);
            let (broadcast, subscriber, place) = (parts.next()??, parts.next()??, parts.next()??);
            Some(DeliveryId {
                broadcast: BroadcastId(i64::try_from(broadcast).ok()?),
                subscriber: SubscriberId(i64::try_from(subscriber).ok()?),
                place: u16::try_from(place).ok()?,
            })
        };
        parse().ok_or_else(|| BadId { given: text.into(), expected: "dlv_…" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_printed() {
        for n in [0, 1, 31, 32, 1 << 48 | 7, i64::MAX] {
            assert_eq!(BroadcastId(n).to_string().parse(), Ok(BroadcastId(n)));
        }
        let update = UpdateId { incident: IncidentId(77), number: 3 };
        assert_eq!(update.to_string().parse(), Ok(update));
        assert!("inc_".parse::<IncidentId>().is_err());
        assert!("inc_u".parse::<IncidentId>().is_err());
        assert!("brd_1".parse::<IncidentId>().is_err());
    }

    #[test]
    fn a_delivery_id_is_refused_when_any_character_is_changed() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        let id = DeliveryId { broadcast: BroadcastId(9), subscriber: SubscriberId(3 << 48 | 5), place: 2 };
        let text = id.public(&key);
        assert_eq!(DeliveryId::read(&text, &key), Ok(id));
        for at in 4..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).expect("ascii");
            assert!(DeliveryId::read(&forged, &key).is_err(), "{forged} was taken for {text}");
        }
    }

    #[test]
    fn a_tag_for_one_purpose_is_none_for_another() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
        let withdrawal = Withdrawal { subscriber: SubscriberId(3 << 48 | 5), place: 2 };
        let text = withdrawal.public(&key);
        assert_eq!(Withdrawal::read(&text, &key), Ok(withdrawal));
        assert!(DeliveryId::read(&text.replace("uns_", "dlv_"), &key).is_err());
        assert!(Withdrawal::read(&text[..text.len() - 1], &key).is_err());
    }
}
