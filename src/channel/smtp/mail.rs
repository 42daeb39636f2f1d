//! A parcel in, a mail out: its envelope address and the bytes from the first header to the final dot. They follow from the
//! parcel and the settings alone, so that a second try sends the same mail. An address or link that could break out of its place
//! is refused here.
//!
//! Where nothing in it is the recipient's own, no field in its words and no link to unsubscribe, all who read these words get the same
//! mail, to nobody by name, under the id of the broadcast and a digest of the words: one at a time or many, byte for byte.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::fmt::rfc2822::DateTimePrinter;
use lettre::message::header::{From, Header};
use lettre::{Address, message::Mailboxes};

use super::form::Form;
use super::settings::Settings;
use crate::channel::{Fault, Outcome, Parcel};
use crate::clock::Time;
use crate::render::message::Message;

/// A mail as it goes over the wire.
pub(super) struct Mail {
    /// For `RCPT TO`, without angle brackets.
    pub to: String,
    /// The address needs SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// Dots doubled, the final dot included.
    pub bytes: Bytes,
}

pub(super) enum Bytes {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

impl Mail {
    /// Whether others may get it in the same transaction.
    pub fn is_shared(&self) -> bool {
        matches!(self.bytes, Bytes::Shared(_)) && !self.utf8
    }

    /// Whether both may go in one.
    pub fn goes_with(&self, other: &Mail) -> bool {
        match (&self.bytes, &other.bytes) {
            (Bytes::Shared(own), Bytes::Shared(others)) => {
                !self.utf8 && !other.utf8 && (Arc::ptr_eq(own, others) || own == others)
            }
            _ => false,
        }
    }
}

/// What all mails of a channel have in common, formatted once.
pub(super) struct Head {
    from: Vec<u8>,
    domain: String,
    list_id: String,
    /// Messages that were encoded, by where they lie in memory.
    forms: Mutex<HashMap<usize, Arc<Form>>>,
    /// The mails of a broadcast have one date.
    date: Mutex<(Time, Arc<str>)>,
}

/// Messages that are kept encoded at one time.
const FORMS: usize = 256;

impl Head {
    pub fn new(settings: &Settings) -> Head {
        let mut from = Vec::new();
        let mailboxes: Mailboxes = settings.from.clone().into();
        let value = From::from(mailboxes).display();
        let mut headers = lettre::message::header::Headers::new();
        headers.insert_raw(value);
        from.extend_from_slice(headers.to_string().as_bytes());
        Head {
            from,
            domain: settings.from.email.domain().to_string(),
            list_id: settings.list_id.as_ref().map(|id| format!("List-Id: <{id}>\r\n")).unwrap_or_default(),
            forms: Mutex::default(),
            date: Mutex::new((Time(i64::MIN), "".into())),
        }
    }

    fn form(&self, message: &Arc<Message>) -> Arc<Form> {
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        if forms.len() >= FORMS {
            forms.clear();
        }
        forms.entry(Arc::as_ptr(message) as usize).or_insert_with(|| Arc::new(Form::new(message))).clone()
    }

    fn date(&self, at: Time) -> Result<Arc<str>, Outcome> {
        let mut date = self.date.lock().unwrap_or_else(PoisonError::into_inner);
        if date.0 != at {
            let text = DateTimePrinter::new().timestamp_to_string(&at.timestamp());
            *date = (at, text.map_err(|_| rejected(Fault::Message, "a date that a mail cannot have"))?.into());
        }
        Ok(date.1.clone())
    }

    /// `Err` says why this parcel can't be a mail.
    pub fn mail(&self, parcel: &Parcel) -> Result<Mail, Outcome> {
        let (to, utf8) = recipient(&parcel.to).ok_or_else(|| rejected(Fault::Address, "no e-mail address"))?;
        let form = self.form(&parcel.message);
        let shared = form.digest.as_ref().filter(|_| parcel.unsubscribe_url.is_none()).zip(parcel.broadcast);
        let bytes = match shared {
            Some((digest, broadcast)) => Bytes::Shared(form.shared(broadcast, parcel.at, || {
                self.write(parcel, &form, "undisclosed-recipients:;", &format!("{broadcast}_{digest}"))
            })?),
            None => Bytes::Own(self.write(parcel, &form, &format!("<{to}>"), &parcel.id)?),
        };
        Ok(Mail { to, utf8, bytes })
    }

