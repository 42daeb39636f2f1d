//! What the outside knows: asked for and answered, and so promised. Times are when the answer came; where a death came first, nothing
//! was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use loudhailer::audience::{Quiet, Subscriber};
use loudhailer::id::{BroadcastId, DeliveryId, SubscriberId};
use loudhailer::ingest::Ingested;
use loudhailer::store::Broadcast;
use serde_json::Value;

use super::nodes::link::CUT;
use super::reports::Reported;
use super::world::Attempt;

/// While something held.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    pub from: Duration,
    /// `None`: to the end.
    pub to: Option<Duration>,
}

impl Interval {
    pub fn since(from: Duration) -> Interval {
        Interval { from, to: None }
    }

    pub fn holds(&self, at: Duration) -> bool {
        self.from < at && self.to.is_none_or(|to| at < to)
    }

    pub fn meets(&self, from: Duration, to: Duration) -> bool {
        self.from <= to && self.to.is_none_or(|end| from <= end)
    }
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Died,
    /// What was under way was recorded, by an owner whose shards had gone to another meanwhile.
    HandedOver,
}

#[derive(Default)]
pub struct Known {
    pub events: Vec<(Value, Ingested, Duration)>,
    pub stopped: Vec<(BroadcastId, Duration)>,
    /// When a person was about to release it.
    pub approved: Vec<(BroadcastId, Duration)>,
    pub paused: Vec<(BroadcastId, Interval)>,
    /// While the disk was full, and what failed for it may not have been tried again.
    pub full: Vec<Interval>,
    /// Nothing to this address begins later.
    pub silent: Vec<(String, Duration)>,
    pub withdrawn: Vec<(SubscriberId, Duration)>,
    /// Who wanted quiet when, and while they wanted it so.
    pub quiet: Vec<(SubscriberId, Quiet, String, Interval)>,
    pub left: Vec<(SubscriberId, String, Interval)>,
    /// When somebody asked to join: earlier they were no member.
    pub joined: Vec<(SubscriberId, String, Duration)>,
    /// Until when an address is verified by nobody.
    pub unverified: BTreeMap<String, Option<Duration>>,
    /// When something about somebody was changed, whether or not that was answered.
    pub changed: Vec<(SubscriberId, Duration)>,
    /// Whose addresses or memberships were ever changed.
    pub touched: BTreeSet<SubscriberId>,
    /// Incident, domain, while it was said to be down.
    pub down: Vec<(String, String, Interval)>,
    /// The incidents of which it is known whether they are over.
    pub over: BTreeMap<&'static str, bool>,
    /// Since when events are being taken.
    pub asked: Option<Duration>,
    pub reported: Vec<Reported>,
    pub replayed: Vec<(DeliveryId, Duration)>,
    pub endings: Vec<(Duration, Ending)>,
    /// Of which node each was; 0 where there is but one.
    pub ended: Vec<usize>,
    /// Which node had no lease any more, and while it had none.
    pub unleased: Vec<(usize, Interval)>,
    /// Where there are several nodes: how far apart their calendars may be.
    pub apart: Option<Duration>,
    /// Broadcasts that ran on though nothing was in their way.
    pub stuck: Vec<Broadcast>,
    /// Decisions of owners that had lost their shards: whether each was refused.
    pub fenced: Vec<bool>,
    /// Events sent again: whether the answer was the same.
    pub repeated: Vec<(String, bool)>,
}

/// How long a process may go on after its disk has stopped.
pub const LINGERS: Duration = Duration::from_secs(3);

impl Known {
    pub fn ends(&mut self, at: Duration, ending: Ending, node: usize) {
        self.endings.push((at, ending));
        self.ended.push(node);
    }

    /// Whoever was about to be answered is not: an event may have been taken, and what is down since it was asked nobody outside knows.
    pub fn unanswered(&mut self) {
        let Some(asked) = self.asked.take() else { return };
        self.over.clear();
        self.down.iter_mut().filter(|(_, _, down)| down.to.is_none()).for_each(|(_, _, down)| down.to = Some(asked));
    }

