//! Does dispatch make progress? Each part says when something waits for its turn, and counts its turns; whoever watches sees that
//! one is behind: something has waited for it since the look before, and it has not turned. What waits for a limit, a pause, a
//! breaker or a shard's owner waits for no part.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Engine, planner};
use crate::clock::Instant;

/// A part that has not turned for so long, though something waited, hangs.
pub const LATE: Duration = Duration::from_secs(60);
/// Longer than any driver takes for an attempt.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(600);

/// The turns of one part.
#[derive(Debug, Default)]
pub struct Turns {
    made: AtomicU64,
    /// From when on something waits for the next one, in milliseconds and one; 0: nothing does.
    wanted: AtomicU64,
}

impl Turns {
    /// Something waits for it now.
    pub(super) fn called(&self) {
        self.wanted.store(1, Ordering::Release);
    }

    /// Something will wait for it from then on, unless something does already.
    pub(super) fn due(&self, at: Instant) {
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let _ = self.wanted.compare_exchange(0, at, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes up what waits: what comes from here on waits for the turn after this.
    pub(super) fn begins(&self) {
        self.wanted.store(0, Ordering::Release);
    }

    pub(super) fn made(&self, turns: usize) {
        self.made.fetch_add(turns as u64, Ordering::AcqRel);
    }

    pub(super) fn count(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    fn wanted(&self, now: Instant) -> bool {
        let wanted = self.wanted.load(Ordering::Acquire);
        wanted != 0 && u128::from(wanted - 1) <= now.as_millis()
    }
}

/// What a part was seen to do last.
struct Seen {
    made: u64,
    waited: bool,
    since: Instant,
}

/// Who watches, and what they have seen so far.
#[derive(Default)]
pub struct Watch(BTreeMap<String, Seen>);

impl Watch {
    /// The parts that hang as of this look: a watch that looks for the first time knows of none.
    pub fn hanging(&mut self, engine: &Engine) -> Vec<String> {
        let now = engine.clock.monotonic();
        let mut hanging = Vec::new();
        let mut look = |name: String, turns: &Turns, waits: bool, patience: Duration| {
            if self.behind(&name, turns, waits, now) >= patience {
                hanging.push(name);
            }
        };
        let parts = &engine.turns;
        look("planner".into(), &parts.planner, planner::waited_for(engine), LATE);
        look("ticker".into(), &parts.ticker, parts.ticker.wanted(now), LATE);
        let unwritten = parts.entered.load(Ordering::Acquire) != parts.recorder.count();
        look("recorder".into(), &parts.recorder, unwritten, LATE);
        // Without room for an outcome a lane begins nothing: that waits for attempts to end, and for the recorder.
        let room = engine.room.available_permits() > 0;
        for lane in engine.lanes.values() {
            let name = &lane.settings.name;
            look(format!("lane of {name}"), &lane.turns, room && lane.turns.wanted(now), LATE);
            look(format!("attempts of {name}"), &lane.turns, lane.on_wire() > 0, LONGEST_ATTEMPT);
        }
        hanging
    }

    /// For how long something has waited for a part without its having turned, as far as was seen.
    fn behind(&mut self, name: &str, turns: &Turns, waits: bool, now: Instant) -> Duration {
        let made = turns.count();
        let fresh = Seen { made, waited: waits, since: now };
        match self.0.get_mut(name) {
            Some(seen) if seen.made == made && seen.waited && waits => now.saturating_sub(seen.since),
            Some(seen) => {
                *seen = fresh;
                Duration::ZERO
            }
            None => {
                self.0.insert(name.to_string(), fresh);
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_part_is_behind_from_when_something_was_seen_to_wait_until_it_turns() {
        let (turns, mut watch) = (Turns::default(), Watch::default());
        let mut behind = |at: u32| watch.behind("lane", &turns, turns.wanted(SECOND * at), SECOND * at);
        assert_eq!(behind(0), Duration::ZERO);
        assert_eq!(behind(500), Duration::ZERO, "nothing waits");
        turns.called();
        assert_eq!(behind(501), Duration::ZERO, "it has just been called");
        assert_eq!(behind(561), SECOND * 60);
        turns.begins();
        turns.made(1);
        assert_eq!(behind(600), Duration::ZERO, "it has turned");
        turns.called();
        assert_eq!(behind(601), Duration::ZERO);
        turns.begins();
        turns.made(1);
        turns.called();
        assert_eq!(behind(700), Duration::ZERO, "called again, and it has turned between");
        assert_eq!(behind(750), SECOND * 50);
    }

    #[test]
    fn what_is_due_later_waits_for_nobody_before() {
        let (turns, mut watch) = (Turns::default(), Watch::default());
        let mut behind = |at: u32| watch.behind("lane", &turns, turns.wanted(SECOND * at), SECOND * at);
        turns.due(SECOND * 1000);
        assert_eq!(behind(0), Duration::ZERO);
        assert_eq!(behind(999), Duration::ZERO, "a limit is waited for");
        assert_eq!(behind(1000), Duration::ZERO);
        assert_eq!(behind(1060), SECOND * 60);
        turns.called();
        turns.due(SECOND * 5000);
        assert!(turns.wanted(SECOND), "who is called now is not put off");
    }
}
