//! A text in, a MIME part out, ready for the wire: lines end in CRLF, none is longer than 998 bytes, none is a lone dot. What is
//! written depends on the text alone, so that a message has the same bytes at every try and at every server.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::{HeaderName, HeaderValue, Headers};

/// RFC 5322 section 2.1.1 allows 998; the rest is room for what relays add.
const LONGEST_LINE: usize = 900;
/// RFC 2045 section 6.7 (5).
const LONGEST_QUOTED_LINE: usize = 76;
/// Characters of a subject; more would be cut by every reader.
const LONGEST_SUBJECT: usize = 250;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    SevenBit,
    QuotedPrintable,
    Base64,
}

/// The cheapest way that the text survives: as it is, with some characters quoted, or all of it in base64.
pub(super) fn encoding(text: &str) -> Encoding {
    let plain = |b: u8| (b.wrapping_sub(0x20) < 0x5f) | (b == b'\n') | (b == b'\t') | (b == b'\r');
    // Counted in bytes, chunk by chunk, which the compiler turns into vector instructions.
    let count = |chunk: &[u8]| usize::from(chunk.iter().map(|b| u8::from(!plain(*b))).sum::<u8>());
    let quoted: usize = text.as_bytes().chunks(255).map(count).sum();
    // Quoting makes three bytes of one; base64 four of three, everywhere.
    if quoted * 6 > text.len() {
        return Encoding::Base64;
    }
    let lone_return = || text.split('\r').skip(1).any(|rest| !rest.starts_with('\n'));
    if quoted == 0 && !lone_return() && lines(text).all(|line| line.len() <= LONGEST_LINE) {
        Encoding::SevenBit
    } else {
        Encoding::QuotedPrintable
    }
}

