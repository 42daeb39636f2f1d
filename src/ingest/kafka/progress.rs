//! How far each partition is done. Enters: offsets as they begin and as they end, in any order. Leaves: the highest offset below
//! which nothing is open, which alone may be stored: what is above it is read again after a crash.

use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
pub(super) struct Progress {
    generation: u64,
    partitions: BTreeMap<(String, i32), Partition>,
}

#[derive(Debug)]
struct Partition {
    generation: u64,
    /// Begun and not yet below the mark, ascending; `true` once done.
    open: VecDeque<(i64, bool)>,
    latest: i64,
}

/// A record that has begun. It counts only while its partition is the one it began in: a partition that was taken away and
/// given back is read again from the stored offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    generation: u64,
}

impl Progress {
    pub fn begin(&mut self, topic: &str, partition: i32, offset: i64) -> Ticket {
        let key = (topic.to_string(), partition);
        if self.partitions.get(&key).is_none_or(|known| offset <= known.latest) {
            self.generation += 1;
            let begun = Partition { generation: self.generation, open: VecDeque::new(), latest: offset };
            self.partitions.insert(key.clone(), begun);
        }
        let mut generation = self.generation;
        if let Some(known) = self.partitions.get_mut(&key) {
            known.open.push_back((offset, false));
            known.latest = offset;
            generation = known.generation;
        }
        Ticket { topic: key.0, partition, offset, generation }
    }

    /// The offset to store, if it has moved.
    pub fn done(&mut self, ticket: &Ticket) -> Option<i64> {
        let key = (ticket.topic.clone(), ticket.partition);
        let known = self.partitions.get_mut(&key).filter(|known| known.generation == ticket.generation)?;
        let at = known.open.binary_search_by_key(&ticket.offset, |(offset, _)| *offset).ok()?;
        known.open[at].1 = true;
        let mut highest = None;
        while let Some((offset, true)) = known.open.front() {
            highest = Some(*offset);
            known.open.pop_front();
        }
        highest
    }

    pub fn forget(&mut self, topic: &str, partition: i32) {
        self.partitions.remove(&(topic.to_string(), partition));
    }

    pub fn open(&self) -> usize {
        self.partitions.values().map(|partition| partition.open.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_stored_once_all_below_it_are_done() {
        let mut progress = Progress::default();
        let tickets: Vec<Ticket> = [3, 4, 7, 8].into_iter().map(|offset| progress.begin("t", 0, offset)).collect();
        assert_eq!(progress.done(&tickets[1]), None);
        assert_eq!(progress.done(&tickets[3]), None);
        assert_eq!(progress.done(&tickets[0]), Some(4));
        assert_eq!(progress.done(&tickets[0]), None);
        assert_eq!(progress.open(), 2);
        assert_eq!(progress.done(&tickets[2]), Some(8));
        assert_eq!(progress.open(), 0);
    }

    #[test]
    fn every_order_of_ending_stores_each_offset_never_too_early() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut progress = Progress::default();
            let mut tickets: Vec<Ticket> = (0..50).map(|offset| progress.begin("t", 1, offset)).collect();
            random.shuffle(&mut tickets);
            let (mut done, mut stored) = (vec![false; 50], -1);
            for ticket in tickets {
                done[ticket.offset as usize] = true;
                stored = progress.done(&ticket).unwrap_or(stored);
                let contiguous = done.iter().take_while(|done| **done).count() as i64 - 1;
                assert_eq!(stored, contiguous, "seed {seed}");
            }
        }
    }

    #[test]
    fn what_began_before_a_partition_was_lost_stores_nothing_after() {
        let mut progress = Progress::default();
        let old = progress.begin("t", 0, 5);
        let other = progress.begin("t", 1, 9);
        progress.forget("t", 0);
        assert_eq!(progress.done(&old), None);
        let new = progress.begin("t", 0, 5);
        assert_eq!(progress.done(&old), None);
        assert_eq!(progress.done(&new), Some(5));
        assert_eq!(progress.done(&other), Some(9));
    }

    #[test]
    fn a_partition_that_goes_back_begins_anew() {
        let mut progress = Progress::default();
        let old = progress.begin("t", 0, 5);
        let again = [progress.begin("t", 0, 3), progress.begin("t", 0, 5)];
        assert_eq!(progress.done(&old), None);
        assert_eq!(progress.done(&again[0]), Some(3));
        assert_eq!(progress.done(&again[1]), Some(5));
    }
}
