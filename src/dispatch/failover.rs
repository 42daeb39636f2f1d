//! How the weight lies among the channels of one kind. It moves away from a channel that does worse than the best of the others,
//! at once and far where it does much worse, and drifts back once that has been good for a while: the longer, the more often
//! it has turned bad of late, so that a channel that comes and goes does not take everyone along each time. A trickle always
//! stays: whoever gets nothing could never show that it works again. Pure.

use std::time::Duration;

use super::observed::Seen;
use crate::clock::Instant;

/// How often it is decided.
pub const STEP: Duration = Duration::from_secs(5);
/// Worse than the best of the others by this much: weight moves away. By less than the lower one: it may drift back.
const WORSE: f64 = 0.12;
const AS_GOOD: f64 = 0.06;
/// Worse by this much: weight moves away fast.
const MUCH_WORSE: f64 = 0.3;
const AWAY: f64 = 0.6;
const AWAY_FAST: f64 = 0.25;
/// From the trickle to the whole takes six minutes.
const BACK: f64 = 1.07;
/// The part of its weight that a channel always keeps.
pub const TRICKLE: f64 = 0.01;
/// How long it must have been as good as the others; doubled each time it turned bad lately.
const REST: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(1200);
/// What lies so long back counts a third.
const REMEMBERED: f64 = 1800.0;

/// The part of its configured weight that a channel has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    pub part: f64,
    falling: bool,
    /// How often it turned bad, fading.
    turns: f64,
    rests_until: Instant,
    /// It does as well as the others: what it does is usual.
    pub healthy: bool,
}

impl Default for Share {
    fn default() -> Self {
        Share { part: 1.0, falling: false, turns: 0.0, rests_until: Instant::ZERO, healthy: true }
    }
}

/// A channel of the kind, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub seen: Seen,
    /// It is down, paused or broken: nothing goes there, and nobody is measured by it.
    pub blocked: bool,
}

/// Decides, a `STEP` after the last time, what part of its weight each channel of one kind has.
pub fn choose(peers: &[Peer], shares: &mut [Share], now: Instant) {
    for (at, share) in shares.iter_mut().enumerate() {
        let Some(own) = peers.get(at) else { continue };
        let others = peers.iter().enumerate().filter(|(other, peer)| *other != at && !peer.blocked);
        // Without another, there is nowhere to move to.
        let Some(best) = others.map(|(_, peer)| peer.seen.bad).reduce(f64::min) else { continue };
        share.step(own.seen.bad - best, now);
    }
}

impl Share {
    fn step(&mut self, worse: f64, now: Instant) {
        self.turns *= (-STEP.as_secs_f64() / REMEMBERED).exp();
        self.healthy = worse < AS_GOOD;
        if worse > WORSE {
            if !self.falling {
                self.falling = true;
                self.turns += 1.0;
            }
            self.part = (self.part * if worse > MUCH_WORSE { AWAY_FAST } else { AWAY }).max(TRICKLE);
            let doubled = 2f64.powf((self.turns - 1.0).clamp(0.0, 10.0));
            self.rests_until = now + REST.mul_f64(doubled).min(LONGEST_REST);
        } else if self.healthy && now >= self.rests_until {
            self.falling = false;
            self.part = (self.part * BACK).min(1.0);
        }
    }

    /// A weight in thousandths, at least one of them: a configured 0 stays 0.
    pub fn of(&self, weight: u32) -> u32 {
        let thousandths = (f64::from(weight) * 1000.0 * self.part) as u32;
        if weight == 0 { 0 } else { thousandths.max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(shares: &mut [Share], bad: &[f64], from: u64, seconds: u64) -> Vec<f64> {
        let peers: Vec<Peer> = bad.iter().map(|bad| Peer { seen: Seen { bad: *bad }, blocked: false }).collect();
        for at in (from..from + seconds).step_by(STEP.as_secs() as usize) {
            choose(&peers, shares, Duration::from_secs(at));
        }
        shares.iter().map(|share| share.part).collect()
    }

    #[test]
    fn weight_moves_away_from_what_is_worse_than_the_others_and_drifts_back() {
        let mut shares = [Share::default(); 2];
        assert_eq!(run(&mut shares, &[0.05, 0.0], 0, 60), [1.0, 1.0], "a little worse is no reason");
        assert_eq!(run(&mut shares, &[0.9, 0.0], 60, 30), [TRICKLE, 1.0], "a trickle stays");
        assert_eq!(run(&mut shares, &[0.0, 0.0], 90, 55), [TRICKLE, 1.0], "not at once");
        let parts = run(&mut shares, &[0.0, 0.0], 145, 120);
        assert!(parts[0] > 0.02 && parts[0] < 0.5, "slowly: {parts:?}");
        assert_eq!(run(&mut shares, &[0.0, 0.0], 265, 400), [1.0, 1.0]);
    }

    #[test]
    fn where_all_are_equally_bad_or_the_others_are_blocked_weight_stays() {
        let mut shares = [Share::default(); 2];
        assert_eq!(run(&mut shares, &[0.8, 0.8], 0, 600), [1.0, 1.0]);
        let peers = [Peer { seen: Seen { bad: 0.9 }, blocked: false }, Peer { seen: Seen { bad: 0.0 }, blocked: true }];
        choose(&peers, &mut shares, Duration::from_secs(600));
        assert_eq!(shares[0].part, 1.0);
        let mut alone = [Share::default()];
        assert_eq!(run(&mut alone, &[1.0], 0, 600), [1.0]);
    }

    #[test]
    fn what_comes_and_goes_is_trusted_later_each_time() {
        let mut shares = [Share::default(); 2];
        let mut back = Vec::new();
        let mut at = 0;
        for _ in 0..4 {
            run(&mut shares, &[0.9, 0.0], at, 60);
            at += 60;
            let ended = at;
            while shares[0].part <= TRICKLE {
                run(&mut shares, &[0.0, 0.0], at, 5);
                at += 5;
            }
            back.push(at - ended);
        }
        assert!(back.is_sorted() && back[3] > back[0] * 4, "{back:?}");
    }

    #[test]
    fn a_weight_of_nothing_stays_nothing_and_any_other_something() {
        let low = Share { part: TRICKLE, ..Share::default() };
        assert_eq!((low.of(0), low.of(1), low.of(70), Share::default().of(30)), (0, 10, 700, 30_000));
        assert_eq!(Share { part: 0.0, ..low }.of(70), 1);
    }
}
