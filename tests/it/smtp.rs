//! The SMTP driver against Postfix: what it refuses, and that what it accepts lies in the mailbox as it was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use loudhailer::channel::smtp::Smtp;
use loudhailer::channel::{Driver, Fault, Holds, Outcome, Parcel};
use loudhailer::clock::{Clock, Time};
use loudhailer::config::{Secret, Sender};
use loudhailer::id::BroadcastId;
use loudhailer::render::message::Filled;
use mail_parser::{HeaderValue, MessageParser};

use crate::peers::{eventually, mails_to, peer, peers};

fn driver(settings: &[(&str, &str)]) -> Smtp {
    driver_for(settings, 8)
}

fn driver_for(settings: &[(&str, &str)], concurrency: usize) -> Smtp {
    let settings: BTreeMap<String, Secret> =
        settings.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect();
    let sender = Sender {
        name: "Größe & Co".into(),
        email: "status@example.test".into(),
        status_page: "status.example.test".into(),
        locale: "en".into(),
        zone: "UTC".into(),
    };
    Smtp::new(&settings, &sender, concurrency, Arc::new(Clock::system())).expect("settings")
}

fn parcel(to: &str) -> Parcel {
    Parcel {
        id: "dlv_7_8_0_abcdefghjk".into(),
        broadcast: Some(BroadcastId(7)),
        incident: None,
        to: to.into(),
        secrets: Vec::new(),
        message: Arc::new(
            Filled {
                title: Some("भुगतान बाधित – Störung".into()),
                text: "Zahlungen schlagen fehl.\n.\n..\nFrom hier\nभुगतान बाधित हैं।\n".into(),
                html: Some("<p>Zahlungen schlagen fehl.</p>\n.\n".into()),
                locale: "de".into(),
            }
            .into(),
        ),
        name: None,
        unsubscribe_url: Some("https://status.example.test/u/token".into()),
        urgent: true,
        follows: None,
        at: Time::parse("2021-10-04T15:51:00Z").expect("time"),
    }
}

async fn arrives_whole(driver: &Smtp, to: &str) {
    let outcome = driver.send(parcel(to)).await;
    assert!(matches!(&outcome, Outcome::Accepted { reference: Some(_) }), "{outcome:?}");
    let raw = eventually(|| mails_to(to).pop()).expect("the mail did not arrive");
    let mail = MessageParser::default().parse(raw.as_bytes()).expect("parses");
    let expected = parcel(to).filled();
    assert_eq!(mail.subject(), expected.title.as_deref());
    assert_eq!(mail.body_text(0).map(|text| text.replace("\r\n", "\n")), Some(expected.text));
    assert_eq!(mail.body_html(0).map(|html| html.replace("\r\n", "\n")), expected.html);
    assert_eq!(mail.message_id(), Some("dlv_7_8_0_abcdefghjk@example.test"));
    assert_eq!(mail.from().and_then(|from| from.first()?.name()), Some("Größe & Co"));
    assert!(
        raw.contains("\nReturn-Path: <status@example.test>\n")
            || raw.starts_with("Return-Path: <status@example.test>\n")
    );
    // Postfix delivers with bare line feeds.
    assert!(raw.contains("\nList-Unsubscribe: <https://status.example.test/u/token>\n"), "{raw}");
    let text = |name: &str| match mail.header(name) {
        Some(HeaderValue::Text(text)) => Some(text.to_string()),
        _ => None,
    };
    assert_eq!(text("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    assert_eq!(text("Auto-Submitted").as_deref(), Some("auto-generated"));
}

#[tokio::test]
async fn a_mail_arrives_whole_over_starttls_and_auth() {
    let names = ["postfix_submission", "postfix_user", "postfix_password", "ca"];
    let Some([postfix, user, password, ca]) = peers(names) else { return };
    let url = format!("smtp://{postfix}");
    let login = [("url", url.as_str()), ("tls", "required"), ("ca_file", &ca), ("username", &user)];
    let right = driver(&[&login[..], &[("password", password.as_str())]].concat());
    arrives_whole(&right, "starttls@example.com").await;

    let wrong = driver(&[&login[..], &[("password", "wrong")]].concat());
    let outcome = wrong.send(parcel("wrong@example.com")).await;
    let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.starts_with("535 "), "{detail}");
}

#[tokio::test]
async fn a_mail_arrives_whole_over_implicit_tls() {
    let names = ["postfix_tls", "postfix_user", "postfix_password", "ca"];
    let Some([postfix, user, password, ca]) = peers(names) else { return };
    let url = format!("smtps://{postfix}");
    let settings = [("url", url.as_str()), ("ca_file", &ca), ("username", &user), ("password", &password)];
    arrives_whole(&driver(&settings), "implicit@example.com").await;
}

/// The system does not know the tests' authority.
#[tokio::test]
async fn a_certificate_that_cannot_be_verified_ends_the_channel_before_the_password() {
    let Some([postfix, user, password]) = peers(["postfix_submission", "postfix_user", "postfix_password"]) else {
        return;
    };
    let url = format!("smtp://{postfix}");
    let settings = [("url", url.as_str()), ("tls", "required"), ("username", &user), ("password", &password)];
    let outcome = driver(&settings).send(parcel("stranger@example.com")).await;
    let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.starts_with("TLS: "), "{detail}");
}

