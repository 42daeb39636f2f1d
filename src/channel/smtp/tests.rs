//! The driver against a scripted server. Each test is a timeline: what the server hears, what it says, what came of it.

mod login;
mod press;
mod reports;
mod sized;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::mail::tests::{filled, parcel};
use super::script::{Server, Session, crowd};
use super::settings::tests::{sender, settings};
use super::*;
use crate::channel::{Fault, Holds};
use crate::clock::Time;
use crate::render::message::Filled;

const PIPELINING: &[&str] = &["PIPELINING"];

/// Any certificate: no test here gets as far as verifying one.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUV+EnrO9lqnPeyFzkFyqdpS/GjxowCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjQwNzQ1MjBaGA8yMTI2MTAzMTA3NDUy
MFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABIGH
b+zaCOWmbBotm5lnlOk74iD4ER2AbvaNbUdBhvnBHhU3mFQuii8TyMk3RyKUKpHC
TclRmKQpUbhb20p3y76jUzBRMB0GA1UdDgQWBBTED/f7XWfnrlTHg/mdeBOC9kPQ
vDAfBgNVHSMEGDAWgBTED/f7XWfnrlTHg/mdeBOC9kPQvDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQCvO30eNOrOOy+w7/JWDXpH71CUnTaP6FYT
47pMV9QN/QIgKiAyxhDoSm64IdY1psRa/e8DjSvOk+nc7KwJXbrPJSA=
-----END CERTIFICATE-----
";

fn driver(server: &Server, concurrency: usize, more: &[(&str, &str)]) -> Arc<Smtp> {
    by_clock(server, concurrency, more, Arc::new(Clock::manual(Time(0))))
}

fn by_clock(server: &Server, concurrency: usize, more: &[(&str, &str)], clock: Arc<Clock>) -> Arc<Smtp> {
    let url = server.url();
    let mut pairs = vec![("url", url.as_str()), ("timeout", "5s")];
    pairs.retain(|(name, _)| !more.iter().any(|(other, _)| name == other));
    pairs.extend(more);
    Arc::new(Smtp::new(&settings(&pairs), &sender(), concurrency, clock).expect("settings"))
}

fn send(driver: &Arc<Smtp>, to: &str) -> JoinHandle<Outcome> {
    let (driver, parcel) = (driver.clone(), parcel(to));
    tokio::spawn(async move { driver.send(parcel).await })
}

/// Both are waiting in the driver before the first answer is given: the second goes out behind the first one's body.
async fn two(
    server: &Server,
    driver: &Arc<Smtp>,
    offers: &[&str],
) -> (Session, JoinHandle<Outcome>, JoinHandle<Outcome>) {
    let first = send(driver, "a@x.example");
    let mut session = server.greeted(offers).await;
    assert_eq!(session.envelope().await, "a@x.example");
    let second = send(driver, "b@x.example");
    // The second task runs before the server's answer can be read.
    tokio::task::yield_now().await;
    session.say("250 ok\r\n250 ok\r\n354 go").await;
    (session, first, second)
}

fn holds(outcome: &Outcome) -> Option<Holds> {
    match outcome {
        Outcome::Deferred { holds, .. } => Some(*holds),
        _ => None,
    }
}

fn fault(outcome: &Outcome) -> Option<Fault> {
    match outcome {
        Outcome::Rejected { fault, .. } => Some(*fault),
        _ => None,
    }
}

fn accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Accepted { .. })
}

#[tokio::test]
async fn the_next_envelope_goes_out_behind_the_body_and_each_mail_has_its_own_answer() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let (mut session, first, second) = two(&server, &driver, PIPELINING).await;
    session.body().await;
    // Not a word about the first mail yet.
    assert_eq!(session.envelope().await, "b@x.example");
    session.say("554 5.6.0 refused\r\n250 ok\r\n250 ok\r\n354 go").await;
    assert_eq!(fault(&first.await.expect("task")), Some(Fault::Message));
    session.body().await;
    session.say("250 2.0.0 Ok: queued as 4XyZ").await;
    assert_eq!(second.await.expect("task"), Outcome::Accepted { reference: Some("4XyZ".into()) });
}

#[tokio::test]
async fn lost_after_the_dot_is_unknown_and_the_next_one_goes_by_another_connection() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let (mut session, first, second) = two(&server, &driver, PIPELINING).await;
    session.body().await;
    session.envelope().await;
    drop(session);
    assert!(matches!(first.await.expect("task"), Outcome::Unknown { .. }));
    let mut session = server.greeted(PIPELINING).await;
    assert_eq!(session.open().await, "b@x.example");
    session.body().await;
    session.say("250 ok").await;
    assert!(accepted(&second.await.expect("task")));
}

