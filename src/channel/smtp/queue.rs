//! Mails waiting for a connection, and connections waiting for a mail. A mail goes to an idle connection at once; else it waits,
//! and another connection is opened while there are fewer than the server's answers make use of (`size`). An eighth of them is
//! kept from ordinary mail, so that an urgent one does not wait for answers to others; where it would, it may open one more, up
//! to the limit. Connections that are too many get no ordinary mail, and close once they have been idle for long enough.
//!
//! While a mail waits there is a worker that will ask for it: workers leave only under the lock, with nothing to take.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::RECIPIENTS;
use super::mail::Mail;
use super::size::Size;
use crate::channel::Outcome;
use crate::clock::{Clock, Instant};

/// After a connection was refused beside open ones, the server seems to allow no more.
const NO_GROWTH: Duration = Duration::from_secs(5);

pub(super) struct Job {
    pub mail: Mail,
    pub urgent: bool,
    /// It was on a connection that proved dead before the server said anything to it.
    pub again: bool,
    answer: oneshot::Sender<Outcome>,
}

impl Job {
    pub fn new(mail: Mail, urgent: bool) -> (Job, oneshot::Receiver<Outcome>) {
        let (answer, outcome) = oneshot::channel();
        (Job { mail, urgent, again: false, answer }, outcome)
    }

    /// Nobody listening is no error: whoever asked has gone, and the attempt is theirs to judge.
    pub fn answer(self, outcome: Outcome) {
        let _ = self.answer.send(outcome);
    }
}

/// What a worker is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serving {
    Nothing,
    Urgent,
    Bulk,
}

pub(super) enum Next {
    Job(Job),
    Wait(oneshot::Receiver<Job>),
}

pub(super) struct Queue {
    pub clock: Arc<Clock>,
    concurrency: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<Job>,
    bulk: VecDeque<Job>,
    /// The connection that was last busy is asked first, so that what is too much falls idle.
    idle: Vec<oneshot::Sender<Job>>,
    workers: usize,
    connected: usize,
    serving_bulk: usize,
    stop_and_wait: bool,
    size: Size,
    grow_from: Option<Instant>,
}

impl State {
    /// Pipelining keeps two mails on a connection under way, one waiting for its answer and one for its turn.
    fn limit(&self, concurrency: usize) -> usize {
        if self.stop_and_wait { concurrency.max(1) } else { concurrency.div_ceil(2).max(1) }
    }

    fn wanted(&self, concurrency: usize) -> usize {
        self.size.wanted(self.limit(concurrency))
    }

    /// Connections that may serve ordinary mail at one time.
    fn for_bulk(&self, concurrency: usize) -> usize {
        let wanted = self.wanted(concurrency);
        wanted - wanted / 8
    }

    fn take(&mut self, concurrency: usize) -> Option<Job> {
        if let Some(job) = pop(&mut self.urgent) {
            return Some(job);
        }
        if self.serving_bulk >= self.for_bulk(concurrency) {
            return None;
        }
        let job = pop(&mut self.bulk)?;
        self.serving_bulk += 1;
        Some(job)
    }

    fn release(&mut self, serving: &mut Serving) {
        if *serving == Serving::Bulk {
            self.serving_bulk -= 1;
        }
        *serving = Serving::Nothing;
    }

    /// To an idle connection, or back.
    fn hand_over(&mut self, mut job: Job, concurrency: usize) -> Option<Job> {
        if !job.urgent && self.serving_bulk >= self.for_bulk(concurrency) {
            return Some(job);
        }
        while let Some(idle) = self.idle.pop() {
            let urgent = job.urgent;
            match idle.send(job) {
                Ok(()) => {
                    self.serving_bulk += usize::from(!urgent);
                    return None;
                }
                // It closed meanwhile.
                Err(back) => job = back,
            }
        }
        Some(job)
    }
}

/// The first job that somebody still waits for.
fn pop(jobs: &mut VecDeque<Job>) -> Option<Job> {
    while let Some(job) = jobs.pop_front() {
        if !job.answer.is_closed() {
            return Some(job);
        }
    }
    None
}

