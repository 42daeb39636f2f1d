//! By which way a recipient is reached: the first route that has a usable member, on addresses that are verified and not
//! suppressed, by channels that the incident does not affect and whose breaker is closed. What is left out is kept with its
//! reason.

use std::collections::BTreeSet;

use super::{Address, Omission, Subscriber};
use crate::fault::{self, Fault};
use crate::incident::words;
use crate::plan::Route;

/// A channel's number in the store; its name never changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

/// What routing needs to know of a channel.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: ChannelId,
    pub name: String,
    pub kind: String,
    pub address_kind: String,
    /// In any unit: it counts beside those of the other channels.
    pub weight: u32,
    /// Itself, its platform, and what both depend on.
    pub domains: BTreeSet<String>,
    /// Breaker open or paused by the operator; or the message does not render in its format.
    pub blocked: Option<Blocked>,
}

words!(
    /// Why a way was left out for now, or for good.
    Blocked {
        PlatformDown = "platform_down", BreakerOpen = "breaker_open", Paused = "paused", Unverified = "unverified",
        Suppressed = "suppressed", Rejected = "rejected", Deferred = "deferred_too_often", NoWords = "no_words",
    }
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way {
    pub place: u16,
    pub channel: ChannelId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    pub way: Way,
    pub why: Blocked,
}

/// What came of earlier tries on a way in this broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    pub way: Way,
    pub rejected: bool,
    pub deferrals: u32,
    /// Accepted, or unknown where that ends it: this member of the route has been served.
    pub served: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// One way for each usable member of the route.
    Ways(Vec<Way>),
    /// Allowed ways exist, and none works now.
    Wait,
    Nowhere(Omission),
}

/// A way that was deferred this often gives way to the next one.
pub const PATIENCE: u32 = 5;

pub fn route(
    subscriber: &Subscriber,
    routes: &[Route],
    channels: &[Candidate],
    platforms_down: &BTreeSet<String>,
    tried: &[Tried],
    chance: u64,
) -> (Routed, Vec<LeftOut>) {
    let mut left_out = Vec::new();
    for patient in [true, false] {
        left_out.clear();
        for route in routes {
            let mut ways = Vec::new();
            let mut served = false;
            for member in &route.0 {
                let walk = Walk { subscriber, channels, platforms_down, tried, chance, patient };
                match walk.member(member, &mut left_out) {
                    Member::Way(way) if !ways.contains(&way) => ways.push(way),
                    Member::Served => served = true,
                    _ => {}
                }
            }
            if !ways.is_empty() {
                return (Routed::Ways(ways), left_out);
            }
            if served {
                break; // the next route is for those whom no member of this one could serve
            }
        }
        if !left_out.iter().any(|left| left.why == Blocked::Deferred) {
            break;
        }
    }
    let any = |why: &[Blocked]| left_out.iter().any(|left| why.contains(&left.why));
    let routed = if any(&[Blocked::PlatformDown, Blocked::BreakerOpen, Blocked::Paused]) {
        Routed::Wait
    } else if any(&[Blocked::NoWords]) {
        Routed::Nowhere(Omission::NoWords)
    } else if any(&[Blocked::Rejected]) {
        Routed::Nowhere(Omission::Rejected)
    } else if any(&[Blocked::Suppressed]) {
        Routed::Nowhere(Omission::Suppressed)
    } else if any(&[Blocked::Unverified]) {
        Routed::Nowhere(Omission::Unverified)
    } else {
        Routed::Nowhere(Omission::NoAddress)
    };
    (routed, left_out)
}

enum Member {
    Way(Way),
    Served,
    None,
}

struct Walk<'a> {
    subscriber: &'a Subscriber,
    channels: &'a [Candidate],
    platforms_down: &'a BTreeSet<String>,
    tried: &'a [Tried],
    chance: u64,
    patient: bool,
}

