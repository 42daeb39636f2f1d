//! The same mail to many: one transaction, and to each its own outcome.

use super::super::mail::tests::impersonal;
use super::*;

fn press(driver: &Arc<Smtp>, to: &str) -> JoinHandle<Outcome> {
    let (driver, parcel) = (driver.clone(), impersonal(to));
    tokio::spawn(async move { driver.send(parcel).await })
}

fn all(driver: &Arc<Smtp>, names: &[&str]) -> Vec<JoinHandle<Outcome>> {
    names.iter().map(|name| press(driver, &format!("{name}@x.example"))).collect()
}

async fn outcomes(mails: Vec<JoinHandle<Outcome>>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for mail in mails {
        outcomes.push(mail.await.expect("task"));
    }
    outcomes
}

/// An envelope for any number: their names.
async fn envelope(session: &mut Session) -> Vec<String> {
    session.expect("MAIL FROM:<status@acme.example>").await;
    let mut names = Vec::new();
    loop {
        let line = session.line().await;
        match line.strip_prefix("RCPT TO:<") {
            Some(to) => names.push(to.trim_end_matches("@x.example>").to_string()),
            None => {
                assert_eq!(line, "DATA");
                return names;
            }
        }
    }
}

#[tokio::test]
async fn the_same_mail_goes_to_all_who_wait_in_one_transaction_and_each_has_its_own_outcome() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mails = all(&driver, &["a", "unknown", "busy", "b"]);
    let mut session = server.greeted(PIPELINING).await;
    assert_eq!(envelope(&mut session).await, ["a", "unknown", "busy", "b"]);
    session.say("250 ok\r\n250 ok\r\n550 5.1.1 unknown\r\n450 4.2.0 busy\r\n250 ok\r\n354 go").await;
    let body = session.body().await;
    assert!(body.contains("\r\nTo: undisclosed-recipients:;\r\n") && !body.contains("x.example"), "{body}");
    session.say("250 2.0.0 Ok: queued as 4XyZ").await;
    let outcomes = outcomes(mails).await;
    let taken = Outcome::Accepted { reference: Some("4XyZ".into()) };
    assert_eq!((&outcomes[0], &outcomes[3]), (&taken, &taken));
    assert_eq!((fault(&outcomes[1]), holds(&outcomes[2])), (Some(Fault::Address), Some(Holds::Address)));
    // A single one later is the same mail.
    let mail = press(&driver, "c@x.example");
    assert_eq!(session.open().await, "c@x.example");
    assert_eq!(session.body().await, body);
    session.say("554 5.6.0 refused").await;
    assert_eq!(fault(&mail.await.expect("task")), Some(Fault::Message));
}

#[tokio::test]
async fn lost_after_the_dot_is_unknown_for_those_who_were_taken_alone() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mails = all(&driver, &["a", "unknown", "b"]);
    let mut session = server.greeted(PIPELINING).await;
    envelope(&mut session).await;
    session.say("250 ok\r\n250 ok\r\n550 5.1.1 unknown\r\n250 ok\r\n354 go").await;
    session.body().await;
    drop(session);
    let outcomes = outcomes(mails).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Unknown { .. })).count(), 2);
    assert_eq!(fault(&outcomes[1]), Some(Fault::Address));
}

#[tokio::test]
async fn what_the_server_says_to_the_sender_is_said_to_all() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mails = all(&driver, &["a", "b"]);
    let mut session = server.greeted(PIPELINING).await;
    envelope(&mut session).await;
    session.say("451 4.7.1 try later\r\n503 no sender\r\n503 no sender\r\n503 no recipients").await;
    session.expect("RSET").await;
    session.say("250 ok").await;
    assert!(outcomes(mails).await.iter().all(|outcome| holds(outcome) == Some(Holds::Channel)));
}

#[tokio::test]
async fn what_the_server_says_to_the_body_is_said_to_all_whom_it_took() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mails = all(&driver, &["a", "unknown", "b"]);
    let mut session = server.greeted(PIPELINING).await;
    envelope(&mut session).await;
    session.say("250 ok\r\n250 ok\r\n550 5.1.1 unknown\r\n250 ok\r\n354 go").await;
    session.body().await;
    session.say("451 4.3.0 trouble").await;
    let outcomes = outcomes(mails).await;
    assert_eq!([0, 2].map(|at| holds(&outcomes[at])), [Some(Holds::Channel); 2]);
    assert_eq!(fault(&outcomes[1]), Some(Fault::Address));
}

