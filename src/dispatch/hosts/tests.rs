use super::*;
use crate::dispatch::keyed::Keyed;
use crate::quantity::Limit;

const MOST: usize = 2;

fn hosts<T>(room: usize, limits: &[&str]) -> Hosts<T> {
    let limits: Vec<Limit> = limits.iter().map(|text| text.parse().expect("a limit")).collect();
    Hosts::new(room, MOST, HostLimits::Own(Keyed::new(&limits, at(0))))
}

fn at(seconds: u64) -> Instant {
    Duration::from_secs(seconds)
}

#[test]
fn who_waits_for_a_busy_host_goes_when_an_attempt_to_it_ends_the_urgent_first() {
    let mut hosts = hosts(100, &[]);
    hosts.begins("slow", at(1));
    hosts.begins("slow", at(1));
    assert_eq!(hosts.ready("slow", at(1)), Ready::Busy);
    assert_eq!(hosts.ready("fast", at(1)), Ready::Yes);
    for (rank, one) in [(2, "bulk"), (0, "critical"), (2, "more")] {
        assert_eq!(hosts.wait("slow", rank, one, None, at(1)), Ok(()));
    }
    assert_eq!([0, 1, 2, 3].map(|rank| hosts.waiting(rank)), [1, 0, 2, 0]);
    assert_eq!(hosts.ended("slow", &Said::Works, at(2)), [(0, "critical")]);
    hosts.begins("slow", at(1));
    assert_eq!(hosts.ended("slow", &Said::Works, at(3)), [(2, "bulk")]);
    // The last one on the wire ends and nothing has begun: nobody is left behind.
    assert_eq!(hosts.ended("slow", &Said::Works, at(4)), [(2, "more")]);
    assert_eq!([0, 1, 2, 3].map(|rank| hosts.waiting(rank)), [0; 4]);
}

#[test]
fn a_host_that_rests_keeps_nobody() {
    let mut hosts = hosts(100, &[]);
    hosts.begins("slow", at(1));
    hosts.begins("slow", at(1));
    for one in 0..3 {
        assert_eq!(hosts.wait("slow", 1, one, None, at(1)), Ok(()));
    }
    assert_eq!(hosts.ended("slow", &Said::Fails(Some(at(30))), at(2)), [(1, 0), (1, 1), (1, 2)]);
    assert_eq!(hosts.ready("slow", at(3)), Ready::Rests(at(32)));
    assert_eq!(hosts.ready("slow", at(32)), Ready::Yes);
}

#[test]
fn more_than_a_share_of_the_room_wait_elsewhere_spread_over_the_time_that_the_host_needs() {
    let mut hosts = hosts(40, &[]);
    hosts.begins("slow", at(1));
    for one in 0..10 {
        assert_eq!(hosts.wait("slow", 1, one, None, at(1)), Ok(()));
    }
    let mut until = |now| hosts.wait("slow", 1, 0, None, now).expect_err("full").1;
    assert_eq!((until(at(1)), until(at(1))), (at(2), at(2)), "nobody knows how fast it is");
    for n in 0..10 {
        hosts.begins("slow", at(1));
        assert_eq!(hosts.ended("slow", &Said::Works, at(100) + Duration::from_millis(n * 100)).len(), 1);
        assert_eq!(hosts.wait("slow", 1, 0, None, at(101)), Ok(()));
    }
    // One ends every 100 ms, and ten are ahead.
    let mut until = |now| hosts.wait("slow", 1, 0, None, now).expect_err("full").1;
    let tenths = |n: u64| at(200) + Duration::from_millis(n * 100);
    assert_eq!((until(at(200)), until(at(200))), (tenths(11), tenths(12)));
    for _ in 0..2000 {
        assert!(until(at(200)) <= at(260), "never longer than a minute");
    }
    for host in ["a", "b", "c"] {
        hosts.begins(host, at(201));
        for one in 0..10 {
            assert_eq!(hosts.wait(host, 1, one, None, at(201)), Ok(()));
        }
    }
    hosts.begins("d", at(201));
    assert_eq!(hosts.wait("d", 1, 0, None, at(201)), Err((0, at(202))), "the room for all hosts is full");
    assert_eq!(hosts.free_all().len(), 40);
    assert_eq!(hosts.waiting(1), 0);
}

