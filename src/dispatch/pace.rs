//! How fast a broadcast goes: recipients that ended a second, as of late. Pure.

use crate::clock::Instant;

/// What lies so many seconds back counts a third.
const MEMORY: f64 = 5.0;

#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    rate: f64,
    at: Option<Instant>,
    pending: f64,
}

impl Pace {
    pub fn ended(&mut self, recipients: i64, now: Instant) {
        self.pending += recipients.max(0) as f64;
        match self.at {
            None => self.at = Some(now),
            Some(at) => {
                let seconds = now.saturating_sub(at).as_secs_f64();
                if seconds >= 0.2 {
                    let keep = (-seconds / MEMORY).exp();
                    self.rate = self.rate * keep + self.pending / seconds * (1.0 - keep);
                    (self.at, self.pending) = (Some(now), 0.0);
                }
            }
        }
    }

    /// A second; falls when nothing comes.
    pub fn rate(&self, now: Instant) -> f64 {
        let mut ahead = *self;
        ahead.ended(0, now);
        ahead.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_steady_pace_is_seen_and_a_standstill_too() {
        let mut pace = Pace::default();
        for second in 0..60 {
            pace.ended(100, Duration::from_secs(second));
        }
        let at = |second| pace.rate(Duration::from_secs(second));
        assert!((at(60) - 100.0).abs() < 20.0, "{}", at(60));
        assert!(at(120) < 1.0, "{}", at(120));
    }
}
