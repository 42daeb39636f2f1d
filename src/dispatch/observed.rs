//! What a channel has shown of late: how many attempts it refused, and how many of those it accepted were confirmed in time.
//! Attempts are counted in slots of a few seconds by when they began, so memory is bounded however many there are. Pure: it
//! is told the time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Instant;

/// The grain of what is remembered …
const SLOT: Duration = Duration::from_secs(5);
/// … and how much of it, which is more than patience and window together.
const SLOTS: usize = 40;
/// Refusals as old as this no longer count, and as many slots of ripe attempts do.
const WINDOW: Duration = Duration::from_secs(40);

/// Seconds within which a confirmation came; what comes later came too late for any patience.
const DELAYS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// What is usual, times this, is in time.
const PATIENCE: u64 = 4;
const SHORTEST_PATIENCE: u64 = 8;
const PATIENCE_AT_FIRST: u64 = 64;
/// Confirmations before what is usual is known.
const KNOWN: f64 = 20.0;
/// What lies so long back counts half as to what is usual.
const USUAL_MEMORY: Duration = Duration::from_secs(1800);
/// The usual part in time is learned fast where it rises, and slowly where it falls: a channel that turns bad is
/// measured by what it was. Parts of the difference in a second.
const RISES: f64 = 1.0 / 150.0;
const FALLS: f64 = 1.0 / 10_000.0;
/// Evidence is weighed against so many attempts without a fault, so that one bad receipt says little.
const DOUBT: f64 = 20.0;

/// An attempt that has ended, as far as it speaks for its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It can't, or nobody knows whether it did.
    Refused,
    /// It took the message, and will report.
    Accepted,
    /// It took the message and reports nothing, or it answered about the address or the words: it works.
    Done,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: u64,
    answers: u32,
    refused: u32,
    accepted: u32,
    /// Confirmations by how long they took.
    confirmed: [u32; DELAYS.len()],
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// The part of attempts that go wrong beyond what is usual, 0 to 1; the less is known, the less.
    pub bad: f64,
}

#[derive(Debug)]
pub struct Observed {
    slots: VecDeque<Slot>,
    /// Confirmations by how long they took, fading.
    delays: [f64; DELAYS.len() + 1],
    /// The part of accepted attempts that is usually confirmed in time.
    usual: Option<f64>,
    learned: Instant,
    /// What it does now is to be taken for what is usual.
    healthy: bool,
}

impl Default for Observed {
    fn default() -> Self {
        Observed {
            slots: VecDeque::new(),
            delays: Default::default(),
            usual: None,
            learned: Instant::ZERO,
            healthy: true,
        }
    }
}

impl Observed {
    /// An attempt that began `took` ago has ended.
    pub fn answered(&mut self, answer: Answer, took: Duration, now: Instant) {
        let class = class(took);
        if let Some(slot) = self.slot(now.saturating_sub(took), now) {
            slot.answers += 1;
            match answer {
                Answer::Refused => slot.refused += 1,
                Answer::Accepted => slot.accepted += 1,
                Answer::Done => {
                    slot.accepted += 1;
                    slot.confirmed.get_mut(class).into_iter().for_each(|count| *count += 1);
                }
            }
        }
        if answer == Answer::Done && self.healthy {
            self.delays[class] += 1.0;
        }
    }

    /// The first report about an attempt that began `after` ago. One that it went wrong is a confirmation that never comes.
    pub fn reported(&mut self, arrived: bool, after: Duration, now: Instant) {
        if !arrived {
            return;
        }
        let class = class(after);
        if self.healthy {
            self.delays[class] += 1.0;
        }
        if let Some(slot) = self.slot(now.saturating_sub(after), now)
            && let Some(count) = slot.confirmed.get_mut(class)
        {
            *count += 1;
        }
    }

    /// The slot of a time, if it is remembered.
    fn slot(&mut self, at: Instant, now: Instant) -> Option<&mut Slot> {
        let number = |at: Instant| at.as_secs() / SLOT.as_secs();
        let (wanted, newest) = (number(at), number(now));
        let last = self.slots.back().map(|slot| slot.number);
        if last.is_none_or(|last| last < newest) {
            let from = last.map_or(newest, |last| (last + 1).max(newest.saturating_sub(SLOTS as u64)));
            // An attempt may have begun before the first that is remembered.
            let from = if last.is_none() { from.min(wanted.max(newest.saturating_sub(SLOTS as u64))) } else { from };
            self.slots.extend((from..=newest).map(|number| Slot { number, ..Slot::default() }));
            while self.slots.len() > SLOTS {
                self.slots.pop_front();
            }
        }
        let first = self.slots.front()?.number;
        self.slots.get_mut(usize::try_from(wanted.checked_sub(first)?).ok()?)
    }

    /// The place in `DELAYS` of the longest confirmation that is in time.
    fn patience(&self) -> usize {
        let all: f64 = self.delays.iter().sum();
        let mut counted = 0.0;
        let median = self.delays.iter().position(|count| {
            counted += count;
            counted * 2.0 >= all
        });
        let seconds = match median {
            Some(median) if all >= KNOWN => DELAYS.get(median).copied().unwrap_or(DELAYS[DELAYS.len() - 1]) * PATIENCE,
            _ => PATIENCE_AT_FIRST,
        };
        let seconds = seconds.max(SHORTEST_PATIENCE);
        DELAYS.iter().position(|delay| *delay >= seconds).unwrap_or(DELAYS.len() - 1)
    }

