//! Mails that report: delivery status notifications (RFC 3464) and complaints (RFC 5965). Enter the bytes of a mail that came to where
//! bounces go; leaves what it says of one delivery, for `[receipts]` of a platform to read, or nothing: a person's answer, a notice of
//! an absence, a report that says only that it takes longer.
//!
//! Anybody can write such a mail. It counts for the delivery whose id it has, and that id has a keyed tag: only who saw a mail of ours
//! can report of it, and of no other address. The id comes back as the report's own recipient where `return_path` has `{delivery}`,
//! as the envelope's id (RFC 3461), or in the headers of the mail that is returned.
//!
//! A mail may nest as deep as a stranger likes, and a parser of all of it goes as deep. Of a report only its own parts count, so those
//! are cut out first, and each is read alone.

#[cfg(test)]
mod tests;

use mail_parser::{HeaderName, Message, MessageParser, MimeHeaders};
use serde_json::{Value, json};

use crate::channel::Fault;
use crate::channel::smtp::reported;

/// What is read of a mail. A report stands before the mail that it returns, and of that the headers are enough.
pub const LIMIT: usize = 256 * 1024;
/// Recipients of one report: a mail of ours has one, and may go on to those for whom it stands.
const RECIPIENTS: usize = 100;

/// Parts of one report: three, and what somebody adds.
const PARTS: usize = 10;
/// What is returned: the mail, or its headers.
const RETURNED: &[&str] = &["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"];

/// Headers, their names in lower case and their lines unfolded.
type Fields = Vec<(String, String)>;

/// `delivery` (our id, where it has one), `event` (`bounced delivered complained`), `fault` and `status` of what bounced.
pub fn read(bytes: &[u8]) -> Option<Value> {
    let bytes = &bytes[..bytes.len().min(LIMIT)];
    let (head, body) = split(bytes);
    let mail = MessageParser::default().parse_headers(head)?;
    let kind = mail.content_type().filter(|kind| kind.ctype() == "multipart" && kind.subtype() == Some("report"))?;
    let parts: Vec<Part> = parts(body, kind.attribute("boundary")?).into_iter().filter_map(Part::read).collect();
    let part = |kinds: &[&str]| parts.iter().find(|part| kinds.contains(&part.kind.as_str())).map(|part| &*part.text);
    let kind = kind.attribute("report-type")?.to_ascii_lowercase();
    let returned = fields(part(RETURNED).unwrap_or_default());
    match kind.as_str() {
        "delivery-status" => {
            let status = part(&["message/delivery-status", "message/global-delivery-status"])?;
            let mut said = outcome(status)?;
            let envelope = groups(status).next().unwrap_or_default();
            said["delivery"] = json!(delivery(&mail, &envelope, &returned));
            Some(said)
        }
        "feedback-report" => {
            let report = fields(part(&["message/feedback-report"])?);
            // The other types are about the mail's way, or say that it was no abuse.
            let complains = find(&report, "feedback-type").is_some_and(|kind| kind.eq_ignore_ascii_case("abuse"));
            complains.then(|| json!({ "event": "complained", "delivery": delivery(&mail, &report, &returned) }))
        }
        _ => None,
    }
}

/// What became of it. An address may stand for several: it has bounced only where all of them have, for what is least of an address.
fn outcome(status: &str) -> Option<Value> {
    let (mut bounced, mut delivered, mut others) = (None::<(Fault, String)>, false, false);
    for group in groups(status).skip(1).take(RECIPIENTS) {
        let Some(action) = find(&group, "action") else { continue };
        match action.to_ascii_lowercase().as_str() {
            "failed" => {
                let status = find(&group, "status").and_then(enhanced);
                let diagnosis = find(&group, "diagnostic-code").unwrap_or_default();
                let (fault, status) = fault(status, diagnosis);
                if bounced.as_ref().is_none_or(|(known, _)| *known == Fault::Address) {
                    bounced = Some((fault, status));
                }
            }
            "delivered" => delivered = true,
            _ => others = true,
        }
    }
    match bounced {
        _ if delivered => Some(json!({ "event": "delivered" })),
        Some((fault, status)) if !others => {
            Some(json!({ "event": "bounced", "fault": fault.word(), "status": status }))
        }
        _ => None,
    }
}

/// Of a recipient that failed. A gateway's `5.0.0` says less than the reply that it repeats.
fn fault(status: Option<(u16, u16, u16)>, diagnosis: &str) -> (Fault, String) {
    let reply = diagnosis.split_once(';').filter(|(kind, _)| kind.trim().eq_ignore_ascii_case("smtp"));
    let mut words = reply.map_or("", |(_, reply)| reply).split([' ', '-', '\t']).filter(|word| !word.is_empty());
    let code = words.next().and_then(|word| word.parse().ok()).filter(|code| (400..600).contains(code));
    let repeated = words.next().filter(|_| code.is_some()).and_then(enhanced);
    let status = match status {
        Some((_, 0, 0)) | None => repeated.or(status),
        known => known,
    };
    let word = status.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}")).unwrap_or_default();
    (reported(status, code), word)
}

