//! A request's parts, cut once when the channel is set up: bytes that never change and the few values that a parcel brings,
//! each escaped for the position where it stands.

use super::Parcel;
use super::template::{Name, Part, Template};
use crate::render::message::Filled;

/// Where a value stands, and so how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// As it is: a text body, or the beginning of a URL.
    Raw,
    /// One segment of a URL's path: what RFC 3986 does not allow there is percent-encoded.
    Path,
    /// A name or value of a query or form: everything but unreserved characters is percent-encoded, and so is what the file
    /// itself writes.
    Query,
    /// Inside the quotes of a JSON string.
    Json,
    /// A header's value: control characters removed.
    Header,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Bytes(Vec<u8>),
    Slot(Name, Position),
    /// Left out when one of the names has no value. Written after `separator`, unless nothing stands before it.
    Member {
        needs: Vec<Name>,
        separator: u8,
        pieces: Pieces,
    },
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pieces(Vec<Piece>);

/// What a parcel brings.
pub struct Values<'a> {
    pub parcel: &'a Parcel,
    pub filled: &'a Filled,
    /// Of the message that it follows: what it is known by, and where it stands.
    pub reference: Option<(&'a str, &'a str)>,
    /// `<public_url>/v1/receipts/<channel>?delivery=`
    pub callback: &'a str,
}

