use super::*;

/// As Postfix writes it.
const BOUNCE: &str = include_str!("../../../fuzz/seeds/report/bounce");
/// RFC 5965, appendix B.2, but for the Message-ID of what is returned.
const COMPLAINT: &str = include_str!("../../../fuzz/seeds/report/complaint");
const ID: &str = "dlv_1_2_3_example000";

fn said(mail: &str) -> Option<Value> {
    let said = read(mail.as_bytes());
    assert_eq!(said, read(mail.replace('\n', "\r\n").as_bytes()), "however lines end");
    attacked(mail.as_bytes());
    said
}

fn bounce(fields: &str) -> Option<Value> {
    let (before, rest) = BOUNCE.split_once("Action: failed").expect("a field");
    let after = &rest[rest.find("\n\n").expect("its end")..];
    said(&format!("{before}{fields}{after}"))
}

#[test]
fn a_report_says_what_became_of_which_delivery() {
    let expected = json!({ "delivery": ID, "event": "bounced", "fault": "address", "status": "5.1.1" });
    assert_eq!(said(BOUNCE), Some(expected));
    assert_eq!(said(COMPLAINT), Some(json!({ "delivery": ID, "event": "complained" })));
}

#[test]
fn a_delivery_is_known_by_whatever_comes_back() {
    let without = |names: &[&str]| {
        let mail: Vec<&str> = BOUNCE.lines().filter(|line| !names.iter().any(|name| line.starts_with(name))).collect();
        said(&mail.join("\n")).expect("a report")["delivery"].as_str().map(String::from)
    };
    let all = ["To:", "Original-Envelope-Id:", "Message-ID:", "Return-Path:"];
    assert_eq!(without(&all), None);
    for kept in all {
        let others: Vec<&str> = all.iter().filter(|name| **name != kept).copied().collect();
        assert_eq!(without(&others).as_deref(), Some(ID), "{kept}");
    }
    let returned = |with: &str, kind: &str| said(&with.replace("text/rfc822-headers", kind)).expect("a report");
    let bare = BOUNCE.replacen("To: bounces+dlv_1_2_3_example000", "To: bounces", 1).replace("Original-Env", "X-Env");
    for kind in ["message/rfc822", "text/rfc822-headers", "message/global-headers", "message/global"] {
        assert_eq!(returned(&bare, kind)["delivery"], ID, "{kind}");
    }
    let by_envelope = COMPLAINT
        .replace("Message-ID: <dlv_1_2_3_example000", "Message-ID: <other")
        .replace("Original-Mail-From: <somespammer", "Original-Mail-From: <bounces+dlv_1_2_3_example000");
    assert_eq!(said(&by_envelope).expect("a complaint")["delivery"], ID);
}

#[test]
fn a_status_says_whose_fault_it_is() {
    for (fields, fault) in [
        ("Action: failed\nStatus: 5.1.1", "address"),
        ("Action: Failed\nStatus: 5.1.10 (null MX)", "address"),
        ("Action: failed\nStatus: 5.2.1\nDiagnostic-Code: smtp; 550 5.2.1 disabled", "address"),
        ("Action: failed\nStatus: 5.4.4\nDiagnostic-Code: X-Postfix; Host or domain name not found", "address"),
        // Of what is given up after days nobody knows that it is gone for ever.
        ("Action: failed\nStatus: 4.4.1\nDiagnostic-Code: X-Postfix; connect: Connection timed out", "message"),
        ("Action: failed\nStatus: 4.2.2\nDiagnostic-Code: smtp; 452 4.2.2 mailbox full", "message"),
        ("Action: failed\nStatus: 5.4.7", "message"),
        ("Action: failed\nStatus: 5.4.6\nDiagnostic-Code: X-Postfix; mail loops back to myself", "message"),
        ("Action: failed\nStatus: 5.7.1\nDiagnostic-Code: smtp; 554 5.7.1 spam", "message"),
        ("Action: failed\nStatus: 5.1.8", "channel"),
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550-5.1.1 no such user", "address"),
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 no such user", "address"),
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 554 no", "message"),
        ("Action: failed\nStatus: 5.0.0", "message"),
        ("Action: failed", "message"),
        ("Action: failed\nStatus: five", "message"),
    ] {
        let said = bounce(fields).unwrap_or_else(|| panic!("{fields}"));
        assert_eq!((said["event"].as_str(), said["fault"].as_str()), (Some("bounced"), Some(fault)), "{fields}");
    }
}

#[test]
fn what_is_no_end_is_no_bounce() {
    for fields in
        ["Action: delayed\nStatus: 4.4.1", "Action: relayed\nStatus: 2.0.0", "Action: expanded\nStatus: 2.0.0", ""]
    {
        assert_eq!(bounce(fields), None, "{fields}");
    }
    let delivered = bounce("Action: delivered\nStatus: 2.0.0").expect("a report");
    assert_eq!(delivered, json!({ "event": "delivered", "delivery": ID }));
}

