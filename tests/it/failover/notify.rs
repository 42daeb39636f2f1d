//! GOV.UK Notify's rule for its two providers of text messages. Each minute, where at least 15 % of a provider's messages of
//! the last 15 minutes took over 5 minutes, or still take so long, 10 points move to the other; so they do where a provider
//! gave more than 50 errors within 60 seconds. When it is quiet, 10 points drift back every 5 minutes.
//!
//! As its published code has it, points move for slowness at most once in 10 minutes, for errors once a minute, and quiet means
//! that none moved for an hour. At its fastest there are no such pauses, and quiet is 5 minutes.

use std::collections::VecDeque;

use super::WEIGHTS;
use super::trace::Rule;

struct Sent {
    at: u64,
    took: Option<u64>,
}

pub struct Notify {
    points: [u32; 2],
    messages: [VecDeque<Sent>; 2],
    errors: [VecDeque<u64>; 2],
    moved: Option<u64>,
    slow_pause: u64,
    error_pause: u64,
    quiet: u64,
}

const SLOW: u64 = 300;
const LOOKS_BACK: u64 = 900;

impl Notify {
    pub fn as_published() -> Notify {
        Notify::new(600, 60, 3600)
    }

    pub fn at_its_fastest() -> Notify {
        Notify::new(0, 0, 300)
    }

    fn new(slow_pause: u64, error_pause: u64, quiet: u64) -> Notify {
        Notify {
            points: WEIGHTS,
            messages: Default::default(),
            errors: Default::default(),
            moved: None,
            slow_pause,
            error_pause,
            quiet,
        }
    }

    fn rested(&self, pause: u64, now: u64) -> bool {
        self.moved.is_none_or(|moved| now >= moved + pause)
    }

    fn reduce(&mut self, provider: usize, now: u64) {
        self.points[provider] = self.points[provider].saturating_sub(10);
        self.points[1 - provider] = (self.points[1 - provider] + 10).min(100);
        self.moved = Some(now);
    }
}

impl Rule for Notify {
    fn weights(&mut self) -> [u32; 2] {
        self.points
    }

    fn answered(&mut self, provider: usize, accepted: bool, now: u64) {
        match accepted {
            true => self.messages[provider].push_back(Sent { at: now, took: None }),
            false => self.errors[provider].push_back(now),
        }
    }

    fn reported(&mut self, provider: usize, sent: u64, now: u64) {
        let messages = &mut self.messages[provider];
        let from = messages.partition_point(|message| message.at < sent);
        let mut same = messages.iter_mut().skip(from).take_while(|message| message.at == sent);
        if let Some(message) = same.find(|message| message.took.is_none()) {
            message.took = Some(now - sent);
        }
    }

    fn second(&mut self, now: u64) {
        if !now.is_multiple_of(60) {
            return;
        }
        for provider in 0..2 {
            let messages = &mut self.messages[provider];
            while messages.front().is_some_and(|message| message.at + LOOKS_BACK < now) {
                messages.pop_front();
            }
            let errors = &mut self.errors[provider];
            while errors.front().is_some_and(|at| at + 60 < now) {
                errors.pop_front();
            }
        }
        for provider in 0..2 {
            if self.errors[provider].len() > 50 && self.rested(self.error_pause, now) {
                self.reduce(provider, now);
            }
            let messages = &self.messages[provider];
            let slow = messages.iter().filter(|message| message.took.unwrap_or(now - message.at) >= SLOW).count();
            if slow > 0 && slow * 100 >= messages.len() * 15 && self.rested(self.slow_pause, now) {
                self.reduce(provider, now);
            }
        }
        if now.is_multiple_of(300) && self.rested(self.quiet, now) {
            let [a, b] = &mut self.points;
            *a = if *a > WEIGHTS[0] { (*a - 10).max(WEIGHTS[0]) } else { (*a + 10).min(WEIGHTS[0]) };
            *b = if *b > WEIGHTS[1] { (*b - 10).max(WEIGHTS[1]) } else { (*b + 10).min(WEIGHTS[1]) };
        }
    }
}
