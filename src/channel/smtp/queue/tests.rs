//! Whose turn it is, and how many connections there may be.

use super::super::mail::Bytes;
use super::*;
use crate::clock::Time;

fn queue(concurrency: usize) -> Queue {
    Queue::new(concurrency, Arc::new(Clock::manual(Time(0))))
}

fn job(urgent: bool) -> (Job, oneshot::Receiver<Outcome>) {
    Job::new(
        Mail {
            to: if urgent { "urgent".into() } else { "bulk".into() },
            utf8: false,
            return_path: None,
            envelope: None,
            bytes: Bytes::Own(Vec::new()),
        },
        urgent,
    )
}

#[test]
fn workers_grow_to_half_the_concurrency_and_to_all_of_it_without_pipelining() {
    let queue = queue(8);
    let mut kept = Vec::new();
    let mut push = |queue: &Queue| {
        let (job, outcome) = job(false);
        kept.push(outcome);
        queue.push(job)
    };
    assert_eq!((0..8).filter(|_| push(&queue)).count(), 4);
    queue.connected(false);
    assert_eq!((0..8).filter(|_| push(&queue)).count(), 3, "the eighth is kept");
}

#[test]
fn bulk_leaves_connections_for_the_urgent() {
    let queue = queue(16);
    let kept: Vec<_> = (0..20).map(|_| job(false)).map(|(job, outcome)| (queue.push(job), outcome)).collect();
    let mut serving = [Serving::Nothing; 8];
    let taken = serving.iter_mut().filter_map(|serving| match queue.take_or_wait(serving) {
        Next::Job(job) => Some(job),
        Next::Wait(_) => None,
    });
    assert_eq!(taken.count(), 7);
    let mut waiting = Serving::Nothing;
    let Next::Wait(mut receiver) = queue.take_or_wait(&mut waiting) else { panic!("took an eighth bulk mail") };
    let (urgent, _outcome) = job(true);
    assert!(!queue.push(urgent), "an idle connection was there");
    assert!(receiver.try_recv().is_ok_and(|job| job.urgent));
    drop(kept);
}

#[test]
fn connections_are_as_many_as_the_answers_make_use_of() {
    let queue = queue(64);
    let mut kept = Vec::new();
    let mut push = |count: usize| {
        let mut grew = || {
            let (job, outcome) = job(false);
            kept.push(outcome);
            queue.push(job)
        };
        (0..count).filter(|_| grew()).count()
    };
    assert_eq!(push(64), 7, "until more is known; the eighth is kept");
    queue.took(Duration::from_micros(400));
    assert_eq!(push(8), 0, "answers come at once");
    queue.took(Duration::from_millis(10));
    assert_eq!(push(64), 14 - 7, "sixteen carry 10,000 a second at 1.6 ms each");
    queue.took(Duration::from_secs(2));
    assert_eq!(push(64), 28 - 14, "half of the concurrency, but for an eighth");
}

#[test]
fn what_is_urgent_opens_one_more_where_ordinary_mail_does_not() {
    let queue = queue(64);
    let mut kept: Vec<_> = (0..20).map(|_| job(false)).map(|(job, outcome)| (queue.push(job), outcome)).collect();
    let (urgent, outcome) = job(true);
    kept.push((queue.push(urgent), outcome));
    assert_eq!(kept.iter().filter(|(grew, _)| *grew).count(), 7 + 1);
    assert!(kept.last().is_some_and(|(grew, _)| *grew));
}

#[test]
fn a_connection_that_is_too_many_gets_no_more_ordinary_mail() {
    let queue = queue(64);
    queue.took(Duration::from_secs(2));
    let kept: Vec<_> = (0..60).map(|_| job(false)).map(|(job, outcome)| (queue.push(job), outcome)).collect();
    let mut serving = [Serving::Nothing; 28];
    for serving in &mut serving {
        assert!(matches!(queue.take_or_wait(serving), Next::Job(_)));
    }
    assert!(queue.take_behind(serving[0]).is_some());
    (0..200).for_each(|_| queue.took(Duration::from_micros(50)));
    let mut idle = Vec::new();
    for serving in &mut serving {
        match queue.take_behind(*serving) {
            Some(_) => {}
            None => match queue.take_or_wait(serving) {
                Next::Wait(receiver) => idle.push(receiver),
                Next::Job(_) => panic!("one that is too many took a mail"),
            },
        }
    }
    assert_eq!(idle.len(), 28 - 7, "seven of eight go on with ordinary mail");
    drop(kept);
}

#[test]
fn nothing_follows_a_body_while_an_urgent_mail_waits() {
    let queue = queue(2);
    let (first, _first) = job(false);
    queue.push(first);
    assert!(queue.take_behind(Serving::Urgent).is_none());
    let (urgent, _urgent) = job(true);
    queue.push(urgent);
    assert!(queue.take_behind(Serving::Bulk).is_none());
    let mut serving = Serving::Nothing;
    assert!(queue.take_or_leave(&mut serving).is_some_and(|job| job.urgent));
    assert!(queue.take_behind(Serving::Bulk).is_some());
}

#[test]
fn what_nobody_waits_for_is_not_sent() {
    let queue = queue(2);
    let (gone, outcome) = job(false);
    queue.push(gone);
    drop(outcome);
    assert!(queue.take_or_leave(&mut Serving::Nothing).is_none());
}

#[test]
fn without_any_connection_all_that_waits_is_answered() {
    let queue = queue(2);
    let outcome = Outcome::Unknown { detail: "x".into() };
    let (first, mut first_outcome) = job(false);
    let (second, mut second_outcome) = job(true);
    queue.push(second);
    let mut serving = Serving::Nothing;
    assert!(!queue.unreachable(first, outcome.clone(), &mut serving));
    assert_eq!(first_outcome.try_recv(), Ok(outcome.clone()));
    assert_eq!(second_outcome.try_recv(), Ok(outcome));
}

#[test]
fn beside_an_open_connection_the_mail_is_left_to_it() {
    let queue = queue(8);
    queue.connected(true);
    let Next::Wait(mut idle) = queue.take_or_wait(&mut Serving::Nothing) else { panic!("nothing waits") };
    let (mail, mut outcome) = job(false);
    // The worker that fails is one of those counted by a push.
    let (other, _other) = job(false);
    queue.lock().workers = 2;
    assert!(queue.unreachable(mail, Outcome::Unknown { detail: "x".into() }, &mut Serving::Nothing));
    assert!(idle.try_recv().is_ok());
    assert!(outcome.try_recv().is_err());
    assert!(!queue.push(other), "grew right after a refusal");
}
