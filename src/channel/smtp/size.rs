//! How many connections a channel has use for. Each carries one mail after the other, so as many are busy as mails go out while
//! one mail is on its way: few where the server answers at once, many where it takes its time.

use std::time::Duration;

/// However fast the server is: enough that one answer is worked on while others are under way.
pub(super) const FEW: usize = 8;
/// Beyond those, one for each of these that a mail takes: 10,000 mails a second then find a connection.
const EACH: Duration = Duration::from_micros(100);
/// A single slow answer moves the average by this share of it.
const SHARE: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Size {
    /// How long a mail keeps its connection, as of late; nothing is known at first.
    taken: Option<Duration>,
}

impl Size {
    pub fn took(&mut self, time: Duration) {
        self.taken = Some(match self.taken {
            None => time,
            Some(known) => known - known / SHARE + time / SHARE,
        });
    }

    pub fn wanted(&self, most: usize) -> usize {
        let busy = self.taken.unwrap_or_default().as_nanos() / EACH.as_nanos();
        usize::try_from(busy).unwrap_or(usize::MAX).max(FEW).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_where_answers_come_at_once_more_where_they_take_long_and_few_again() {
        let after = |size: &mut Size, answers: usize, time: u64| {
            (0..answers).for_each(|_| size.took(Duration::from_micros(time)));
            size.wanted(1000)
        };
        let mut size = Size::default();
        assert_eq!(size.wanted(1000), FEW, "nothing is known");
        assert_eq!(after(&mut size, 1, 300), FEW);
        assert_eq!(after(&mut size, 1, 80_000), 102, "one slow answer is heard");
        assert_eq!(after(&mut size, 60, 2_000), 20);
        assert_eq!(after(&mut size, 60, 3_600_000_000), 1000, "no more than there may be");
        assert_eq!(after(&mut size, 300, 200), FEW);
        assert_eq!(size.wanted(3), 3);
    }
}
