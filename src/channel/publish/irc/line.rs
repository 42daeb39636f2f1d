//! A line of a server's: `:source COMMAND parameter … :last parameter` (RFC 2812, section 2.3.1).

use bytes::{Buf, BytesMut};

use crate::channel::publish::conversation::Lost;

/// With the tags that some servers put before it, many times what any sends.
const LONGEST: usize = 16 * 1024;

#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// Nick or server, without user and host.
    pub source: String,
    pub command: String,
    pub parameters: Vec<String>,
}

/// The next that came whole; empty ones are passed over.
pub(super) fn next(incoming: &mut BytesMut) -> Result<Option<Line>, Lost> {
    loop {
        let Some(end) = incoming.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
            return if incoming.len() < LONGEST { Ok(None) } else { Err(Lost::Garbled) };
        };
        let text = String::from_utf8_lossy(&incoming[..end]).into_owned();
        incoming.advance(end + 1);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            return parse(text).map(Some).ok_or(Lost::Garbled);
        }
    }
}

fn parse(text: &str) -> Option<Line> {
    let (source, rest) = match text.strip_prefix(':') {
        Some(text) => text.split_once(' ')?,
        None => ("", text),
    };
    let (head, last) = match rest.split_once(" :") {
        Some((head, last)) => (head, Some(last)),
        None => (rest, None),
    };
    let mut words = head.split(' ').filter(|word| !word.is_empty());
    let command = words.next()?.to_ascii_uppercase();
    let of = |is: fn(&u8) -> bool| command.as_bytes().iter().all(is);
    if !(of(u8::is_ascii_alphabetic) || (command.len() == 3 && of(u8::is_ascii_digit))) {
        return None;
    }
    let source = source.split(['!', '@']).next().unwrap_or_default().to_string();
    Some(Line { source, command, parameters: words.chain(last).map(String::from).collect() })
}

impl Line {
    /// The number of a reply.
    pub fn numeric(&self) -> Option<u16> {
        self.command.parse().ok()
    }

    pub fn parameter(&self, at: usize) -> &str {
        self.parameters.get(at).map_or("", String::as_str)
    }

    pub fn last(&self) -> &str {
        self.parameters.last().map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_its_source_its_command_and_its_parameters() {
        let mut incoming = BytesMut::from(
            &b":irc.example 001 us :Welcome: to it\r\n\r\n:us!~u@host join #a\nPING :x y\r\nPONG a  b \r\nhalf"[..],
        );
        let mut read = || next(&mut incoming).expect("lines");
        let line = |source: &str, command: &str, parameters: &[&str]| {
            let parameters = parameters.iter().map(|parameter| parameter.to_string()).collect();
            Some(Line { source: source.into(), command: command.into(), parameters })
        };
        assert_eq!(read(), line("irc.example", "001", &["us", "Welcome: to it"]));
        assert_eq!(read(), line("us", "JOIN", &["#a"]));
        assert_eq!(read(), line("", "PING", &["x y"]));
        assert_eq!(read(), line("", "PONG", &["a", "b"]));
        assert_eq!(read(), None);
        assert_eq!(&incoming[..], b"half");
    }

    #[test]
    fn what_is_no_irc_is_told_apart() {
        for text in [
            "HTTP/1.1 400 Bad Request\n",
            "220 mail.example ESMTP\n250-x\n",
            ":only.a.source\n",
            &"x".repeat(LONGEST),
            "{}\n",
            " \n",
        ] {
            let mut incoming = BytesMut::from(text.as_bytes());
            let garbled = (0..2).any(|_| next(&mut incoming) == Err(Lost::Garbled));
            assert!(garbled, "{text:?}");
        }
    }
}
