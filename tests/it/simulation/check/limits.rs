//! Promise 4. No limit is exceeded, restarts included: of a channel, nor of an account by its channels together.

use std::time::Duration;

use loudhailer::quantity::Limit;

use super::Found;
use super::evidence::{Evidence, Seen};
use crate::simulation::channels::{ACCOUNT, CHANNELS, Channel, limits};

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for channel in &CHANNELS {
        keeps(evidence, found, channel.name, &channel.limits(), |of| of.id == channel.id);
    }
    if evidence.variety.account {
        let within = |seen: &&Seen| Channel::of(seen.channel).in_account();
        found.varied[0] += evidence.attempts.iter().filter(within).count() as u64;
        keeps(evidence, found, "the account", &limits(&ACCOUNT), Channel::in_account);
    }
}

fn keeps(evidence: &Evidence<'_>, found: &mut Found, whose: &str, limits: &[Limit], of: impl Fn(&Channel) -> bool) {
    let attempts = evidence.attempts.iter().filter(|seen| of(Channel::of(seen.channel)));
    let begun: Vec<Duration> = attempts.map(|seen| seen.at).collect();
    for limit in limits {
        let mut from = 0;
        for (to, at) in begun.iter().enumerate() {
            while *at - begun[from] >= limit.window {
                from += 1;
            }
            found.holds(4, to - from < limit.count as usize, || {
                format!("{whose}: {} attempts within {limit} at {at:?}", to - from + 1)
            });
        }
    }
}
