//! A message as mail, encoded once for all its recipients: what nobody's name changes is ready for the wire. A field stands
//! between soft line breaks (RFC 2045 section 6.7 (5)), so that its length moves nothing else. Where no field tells recipients
//! apart, the whole mail is kept.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use super::encode::{self, Encoding};
use crate::channel::Outcome;
use crate::clock::Time;
use crate::id::BroadcastId;
use crate::render::message::{Fields, Message, Segment, escape_into};

pub(super) struct Form {
    /// Kept, so that no other message comes to lie where it lies.
    _message: Arc<Message>,
    pub subject: Coded,
    pub plain: Coded,
    pub html: Option<Coded>,
    /// About so many bytes.
    pub size: usize,
    /// Of its words, where no recipient is named in them.
    pub digest: Option<String>,
    shared: Mutex<Option<Shared>>,
}

/// The mail of all recipients, and what it was made for.
struct Shared {
    broadcast: BroadcastId,
    at: Time,
    bytes: Arc<[u8]>,
}

/// Words on their way to the wire.
pub(super) enum Coded {
    Pieces(Vec<Piece>),
    /// Encoded anew for each recipient: a folded header and base64 have no place for a field of any length.
    Each(fn(&str, &mut Vec<u8>), Vec<Segment>),
}

pub(super) enum Piece {
    Bytes(Vec<u8>),
    Field(Segment),
}

impl Form {
    pub fn new(message: &Arc<Message>) -> Form {
        let html = message.html.as_deref().map(|html| Coded::part("html", html));
        let plain = Coded::part("plain", &message.text);
        let subject = message.title.as_deref().unwrap_or_default();
        let size = plain.size() + html.as_ref().map_or(0, Coded::size);
        Form {
            _message: message.clone(),
            subject: Coded::whole(encode::subject, subject),
            plain,
            html,
            size,
            digest: (!message.mentions("name") && !message.mentions("delivery")).then(|| digest(message)),
            shared: Mutex::default(),
        }
    }

    /// The mail of all recipients of a broadcast, made once.
    pub fn shared(
        &self,
        broadcast: BroadcastId,
        at: Time,
        make: impl FnOnce() -> Result<Vec<u8>, Outcome>,
    ) -> Result<Arc<[u8]>, Outcome> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shared {
            Some(known) if (known.broadcast, known.at) == (broadcast, at) => Ok(known.bytes.clone()),
            _ => {
                let bytes: Arc<[u8]> = make()?.into();
                *shared = Some(Shared { broadcast, at, bytes: bytes.clone() });
                Ok(bytes)
            }
        }
    }
}

/// Eighty bits in hexadecimal: no words can hold their own.
fn digest(message: &Message) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &message.to_bytes());
    digest.as_ref().iter().take(10).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Coded {
    /// Encoded as a whole, now where it has no fields.
    fn whole(write: fn(&str, &mut Vec<u8>), segments: &[Segment]) -> Coded {
        if segments.iter().any(|segment| matches!(segment, Segment::Field { .. })) {
            return Coded::Each(write, segments.to_vec());
        }
        let mut bytes = Vec::new();
        write(&words(segments), &mut bytes);
        Coded::Pieces(vec![Piece::Bytes(bytes)])
    }

    fn part(subtype: &'static str, segments: &[Segment]) -> Coded {
        let write: fn(&str, &mut Vec<u8>) = match subtype {
            "html" => |text, out| encode::part("html", text, out),
            _ => |text, out| encode::part("plain", text, out),
        };
        let fields = segments.iter().any(|segment| matches!(segment, Segment::Field { .. }));
        match encode::encoding(&words(segments)) {
            Encoding::SevenBit | Encoding::QuotedPrintable if fields => quoted(subtype, segments),
            _ => Coded::whole(write, segments),
        }
    }

    fn size(&self) -> usize {
        match self {
            Coded::Pieces(pieces) => {
                let of = |piece: &Piece| if let Piece::Bytes(bytes) = piece { bytes.len() } else { 64 };
                pieces.iter().map(of).sum()
            }
            Coded::Each(_, segments) => words(segments).len() * 2,
        }
    }

    pub fn write(&self, fields: &Fields<'_>, out: &mut Vec<u8>) {
        match self {
            Coded::Each(write, segments) => write(&filled(segments, fields), out),
            Coded::Pieces(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                        Piece::Field(field) => {
                            encode::quote(filled(std::slice::from_ref(field), fields).as_bytes(), out)
                        }
                    }
                }
            }
        }
    }
}

