//! The trace, and messages sent through it: what becomes of each depends on its number, its provider and the second alone.

use std::collections::BTreeMap;

use loudhailer::audience::route;

/// What decides where messages go, and what it is told.
pub trait Rule {
    fn weights(&mut self) -> [u32; 2];
    fn answered(&mut self, provider: usize, accepted: bool, now: u64);
    /// A message that was sent then has arrived, as the provider reports.
    fn reported(&mut self, provider: usize, sent: u64, now: u64);
    /// A second has passed.
    fn second(&mut self, now: u64);
}

/// Weights that never move.
pub struct Fixed(pub [u32; 2]);

impl Rule for Fixed {
    fn weights(&mut self) -> [u32; 2] {
        self.0
    }
    fn answered(&mut self, _: usize, _: bool, _: u64) {}
    fn reported(&mut self, _: usize, _: u64, _: u64) {}
    fn second(&mut self, _: u64) {}
}

struct Row {
    scenario: String,
    refused: u64,
    lost: u64,
    unreported: u64,
    delay: u64,
}

pub struct Trace {
    /// Each half minute, for both providers.
    rows: Vec<[Row; 2]>,
}

#[derive(Debug, Default, Clone)]
pub struct Score {
    pub sent: u64,
    pub failed: u64,
    pub late: u64,
}

impl Score {
    pub fn bad(&self) -> u64 {
        self.failed + self.late
    }
}

pub type Scores = BTreeMap<String, Score>;

const GRAIN: u64 = 30;
/// Messages a second.
const RATE: u64 = 10;
/// A message that took longer is late.
const LATE: u64 = 300;
/// A refused one is tried again after so long, so often.
const AGAIN: u64 = 15;
const TRIES: u64 = 4;

pub fn read(text: &str) -> Trace {
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| {
        let mut cells = line.split(',');
        let mut next = || cells.next().expect("a cell");
        let (_second, scenario, _provider) = (next(), next().to_string(), next());
        let mut number = || next().parse().expect("a number");
        Row { scenario, refused: number(), lost: number(), unreported: number(), delay: number() }
    });
    let mut rows = Vec::new();
    while let Some(a) = lines.next() {
        rows.push([a, lines.next().expect("both providers")]);
    }
    Trace { rows }
}

impl Trace {
    fn row(&self, second: u64, provider: usize) -> &Row {
        let at = (second / GRAIN) as usize;
        &self.rows[at.min(self.rows.len() - 1)][provider]
    }
}

/// Mixes numbers into a chance of their own.
fn chance(parts: [u64; 3]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |mixed: u64, part| {
        let mut n = (mixed ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    })
}

enum Due {
    Try { number: u64, tries: u64, first: u64 },
    Report { provider: usize, sent: u64 },
}

pub fn replay(trace: &Trace, rule: &mut dyn Rule) -> Scores {
    let mut scores = Scores::new();
    let mut due: BTreeMap<u64, Vec<Due>> = BTreeMap::new();
    let seconds = trace.rows.len() as u64 * GRAIN;
    for now in 0..seconds + 3600 {
        let fresh = (0..RATE).filter(|_| now < seconds).map(|n| (now * RATE + n, now));
        let fresh = fresh.map(|(number, first)| Due::Try { number, tries: 0, first });
        for work in due.remove(&now).unwrap_or_default().into_iter().chain(fresh) {
            match work {
                Due::Report { provider, sent } => rule.reported(provider, sent, now),
                Due::Try { number, tries, first } => {
                    let score = scores.entry(trace.row(first, 0).scenario.clone()).or_default();
                    score.sent += u64::from(tries == 0);
                    let provider =
                        route::by_weight(rule.weights().into_iter(), chance([number, tries, 0])).unwrap_or(0);
                    let row = trace.row(now, provider);
                    // The same fate at the same provider, whichever rule sends it there.
                    let fate = |what| chance([number, provider as u64, what]) % 1000;
                    let accepted = fate(1 + tries) >= row.refused;
                    rule.answered(provider, accepted, now);
                    if !accepted && tries + 1 < TRIES {
                        due.entry(now + AGAIN).or_default().push(Due::Try { number, tries: tries + 1, first });
                    } else if !accepted || fate(11) < row.lost {
                        score.failed += 1;
                    } else {
                        // From half of the usual delay to three times as long.
                        let took = 1 + row.delay * (500 + fate(12) * fate(12) * fate(12) / 400_000) / 1000;
                        score.late += u64::from(now + took - first > LATE);
                        if fate(13) >= row.unreported {
                            due.entry(now + took).or_default().push(Due::Report { provider, sent: now });
                        }
                    }
                }
            }
        }
        rule.second(now);
    }
    scores
}