#[test]
fn a_host_with_a_limit_lets_one_go_each_time_and_holds_up_no_other() {
    let mut hosts = hosts(400, &["2/s"]);
    let half = |n: u64| Duration::from_millis(n * 500);
    assert_eq!(hosts.opens(), half(1), "nobody knows what was sent before");
    assert_eq!(hosts.ready("a", half(1)), Ready::Yes);
    hosts.begins("a", half(1));
    assert_eq!(hosts.ready("a", half(1)), Ready::Limited(half(2)));
    assert_eq!(hosts.ready("b", half(1)), Ready::Yes);
    for one in 0..3 {
        assert_eq!(hosts.wait("a", 3, one, Some(half(2)), half(1)), Ok(()));
    }
    assert_eq!(hosts.wait("a", 0, 9, Some(half(2)), half(1)), Ok(()));
    // An end lets nobody go: the limit does, and the most urgent first.
    assert_eq!(hosts.ended("a", &Said::Works, half(1)), []);
    assert_eq!((hosts.next_due(), hosts.let_go(half(2))), (Some(half(2)), vec![(0, 9)]));
    hosts.begins("a", half(2));
    assert_eq!(hosts.ended("a", &Said::Works, half(2)), []);
    for (n, one) in [(3, 0), (4, 1), (5, 2)] {
        assert_eq!((hosts.next_due(), hosts.let_go(half(n))), (Some(half(n)), vec![(3, one)]));
        hosts.begins("a", half(n));
        assert_eq!(hosts.ended("a", &Said::Works, half(n)), []);
    }
    assert_eq!(hosts.next_due(), None);
    // Whose turn does not come soon waits on disk.
    let full = (0..100).find_map(|one| hosts.wait("a", 3, one, Some(half(6)), half(5)).err());
    assert_eq!(full, Some((21, half(5) + Duration::from_millis(11_000))));
}

#[test]
fn a_host_teaches_its_limit_and_starts_slowly_after_its_breaker_has_closed() {
    let mut hosts: Hosts<u32> = hosts(400, &[]);
    for n in 0..100 {
        hosts.begins("a", Duration::from_millis(n * 10));
        hosts.ended("a", &Said::Works, Duration::from_millis(n * 10));
    }
    hosts.begins("a", at(1));
    hosts.ended("a", &Said::TooMany { began: at(1), after: None }, at(1));
    assert_eq!(hosts.taught(at(1)), 1);
    let Ready::Limited(due) = hosts.ready("a", at(1)) else { panic!("it said that it was too much") };
    assert!(due > at(1) && due < at(1) + Duration::from_millis(50), "{due:?}");
    assert_eq!(hosts.ready("b", at(1)), Ready::Yes);
    for _ in 0..10 {
        hosts.begins("b", at(2));
        hosts.ended("b", &Said::Fails(None), at(2));
    }
    assert_eq!(hosts.ready("b", at(2)), Ready::Rests(at(17)));
    hosts.begins("b", at(17));
    hosts.ended("b", &Said::Works, at(17));
    hosts.begins("b", at(17));
    assert_eq!(hosts.ready("b", at(17)), Ready::Busy, "one at a time at first");
    hosts.ended("b", &Said::Works, at(17));
    assert_eq!(hosts.ready("b", at(17)), Ready::Limited(at(18)), "and one a second");
}

#[test]
fn a_host_that_asked_for_a_rest_is_not_forgotten_for_those_who_came_since() {
    let mut hosts: Hosts<u32> = hosts(400, &[]);
    hosts.begins("rests", at(1));
    hosts.ended("rests", &Said::Fails(Some(Duration::from_secs(3600))), at(1));
    hosts.begins("slow", at(1));
    hosts.ended("slow", &Said::TooMany { began: at(1), after: None }, at(1));
    for n in 0..=REMEMBERED {
        let name = format!("h{n}");
        hosts.begins(&name, at(2));
        hosts.ended(&name, &Said::Works, at(2));
    }
    assert_eq!(hosts.ready("rests", at(3)), Ready::Rests(at(3601)));
    assert_eq!(hosts.taught(at(3)), 1);
    // Where too many rest at one time, memory is bounded all the same.
    for n in 0..2 * REMEMBERED {
        let name = format!("r{n}");
        hosts.begins(&name, at(4));
        hosts.ended(&name, &Said::Fails(Some(Duration::from_secs(60))), at(4));
    }
    assert!(hosts.known.len() <= REMEMBERED, "{}", hosts.known.len());
}
