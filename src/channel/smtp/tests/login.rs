//! Who we are, as the server asks for it.

use super::*;

#[tokio::test]
async fn a_wrong_password_is_the_channels_fault_and_does_not_show() {
    let server = Server::start().await;
    let driver = driver(&server, 1, &[("username", "loud"), ("password", "hunter2")]);
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(&["AUTH PLAIN LOGIN"]).await;
    session.expect("AUTH PLAIN AGxvdWQAaHVudGVyMg==").await;
    session.say("535 5.7.8 authentication failed for loud@x.example by hunter2, AGxvdWQAaHVudGVyMg==").await;
    let outcome = mail.await.expect("task");
    assert_eq!(fault(&outcome), Some(Fault::Channel));
    let shown = format!("{outcome:?}");
    assert!(["loud", "hunter2", "AGxvdWQ"].iter().all(|secret| !shown.contains(secret)), "{shown}");
}

#[tokio::test]
async fn login_is_spoken_where_plain_is_not() {
    let server = Server::start().await;
    let driver = driver(&server, 1, &[("username", "loud"), ("password", "hunter2")]);
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(&["AUTH LOGIN"]).await;
    session.expect("AUTH LOGIN").await;
    session.say("334 VXNlcm5hbWU6").await;
    session.expect("bG91ZA==").await;
    session.say("334 UGFzc3dvcmQ6").await;
    session.expect("aHVudGVyMg==").await;
    session.say("235 ok").await;
    session.expect("MAIL").await;
    drop(session);
    assert_eq!(holds(&mail.await.expect("task")), Some(Holds::Channel));
}

#[tokio::test]
async fn a_token_is_said_as_it_stands_in_its_file_at_each_connection_and_a_refusal_ends_the_channel() {
    let file = tempfile::NamedTempFile::new().expect("file");
    let path = file.path().to_str().expect("path");
    let renewed = |token: &str| std::fs::write(file.path(), token).expect("written");
    renewed("ya29.first\n");
    let server = Server::start().await;
    let driver = driver(&server, 1, &[("auth", "xoauth2"), ("username", "someuser@example.com"), ("token_file", path)]);
    let said = |token: &str| {
        use base64::Engine;
        let said = format!("user=someuser@example.com\u{1}auth=Bearer {token}\u{1}\u{1}");
        format!("AUTH XOAUTH2 {}", base64::engine::general_purpose::STANDARD.encode(said))
    };

    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(&["AUTH PLAIN XOAUTH2"]).await;
    assert_eq!(session.line().await, said("ya29.first"));
    session
        .say("334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K")
        .await;
    assert_eq!(session.line().await, "", "an empty answer");
    session.say("535 5.7.8 Username and Password not accepted: ya29.first").await;
    let outcome = mail.await.expect("task");
    assert_eq!(fault(&outcome), Some(Fault::Channel));
    let shown = format!("{outcome:?}");
    assert!(shown.contains("535") && !shown.contains("ya29.first"), "{shown}");

    renewed("ya29.second");
    let mail = send(&driver, "a@x.example");
    let mut session = server.greeted(&["PIPELINING", "AUTH XOAUTH2"]).await;
    assert_eq!(session.line().await, said("ya29.second"));
    session.say("235 ok").await;
    session.open().await;
    session.body().await;
    session.say("250 ok").await;
    assert!(accepted(&mail.await.expect("task")));
    drop(session);

    // In the moment in which it is written anew there may be none.
    renewed("");
    let mail = send(&driver, "a@x.example");
    let _session = server.greeted(&["AUTH XOAUTH2"]).await;
    assert_eq!(holds(&mail.await.expect("task")), Some(Holds::Channel));
    renewed("ya29.third");
    let mail = send(&driver, "a@x.example");
    let _session = server.greeted(&["AUTH PLAIN LOGIN"]).await;
    assert_eq!(fault(&mail.await.expect("task")), Some(Fault::Channel), "it is said to nobody who does not ask for it");
}
