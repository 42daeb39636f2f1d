//! Where in a stream of bytes a stanza begins and ends (RFC 6120, section 4). What XMPP forbids (section 11.1: comments, processing
//! instructions, definitions) ends the connection, so that nothing can be hidden in them.

use bytes::{Buf, BytesMut};

use crate::channel::publish::conversation::Lost;

const DEPTH: usize = 32;
const LONGEST_TAG: usize = 16 * 1024;
const CDATA: &[u8] = b"<![CDATA[";

#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// The other side's stream has begun.
    Opened,
    Stanza(String),
    /// It has ended.
    Closed,
}

/// How far the bytes that came were looked at.
#[derive(Default)]
pub(super) struct Framer {
    opened: bool,
    depth: usize,
    at: usize,
}

impl Framer {
    /// Of a stream that was opened before.
    pub fn within() -> Framer {
        Framer { opened: true, ..Framer::default() }
    }

    pub fn next(&mut self, incoming: &mut BytesMut) -> Result<Option<Item>, Lost> {
        loop {
            let rest = &incoming[self.at..];
            let Some(tag) = rest.iter().position(|byte| *byte == b'<') else {
                // Between stanzas there are blanks alone, by which either side shows that it is there.
                if self.depth == 0 {
                    blank(rest)?;
                    incoming.clear();
                    self.at = 0;
                } else {
                    self.at = incoming.len();
                }
                return Ok(None);
            };
            if self.depth == 0 {
                blank(&rest[..tag])?;
                incoming.advance(self.at + tag);
                self.at = 0;
            } else {
                self.at += tag;
            }
            let Some((length, tag)) = next_tag(&incoming[self.at..])? else { return Ok(None) };
            let begins_stream = self.depth == 0 && !self.opened;
            match tag {
                Tag::Declaration if begins_stream => {
                    incoming.advance(length);
                    continue;
                }
                Tag::Text if self.depth > 0 => {}
                Tag::Open if begins_stream && incoming.starts_with(b"<stream:stream") => {
                    self.opened = true;
                    incoming.advance(length);
                    return Ok(Some(Item::Opened));
                }
                _ if begins_stream => return Err(Lost::Garbled),
                Tag::Open if self.depth == DEPTH => return Err(Lost::Garbled),
                Tag::Open => self.depth += 1,
                Tag::Empty => {}
                Tag::Close if self.depth == 0 => {
                    incoming.advance(length);
                    return Ok(Some(Item::Closed));
                }
                Tag::Close => self.depth -= 1,
                Tag::Declaration | Tag::Text => return Err(Lost::Garbled),
            }
            self.at += length;
            if self.depth == 0 {
                let stanza = incoming.split_to(self.at);
                self.at = 0;
                let text = String::from_utf8(stanza.to_vec()).map_err(|_| Lost::Garbled)?;
                return Ok(Some(Item::Stanza(text)));
            }
        }
    }
}

fn blank(bytes: &[u8]) -> Result<(), Lost> {
    match bytes.iter().all(u8::is_ascii_whitespace) {
        true => Ok(()),
        false => Err(Lost::Garbled),
    }
}

enum Tag {
    Declaration,
    Text,
    Open,
    Empty,
    Close,
}

/// The tag that the bytes begin with, and how long it is; nothing, if it is not whole.
fn next_tag(bytes: &[u8]) -> Result<Option<(usize, Tag)>, Lost> {
    let bytes = &bytes[..bytes.len().min(LONGEST_TAG)];
    match whole_tag(bytes)? {
        None if bytes.len() == LONGEST_TAG => Err(Lost::Garbled),
        tag => Ok(tag),
    }
}

fn whole_tag(bytes: &[u8]) -> Result<Option<(usize, Tag)>, Lost> {
    let until = |end: &[u8], tag| {
        let found = bytes.windows(end.len()).position(|window| window == end);
        Ok(found.map(|at| (at + end.len(), tag)))
    };
    if bytes.starts_with(CDATA) {
        return until(b"]]>", Tag::Text);
    }
    match bytes.get(1) {
        None => return Ok(None),
        Some(b'?') => return until(b"?>", Tag::Declaration),
        Some(b'!') if CDATA.starts_with(bytes) => return Ok(None),
        Some(b'!') => return Err(Lost::Garbled),
        Some(_) => {}
    }
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match (quote, byte) {
            (None, b'>') => {
                let tag = match (bytes[1], bytes[at - 1]) {
                    (b'/', _) => Tag::Close,
                    (_, b'/') => Tag::Empty,
                    _ => Tag::Open,
                };
                return Ok(Some((at + 1, tag)));
            }
            (None, b'<') => return Err(Lost::Garbled),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In parts of that many bytes.
    fn items(said: &str, part: usize) -> (Vec<Item>, Result<(), Lost>) {
        let (mut framer, mut incoming, mut items) = (Framer::default(), BytesMut::new(), Vec::new());
        for part in said.as_bytes().chunks(part) {
            incoming.extend_from_slice(part);
            loop {
                match framer.next(&mut incoming) {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(lost) => return (items, Err(lost)),
                }
            }
        }
        (items, Ok(()))
    }

    #[test]
    fn stanzas_are_told_apart_however_they_come() {
        let said = "<?xml version='1.0'?><stream:stream id='a>b' xmlns='jabber:client'>\n <a/><b c='<' d=\"/>\"><c>x</c><d/>\
                    <![CDATA[</b>]]></b>\n\n<e>é</e></stream:stream>";
        let expected = [
            Item::Opened,
            Item::Stanza("<a/>".into()),
            Item::Stanza("<b c='<' d=\"/>\"><c>x</c><d/><![CDATA[</b>]]></b>".into()),
            Item::Stanza("<e>é</e>".into()),
            Item::Closed,
        ];
        for part in [1, 2, 7, 1000] {
            let (items, ended) = items(said, part);
            assert_eq!((items.as_slice(), ended), (&expected[..], Ok(())), "{part}");
        }
    }

    #[test]
    fn what_no_stream_may_have_ends_it() {
        let deep = format!("<stream:stream>{}", "<a>".repeat(DEPTH + 1));
        let long = format!("<stream:stream><a b='{}'/>", "x".repeat(LONGEST_TAG));
        for said in [
            "HTTP/1.1 400 Bad Request\r\n",
            "<html>",
            "<stream:stream>text",
            "<stream:stream><!-- x -->",
            "<stream:stream><a><!ENTITY x 'y'></a>",
            "<stream:stream><?php ?>",
            "<stream:stream><a <b/>",
            "<stream:stream><![CDATA[x]]>",
            &deep,
            &long,
        ] {
            assert_eq!(items(said, 3).1, Err(Lost::Garbled), "{said}");
        }
    }
}