    /// `to` as its header has it, and the id in Message-ID and boundary.
    fn write(&self, parcel: &Parcel, form: &Form, to: &str, id: &str) -> Result<Vec<u8>, Outcome> {
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(rejected(Fault::Message, "an id that a Message-ID cannot have"));
        }
        let fields = parcel.fields();
        let mut out = Vec::with_capacity(1536 + form.size);
        let mut put = |pieces: &[&str]| pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
        put(&["Date: ", &self.date(parcel.at)?, "\r\n"]);
        out.extend_from_slice(&self.from);
        form.subject.write(&fields, &mut out);
        let mut put = |pieces: &[&str]| pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
        put(&["To: ", to, "\r\nMessage-ID: <", id, "@", &self.domain, ">\r\n", &self.list_id]);
        if let Some(url) = &parcel.unsubscribe_url {
            if url.is_empty() || url.len() > 900 || !url.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b))
            {
                return Err(rejected(Fault::Message, "an unsubscribe link that a header cannot have"));
            }
            put(&["List-Unsubscribe: <", url, ">\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"]);
        }
        put(&["Auto-Submitted: auto-generated\r\n"]);
        let locale = &parcel.message.locale;
        if !locale.is_empty() && locale.len() <= 35 && locale.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            put(&["Content-Language: ", locale, "\r\n"]);
        }
        put(&["MIME-Version: 1.0\r\n"]);
        match &form.html {
            None => form.plain.write(&fields, &mut out),
            Some(html) => {
                // "=_" stands in no quoted-printable or base64 text, and the id is known to nobody who writes a plain one.
                put(&["Content-Type: multipart/alternative; boundary=\"=_", id, "\"\r\n\r\n--=_", id, "\r\n"]);
                form.plain.write(&fields, &mut out);
                for piece in ["\r\n--=_", id, "\r\n"] {
                    out.extend_from_slice(piece.as_bytes());
                }
                html.write(&fields, &mut out);
                for piece in ["\r\n--=_", id, "--\r\n"] {
                    out.extend_from_slice(piece.as_bytes());
                }
            }
        }
        out.extend_from_slice(b".\r\n");
        Ok(out)
    }
}

/// The address for envelope and header, and whether it needs SMTPUTF8. A domain beyond ASCII is written in its ASCII form
/// (RFC 5891); a local part has none.
fn recipient(text: &str) -> Option<(String, bool)> {
    if text.len() > 254 || text.chars().any(char::is_control) {
        return None;
    }
    if plain(text) {
        return Some((text.to_string(), false));
    }
    let address: Address = text.parse().ok()?;
    if address.domain().is_ascii() {
        return Some((text.to_string(), !text.is_ascii()));
    }
    let url::Host::Domain(domain) = url::Host::parse(address.domain()).ok()? else { return None };
    Some((format!("{}@{domain}", address.user()), !address.user().is_ascii()))
}

/// An address that needs no parser: letters and digits, with single dots and the like between them.
fn plain(text: &str) -> bool {
    let part = |part: &str, inner: &[u8]| {
        part.split('.').all(|atom| {
            let bytes = atom.as_bytes();
            let ends = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
                && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
            ends && bytes.iter().all(|b| b.is_ascii_alphanumeric() || inner.contains(b))
        })
    };
    text.split_once('@').is_some_and(|(user, domain)| {
        user.len() <= 64 && part(user, b"_+-") && part(domain, b"-") && domain.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

fn rejected(fault: Fault, detail: &str) -> Outcome {
    Outcome::Rejected { fault, detail: detail.into() }
}

#[cfg(test)]
pub(super) mod tests {
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
        assert!(
            mail(&|parcel| parcel.message = field("unsubscribe_url")).is_shared(),
            "the same for all without a link"
        );
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
}
