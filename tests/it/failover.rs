//! Where the weight lies among providers of one kind. The trace in `failover/trace.csv` is replayed twice, with the same messages
//! and the same chance: by our rule, and by that of GOV.UK Notify.

mod live;
mod notify;
mod trace;

use std::collections::BTreeMap;
use std::time::Duration;

use loudhailer::dispatch::failover::{Peer, STEP, Share, choose};
use loudhailer::dispatch::observed::{Answer, Observed};

use self::notify::Notify;
use self::trace::{Rule, Score, replay};
use super::documents::read;

/// The configured weights of `sms-a` and `sms-b`.
pub const WEIGHTS: [u32; 2] = [70, 30];

#[derive(Default)]
struct Ours {
    observed: [Observed; 2],
    shares: [Share; 2],
    /// The part of all messages that `sms-a` has, at each step.
    parts: Vec<f64>,
}

impl Rule for Ours {
    fn weights(&mut self) -> [u32; 2] {
        [0, 1].map(|at| self.shares[at].of(WEIGHTS[at]))
    }

    fn answered(&mut self, provider: usize, accepted: bool, now: u64) {
        let answer = if accepted { Answer::Accepted } else { Answer::Refused };
        self.observed[provider].answered(answer, Duration::from_millis(200), Duration::from_secs(now));
    }

    fn reported(&mut self, provider: usize, sent: u64, now: u64) {
        let now = Duration::from_secs(now);
        self.observed[provider].reported(true, now - Duration::from_secs(sent), now);
    }

    fn second(&mut self, now: u64) {
        if now.is_multiple_of(STEP.as_secs()) {
            let now = Duration::from_secs(now);
            let peers = [0, 1].map(|at| {
                let seen = self.observed[at].seen(self.shares[at].healthy, now);
                Peer { seen, blocked: false }
            });
            choose(&peers, &mut self.shares, now);
            let [a, b] = self.weights().map(f64::from);
            self.parts.push(a / (a + b));
        }
    }
}

/// How often a line turned: each move of more than `least` against the last one.
fn turns(line: &[f64], least: f64) -> usize {
    let (mut turns, mut up) = (0, false);
    let (mut low, mut high) = (line[0], line[0]);
    for at in line {
        (low, high) = (low.min(*at), high.max(*at));
        if up && high - at > least || !up && at - low > least {
            (low, high, up, turns) = (*at, *at, !up, turns + 1);
        }
    }
    turns
}

/// The figures of each scenario under the four rules, and those of all together, as docs/PERFORMANCE.md writes them.
fn figures(scores: [&trace::Scores; 4]) -> BTreeMap<String, Vec<String>> {
    let shown = |score: &Score| format!("{} + {}", grouped(score.failed), grouped(score.late));
    let row = |name: &String| (name.clone(), scores.map(|scores| shown(&scores[name])).to_vec());
    let mut rows: BTreeMap<String, Vec<String>> = scores[0].keys().map(row).collect();
    let sum = |scores: &trace::Scores| grouped(scores.values().map(Score::bad).sum());
    rows.insert("all".into(), scores.map(sum).to_vec());
    rows
}

/// `12345` as `12,345`.
fn grouped(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

/// The rows of the table in docs/PERFORMANCE.md, by the word with which each begins.
fn published(document: &str) -> BTreeMap<String, Vec<String>> {
    let (_, table) = document.split_once("| failed + late |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let read = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*').to_string());
        let name = cells.next().expect("a name");
        (name.split([' ', ':']).next().expect("a word").to_string(), cells.collect())
    };
    rows.map(read).collect()
}

#[test]
fn on_the_trace_fewer_messages_fail_or_are_late_than_under_the_rule_of_govuk_notify_and_weight_does_not_flap() {
    let trace = trace::read(include_str!("failover/trace.csv"));
    let mut ours = Ours::default();
    let own = replay(&trace, &mut ours);
    let as_published = replay(&trace, &mut Notify::as_published());
    let at_its_fastest = replay(&trace, &mut Notify::at_its_fastest());
    let mut never = trace::Fixed(WEIGHTS);
    let fixed = replay(&trace, &mut never);
    println!("{:10} {:>7} {:>16} {:>16} {:>16} {:>16}", "scenario", "sent", "ours", "notify", "fastest", "fixed");
    let shown = |score: &Score| format!("{} + {}", score.failed, score.late);
    for (name, score) in &own {
        let others = [&as_published, &at_its_fastest, &fixed].map(|scores| shown(&scores[name]));
        println!(
            "{name:10} {:7} {:>16} {:>16} {:>16} {:>16}",
            score.sent,
            shown(score),
            others[0],
            others[1],
            others[2]
        );
    }
    let swings = turns(&ours.parts, 0.2);
    let document = read("docs/PERFORMANCE.md");
    let scores = [&own, &as_published, &at_its_fastest, &fixed];
    assert_eq!(
        published(&document),
        figures(scores),
        "the table in docs/PERFORMANCE.md is not what this test computes"
    );
    let turned = format!("turned {swings} times");
    assert!(document.contains(&turned), "docs/PERFORMANCE.md does not say that the weight {turned}");
    assert!(own.values().all(|score| score.sent == 45_000) && document.contains("45,000 messages each"));
    println!("weight moved by more than a fifth and turned {swings} times");
    for theirs in [&as_published, &at_its_fastest] {
        let sum = |scores: &trace::Scores| scores.values().map(Score::bad).sum::<u64>();
        assert!(sum(&own) * 10 < sum(theirs) * 7, "{} are bad, and {} theirs", sum(&own), sum(theirs));
        for (name, score) in &own {
            let limit = theirs[name].bad() + theirs[name].bad() / 10 + 20;
            assert!(score.bad() <= limit, "{name}: {} are bad, and {} theirs", score.bad(), theirs[name].bad());
        }
    }
    // Six kinds of trouble are a reason to move, and each is one move away and one back; the one that comes and goes seven
    // times takes the weight along three times at most.
    assert!((8..=16).contains(&swings), "{swings} turns");
}