#[test]
fn an_address_that_stands_for_several_has_bounced_only_where_all_of_them_have() {
    let other =
        |second: &str| bounce(&format!("Action: failed\nStatus: 5.1.1\n\nFinal-Recipient: rfc822; b@x\n{second}"));
    assert_eq!(other("Action: failed\nStatus: 5.1.1").expect("a report")["fault"], "address");
    assert_eq!(other("Action: failed\nStatus: 5.7.1").expect("a report")["fault"], "message");
    assert_eq!(other("Action: delivered\nStatus: 2.0.0").expect("a report")["event"], "delivered");
    assert_eq!(other("Action: delayed\nStatus: 4.4.1"), None);
}

#[test]
fn only_abuse_is_a_complaint() {
    for kind in ["not-spam", "auth-failure", "fraud", "virus", "other", "opt-out-list"] {
        assert_eq!(said(&COMPLAINT.replace("Feedback-Type: abuse", &format!("Feedback-Type: {kind}"))), None, "{kind}");
    }
}

#[test]
fn other_mails_say_nothing() {
    let absent = "From: a@example.org\nTo: bounces+dlv_1_2_3_example000@example.org\nSubject: Away\n\nUntil Monday.\n";
    let forwarded = format!(
        "From: a@example.org\nTo: b@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n\
         --x\nContent-Type: text/plain\n\nLook.\n--x\nContent-Type: message/rfc822\n\n{BOUNCE}\n--x--\n"
    );
    let seen = BOUNCE.replace("report-type=delivery-status", "report-type=disposition-notification");
    // A report within what a report returns is not its own.
    let inner = BOUNCE.replace("Content-Type: message/delivery-status", "Content-Type: text/plain").replace(
        "Content-Type: text/rfc822-headers",
        &format!("Content-Type: message/rfc822\n\n{}", BOUNCE.replace("4XyZ.16", "inner.16")),
    );
    for mail in ["", "\n", absent, &forwarded, &seen, &inner] {
        assert_eq!(said(mail), None, "{mail}");
    }
}

#[test]
fn a_part_is_read_in_its_encoding_and_without_its_end() {
    let (before, rest) = BOUNCE.split_once("Content-Type: message/delivery-status\n\n").expect("a part");
    let (status, after) = rest.split_once("\n--4XyZ").expect("its end");
    let encoded = |encoding: &str, text: &str| {
        let head = "Content-Type: message/delivery-status\nContent-Transfer-Encoding:";
        said(&format!("{before}{head} {encoding}\n\n{text}\n--4XyZ{after}"))
    };
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD.encode(status);
    assert_eq!(encoded("base64", &base64), said(BOUNCE));
    assert_eq!(encoded("quoted-printable", &status.replace("5.1.1", "5=2E1.1")), said(BOUNCE));
    let cut = &BOUNCE[..BOUNCE.find("Subject: Payments").expect("a header")];
    assert_eq!(said(cut), said(BOUNCE));
}

#[test]
fn a_report_is_read_however_much_it_returns() {
    let returned = "x".repeat(70) + "\n";
    let long = BOUNCE
        .replace("text/rfc822-headers", "message/rfc822")
        .replace("Subject: Payments are down\n", &format!("Subject: Payments are down\n\n{}", returned.repeat(20_000)));
    assert_eq!(said(&long), said(BOUNCE));
}

/// Whoever writes to us may write anything, and needs no password for it. On a part of the stack that a thread has.
#[test]
fn what_nests_as_deep_as_it_fits_needs_little_of_the_stack() {
    let reading = || {
        let head =
            "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\n\n--x\n";
        for piece in [
            "Content-Type:message/rfc822\n\n",
            "Content-Type:multipart/mixed;boundary=x\n\n--x\n",
            "Content-Type:multipart/digest;boundary=x\n\n--x\n\n",
            "Content-Type:message/rfc822\nContent-Transfer-Encoding:base64\n\n",
            "--x\nContent-Type:message/delivery-status\n\nContent-Type:message/rfc822\n\n",
        ] {
            let twice = ["message/rfc822", "message/delivery-status", "message/rfc822"];
            let twice =
                twice.windows(2).map(|two| format!("{head}Content-Type: {}\nContent-Type: {}\n\n", two[0], two[1]));
            for head in ["".to_string(), head.to_string()].into_iter().chain(twice) {
                attacked((head + &piece.repeat(LIMIT / piece.len())).as_bytes());
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(1 << 18).spawn(reading);
    thread.expect("a thread").join().expect("no panic");
}
