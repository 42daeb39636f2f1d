//! Which lanes the pages of a broadcast feed, and so when its next page is worth reading. While all of those lanes are full, a
//! page would only be parked row by row; one is read now and then all the same, in case it feeds a lane that is not.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::audience::route::ChannelId;
use crate::clock::Instant;

/// The wait after one fruitless page, doubled for each further one, up to the other.
const WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Feeds {
    lanes: BTreeSet<ChannelId>,
    /// Pages in a row that fed no lane with room.
    fruitless: u32,
    next: Instant,
}

impl Feeds {
    /// A page led to `lanes`, and `roomy` had room before it.
    pub fn fed(&mut self, lanes: &BTreeSet<ChannelId>, roomy: &BTreeSet<ChannelId>, now: Instant) {
        self.lanes.extend(lanes);
        self.fruitless = match lanes.is_empty() || !lanes.is_disjoint(roomy) {
            true => 0,
            false => self.fruitless.saturating_add(1),
        };
        self.next = match self.fruitless {
            0 => now,
            n => now + WAIT.saturating_mul(1 << (n - 1).min(10)).min(LONGEST_WAIT),
        };
    }

    /// When the next page is worth reading, where `roomy` have room; `None` before any has.
    pub fn page_due(&self, roomy: &BTreeSet<ChannelId>, now: Instant) -> Option<Instant> {
        match (roomy.is_empty(), self.lanes.is_disjoint(roomy)) {
            (true, _) => None,
            (false, false) => Some(now),
            (false, true) => Some(self.next.max(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_wait_for_the_lanes_they_feed_and_look_out_for_others_now_and_then() {
        let set = |lanes: &[u16]| lanes.iter().copied().map(ChannelId).collect::<BTreeSet<_>>();
        let at = Duration::from_millis;
        let mut feeds = Feeds::default();
        assert_eq!(feeds.page_due(&set(&[]), at(0)), None, "nobody has room");
        assert_eq!(feeds.page_due(&set(&[1, 2]), at(0)), Some(at(0)), "the first page is due");
        feeds.fed(&set(&[1]), &set(&[1, 2]), at(0));
        assert_eq!(feeds.page_due(&set(&[1]), at(1)), Some(at(1)), "the lane it feeds has room");
        // Lane 1 is full and 2 is not, but no page has led there yet.
        assert_eq!(feeds.page_due(&set(&[2]), at(1)), Some(at(1)));
        feeds.fed(&set(&[1]), &set(&[2]), at(1));
        assert_eq!(feeds.page_due(&set(&[2]), at(2)), Some(at(101)));
        feeds.fed(&set(&[1]), &set(&[2]), at(101));
        assert_eq!(feeds.page_due(&set(&[2]), at(102)), Some(at(301)));
        assert_eq!(feeds.page_due(&set(&[1]), at(103)), Some(at(103)), "its own lane has room again");
        // A page with somebody for lane 2: from now on its room counts.
        feeds.fed(&set(&[1, 2]), &set(&[2]), at(301));
        assert_eq!(feeds.page_due(&set(&[2]), at(302)), Some(at(302)));
        for _ in 0..40 {
            feeds.fed(&set(&[1]), &set(&[3]), at(400));
        }
        assert_eq!(feeds.page_due(&set(&[3]), at(400)), Some(at(5400)), "the wait has an end");
        feeds.fed(&set(&[]), &set(&[3]), at(500));
        assert_eq!(feeds.page_due(&set(&[3]), at(500)), Some(at(500)), "whom it leaves out costs no row");
    }
}