    /// What calendars of several nodes may show at one moment is so far apart.
    pub fn slack(&self) -> Duration {
        self.apart.unwrap_or_default()
    }

    /// The first end of the node of an attempt after it began.
    pub fn end_after(&self, attempt: &Attempt) -> Option<Duration> {
        let of = |node: usize| self.apart.is_none() || node == attempt.node;
        let ends = self.endings.iter().zip(&self.ended).filter(|(_, node)| of(**node)).map(|((at, _), _)| *at);
        ends.filter(|at| *at >= attempt.at).min()
    }

    pub fn died_within(&self, from: Duration, to: Duration) -> bool {
        self.endings.iter().any(|(at, ending)| *ending == Ending::Died && from <= *at && *at <= to)
    }

    pub fn ended_within(&self, from: Duration, to: Duration) -> bool {
        self.endings.iter().any(|(at, _)| from <= *at && *at <= to)
    }

    /// Whether the answer of an attempt may have been lost with the process: what came shortly before a death, or could not be
    /// written until then.
    pub fn lost(&self, attempt: &Attempt) -> bool {
        if self.apart.is_some() {
            // Where its node was cut off and lost its shards, another went on before this was written.
            let written = |at: Duration| at + CUT + Duration::from_secs(12);
            return attempt.answered.is_none_or(|at| self.end_after(attempt).is_some_and(|end| end <= written(at)));
        }
        attempt.answered.is_none_or(|at| {
            let unwritten = self.full.iter().filter(|full| full.meets(at, at)).filter_map(|full| full.to).max();
            let written = at + LINGERS + Duration::from_millis(10);
            self.died_within(at, unwritten.map_or(written, |unwritten| unwritten.max(written)))
        })
    }

    pub fn changed_within(&self, who: SubscriberId, from: Duration, to: Duration) -> bool {
        self.changed.iter().any(|(id, at)| *id == who && from <= *at && *at <= to)
    }

    /// What platforms have reported changes somebody, too.
    pub fn reports(&mut self, reported: &[Reported]) {
        self.reported = reported.to_vec();
        self.changed.extend(reported.iter().map(|report| (report.id.subscriber, report.asked)));
    }

    /// Whether a person's wish or a bounce called for another try between two.
    pub fn asked_again(&self, id: DeliveryId, from: Duration, to: Duration) -> bool {
        let bounced = |r: &Reported| r.bounced && r.id == id && r.asked <= to;
        self.replayed.iter().any(|(of, at)| *of == id && from <= *at && *at <= to) || self.reported.iter().any(bounced)
    }

    /// From now on somebody wants no quiet hours that they wanted before.
    pub fn no_quiet(&mut self, who: SubscriberId, now: Duration) {
        let theirs = self.quiet.iter_mut().filter(|(of, .., wanted)| *of == who && wanted.to.is_none());
        theirs.for_each(|(.., wanted)| wanted.to = Some(now));
    }

    pub fn wants_quiet(&mut self, who: SubscriberId, wanted: &Subscriber, now: Duration) {
        let quiet = wanted.quiet.map(|quiet| (who, quiet, wanted.zone.clone(), Interval::since(now)));
        self.quiet.extend(quiet);
    }

    pub fn is_down(&self, incident: &str, domain: &str) -> bool {
        self.down.iter().any(|(of, what, while_down)| of == incident && what == domain && while_down.to.is_none())
    }

    pub fn up(&mut self, incident: &str, stays: &[&str], now: Duration) {
        let ends = |(of, domain, interval): &&mut (String, String, Interval)| {
            of == incident && interval.to.is_none() && !stays.contains(&domain.as_str())
        };
        self.down.iter_mut().filter(ends).for_each(|(_, _, interval)| interval.to = Some(now));
    }
}