/// RFC 3463: a class, a subject and a detail.
fn enhanced(word: &str) -> Option<(u16, u16, u16)> {
    let mut parts = word.split_whitespace().next()?.splitn(3, '.').map(|part| part.parse::<u16>().ok());
    let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
    (class < 10 && subject < 1000 && detail < 1000).then_some((class, subject, detail))
}

/// Which delivery it is about.
fn delivery(mail: &Message<'_>, report: &Fields, returned: &Fields) -> Option<String> {
    let own = mail.headers_raw().filter(|(name, _)| {
        ["to", "delivered-to", "x-original-to"].iter().any(|known| name.eq_ignore_ascii_case(known))
    });
    let named =
        |fields: &Fields, names: &[&str]| names.iter().filter_map(|name| find(fields, name).and_then(id)).next();
    own.filter_map(|(_, value)| id(value))
        .next()
        .or_else(|| named(report, &["original-envelope-id", "original-mail-from"]))
        .or_else(|| named(returned, &["message-id", "return-path"]))
}

/// An id of ours within a text.
fn id(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("dlv_")?;
    let rest: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').take(61).collect();
    (rest.len() <= 60).then(|| format!("dlv_{rest}"))
}

/// What stands before the first empty line, with it, and after it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            break;
        }
    }
    bytes.split_at(end)
}

/// What stands between the boundaries (RFC 2046, section 5.1.1).
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let (mut parts, mut at, mut begin) = (Vec::new(), 0, None);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let after = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()));
        let last = match after.map(<[u8]>::trim_ascii_end) {
            Some(b"") => false,
            Some(b"--") => true,
            _ => {
                at += line.len();
                continue;
            }
        };
        parts.extend(begin.map(|begin| &body[begin..at]));
        at += line.len();
        begin = (!last && parts.len() < PARTS).then_some(at);
        if begin.is_none() {
            break;
        }
    }
    // One that was cut off, or its end never came.
    parts.extend(begin.map(|begin| &body[begin..]));
    parts
}

struct Part {
    /// Such as `message/delivery-status`.
    kind: String,
    text: String,
}

impl Part {
    /// `None` for what nests and is not returned, and for what has no kind.
    fn read(bytes: &[u8]) -> Option<Part> {
        let (head, body) = split(bytes);
        let mail = MessageParser::default().parse_headers(head)?;
        let mut kinds = mail.headers().iter().filter(|header| header.name == HeaderName::ContentType);
        // Of two nobody knows which one counts.
        let kind = kinds.next().filter(|_| kinds.next().is_none())?.value.as_content_type()?;
        let kind = format!("{}/{}", kind.ctype(), kind.subtype()?).to_ascii_lowercase();
        let bytes = match kind.as_str() {
            // Its headers are enough.
            "message/rfc822" | "message/global" => split(body).0.to_vec(),
            // A leaf, in whatever encoding.
            _ if kind.starts_with("message/") || RETURNED.contains(&&*kind) => {
                MessageParser::default().parse(bytes)?.root_part().contents().to_vec()
            }
            _ => return None,
        };
        Some(Part { kind, text: String::from_utf8_lossy(&bytes).into_owned() })
    }
}

/// Groups of fields, between empty lines.
fn groups(text: &str) -> impl Iterator<Item = Fields> {
    let mut lines = text.lines().map(str::trim_end).peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|line| line.is_empty()).is_some() {}
        lines.peek()?;
        let mut fields = Fields::new();
        while let Some(line) = lines.next_if(|line| !line.is_empty()) {
            match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
                (true, Some((_, value)), _) => {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                (false, _, Some((name, value))) => {
                    fields.push((name.trim().to_ascii_lowercase(), value.trim().to_string()));
                }
                _ => {}
            }
        }
        Some(fields)
    })
}

/// The first group.
fn fields(text: &str) -> Fields {
    groups(text).next().unwrap_or_default()
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// What must hold for any bytes: see `fuzz::report`.
pub(crate) fn attacked(bytes: &[u8]) {
    let Some(said) = read(bytes) else { return };
    let text = |key: &str| said[key].as_str();
    let event = text("event").expect("it says what happened");
    assert!(["bounced", "delivered", "complained"].contains(&event));
    assert_eq!(event == "bounced", text("fault").is_some_and(|fault| fault.parse::<Fault>().is_ok()), "{said}");
    assert!(text("delivery").is_none_or(|id| id.starts_with("dlv_") && id.len() <= 64 && id.is_ascii()), "{said}");
    assert!(text("status").is_none_or(|code| code.is_empty() || super::is_code(code)), "{said}");
}
