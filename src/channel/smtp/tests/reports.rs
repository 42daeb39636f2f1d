//! What a relay is asked to report, and where to.

use super::*;

#[tokio::test]
async fn where_bounces_go_and_what_a_relay_reports_is_said_in_the_envelope() {
    let server = Server::start().await;
    let more = [("return_path", "bounces+{delivery}@acme.example"), ("dsn", "success")];
    for (offers, mail_from, rcpt_to) in [
        (&["PIPELINING", "DSN"][..], " RET=HDRS ENVID=dlv_9_5_2_0123456789", " NOTIFY=SUCCESS,FAILURE"),
        (&["DSN"][..], " RET=HDRS ENVID=dlv_9_5_2_0123456789", " NOTIFY=SUCCESS,FAILURE"),
        (PIPELINING, "", ""),
    ] {
        let driver = driver(&server, 1, &more);
        let mail = send(&driver, "a@x.example");
        let mut session = server.greeted(offers).await;
        let (from, to) = ("MAIL FROM:<bounces+dlv_9_5_2_0123456789@acme.example>", "RCPT TO:<a@x.example>");
        for (expected, answer) in [
            (format!("{from}{mail_from}"), "250 ok"),
            (format!("{to}{rcpt_to}"), "250 ok"),
            ("DATA".to_string(), "354 go"),
        ] {
            assert_eq!(session.line().await, expected, "{offers:?}");
            session.say(answer).await;
        }
        session.body().await;
        session.say("250 ok").await;
        assert!(accepted(&mail.await.expect("task")));
    }
}
