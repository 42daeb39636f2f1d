//! How many connections there are: a server counts its sessions, and takes its time by the clock that the test moves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::super::size::FEW;
use super::*;

/// What a server has seen, and how long each of its answers to a mail takes.
struct Counted {
    clock: Arc<Clock>,
    wait: watch::Sender<Duration>,
    sessions: AtomicUsize,
    open: watch::Sender<usize>,
}

impl Counted {
    fn start(server: Server) -> (Arc<Counted>, Arc<Smtp>) {
        Counted::with(server, 64)
    }

    fn with(server: Server, concurrency: usize) -> (Arc<Counted>, Arc<Smtp>) {
        let clock = Arc::new(Clock::manual(Time(0)));
        let driver = by_clock(&server, concurrency, &[], clock.clone());
        let (wait, open) = (watch::Sender::new(Duration::ZERO), watch::Sender::new(0));
        let counted = Arc::new(Counted { clock, wait, sessions: AtomicUsize::new(0), open });
        let serving = counted.clone();
        tokio::spawn(async move {
            loop {
                let session = server.session().await;
                serving.sessions.fetch_add(1, Ordering::Relaxed);
                serving.open.send_modify(|open| *open += 1);
                let serving = serving.clone();
                tokio::spawn(async move {
                    serving.talk(session).await;
                    serving.open.send_modify(|open| *open -= 1);
                });
            }
        });
        (counted, driver)
    }

    async fn talk(&self, mut session: Session) {
        session.greet(PIPELINING).await;
        loop {
            match session.line().await.split([' ', ':']).next() {
                Some("MAIL" | "RCPT") => session.say("250 ok").await,
                Some("DATA") => {
                    session.say("354 go").await;
                    session.body().await;
                    let wait = *self.wait.borrow();
                    self.clock.advance(wait);
                    session.say("250 ok").await;
                }
                _ => return session.say("221 bye").await,
            }
        }
    }

    fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// So many mails as fast as they go; all are taken.
async fn crowd_of(driver: &Arc<Smtp>, count: usize) {
    let mails: Vec<_> = (0..count).map(|n| send(driver, &format!("m{n}@x.example"))).collect();
    for mail in mails {
        assert!(accepted(&mail.await.expect("task")));
    }
}

#[tokio::test]
async fn connections_are_few_where_answers_come_at_once_more_where_they_take_long_and_few_again() {
    let (server, driver) = Counted::start(Server::start().await);
    crowd_of(&driver, 200).await;
    // One of eight is kept from ordinary mail.
    assert_eq!(server.sessions(), FEW - 1);
    server.wait.send_replace(Duration::from_millis(50));
    crowd_of(&driver, 400).await;
    assert_eq!((server.sessions(), *server.open.borrow()), (28, 28), "half of 64, each with two mails under way");
    server.wait.send_replace(Duration::ZERO);
    // Those that have become too many are idle for a minute, while the others go on.
    for _ in 0..3 {
        crowd_of(&driver, 200).await;
        server.clock.advance(Duration::from_secs(25));
    }
    let mut open = server.open.subscribe();
    let few = open.wait_for(|open| *open < FEW);
    let few = *tokio::time::timeout(Duration::from_secs(5), few).await.expect("they close").expect("lives");
    crowd_of(&driver, 50).await;
    assert_eq!((few, server.sessions()), (FEW - 1, 28), "none was opened anew");
}

#[tokio::test]
async fn a_connection_is_recycled_after_500_mails() {
    let (server, driver) = Counted::with(Server::start().await, 1);
    crowd_of(&driver, 500).await;
    assert_eq!(server.sessions(), 1);
    crowd_of(&driver, 1).await;
    assert_eq!(server.sessions(), 2);
}

#[tokio::test]
async fn a_connection_is_recycled_after_five_minutes_however_busy_it_is() {
    let (server, driver) = Counted::with(Server::start().await, 1);
    for _ in 0..6 {
        crowd_of(&driver, 1).await;
        server.clock.advance(Duration::from_secs(50));
    }
    // It takes what it is handed, and ends.
    crowd_of(&driver, 1).await;
    assert_eq!(server.sessions(), 1);
    crowd_of(&driver, 1).await;
    assert_eq!(server.sessions(), 2);
}

#[tokio::test]
async fn a_connection_that_has_been_idle_for_a_minute_is_closed() {
    let (server, driver) = Counted::with(Server::start().await, 2);
    crowd_of(&driver, 1).await;
    server.clock.advance(Duration::from_secs(60));
    let mut open = server.open.subscribe();
    let closed = open.wait_for(|open| *open == 0);
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("it closes").expect("lives");
}