impl Walk<'_> {
    /// One way for one member: the first address that a channel of the member can use.
    fn member(&self, member: &str, left_out: &mut Vec<LeftOut>) -> Member {
        let fits = |channel: &&Candidate| channel.kind == member || channel.name == member;
        let served =
            |tried: &Tried| tried.served && self.channels.iter().any(|c| c.id == tried.way.channel && fits(&c));
        if self.tried.iter().any(served) {
            return Member::Served;
        }
        for address in &self.subscriber.addresses {
            let mut usable: Vec<&Candidate> = Vec::new();
            for channel in self.channels.iter().filter(fits).filter(|channel| channel.address_kind == address.kind) {
                let way = Way { place: address.place, channel: channel.id };
                match self.blocked(address, channel, way) {
                    Some(why) => left_out.push(LeftOut { way, why }),
                    None => usable.push(channel),
                }
            }
            if let Some(at) = by_weight(usable.iter().map(|channel| channel.weight), self.chance) {
                return Member::Way(Way { place: address.place, channel: usable[at].id });
            }
        }
        Member::None
    }

    fn blocked(&self, address: &Address, channel: &Candidate, way: Way) -> Option<Blocked> {
        let tried = self.tried.iter().find(|tried| tried.way == way);
        if !address.verified && !fault::on(Fault::UnverifiedWrittenTo) {
            Some(Blocked::Unverified)
        } else if address.suppressed {
            Some(Blocked::Suppressed)
        } else if tried.is_some_and(|tried| tried.rejected) {
            Some(Blocked::Rejected)
        } else if !self.platforms_down.is_disjoint(&channel.domains) && !fault::on(Fault::PlatformDownIgnored) {
            Some(Blocked::PlatformDown)
        } else if channel.blocked.is_some() {
            channel.blocked
        } else if self.patient && tried.is_some_and(|tried| tried.deferrals >= PATIENCE) {
            Some(Blocked::Deferred)
        } else {
            None
        }
    }
}

/// Which of them, by weight; `chance` is the recipient's own, so that the same recipient gets the same channel again, and only
/// those move whose channel lost weight. Weight 0 is used only where nothing else is left.
pub fn by_weight(weights: impl Iterator<Item = u32> + Clone, chance: u64) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut at = ((u128::from(chance) * u128::from(total)) >> 64) as u64;
    let mut any = None;
    for (number, weight) in weights.map(u64::from).enumerate() {
        if at < weight {
            return Some(number);
        }
        at -= weight;
        any = Some(0);
    }
    any
}

#[cfg(test)]
mod tests {
    use super::super::tests::subscriber;
    use super::*;

    fn channel(id: u16, name: &str, kind: &str, address_kind: &str, domains: &[&str]) -> Candidate {
        let mut domains: BTreeSet<String> = domains.iter().map(|d| d.to_string()).collect();
        domains.insert(name.into());
        Candidate {
            id: ChannelId(id),
            name: name.into(),
            kind: kind.into(),
            address_kind: address_kind.into(),
            weight: 1,
            domains,
            blocked: None,
        }
    }

    fn channels() -> Vec<Candidate> {
        vec![
            channel(1, "whatsapp", "chat", "phone", &["meta"]),
            channel(2, "sms-a", "sms", "phone", &["carrier"]),
            channel(3, "sms-b", "sms", "phone", &[]),
            channel(4, "mail", "email", "email", &[]),
        ]
    }

    fn routes(texts: &[&str]) -> Vec<Route> {
        texts.iter().map(|t| Route::try_from(t.to_string()).expect("route")).collect()
    }

    fn ways(ways: &[(u16, u16)]) -> Routed {
        Routed::Ways(ways.iter().map(|(place, channel)| Way { place: *place, channel: ChannelId(*channel) }).collect())
    }

    #[test]
    fn ways_in_order_of_preference() {
        let both = subscriber(&[("phone", "+1"), ("email", "a@b")]);
        let mail = subscriber(&[("email", "a@b")]);
        let none = BTreeSet::new();
        let down: BTreeSet<String> = ["meta".to_string()].into();
        let go = |who: &Subscriber, texts: &[&str], down: &BTreeSet<String>, tried: &[Tried], chance| {
            route(who, &routes(texts), &channels(), down, tried, chance).0
        };
        assert_eq!(go(&both, &["chat", "sms"], &none, &[], 0), ways(&[(1, 1)]));
        assert_eq!(go(&both, &["chat", "sms"], &down, &[], 0), ways(&[(1, 2)]), "around what is down");
        assert_eq!(go(&both, &["chat"], &down, &[], 0), Routed::Wait, "being unable to send is waiting");
        assert_eq!(
            go(&both, &["sms+email"], &none, &[], u64::MAX),
            ways(&[(1, 3), (2, 4)]),
            "all members at once, by weight"
        );
        assert_eq!(go(&mail, &["sms+email"], &none, &[], 0), ways(&[(1, 4)]), "the usable members");
        assert_eq!(go(&mail, &["sms"], &none, &[], 0), Routed::Nowhere(Omission::NoAddress));
        assert_eq!(go(&both, &["sms-b"], &none, &[], 0), ways(&[(1, 3)]), "a channel by name");
        let rejected = |channel| Tried {
            way: Way { place: 1, channel: ChannelId(channel) },
            rejected: true,
            deferrals: 0,
            served: false,
        };
        assert_eq!(
            go(&both, &["sms", "email"], &none, &[rejected(2)], 0),
            ways(&[(1, 3)]),
            "another channel of the kind"
        );
        assert_eq!(
            go(&both, &["sms", "email"], &none, &[rejected(2), rejected(3)], 0),
            ways(&[(2, 4)]),
            "then the next route"
        );
        assert_eq!(go(&both, &["sms"], &none, &[rejected(2), rejected(3)], 0), Routed::Nowhere(Omission::Rejected));
        let deferred = |channel, n| Tried {
            way: Way { place: 1, channel: ChannelId(channel) },
            rejected: false,
            deferrals: n,
            served: false,
        };
        assert_eq!(
            go(&both, &["sms-a", "email"], &none, &[deferred(2, 4)], 0),
            ways(&[(1, 2)]),
            "stays for five tries"
        );
        assert_eq!(go(&both, &["sms-a", "email"], &none, &[deferred(2, 5)], 0), ways(&[(2, 4)]), "then takes the next");
        assert_eq!(
            go(&both, &["sms-a"], &none, &[deferred(2, 5)], 0),
            ways(&[(1, 2)]),
            "after the last it begins again"
        );
    }

