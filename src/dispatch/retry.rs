//! What follows from a channel's answer: an end, another try of the same, or another way. Pure.

use std::time::Duration;

use crate::channel::{Fault, Outcome, Repeat};
use crate::fault::{self, Fault as Broken};
use crate::plan::Priority;
use crate::store::DeliveryState;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    End(DeliveryState),
    /// The same way again, after so long.
    Again(Duration),
    /// Decide again which way.
    Elsewhere,
}

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// A platform that asks for more than this is asked again all the same.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// `tries` counts this one; `chance` is within 0..1.
pub fn next(outcome: &Outcome, tries: u32, priority: Priority, repeat: Repeat, chance: f64) -> Next {
    match outcome {
        Outcome::Accepted { .. } => Next::End(DeliveryState::Told),
        Outcome::Deferred { after, .. } => {
            Next::Again(backoff(tries, chance).max(after.unwrap_or_default().min(LONGEST_ASKED)))
        }
        // What it was to follow is there no more: as a message of its own, at once.
        Outcome::Rejected { fault: Fault::Gone, .. } => Next::Again(Duration::ZERO),
        Outcome::Rejected { fault: Fault::Address | Fault::Message | Fault::Channel, .. } => Next::Elsewhere,
        Outcome::Unknown { .. } => match (repeat, priority) {
            (Repeat::Unsafe, _) if fault::on(Broken::UnknownRepeated) => Next::Again(backoff(tries, chance)),
            (Repeat::Safe, _) => Next::Again(backoff(tries, chance)),
            (Repeat::Unsafe, Priority::Critical | Priority::High) => Next::Elsewhere,
            (Repeat::Unsafe, _) => Next::End(DeliveryState::Unknown),
        },
    }
}

/// 2 s, doubled at each try up to a quarter of an hour, with a fifth of jitter to either side.
pub fn backoff(tries: u32, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1u32.checked_shl(tries.saturating_sub(1).min(20)).unwrap_or(u32::MAX));
    doubled.min(LONGEST).mul_f64(0.8 + 0.4 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Holds;

    #[test]
    fn what_follows_from_each_answer() {
        let deferred =
            |after| Outcome::Deferred { after, holds: Holds::Channel, throttled: false, detail: String::new() };
        let unknown = Outcome::Unknown { detail: String::new() };
        let rejected = Outcome::Rejected { fault: Fault::Address, detail: String::new() };
        let gone = Outcome::Rejected { fault: Fault::Gone, detail: String::new() };
        let cases = [
            (Outcome::Accepted { reference: None }, 1, Priority::Bulk, Repeat::Unsafe, Next::End(DeliveryState::Told)),
            (deferred(None), 1, Priority::Bulk, Repeat::Unsafe, Next::Again(Duration::from_secs(2))),
            (deferred(None), 3, Priority::Bulk, Repeat::Unsafe, Next::Again(Duration::from_secs(8))),
            (deferred(None), 60, Priority::Bulk, Repeat::Unsafe, Next::Again(LONGEST)),
            (
                deferred(Some(Duration::from_secs(30))),
                1,
                Priority::Bulk,
                Repeat::Unsafe,
                Next::Again(Duration::from_secs(30)),
            ),
            (deferred(Some(Duration::from_secs(86400))), 1, Priority::Bulk, Repeat::Unsafe, Next::Again(LONGEST_ASKED)),
            (rejected, 1, Priority::Bulk, Repeat::Safe, Next::Elsewhere),
            (gone, 3, Priority::High, Repeat::Unsafe, Next::Again(Duration::ZERO)),
            (unknown.clone(), 1, Priority::Bulk, Repeat::Safe, Next::Again(Duration::from_secs(2))),
            (unknown.clone(), 1, Priority::High, Repeat::Unsafe, Next::Elsewhere),
            (unknown.clone(), 1, Priority::Normal, Repeat::Unsafe, Next::End(DeliveryState::Unknown)),
            (unknown, 1, Priority::Bulk, Repeat::Unsafe, Next::End(DeliveryState::Unknown)),
        ];
        for (outcome, tries, priority, repeat, expected) in cases {
            assert_eq!(
                next(&outcome, tries, priority, repeat, 0.5),
                expected,
                "{outcome:?} at try {tries}, {priority}"
            );
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        assert_eq!(backoff(1, 0.0), Duration::from_millis(1600));
        assert!(backoff(1, 0.999) < Duration::from_millis(2400));
    }
}