/// Quoted-printable, line by line, cut where a field stands.
fn quoted(subtype: &str, segments: &[Segment]) -> Coded {
    const SOFT_BREAK: &[u8] = b"=\r\n";
    let mut bytes = Vec::new();
    encode::content_headers(subtype, Encoding::QuotedPrintable, &mut bytes);
    let mut pieces = Vec::new();
    // Whether something stands on the line before, and whether that is a field.
    let (mut begun, mut after_field) = (false, false);
    let last = segments.len().saturating_sub(1);
    for (at, segment) in segments.iter().enumerate() {
        match segment {
            Segment::Field { .. } => {
                if begun {
                    bytes.extend_from_slice(SOFT_BREAK);
                }
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                pieces.push(Piece::Field(segment.clone()));
                (begun, after_field) = (true, true);
            }
            Segment::Words(words) => {
                let words = if at == last { words.strip_suffix('\n').unwrap_or(words) } else { words };
                for (number, line) in words.split('\n').enumerate() {
                    if number > 0 {
                        bytes.extend_from_slice(b"\r\n");
                        (begun, after_field) = (false, false);
                    }
                    let line = line.strip_suffix('\r').unwrap_or(line);
                    if line.is_empty() {
                        continue;
                    }
                    if begun || after_field {
                        bytes.extend_from_slice(SOFT_BREAK);
                    }
                    encode::quote(line.as_bytes(), &mut bytes);
                    (begun, after_field) = (true, false);
                }
            }
        }
    }
    bytes.extend_from_slice(b"\r\n");
    pieces.push(Piece::Bytes(bytes));
    Coded::Pieces(pieces)
}

/// The words alone.
fn words(segments: &[Segment]) -> String {
    let words = |segment: &Segment| if let Segment::Words(words) = segment { words.clone() } else { String::new() };
    segments.iter().map(words).collect()
}

fn filled(segments: &[Segment], fields: &Fields<'_>) -> String {
    let mut text = String::with_capacity(64);
    for segment in segments {
        match segment {
            Segment::Words(words) => text.push_str(words),
            Segment::Field { name, default, escape } => escape_into(fields.value(name, default), *escape, &mut text),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;
    use crate::render::message::{Escape, Format, Markup};

    fn field(name: &str) -> Segment {
        Segment::Field { name: name.into(), default: "friend".into(), escape: Escape::None }
    }

    fn text(text: &str) -> Segment {
        Segment::Words(text.into())
    }

    /// What a reader sees of a part that was written for somebody.
    fn read(segments: &[Segment], fields: &Fields<'_>) -> String {
        let mut raw = b"MIME-Version: 1.0\r\n".to_vec();
        Coded::part("plain", segments).write(fields, &mut raw);
        let wire = String::from_utf8(raw).expect("ascii");
        assert!(wire.lines().all(|line| line.len() <= 998 && line != "."), "{wire}");
        let parsed = MessageParser::default().parse(wire.as_bytes()).expect("parses").into_owned();
        parsed.body_text(0).expect("text").replace("\r\n", "\n")
    }

    #[test]
    fn a_field_of_any_length_stands_where_it_belongs() {
        let long = "x".repeat(300);
        let names = ["Ann", "Jörg Größe", ".", "", "a =b= ", &long, "a\u{1}b", "=?utf-8?q?x?=", "line\nbreak"];
        let shapes: &[&[Segment]] = &[
            &[text("Dear "), field("name"), text(",\n\nDown. "), field("name"), text("\n")],
            &[field("name"), field("delivery"), text("\n.\n"), field("name")],
            &[
                text(".\nNächste Meldung für "),
                field("name"),
                text("\nEnde \n \n"),
                field("unsubscribe_url"),
                text(" .\n"),
            ],
            &[text("भुगतान बाधित हैं, "), field("name"), text(".\n")],
            &[text("a\r\nb "), field("name"), text("\r\nc\r\n")],
        ];
        for shape in shapes {
            for name in names {
                let fields =
                    Fields { delivery: "dlv_1", name: Some(name), unsubscribe_url: Some("https://x.example/u") };
                let expected = filled(shape, &fields).replace("\r\n", "\n");
                let expected = expected.strip_suffix('\n').unwrap_or(&expected).to_string() + "\n";
                assert_eq!(read(shape, &fields), expected, "{name:?} in {shape:?}");
            }
        }
    }

    #[test]
    fn what_has_no_fields_is_encoded_as_before() {
        let message = Message {
            format: Format::Email,
            markup: Markup::Html,
            locale: "de".into(),
            title: Some(vec![text("Störung")]),
            text: vec![text("Nächste Meldung: "), text("16:30\n.\n")],
            html: None,
            status: None,
        };
        let form = Form::new(&Arc::new(message));
        let (mut found, mut expected) = (Vec::new(), Vec::new());
        form.subject.write(&Fields::default(), &mut found);
        form.plain.write(&Fields::default(), &mut found);
        encode::subject("Störung", &mut expected);
        encode::part("plain", "Nächste Meldung: 16:30\n.\n", &mut expected);
        assert_eq!(found, expected);
    }
}
