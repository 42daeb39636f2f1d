//! Promise 6. Around what is down: nothing begins on a channel that an incident says is down, or whose breaker is open.

use std::collections::BTreeSet;
use std::time::Duration;

use loudhailer::channel::Fault;

use super::Found;
use super::evidence::{Evidence, Seen};
use crate::simulation::channels::{CHANNELS, Channel};
use crate::simulation::world::Answer;

/// A breaker opens for so long at least.
const OPEN: Duration = Duration::from_secs(15);

pub fn check(evidence: &Evidence<'_>, found: &mut Found) {
    for channel in &CHANNELS {
        let seen: Vec<&Seen> = evidence.attempts.iter().filter(|seen| seen.channel == channel.id).collect();
        for (_, domain, down) in evidence.known.down.iter().filter(|(_, domain, _)| channel.is_in(domain)) {
            let begun = seen.iter().find(|seen| down.holds(seen.at));
            found.holds(6, begun.is_none(), || {
                format!(
                    "{domain} is down since {:?}, and {:?} begins",
                    down.from,
                    begun.map(|seen| (&seen.id, seen.at))
                )
            });
        }
        let nodes: BTreeSet<usize> = seen.iter().map(|seen| seen.node).collect();
        for node in nodes {
            let of: Vec<&Seen> = seen.iter().copied().filter(|seen| seen.node == node).collect();
            breaker(evidence, found, channel, &of, &seen);
        }
    }
}

/// A channel that said to a node that it can't is left alone by it for a while, unless something that was under way shows that it can.
fn breaker(evidence: &Evidence<'_>, found: &mut Found, channel: &Channel, seen: &[&Seen], all: &[&Seen]) {
    let mut answers: Vec<(Duration, Answer)> =
        seen.iter().filter_map(|seen| Some((seen.answered?, seen.answer))).collect();
    answers.sort_by_key(|(at, _)| *at);
    let mut open: Option<Duration> = None;
    // So many failures in a row open it, too: what is said after them finds it open already.
    let mut failures = 0;
    for (at, answer) in answers {
        match answer {
            Answer::Accepted | Answer::Rejected(Fault::Address | Fault::Message | Fault::Gone) => {
                (open, failures) = (None, 0)
            }
            Answer::Rejected(Fault::Channel) if failures < 9 && open.is_none_or(|since| at >= since + OPEN) => {
                (open, failures) = (Some(at), failures + 1);
            }
            Answer::Rejected(Fault::Channel) | Answer::Deferred | Answer::Unknown => failures += 1,
        }
        let Some(since) = open.filter(|since| *since == at) else { continue };
        let closes = all
            .iter()
            .filter(|seen| seen.answered.is_some_and(|answered| answered >= since))
            .filter(|seen| matches!(seen.answer, Answer::Accepted | Answer::Rejected(Fault::Address | Fault::Message)))
            .filter_map(|seen| seen.answered)
            .min();
        let ends = evidence.known.endings.iter().map(|(at, _)| *at).find(|at| *at >= since);
        let until = [closes, ends].into_iter().flatten().fold(since + OPEN, Duration::min);
        let begun = seen.iter().find(|seen| seen.at > since && seen.at < until);
        found.holds(6, begun.is_none(), || {
            let begun = begun.map(|seen| (&seen.id, seen.at));
            format!("{} said at {since:?} that it can't, and {begun:?} begins", channel.name)
        });
    }
}