impl Pieces {
    pub fn bytes(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.0.push(Piece::Bytes(bytes.into())),
        }
    }

    /// Adds a text with its settings in place. `false`: a setting that may be missing is missing, and nothing was added.
    pub fn template(
        &mut self,
        template: &Template,
        position: Position,
        setting: &dyn Fn(&str) -> Option<String>,
    ) -> bool {
        let absent = |part: &Part| matches!(part, Part::Slot { name: Name::Setting(s), .. } if setting(s).is_none());
        if template.parts.iter().any(absent) {
            return false;
        }
        for part in &template.parts {
            match part {
                Part::Text(text) if matches!(position, Position::Json | Position::Query) => {
                    let mut out = Vec::new();
                    escape(text, position, &mut out);
                    self.bytes(&out);
                }
                Part::Text(text) => self.bytes(text.as_bytes()),
                Part::Slot { name: Name::Setting(name), .. } => {
                    let mut out = Vec::new();
                    escape(&setting(name).unwrap_or_default(), position, &mut out);
                    self.bytes(&out);
                }
                Part::Slot { name, .. } => self.0.push(Piece::Slot(name.clone(), position)),
            }
        }
        true
    }

    pub fn slot(&mut self, name: Name, position: Position) {
        self.0.push(Piece::Slot(name, position));
    }

    /// Adds a member of a list, object, query or form.
    pub fn member(&mut self, separator: u8, needs: Vec<Name>, pieces: Pieces) {
        self.0.push(Piece::Member { needs, separator, pieces });
    }

    pub fn append(&mut self, other: Pieces) {
        for piece in other.0 {
            match piece {
                Piece::Bytes(bytes) => self.bytes(&bytes),
                piece => self.0.push(piece),
            }
        }
    }

    /// The bytes, if no parcel changes them.
    pub fn constant(&self) -> Option<Vec<u8>> {
        match self.0.as_slice() {
            [] => Some(Vec::new()),
            [Piece::Bytes(bytes)] => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Whether this is the message's text and nothing else.
    pub fn is_text(&self) -> bool {
        matches!(self.0.as_slice(), [Piece::Slot(Name::Text, Position::Raw)])
    }

    pub fn names(&self, name: &Name) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Bytes(_) => false,
            Piece::Slot(slot, _) => slot == name,
            Piece::Member { pieces, .. } => pieces.names(name),
        })
    }

    pub fn first_is(&self, name: &Name) -> bool {
        matches!(self.0.first(), Some(Piece::Slot(first, _)) if first == name)
    }

    /// The bytes before the first value that a parcel brings.
    pub fn prefix(&self) -> &[u8] {
        match self.0.first() {
            Some(Piece::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    /// Without the first `count` bytes of the prefix.
    pub fn without_first(mut self, count: usize) -> Pieces {
        if let Some(Piece::Bytes(bytes)) = self.0.first_mut() {
            bytes.drain(..count.min(bytes.len()));
        }
        self
    }

    /// Writes the pieces; the error names a value that the parcel does not have.
    pub fn write(&self, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), &'static str> {
        for piece in &self.0 {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Slot(name, position) => values.write(name, *position, out)?,
                Piece::Member { needs, separator, pieces } => {
                    if needs.iter().all(|name| values.has(name)) {
                        if !matches!(out.last(), None | Some(b'{' | b'[' | b'?')) {
                            out.push(*separator);
                        }
                        pieces.write(values, out)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Values<'_> {
    pub fn has(&self, name: &Name) -> bool {
        match name {
            Name::Title => self.filled.title.is_some(),
            Name::Html => self.filled.html.is_some(),
            Name::Incident => self.parcel.incident.is_some(),
            Name::RefId | Name::RefNumber | Name::RefTo => self.reference.is_some(),
            Name::Status | Name::Stage => self.parcel.message.status.is_some(),
            Name::UnsubscribeUrl => self.parcel.unsubscribe_url.is_some(),
            _ => true,
        }
    }

    fn write(&self, name: &Name, position: Position, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let Parcel { id, to, unsubscribe_url, urgent, .. } = self.parcel;
        let filled = self.filled;
        let value = match name {
            Name::To => &**to,
            Name::Number => to.strip_prefix('+').unwrap_or(to),
            Name::Text => &filled.text,
            Name::Title => filled.title.as_deref().ok_or("title")?,
            Name::Html => filled.html.as_deref().ok_or("html")?,
            Name::Locale => &filled.locale,
            Name::Id => id,
            Name::Status => self.parcel.message.status.as_deref().ok_or("status")?,
            Name::Stage => match self.parcel.message.status.as_deref().ok_or("stage")? {
                "scheduled" => "0",
                "identified" => "2",
                "monitoring" | "verifying" => "3",
                "resolved" | "completed" => "4",
                _ => "1",
            },
            Name::UnsubscribeUrl => unsubscribe_url.as_deref().ok_or("unsubscribe_url")?,
            Name::XmlText => {
                escape(&xml(&filled.text), position, out);
                return Ok(());
            }
            Name::Incident => {
                escape(&self.parcel.incident.ok_or("incident")?.to_string(), position, out);
                return Ok(());
            }
            Name::At => {
                escape(&self.parcel.at.timestamp().to_string(), position, out);
                return Ok(());
            }
            Name::Callback => {
                escape(self.callback, position, out);
                id
            }
            Name::Urgent if *urgent => "true",
            Name::Urgent => "false",
            Name::Coding if super::gsm7::holds(&filled.text) => "0",
            Name::Coding => "2",
            Name::RefId => self.reference.ok_or("ref.id")?.0,
            Name::RefNumber => {
                let digits = |id: &&str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
                self.reference.map(|(id, _)| id).filter(digits).ok_or("ref.number")?
            }
            Name::RefTo => self.reference.ok_or("ref.to")?.1,
            Name::Setting(_) => return Err("settings"),
        };
        escape(value, position, out);
        Ok(())
    }
}

/// As character data; what XML 1.0 has no place for is left out (section 2.2).
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' | '\r' => out.push(c),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

/// Writes a value so that it cannot be anything but a value where it stands.
pub fn escape(value: &str, position: Position, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = value.as_bytes();
    match position {
        Position::Raw => out.extend_from_slice(bytes),
        Position::Header => out.extend(bytes.iter().filter(|b| !b.is_ascii_control())),
        Position::Path | Position::Query => {
            for &byte in bytes {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
                    b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
                        if position == Position::Path =>
                    {
                        out.push(byte);
                    }
                    _ => out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
                }
            }
        }
        Position::Json => {
            out.reserve(bytes.len());
            let mut begin = 0;
            for (at, &byte) in bytes.iter().enumerate() {
                if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                    continue;
                }
                out.extend_from_slice(&bytes[begin..at]);
                begin = at + 1;
                match byte {
                    b'"' | b'\\' => out.extend([b'\\', byte]),
                    b'\n' => out.extend(b"\\n"),
                    b'\r' => out.extend(b"\\r"),
                    b'\t' => out.extend(b"\\t"),
                    _ => {
                        out.extend([b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
                    }
                }
            }
            out.extend_from_slice(&bytes[begin..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str, position: Position) -> String {
        let mut out = Vec::new();
        escape(value, position, &mut out);
        String::from_utf8(out).expect("utf-8")
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        let nasty = "a/b?c=d&e \"\\\u{1}\r\nX: y#é";
        assert_eq!(written(nasty, Position::Query), "a%2Fb%3Fc%3Dd%26e%20%22%5C%01%0D%0AX%3A%20y%23%C3%A9");
        assert_eq!(written("123:A/../b?c#d e", Position::Path), "123:A%2F..%2Fb%3Fc%23d%20e");
        assert_eq!(written(nasty, Position::Header), "a/b?c=d&e \"\\X: y#é");
        let json = format!("\"{}\"", written(nasty, Position::Json));
        assert_eq!(serde_json::from_str::<String>(&json).expect("json"), nasty);
    }
}