impl Queue {
    pub fn new(concurrency: usize, clock: Arc<Clock>) -> Queue {
        Queue { clock, concurrency, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No step below leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `true` asks for one worker more, which is counted already.
    pub fn push(&self, job: Job) -> bool {
        let mut state = self.lock();
        let urgent = job.urgent;
        let Some(job) = state.hand_over(job, self.concurrency) else { return false };
        let jobs = if urgent { &mut state.urgent } else { &mut state.bulk };
        // Whoever comes for the one before takes this one along, unless that transaction is full.
        let along =
            jobs.back().is_some_and(|last| last.mail.goes_with(&job.mail)) && !jobs.len().is_multiple_of(RECIPIENTS);
        jobs.push_back(job);
        let may_grow = state.grow_from.is_none_or(|from| self.clock.monotonic() >= from) || state.workers == 0;
        let most = if urgent { state.limit(self.concurrency) } else { state.for_bulk(self.concurrency) };
        let grow = may_grow && state.workers < most && !along;
        state.workers += usize::from(grow);
        grow
    }

    /// A job whose mail never left, to be taken next.
    pub fn put_back(&self, mut job: Job) {
        job.again = true;
        let mut state = self.lock();
        if let Some(job) = state.hand_over(job, self.concurrency) {
            if job.urgent { state.urgent.push_front(job) } else { state.bulk.push_front(job) }
        }
    }

    /// For the next transaction on its connection: this one was full.
    pub fn put_first(&self, job: Job) {
        let mut state = self.lock();
        if job.urgent { state.urgent.push_front(job) } else { state.bulk.push_front(job) }
    }

    /// With whoever waits for the same mail, up to so many in all.
    pub fn together(&self, job: Job, most: usize) -> Vec<Job> {
        if !job.mail.is_shared() {
            return vec![job];
        }
        let mut state = self.lock();
        let waiting = if job.urgent { &mut state.urgent } else { &mut state.bulk };
        let mut jobs = vec![job];
        let mut at = 0;
        while at < waiting.len() && jobs.len() < most {
            if !waiting[at].mail.goes_with(&jobs[0].mail) {
                at += 1;
            } else if let Some(job) = waiting.remove(at).filter(|job| !job.answer.is_closed()) {
                jobs.push(job);
            }
        }
        jobs
    }

    /// For a worker without a connection: `None` means that it has left.
    pub fn take_or_leave(&self, serving: &mut Serving) -> Option<Job> {
        let mut state = self.lock();
        state.release(serving);
        let job = state.take(self.concurrency);
        match &job {
            Some(job) => *serving = if job.urgent { Serving::Urgent } else { Serving::Bulk },
            None => state.workers -= 1,
        }
        job
    }

    /// For a connection whose answers are all in. Whoever waits and is handed a job sets `serving` by it.
    pub fn take_or_wait(&self, serving: &mut Serving) -> Next {
        let mut state = self.lock();
        state.release(serving);
        match state.take(self.concurrency) {
            Some(job) => {
                *serving = if job.urgent { Serving::Urgent } else { Serving::Bulk };
                Next::Job(job)
            }
            None => {
                let (sender, receiver) = oneshot::channel();
                // Those that closed are dropped now and then, lest they pile up where no mail comes.
                if state.idle.len() > self.concurrency {
                    state.idle.retain(|idle| !idle.is_closed());
                }
                state.idle.push(sender);
                Next::Wait(receiver)
            }
        }
    }

    /// For a connection that is about to write a body: what may follow in the same write, of the same urgency. Behind ordinary
    /// mail nothing does while an urgent one waits, which the connection will be free for once the body is answered.
    pub fn take_behind(&self, serving: Serving) -> Option<Job> {
        let mut state = self.lock();
        match serving {
            Serving::Nothing => None,
            Serving::Urgent => pop(&mut state.urgent),
            Serving::Bulk if !state.urgent.is_empty() => None,
            // This one is too many.
            Serving::Bulk if state.serving_bulk > state.for_bulk(self.concurrency) => None,
            Serving::Bulk => pop(&mut state.bulk),
        }
    }

    /// How long a mail kept its connection, from when that was free for it to the answer.
    pub fn took(&self, time: Duration) {
        self.lock().size.took(time);
    }

    pub fn connected(&self, pipelining: bool) {
        let mut state = self.lock();
        state.connected += 1;
        state.stop_and_wait = !pipelining;
    }

    pub fn disconnected(&self) {
        self.lock().connected -= 1;
    }

    /// No connection was to be had for `job`. Beside open ones, which take over, the worker leaves (`true`); without any, nothing
    /// that waits can be sent, and all of it gets this answer.
    pub fn unreachable(&self, job: Job, outcome: Outcome, serving: &mut Serving) -> bool {
        let mut state = self.lock();
        state.release(serving);
        state.grow_from = Some(self.clock.monotonic() + NO_GROWTH);
        if state.connected > 0 {
            state.workers -= 1;
            drop(state);
            self.put_back(job);
            return true;
        }
        let State { urgent, bulk, .. } = &mut *state;
        let waiting: Vec<Job> = urgent.drain(..).chain(bulk.drain(..)).collect();
        state.grow_from = None;
        drop(state);
        for job in std::iter::once(job).chain(waiting) {
            job.answer(outcome.clone());
        }
        false
    }

    /// A worker ended without leaving by one of the ways above.
    pub fn abandoned(&self, mut serving: Serving) {
        let mut state = self.lock();
        state.release(&mut serving);
        state.workers -= 1;
    }
}
