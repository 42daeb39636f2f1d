use mail_parser::{MessageParser, MimeHeaders};

use super::super::settings::tests::{sender, settings};
use super::*;
use crate::id::BroadcastId;
use crate::render::message::{Escape, Filled, Segment};

pub fn filled() -> Filled {
    Filled {
        title: Some("Störung bei Zahlungen".into()),
        text: "Zahlungen schlagen fehl.\n.\n\nNächste Meldung: 16:30\n".into(),
        html: Some("<p>Zahlungen schlagen <b>fehl</b>.</p>\n.hidden\n".into()),
        locale: "de".into(),
    }
}

pub fn parcel(to: &str) -> Parcel {
    Parcel {
        id: "dlv_9_5_2_0123456789".into(),
        broadcast: Some(BroadcastId(9)),
        incident: None,
        to: to.into(),
        secrets: Vec::new(),
        message: Arc::new(filled().into()),
        name: None,
        unsubscribe_url: Some("https://status.acme.example/u/abc".into()),
        urgent: false,
        follows: None,
        at: Time::parse("2021-10-04T15:51:00Z").expect("time"),
    }
}

fn head() -> Head {
    let pairs = settings(&[("url", "smtp://127.0.0.1"), ("list_id", "status.acme.example")]);
    Head::new(&Settings::read(&pairs, &sender()).expect("settings"))
}

/// What a receiver makes of the wire's bytes.
pub fn unstuffed(bytes: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).expect("utf-8").strip_suffix(".\r\n").expect("final dot");
    assert!(!text.contains("\r\n.\r\n"), "ends early");
    text.replace("\r\n.", "\r\n").into_bytes()
}

#[test]
fn a_mail_parses_into_what_the_parcel_says() {
    let mail = head().mail(&parcel("ann@example.com")).expect("mail");
    assert!(mail.bytes.is_ascii() && mail.bytes.split(|b| *b == b'\n').all(|line| line.len() <= 998));
    let raw = unstuffed(&mail.bytes);
    let parsed = MessageParser::default().parse(&raw).expect("parses");
    assert_eq!(parsed.subject(), Some("Störung bei Zahlungen"));
    assert_eq!(
        parsed.body_text(0).expect("text").replace("\r\n", "\n"),
        "Zahlungen schlagen fehl.\n.\n\nNächste Meldung: 16:30\n"
    );
    assert_eq!(
        parsed.body_html(0).expect("html").replace("\r\n", "\n"),
        "<p>Zahlungen schlagen <b>fehl</b>.</p>\n.hidden\n"
    );
    assert_eq!(parsed.message_id(), Some("dlv_9_5_2_0123456789@acme.example"));
    assert_eq!(parsed.date().map(|date| date.to_timestamp()), Some(1633362660));
    let address =
        |address: Option<&mail_parser::Address<'_>>| address.and_then(|a| a.first()?.address().map(String::from));
    assert_eq!(address(parsed.to()).as_deref(), Some("ann@example.com"));
    assert_eq!(address(parsed.from()).as_deref(), Some("status@acme.example"));
    assert_eq!(parsed.content_type().map(|c| c.ctype()), Some("multipart"));
}

#[test]
fn the_headers_are_these_and_no_others() {
    let mail = head().mail(&parcel("ann@example.com")).expect("mail");
    let text = String::from_utf8(mail.bytes.to_vec()).expect("ascii");
    insta::assert_snapshot!(text.replace("\r\n", "\n"));
}

#[test]
fn without_html_or_unsubscribing_there_is_no_trace_of_them() {
    let mut parcel = parcel("ann@example.com");
    parcel.message = Arc::new(Filled { html: None, ..filled() }.into());
    parcel.unsubscribe_url = None;
    let text = String::from_utf8(head().mail(&parcel).expect("mail").bytes.to_vec()).expect("ascii");
    assert!(!text.contains("multipart") && !text.contains("List-Unsubscribe") && text.contains("text/plain"));
}

#[test]
fn the_same_parcel_is_the_same_bytes() {
    let head = head();
    let bytes = |parcel: &Parcel| head.mail(parcel).expect("mail").bytes.to_vec();
    assert_eq!(bytes(&parcel("ann@example.com")), bytes(&parcel("ann@example.com")));
}

/// To somebody of the press: no link of their own.
pub fn impersonal(to: &str) -> Parcel {
    Parcel { id: format!("dlv_{}", to.len()), unsubscribe_url: None, ..parcel(to) }
}