    /// How it does at this time. `healthy`: as well as others, so that this is to be taken for what is usual.
    pub fn seen(&mut self, healthy: bool, now: Instant) -> Seen {
        self.healthy = healthy;
        let patience = self.patience();
        let (mut answers, mut refused, mut ripe, mut in_time) = (0.0, 0.0, 0.0, 0.0);
        let ripens = Duration::from_secs(DELAYS[patience]);
        for slot in &self.slots {
            let ended = SLOT * (slot.number as u32 + 1);
            if ended > now + SLOT {
                continue; // steps that were missed are made up for later
            }
            let age = now.saturating_sub(ended);
            if age < WINDOW {
                answers += f64::from(slot.answers);
                refused += f64::from(slot.refused);
            }
            if age >= ripens && age < ripens + WINDOW {
                ripe += f64::from(slot.accepted);
                let confirmed: u32 = slot.confirmed[..=patience].iter().sum();
                in_time += f64::from(confirmed.min(slot.accepted));
            }
        }
        let part = if ripe > 0.0 { in_time / ripe } else { 0.0 };
        let missing = self.usual.map_or(0.0, |usual| (usual - part).max(0.0));
        self.learn(part, ripe, now);
        Seen { bad: (refused / (answers + DOUBT) + missing * ripe / (ripe + DOUBT)).min(1.0) }
    }

    fn learn(&mut self, part: f64, ripe: f64, now: Instant) {
        let passed = now.saturating_sub(self.learned).as_secs_f64();
        self.learned = now;
        if !self.healthy {
            return;
        }
        let keep = 0.5f64.powf(passed / USUAL_MEMORY.as_secs_f64());
        self.delays.iter_mut().for_each(|count| *count *= keep);
        match self.usual {
            // Some operators are never told what arrived: a channel is judged by it once it has been.
            None if ripe >= KNOWN && part > 0.0 => self.usual = Some(part),
            Some(usual) if ripe >= KNOWN => {
                let pace = if part > usual { RISES } else { FALLS };
                self.usual = Some(usual + (part - usual) * (passed * pace).min(1.0));
            }
            _ => {}
        }
    }
}

fn class(delay: Duration) -> usize {
    DELAYS.iter().position(|seconds| delay <= Duration::from_secs(*seconds)).unwrap_or(DELAYS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// So many seconds of ten attempts each, confirmed after `delay`, or never.
    fn run(observed: &mut Observed, from: u64, seconds: u64, delay: Option<u64>) -> f64 {
        let mut bad = 0.0;
        for second in from..from + seconds {
            let now = SECOND * second as u32;
            for _ in 0..10 {
                observed.answered(Answer::Accepted, SECOND / 10, now);
                if let Some(delay) = delay.filter(|delay| second >= from + delay) {
                    observed.reported(true, SECOND * delay as u32, now);
                }
            }
            if second % 5 == 0 {
                bad = observed.seen(true, now).bad;
            }
        }
        bad
    }

    #[test]
    fn a_channel_whose_reports_stay_away_or_turn_slow_looks_bad_and_one_that_never_reported_does_not() {
        let mut observed = Observed::default();
        assert_eq!(run(&mut observed, 100, 600, None), 0.0, "nobody ever reported");
        let mut observed = Observed::default();
        assert!(run(&mut observed, 100, 600, Some(3)) < 0.05);
        assert!(run(&mut observed, 700, 40, None) > 0.3, "no reports any more");
        assert!(run(&mut observed, 740, 300, Some(3)) < 0.05, "they are back");
        assert!(run(&mut observed, 1040, 120, Some(100)) > 0.5, "they are slow");
        assert!(observed.slots.len() <= SLOTS);
    }

    #[test]
    fn a_refusal_among_few_says_little_and_many_say_much() {
        let mut observed = Observed::default();
        let now = SECOND * 50;
        observed.answered(Answer::Refused, SECOND, now);
        assert!(observed.seen(true, now).bad < 0.06);
        for _ in 0..100 {
            observed.answered(Answer::Refused, SECOND, now);
        }
        assert!(observed.seen(true, now).bad > 0.8);
        assert_eq!(observed.seen(true, now + WINDOW * 2).bad, 0.0, "it is long ago");
    }

    #[test]
    fn where_nothing_is_reported_an_answer_that_takes_long_counts() {
        let mut observed = Observed::default();
        for second in 0..400u32 {
            (0..5).for_each(|_| observed.answered(Answer::Done, SECOND / 5, SECOND * second));
            observed.seen(true, SECOND * second);
        }
        assert!(observed.seen(true, SECOND * 400).bad < 0.05);
        for second in 400..520u32 {
            (0..5).for_each(|_| observed.answered(Answer::Done, SECOND * 12, SECOND * second));
        }
        assert!(observed.seen(true, SECOND * 520).bad > 0.5);
    }
}