#[tokio::test]
async fn lost_before_the_body_is_deferred_and_never_unknown() {
    let server = Server::start().await;
    let driver = driver(&server, 1, &[]);
    for answers in ["", "250 ok", "250 ok\r\n250 ok"] {
        let mail = send(&driver, "a@x.example");
        let mut session = server.greeted(PIPELINING).await;
        session.envelope().await;
        if !answers.is_empty() {
            session.say(answers).await;
        }
        drop(session);
        assert_eq!(holds(&mail.await.expect("task")), Some(Holds::Channel), "after {answers:?}");
    }
}

#[tokio::test]
async fn no_answer_to_the_dot_in_time_is_unknown_no_answer_before_is_deferred() {
    let server = Server::start().await;
    let driver = driver(&server, 1, &[("timeout", "30ms")]);
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(PIPELINING).await;
    session.open().await;
    session.body().await;
    assert!(matches!(mail.await.expect("task"), Outcome::Unknown { .. }));
    assert_eq!(session.line().await, "", "a connection that owes an answer is not used again");
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(PIPELINING).await;
    session.envelope().await;
    assert_eq!(holds(&mail.await.expect("task")), Some(Holds::Channel));
}

#[tokio::test]
async fn without_pipelining_nothing_is_sent_ahead_of_its_answer() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let first = send(&driver, "a@x.example");
    let mut session = server.greeted(&["8BITMIME"]).await;
    for (at, code) in [("MAIL", 250), ("RCPT", 250), ("DATA", 354)] {
        session.expect(at).await;
        assert!(session.waits());
        session.say(&format!("{code} ok")).await;
    }
    session.body().await;
    assert!(session.waits());
    session.say("250 ok").await;
    assert!(accepted(&first.await.expect("task")));
    let second = send(&driver, "b@x.example");
    session.expect("MAIL").await;
    session.say("250 ok").await;
    session.expect("RCPT").await;
    session.say("550 5.1.1 unknown").await;
    session.expect("RSET").await;
    session.say("250 ok").await;
    assert_eq!(fault(&second.await.expect("task")), Some(Fault::Address));
}

#[tokio::test]
async fn a_refused_recipient_gets_an_empty_body_where_the_server_waits_for_one() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(PIPELINING).await;
    session.envelope().await;
    session.say("250 ok\r\n550 5.1.1 <a@x.example>: unknown\r\n354 go").await;
    assert_eq!(session.body().await, ".\r\n");
    // Even if it claims to have taken it.
    session.say("250 ok").await;
    let outcome = mail.await.expect("task");
    assert_eq!(fault(&outcome), Some(Fault::Address));
    assert!(!format!("{outcome:?}").contains("x.example"));
    let mail = send(&driver, "b@x.example");
    assert_eq!(session.open().await, "b@x.example");
    session.body().await;
    session.say("250 ok").await;
    assert!(accepted(&mail.await.expect("task")));
}

#[tokio::test]
async fn a_farewell_to_the_next_mail_is_not_about_it_but_one_to_the_first_holds_the_channel() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let (mut session, first, second) = two(&server, &driver, PIPELINING).await;
    session.body().await;
    session.envelope().await;
    session.say("250 ok\r\n421 4.7.0 that was enough for one session").await;
    drop(session);
    assert!(accepted(&first.await.expect("task")));
    let mut session = server.greeted(PIPELINING).await;
    assert_eq!(session.envelope().await, "b@x.example");
    session.say("421 4.3.2 shutting down").await;
    drop(session);
    assert_eq!(holds(&second.await.expect("task")), Some(Holds::Channel));
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_nothing() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let mut session = None;
    for farewell in ["", "421 idle for too long", ""] {
        let mail = send(&driver, "a@x.example");
        let mut next = server.greeted(PIPELINING).await;
        drop(session.take());
        next.open().await;
        next.body().await;
        next.say("250 ok").await;
        assert!(accepted(&mail.await.expect("task")));
        if !farewell.is_empty() {
            next.say(farewell).await;
            next.expect("QUIT").await;
        } else {
            drop(next);
            continue;
        }
        session = Some(next);
    }
}

#[tokio::test]
async fn tls_is_not_left_out_and_nothing_said_before_it_counts() {
    let server = Server::start().await;
    let ca = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(ca.path(), CERTIFICATE).expect("written");
    let ca = ca.path().to_str().expect("path");
    let driver = driver(&server, 1, &[("tls", "required"), ("ca_file", ca)]);
    let mail = send(&driver, "a@x.example");
    let session = server.greeted(PIPELINING).await;
    assert_eq!(fault(&mail.await.expect("task")), Some(Fault::Channel));
    drop(session);
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(&["STARTTLS"]).await;
    session.expect("STARTTLS").await;
    session.say("220 go\r\n250 injected").await;
    assert_eq!(fault(&mail.await.expect("task")), Some(Fault::Channel));
}