#[tokio::test]
async fn a_server_that_takes_fewer_gets_the_rest_in_the_next_transaction_and_is_known_from_then_on() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mails = all(&driver, &["a", "b", "c", "d", "e", "f"]);
    let mut session = server.greeted(PIPELINING).await;
    let mut told = envelope(&mut session).await;
    assert_eq!(told.len(), 6);
    told.truncate(2);
    let full = "452 4.5.3 Error: too many recipients\r\n".repeat(4);
    session.say(&format!("250 ok\r\n250 ok\r\n250 ok\r\n{full}354 go")).await;
    for _ in 0..2 {
        session.body().await;
        let next = envelope(&mut session).await;
        assert_eq!(next.len(), 2, "it takes two");
        told.extend(next);
        session.say("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go").await;
    }
    session.body().await;
    session.say("250 ok").await;
    assert!(outcomes(mails).await.iter().all(accepted));
    told.sort();
    assert_eq!(told, ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test]
async fn to_be_one_too_many_alone_is_ones_own_answer() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mail = press(&driver, "a@x.example");
    let mut session = server.greeted(PIPELINING).await;
    envelope(&mut session).await;
    session.say("250 ok\r\n452 4.5.3 too many recipients\r\n554 none").await;
    session.expect("RSET").await;
    assert_eq!(holds(&mail.await.expect("task")), Some(Holds::Channel));
}

#[tokio::test]
async fn without_pipelining_each_recipient_waits_for_the_answer_before() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mails = all(&driver, &["a", "unknown", "b"]);
    let mut session = server.greeted(&["8BITMIME"]).await;
    for (line, answer) in [
        ("MAIL", "250 ok"),
        ("RCPT TO:<a@", "250 ok"),
        ("RCPT TO:<unknown@", "550 5.1.1 unknown"),
        ("RCPT TO:<b@", "250 ok"),
        ("DATA", "354 go"),
    ] {
        session.expect(line).await;
        assert!(session.waits());
        session.say(answer).await;
    }
    session.body().await;
    session.say("250 ok").await;
    let outcomes = outcomes(mails).await;
    assert_eq!(
        (accepted(&outcomes[0]), fault(&outcomes[1]), accepted(&outcomes[2])),
        (true, Some(Fault::Address), true)
    );
}

#[tokio::test]
async fn a_farewell_in_mid_envelope_gives_those_not_refused_another_connection() {
    let server = Server::start().await;
    // Two connections at most.
    let driver = driver(&server, 4, &[]);
    let first = press(&driver, "first@x.example");
    let mut session = server.greeted(PIPELINING).await;
    session.envelope().await;
    let other = press(&driver, "other@x.example");
    let mut busy = server.greeted(PIPELINING).await;
    busy.envelope().await;
    let mails = all(&driver, &["unknown", "a"]);
    tokio::task::yield_now().await;
    session.say("250 ok\r\n250 ok\r\n354 go").await;
    session.body().await;
    assert_eq!(envelope(&mut session).await, ["unknown", "a"]);
    session.say("250 ok\r\n250 ok\r\n550 5.1.1 unknown\r\n421 4.7.0 that was enough").await;
    drop(session);
    assert!(accepted(&first.await.expect("task")));
    let mut session = server.greeted(PIPELINING).await;
    assert_eq!(session.open().await, "a@x.example");
    session.body().await;
    session.say("250 ok").await;
    let outcomes = outcomes(mails).await;
    assert_eq!((fault(&outcomes[0]), accepted(&outcomes[1])), (Some(Fault::Address), true));
    assert!(!other.is_finished());
}

#[tokio::test]
async fn a_server_that_ends_the_session_over_the_errors_of_some_is_met_anew_for_the_others() {
    let server = Server::start().await;
    let driver = driver(&server, 64, &[]);
    let mails = all(&driver, &["unknown", "a", "b"]);
    let mut session = server.greeted(PIPELINING).await;
    envelope(&mut session).await;
    session.say("250 ok\r\n550 5.1.1 unknown\r\n250 ok\r\n250 ok\r\n421 4.7.0 too many errors").await;
    drop(session);
    let mut session = server.greeted(PIPELINING).await;
    assert_eq!(envelope(&mut session).await, ["a", "b"]);
    session.say("421 4.3.2 shutting down").await;
    drop(session);
    let outcomes = outcomes(mails).await;
    assert_eq!(fault(&outcomes[0]), Some(Fault::Address));
    assert!(outcomes[1..].iter().all(|outcome| holds(outcome) == Some(Holds::Channel)), "once, and not for ever");
}

