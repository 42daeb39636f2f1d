//! A parcel in, a mail out: its envelope address and the bytes from the first header to the final dot. They follow from the
//! parcel and the settings alone, so that a second try sends the same mail. An address or link that could break out of its place
//! is refused here.
//!
//! Where nothing in it is the recipient's own, no field in its words and no link to unsubscribe, all who read these words get the same
//! mail, to nobody by name, under the id of the broadcast and a digest of the words: one at a time or many, byte for byte.

#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::fmt::rfc2822::DateTimePrinter;
use lettre::message::header::{From, Header};
use lettre::{Address, message::Mailboxes};

use super::dkim::Signer;
use super::form::Form;
use super::settings::{ReturnPath, Settings};
use crate::channel::{Fault, Outcome, Parcel};
use crate::clock::Time;
use crate::render::message::Message;

/// A mail as it goes over the wire.
pub(super) struct Mail {
    /// For `RCPT TO`, without angle brackets.
    pub to: String,
    /// The address needs SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// Where its bounces go, if they are to go to an address of their own.
    pub return_path: Option<String>,
    /// The id of its delivery, where a relay is to put it into what it reports.
    pub envelope: Option<String>,
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
    /// Whether others may get it in the same transaction, which has one return path and one id.
    pub fn is_shared(&self) -> bool {
        matches!(self.bytes, Bytes::Shared(_)) && !self.utf8 && self.return_path.is_none() && self.envelope.is_none()
    }

    /// Whether both may go in one.
    pub fn goes_with(&self, other: &Mail) -> bool {
        match (&self.bytes, &other.bytes) {
            (Bytes::Shared(own), Bytes::Shared(others)) => {
                self.is_shared() && other.is_shared() && (Arc::ptr_eq(own, others) || own == others)
            }
            _ => false,
        }
    }
}

/// What all mails of a channel have in common, formatted once.
pub(super) struct Head {
    from: Vec<u8>,
    return_path: ReturnPath,
    names_envelope: bool,
    dkim: Option<Arc<Signer>>,
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
            return_path: settings.return_path.clone(),
            names_envelope: settings.dsn.is_some(),
            dkim: settings.dkim.clone(),
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
        let return_path = match &self.return_path {
            ReturnPath::Each(before, after) => Some([before, id(&parcel.id)?, after].concat()),
            ReturnPath::Same(_) => None,
        };
        let envelope = if self.names_envelope { Some(id(&parcel.id)?.to_string()) } else { None };
        Ok(Mail { to, utf8, return_path, envelope, bytes })
    }

    /// `to` as its header has it, and the id in Message-ID and boundary.
    fn write(&self, parcel: &Parcel, form: &Form, to: &str, id: &str) -> Result<Vec<u8>, Outcome> {
        let id = self::id(id)?;
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
        if let Some(signer) = &self.dkim {
            signer.sign(&mut out, parcel.at).map_err(|_| rejected(Fault::Channel, "the mail cannot be signed"))?;
        }
        Ok(out)
    }
}

/// An id as it may stand in a Message-ID, an address, or a command.
fn id(text: &str) -> Result<&str, Outcome> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (1..=64).contains(&text.len()) && plain {
        true => Ok(text),
        false => Err(rejected(Fault::Message, "an id that a Message-ID cannot have")),
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