#[tokio::test]
async fn what_the_server_cannot_take_is_not_sent() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let mail = send(&driver, "jörg@x.example");
    let mut session = server.greeted(&["PIPELINING", "SIZE 3000"]).await;
    assert_eq!(fault(&mail.await.expect("task")), Some(Fault::Address));
    let mut large = parcel("a@x.example");
    large.message = Arc::new(Filled { text: "x".repeat(4000), ..filled() }.into());
    assert_eq!(fault(&driver.send(large).await), Some(Fault::Message));
    let mail = send(&driver, "a@x.example");
    let line = session.expect("MAIL FROM:<status@acme.example> SIZE=").await;
    session.expect("RCPT").await;
    session.expect("DATA").await;
    session.say("250 ok\r\n250 ok\r\n354 go").await;
    assert!(line.ends_with(&format!("SIZE={}", session.body().await.len())));
    session.say("250 ok").await;
    assert!(accepted(&mail.await.expect("task")));
}

#[tokio::test]
async fn what_is_no_smtp_or_out_of_turn_ends_the_connection_without_sending() {
    let server = Server::start().await;
    let driver = driver(&server, 1, &[]);
    for answers in ["HTTP/1.1 400 Bad Request", "354 already", "250 ok\r\n250 ok\r\n250 ok"] {
        let mail = send(&driver, "a@x.example");
        let mut session = server.greeted(PIPELINING).await;
        session.envelope().await;
        session.say(answers).await;
        assert_eq!(holds(&mail.await.expect("task")), Some(Holds::Channel), "{answers}");
        assert_eq!(session.line().await, "", "{answers}");
    }
}

#[tokio::test]
async fn a_dot_answered_out_of_turn_is_unknown_and_nothing_more_is_matched_on_that_connection() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let (mut session, first, second) = two(&server, &driver, PIPELINING).await;
    session.body().await;
    session.envelope().await;
    session.say("354 go\r\n250 ok\r\n250 ok\r\n354 go").await;
    assert!(matches!(first.await.expect("task"), Outcome::Unknown { .. }));
    assert_eq!(holds(&second.await.expect("task")), Some(Holds::Channel));
    // Nothing comes after the envelope: no body was sent to a 354 that might be anyone's.
    assert_eq!(session.line().await, "");
}

#[tokio::test]
async fn an_unreachable_server_defers_all_that_waits() {
    let server = Server::start().await;
    let driver = driver(&server, 8, &[]);
    drop(server);
    for mail in (0..20).map(|_| send(&driver, "a@x.example")).collect::<Vec<_>>() {
        assert_eq!(holds(&mail.await.expect("task")), Some(Holds::Channel));
    }
}

#[tokio::test]
async fn connections_end_with_the_driver() {
    let server = Server::start().await;
    let driver = driver(&server, 2, &[]);
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(PIPELINING).await;
    session.open().await;
    session.body().await;
    session.say("250 ok").await;
    assert!(accepted(&mail.await.expect("task")));
    drop(driver);
    assert_eq!(session.line().await, "");
}

/// Sessions that end without a word after seven mails, recipients of six kinds, in an order that a seed draws: each mail has the
/// outcome of its own recipient, and what was accepted arrived once.
#[tokio::test]
async fn in_a_crowd_each_mail_has_its_own_outcome() {
    for (seed, offers) in [(1, PIPELINING), (2, &["8BITMIME"][..]), (3, PIPELINING)] {
        let mut chance = fastrand::Rng::with_seed(seed);
        let server = Server::start().await;
        let driver = driver(&server, 12, &[]);
        let (bodies, mut arrived) = mpsc::unbounded_channel();
        let serving = tokio::spawn(crowd(server, offers, 7, bodies));
        let kinds = ["ok", "ok", "ok", "unknown", "gone", "busy", "spam", "later"];
        let mails: Vec<_> = (0..600)
            .map(|n| {
                let kind = *chance.choice(&kinds).expect("a kind");
                let to = format!("{kind}.{n}@x.example");
                (kind, to.clone(), send(&driver, &to))
            })
            .collect();
        let mut expected = BTreeSet::new();
        for (kind, to, mail) in mails {
            let outcome = mail.await.expect("task");
            let right = match kind {
                "ok" => outcome == Outcome::Accepted { reference: Some(to.replace('@', "-")) },
                "unknown" | "gone" => fault(&outcome) == Some(Fault::Address),
                "busy" | "later" => holds(&outcome) == Some(Holds::Address),
                _ => fault(&outcome) == Some(Fault::Message),
            };
            // A session that ends twice in a row under one mail defers it.
            assert!(right || holds(&outcome) == Some(Holds::Channel), "seed {seed}: {to} got {outcome:?}");
            if accepted(&outcome) {
                expected.insert(to);
            }
        }
        serving.abort();
        let mut all = Vec::new();
        while let Ok(to) = arrived.try_recv() {
            all.push(to);
        }
        assert_eq!(all.len(), expected.len(), "seed {seed}: some arrived twice, or were not said to have arrived");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), expected, "seed {seed}");
        assert!(expected.len() > 150);
    }
}