/// Takes five recipients a transaction, knows no `unknown`, and ends each session after three mails, the third with its body and
/// without a word. What it took, transaction by transaction.
async fn serve(mut session: Session, taken: mpsc::UnboundedSender<Vec<String>>) {
    session.greet(PIPELINING).await;
    let (mut names, mut mails) = (Vec::new(), 0);
    loop {
        let line = session.line().await;
        match line.split([' ', ':']).next() {
            Some("RCPT") if line.contains("<unknown") => session.say("550 5.1.1 unknown").await,
            Some("RCPT") if names.len() == 5 => session.say("452 4.5.3 too many recipients").await,
            Some("RCPT") => {
                names.push(line["RCPT TO:<".len()..].trim_end_matches('>').to_string());
                session.say("250 ok").await;
            }
            Some("DATA") if names.is_empty() => session.say("554 no recipients").await,
            Some("DATA") => {
                session.say("354 go").await;
                session.body().await;
                let _ = taken.send(std::mem::take(&mut names));
                mails += 1;
                if mails == 3 {
                    return;
                }
                session.say("250 ok").await;
            }
            Some("MAIL" | "RSET") => session.say("250 ok").await,
            _ => return session.say("221 bye").await,
        }
    }
}

#[tokio::test]
async fn in_a_crowd_of_the_same_mail_nobody_is_told_twice_and_each_has_its_own_outcome() {
    for seed in 1..4 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let server = Server::start().await;
        let driver = driver(&server, 40, &[]);
        let (taken, mut took) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            loop {
                tokio::spawn(serve(server.session().await, taken.clone()));
            }
        });
        let mut expected = BTreeSet::new();
        let mails: Vec<_> = (0..400)
            .map(|n| {
                let kind = *chance.choice(&["ok", "ok", "ok", "unknown"]).expect("a kind");
                let to = format!("{kind}.{n}@x.example");
                let mail = press(&driver, &to);
                (to, mail)
            })
            .collect();
        for (to, mail) in mails {
            let outcome = mail.await.expect("task");
            match to.starts_with("unknown") {
                // A session that ended twice under it defers it.
                true => assert!(fault(&outcome) == Some(Fault::Address) || holds(&outcome) == Some(Holds::Channel)),
                // Nobody knows what came of the third mail of a session; it was taken.
                false if accepted(&outcome) || matches!(outcome, Outcome::Unknown { .. }) => drop(expected.insert(to)),
                false => assert_eq!(holds(&outcome), Some(Holds::Channel), "seed {seed}: {to} got {outcome:?}"),
            }
        }
        serving.abort();
        let mut all: Vec<String> = Vec::new();
        while let Ok(names) = took.try_recv() {
            all.extend(names);
        }
        assert_eq!(all.len(), expected.len(), "seed {seed}: some arrived twice, or were not said to have arrived");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), expected, "seed {seed}");
        assert!(expected.len() > 150, "seed {seed}: {}", expected.len());
    }
}

#[tokio::test]
async fn no_transaction_has_more_than_fifty_recipients() {
    let server = Server::start().await;
    let driver = driver(&server, 256, &[]);
    let (taken, mut took) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move {
        loop {
            let (mut session, taken) = (server.session().await, taken.clone());
            tokio::spawn(async move {
                session.greet(PIPELINING).await;
                let names = envelope(&mut session).await;
                session.say(&format!("250 ok\r\n{}354 go", "250 ok\r\n".repeat(names.len()))).await;
                session.body().await;
                let _ = taken.send(names.len());
                session.say("250 ok").await;
                session.line().await;
            });
        }
    });
    let mails: Vec<_> = (0..120).map(|n| press(&driver, &format!("m{n}@x.example"))).collect();
    assert!(outcomes(mails).await.iter().all(accepted));
    serving.abort();
    let mut sizes = Vec::new();
    while let Ok(size) = took.try_recv() {
        sizes.push(size);
    }
    sizes.sort();
    assert_eq!(sizes, [20, 50, 50]);
}