#[test]
fn what_names_nobody_is_one_mail_for_all_under_the_broadcasts_id_at_every_try() {
    let mail = head().mail(&impersonal("ann@example.com")).expect("mail");
    let text = String::from_utf8(mail.bytes.to_vec()).expect("ascii");
    let [digest, to] = ["Message-ID: <brd_9_", "To: "].map(|from| {
        let (_, rest) = text.split_once(from).expect(from);
        rest.split(['@', '\r']).next().expect("a value")
    });
    assert_eq!((digest.len(), to), (20, "undisclosed-recipients:;"));
    assert!(!text.contains("ann@example.com") && !text.contains("List-Unsubscribe"), "{text}");
    assert!(text.contains(&format!("boundary=\"=_brd_9_{digest}\"")), "{text}");
    // After a restart the words are read from the store.
    let mut again = impersonal("bob@example.org");
    again.name = Some("Bob".into());
    again.message = Arc::new(Message::from_bytes(&again.message.to_bytes()).expect("words"));
    let again = head().mail(&again).expect("mail");
    assert_eq!(again.bytes.to_vec(), mail.bytes.to_vec());
    assert!(again.goes_with(&mail));
}

#[test]
fn what_is_anybodys_own_goes_with_nobody_elses() {
    let head = head();
    let mail = |set: &dyn Fn(&mut Parcel)| {
        let mut parcel = impersonal("ann@example.com");
        set(&mut parcel);
        head.mail(&parcel).expect("mail")
    };
    let field = |name: &str| {
        let field = Segment::Field { name: name.into(), default: "all".into(), escape: Escape::None };
        Arc::new(Message { text: vec![field], ..filled().into() })
    };
    let shared = mail(&|_| ());
    assert!(mail(&|parcel| parcel.to = "bob@example.org".into()).goes_with(&shared));
    assert!(mail(&|parcel| parcel.message = field("unsubscribe_url")).is_shared(), "the same for all without a link");
    for own in [
        mail(&|parcel| parcel.unsubscribe_url = Some("https://status.acme.example/u/abc".into())),
        mail(&|parcel| parcel.message = field("name")),
        mail(&|parcel| parcel.message = field("delivery")),
        mail(&|parcel| parcel.broadcast = None),
        mail(&|parcel| parcel.to = "jörg@example.org".into()),
    ] {
        assert!(!own.is_shared());
    }
    for other in [
        mail(&|parcel| parcel.broadcast = Some(BroadcastId(10))),
        mail(&|parcel| parcel.at = Time(0)),
        mail(&|parcel| parcel.message = Arc::new(Filled { locale: "en".into(), ..filled() }.into())),
    ] {
        assert!(other.is_shared() && !other.goes_with(&shared));
    }
}

#[test]
fn where_bounces_go_to_an_address_of_their_own_everyone_gets_their_own_envelope() {
    let head = |name: &str, value: &str| {
        let pairs = settings(&[("url", "smtp://127.0.0.1"), (name, value)]);
        Head::new(&Settings::read(&pairs, &sender()).expect("settings"))
    };
    let own =
        head("return_path", "bounces+{delivery}@acme.example").mail(&impersonal("ann@example.com")).expect("mail");
    assert_eq!(own.return_path.as_deref(), Some("bounces+dlv_15@acme.example"));
    let named = head("dsn", "failure").mail(&impersonal("ann@example.com")).expect("mail");
    assert_eq!(named.envelope.as_deref(), Some("dlv_15"));
    for mail in [&own, &named] {
        assert!(!mail.is_shared() && !mail.goes_with(mail));
        assert!(matches!(mail.bytes, Bytes::Shared(_)), "the words are written once all the same");
    }
    let mut bad = impersonal("ann@example.com");
    bad.id = "dlv_1>\r\nRCPT TO:<x@y>".into();
    let head = head("return_path", "bounces+{delivery}@acme.example");
    assert!(matches!(head.mail(&bad), Err(Outcome::Rejected { fault: Fault::Message, .. })));
}

#[test]
fn what_could_break_out_of_its_place_is_refused() {
    let fault = |parcel: &Parcel| match head().mail(parcel) {
        Err(Outcome::Rejected { fault, detail }) => {
            assert!(!detail.contains('@'), "{detail}");
            Some(fault)
        }
        _ => None,
    };
    for to in [
        "a@b.example\r\nDATA",
        "a\n@b.example",
        "a b@c.example",
        "a@b>@c.example",
        "",
        "@",
        "a@",
        "a@b\u{0}c",
        "a@b.example>",
    ] {
        assert_eq!(fault(&parcel(to)), Some(Fault::Address), "{to:?}");
    }
    for url in ["https://x/\r\nBcc: a@b", "https://x/>,<mailto:a@b", "https://x/ü", ""] {
        let mut parcel = parcel("ann@example.com");
        parcel.unsubscribe_url = Some(url.into());
        assert_eq!(fault(&parcel), Some(Fault::Message), "{url:?}");
    }
    let mut bad = parcel("ann@example.com");
    bad.id = "dlv_1>\r\n".into();
    assert_eq!(fault(&bad), Some(Fault::Message));
}

#[test]
fn domains_travel_in_ascii_and_local_parts_as_utf8() {
    assert_eq!(recipient("ann@bücher.example"), Some(("ann@xn--bcher-kva.example".into(), false)));
    assert_eq!(recipient("jörg@example.com"), Some(("jörg@example.com".into(), true)));
    assert_eq!(recipient("status@localhost"), Some(("status@localhost".into(), false)));
}
