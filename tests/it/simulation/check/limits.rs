//! Promise 4. No limit is exceeded, restarts included.

use std::time::Duration;

use super::Found;
use super::evidence::Evidence;
use crate::simulation::channels::CHANNELS;

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for channel in &CHANNELS {
        let begun: Vec<Duration> =
            evidence.attempts.iter().filter(|seen| seen.channel == channel.id).map(|seen| seen.at).collect();
        for limit in channel.limits() {
            let mut from = 0;
            for (to, at) in begun.iter().enumerate() {
                while *at - begun[from] >= limit.window {
                    from += 1;
                }
                found.holds(4, to - from < limit.count as usize, || {
                    format!("{}: {} attempts within {limit} at {at:?}", channel.name, to - from + 1)
                });
            }
        }
    }
}