    #[test]
    fn where_weight_moves_away_only_those_move_who_were_there() {
        let by_weight = |weights: &[u32], chance| by_weight(weights.iter().copied(), chance);
        assert_eq!(by_weight(&[], 0), None);
        assert_eq!(by_weight(&[0, 0], u64::MAX), Some(0));
        assert_eq!(by_weight(&[0, 1], 0), Some(1));
        let mut counts = [0; 2];
        for n in 0..1000u64 {
            let chance = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (before, after) = (by_weight(&[700, 300], chance), by_weight(&[70, 300], chance));
            counts[before.expect("one")] += 1;
            assert!(before == after || after == Some(1), "{before:?} to {after:?}");
        }
        assert!((680..720).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn what_may_not_be_used_is_left_out_with_its_reason() {
        let mut who = subscriber(&[("phone", "+1"), ("phone", "+2"), ("email", "a@b")]);
        who.addresses[0].verified = false;
        who.addresses[1].suppressed = true;
        let (routed, left_out) = route(&who, &routes(&["sms-a", "email"]), &channels(), &BTreeSet::new(), &[], 0);
        assert_eq!(routed, ways(&[(3, 4)]));
        let reasons: Vec<(u16, Blocked)> = left_out.iter().map(|l| (l.way.place, l.why)).collect();
        assert_eq!(reasons, [(1, Blocked::Unverified), (2, Blocked::Suppressed)]);
        who.addresses.pop();
        assert_eq!(
            route(&who, &routes(&["sms-a"]), &channels(), &BTreeSet::new(), &[], 0).0,
            Routed::Nowhere(Omission::Suppressed)
        );
    }

    #[test]
    fn a_way_without_words_is_gone_around_and_the_reason_where_there_is_no_other() {
        let mut channels = channels();
        channels[0].blocked = Some(Blocked::NoWords);
        let who = subscriber(&[("phone", "+1")]);
        let go =
            |texts: &[&str], channels: &[Candidate]| route(&who, &routes(texts), channels, &BTreeSet::new(), &[], 0);
        let (routed, left_out) = go(&["chat", "sms"], &channels);
        assert_eq!(routed, ways(&[(1, 2)]));
        assert_eq!(left_out, [LeftOut { way: Way { place: 1, channel: ChannelId(1) }, why: Blocked::NoWords }]);
        assert_eq!(go(&["chat"], &channels).0, Routed::Nowhere(Omission::NoWords));
        channels[1].blocked = Some(Blocked::Paused);
        assert_eq!(
            go(&["chat", "sms-a"], &channels).0,
            Routed::Wait,
            "what is paused has words, as far as anybody knows"
        );
    }

    #[test]
    fn an_open_breaker_is_gone_around() {
        let mut channels = channels();
        channels[1].blocked = Some(Blocked::BreakerOpen);
        let who = subscriber(&[("phone", "+1")]);
        assert_eq!(route(&who, &routes(&["sms"]), &channels, &BTreeSet::new(), &[], 0).0, ways(&[(1, 3)]));
        channels[2].blocked = Some(Blocked::BreakerOpen);
        assert_eq!(route(&who, &routes(&["sms"]), &channels, &BTreeSet::new(), &[], 0).0, Routed::Wait);
    }
}