/// And the empty line after them.
pub(super) fn content_headers(subtype: &str, encoding: Encoding, out: &mut Vec<u8>) {
    let name = match encoding {
        Encoding::SevenBit => "7bit",
        Encoding::QuotedPrintable => "quoted-printable",
        Encoding::Base64 => "base64",
    };
    for piece in ["Content-Type: text/", subtype, "; charset=utf-8\r\nContent-Transfer-Encoding: ", name, "\r\n\r\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Content headers, an empty line, the body, dots doubled (RFC 5321 section 4.5.2) or quoted.
pub(super) fn part(subtype: &str, text: &str, out: &mut Vec<u8>) {
    let encoding = encoding(text);
    content_headers(subtype, encoding, out);
    match encoding {
        Encoding::SevenBit => {
            for line in lines(text) {
                if line.starts_with('.') {
                    out.push(b'.');
                }
                out.extend_from_slice(line.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        Encoding::QuotedPrintable => {
            for line in lines(text) {
                quote(line.as_bytes(), out);
                out.extend_from_slice(b"\r\n");
            }
        }
        Encoding::Base64 => {
            let mut text: Vec<u8> =
                lines(text).flat_map(|line| [line.as_bytes(), b"\r\n"]).flatten().copied().collect();
            if text.is_empty() {
                text.extend_from_slice(b"\r\n");
            }
            for line in text.chunks(LONGEST_QUOTED_LINE / 4 * 3) {
                out.extend_from_slice(STANDARD.encode(line).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
}

/// Bytes that stand for themselves within a quoted line: RFC 2045 section 6.7 (2) and (3).
const BARE: [bool; 256] = {
    let mut bare = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        bare[byte] = byte != b'=' as usize;
        byte += 1;
    }
    bare[b'\t' as usize] = true;
    bare
};

/// One line as quoted-printable. A dot that would begin a line is quoted, and white space that would end one.
pub(super) fn quote(line: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let (mut rest, mut column) = (line, 0);
    while let Some((&byte, after)) = rest.split_first() {
        // A soft break takes the last column.
        let room = LONGEST_QUOTED_LINE - 1 - column;
        let bare = match byte {
            b'.' if column == 0 => 0,
            _ => rest.iter().take(room).take_while(|b| BARE[usize::from(**b)]).count(),
        };
        let ends_in_space = bare == rest.len() && matches!(rest[bare - 1], b' ' | b'\t');
        let bare = bare - usize::from(ends_in_space);
        if bare > 0 {
            out.extend_from_slice(&rest[..bare]);
            rest = &rest[bare..];
            column += bare;
        } else if room < 3 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        } else {
            out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            rest = after;
            column += 3;
        }
    }
}

/// `Subject:` with its value, folded, in encoded words (RFC 2047) where it is not ASCII. Control characters become spaces, so
/// that no text can begin a header of its own.
pub(super) fn subject(text: &str, out: &mut Vec<u8>) {
    let plain = text.len() <= 66 && text.bytes().all(|b| (0x20..0x7f).contains(&b)) && !text.contains("=?");
    if plain {
        out.extend_from_slice(b"Subject: ");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
        return;
    }
    let mut value: String = text.chars().take(LONGEST_SUBJECT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST_SUBJECT).is_some() {
        value.push('…');
    }
    // What only looks like an encoded word must not be decoded.
    header(HeaderName::new_from_ascii_str("Subject"), value.replace("=?", "= ?"), out);
}

/// Any header, encoded and folded by lettre.
pub(super) fn header(name: HeaderName, value: String, out: &mut Vec<u8>) {
    let mut headers = Headers::new();
    headers.insert_raw(HeaderValue::new(name, value));
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{headers}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        part("plain", text, &mut out);
        String::from_utf8(out).expect("7 bit")
    }

    #[test]
    fn the_encoding_is_the_cheapest_that_keeps_the_text() {
        for (text, expected) in [
            ("Hello\nworld", Encoding::SevenBit),
            ("Hello\r\nworld\r\n", Encoding::SevenBit),
            ("", Encoding::SevenBit),
            ("lone\rreturn at some length", Encoding::QuotedPrintable),
            ("ends in a return, at some length\r", Encoding::QuotedPrintable),
            ("Störung seit 15:39 Uhr, wir arbeiten daran", Encoding::QuotedPrintable),
            ("bell \u{7} in a text of some length", Encoding::QuotedPrintable),
            ("सेवा बाधित है", Encoding::Base64),
        ] {
            assert_eq!(encoding(text), expected, "{text:?}");
        }
        assert_eq!(encoding(&"x".repeat(901)), Encoding::QuotedPrintable);
    }

    #[test]
    fn no_line_is_a_lone_dot_whatever_the_encoding() {
        for text in
            [".", "a\n.\n.b\n..", "ü\n.\n.b", &format!("{}.{}", "ü".repeat(2) + &"x".repeat(63), "y".repeat(90))]
        {
            let written = written(text);
            let body = written.split_once("\r\n\r\n").expect("headers").1;
            for line in body.split("\r\n") {
                assert!(line != "." && (!line.starts_with('.') || line.starts_with("..")), "{text:?} gave {body:?}");
            }
        }
    }

    #[test]
    fn quoted_lines_stay_within_76_and_lines_end_in_crlf() {
        let written = written(&format!("{} \n{}.\r{}", "ä b".repeat(40), "x".repeat(2000), "é".repeat(30)));
        for line in written.split("\r\n").skip(3) {
            assert!(line.len() <= 76 && !line.contains(['\r', '\n']) && !line.ends_with(' '), "{line:?}");
        }
    }

    #[test]
    fn a_subject_cannot_begin_a_header() {
        for text in [
            "x\r\nBcc: all@example.com",
            "ü\nBcc: all@example.com",
            "\u{85}x",
            &"long ".repeat(400),
            &"x".repeat(4000),
            "=?utf-8?q?a=0Ab?=",
        ] {
            let mut out = Vec::new();
            subject(text, &mut out);
            let out = String::from_utf8(out).expect("ascii");
            assert!(out.is_ascii() && out.ends_with("\r\n"), "{out:?}");
            for line in out.trim_end().split("\r\n").skip(1) {
                assert!(line.starts_with(' '), "{text:?} gave {out:?}");
            }
            assert!(!out.contains("\nBcc") && out.split("\r\n").all(|line| line.len() < 998), "{out:?}");
        }
    }
}