/// In one crowd over few connections, so that refused and accepted mails follow each other in one pipeline.
#[tokio::test]
async fn each_recipient_has_its_own_answer() {
    let Some(postfix) = peer("postfix") else { return };
    let url = format!("smtp://{postfix}");
    let driver = driver(&[("url", &url), ("tls", "none")]);
    let kinds = ["550", "ok", "554", "450", "ok", "451", "452", "ok"];
    let run = std::process::id(); // the mailbox outlives a run
    let sends = (0..80).map(|n| {
        let kind = kinds[n % kinds.len()];
        let to = if kind == "ok" {
            format!("crowd-{n}-{run}@example.com")
        } else {
            format!("answer-{kind}-{n}@example.com")
        };
        let mut parcel = parcel(&to);
        parcel.urgent = false;
        let outcome = driver.send(parcel);
        async move { (kind, to, outcome.await) }
    });
    for (kind, to, outcome) in futures_util::future::join_all(sends).await {
        let right = match (kind, &outcome) {
            ("ok", Outcome::Accepted { .. }) => {
                eventually(|| mails_to(&to).pop()).is_some() && mails_to(&to).len() == 1
            }
            ("550", Outcome::Rejected { fault: Fault::Address, .. }) => true,
            ("554", Outcome::Rejected { fault: Fault::Message, .. }) => true,
            ("450" | "452", Outcome::Deferred { holds: Holds::Address, .. }) => true,
            // 4.3.0: the server's own trouble.
            ("451", Outcome::Deferred { holds: Holds::Channel, .. }) => true,
            _ => false,
        };
        assert!(right, "{to}: {outcome:?}");
    }
    let outcome = driver.send(parcel("answer-421-x@example.com")).await;
    assert!(matches!(outcome, Outcome::Deferred { holds: Holds::Channel, .. }), "{outcome:?}");
}

/// As the press is told: nothing in the mail is anybody's own.
fn impersonal(to: &str) -> Parcel {
    Parcel { unsubscribe_url: None, urgent: false, ..parcel(to) }
}

/// Half of them are refused, and Postfix ends a session after twenty errors.
#[tokio::test]
async fn one_mail_to_many_arrives_at_each_and_names_none_of_them() {
    let Some(postfix) = peer("postfix") else { return };
    let url = format!("smtp://{postfix}");
    let driver = driver_for(&[("url", &url), ("tls", "none")], 64);
    let run = std::process::id();
    let kinds = ["ok", "550", "ok", "450"];
    let parcels: Vec<_> = (0..40)
        .map(|n| match kinds[n % kinds.len()] {
            "ok" => (n, impersonal(&format!("press-{n}-{run}@example.com"))),
            kind => (n, impersonal(&format!("answer-{kind}-press-{n}@example.com"))),
        })
        .collect();
    let sends = parcels.into_iter().map(|(n, parcel)| {
        let to = parcel.to.clone();
        let outcome = driver.send(parcel);
        async move { (kinds[n % kinds.len()], to, outcome.await) }
    });
    let (mut references, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for (kind, to, outcome) in futures_util::future::join_all(sends).await {
        match (kind, outcome) {
            ("ok", Outcome::Accepted { reference: Some(reference) }) => {
                references.insert(reference);
                let raw = eventually(|| mails_to(&to).pop()).expect("the mail did not arrive");
                assert_eq!(mails_to(&to).len(), 1, "{to}");
                assert!(raw.contains("\nTo: undisclosed-recipients:;\n") && !raw.contains("List-Unsubscribe"), "{raw}");
                // But for what Postfix writes at the top, which each reads of themselves.
                assert_eq!(raw.matches("press-").count(), raw.matches(&*to).count(), "{raw}");
                let mail = MessageParser::default().parse(raw.as_bytes()).expect("parses").into_owned();
                ids.insert(mail.message_id().expect("an id").to_string());
            }
            ("550", Outcome::Rejected { fault: Fault::Address, .. }) => {}
            ("450", Outcome::Deferred { holds: Holds::Address, .. }) => {}
            (_, outcome) => panic!("{to}: {outcome:?}"),
        }
    }
    assert_eq!((references.len(), ids.len()), (1, 1), "one mail in Postfix's queue, under one id");
    assert!(ids.iter().all(|id| id.starts_with("brd_7_")), "{ids:?}");
}

/// A server that answers at once, whatever is sent.
#[tokio::test]
async fn a_fast_server_takes_every_mail_of_a_crowd() {
    let Some(sink) = peer("smtp_sink") else { return };
    let driver = driver(&[("url", &format!("smtp://{sink}")), ("tls", "none")]);
    let parcels: Vec<Parcel> = (0..400).map(|n| parcel(&format!("crowd-{n}@example.com"))).collect();
    let sends = parcels.into_iter().map(|parcel| driver.send(parcel));
    for outcome in futures_util::future::join_all(sends).await {
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    }
    let press = driver_for(&[("url", &format!("smtp://{sink}")), ("tls", "none")], 400);
    let parcels: Vec<Parcel> = (0..400).map(|n| impersonal(&format!("press-{n}@example.com"))).collect();
    for outcome in futures_util::future::join_all(parcels.into_iter().map(|parcel| press.send(parcel))).await {
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    }
}
