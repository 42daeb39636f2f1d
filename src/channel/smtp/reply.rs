//! Bytes from the server in, replies out, in the order in which they came. A reply that is no reply, or too long, is an error:
//! after it nothing on this connection can be matched.

use lettre::transport::smtp::response::Response;

/// RFC 5321 section 4.5.3.1.5 allows lines of 512; servers exceed it.
const LONGEST_LINE: usize = 4096;
const LONGEST_REPLY: usize = 64 * 1024;
const LONGEST_TEXT: usize = 160;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub code: u16,
    /// Class, subject, detail (RFC 3463), where the reply begins with them and agrees with itself.
    pub enhanced: Option<(u16, u16, u16)>,
    pub lines: Vec<String>,
}

impl Reply {
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// Code and text in one short line without addresses, which servers like to repeat, and without control characters.
    pub fn detail(&self) -> String {
        let mut detail = self.code.to_string();
        for word in self.lines.iter().flat_map(|line| line.split_whitespace()) {
            if detail.len() + word.len() >= LONGEST_TEXT {
                detail.push('…');
                break;
            }
            detail.push(' ');
            match word.contains('@') {
                true => detail.push_str("(address)"),
                false => detail.extend(word.chars().filter(|c| !c.is_control())),
            }
        }
        detail
    }

    /// The queue's id of an accepted mail: `250 2.0.0 Ok: queued as 4XyZ`.
    pub fn reference(&self) -> Option<String> {
        let (_, rest) = self.lines.first()?.split_once("queued as ")?;
        let id = rest.split_whitespace().next()?.trim_end_matches(['.', ',']);
        (id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic())).then(|| id.to_string())
    }

    /// Whether any line has one of these words, in lower case.
    pub fn says(&self, words: &[&str]) -> bool {
        self.lines.iter().any(|line| {
            let line = line.to_ascii_lowercase();
            words.iter().any(|word| line.contains(word))
        })
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct NoReply;

/// Takes the next whole reply off the front of `buffer`, or leaves it as it is: `None` needs more bytes.
pub(super) fn take(buffer: &mut Vec<u8>) -> Result<Option<Reply>, NoReply> {
    let mut end = 0;
    loop {
        let rest = &buffer[end..];
        let Some(length) = rest.iter().position(|b| *b == b'\n').map(|at| at + 1) else {
            return if rest.len() > LONGEST_LINE || end > LONGEST_REPLY { Err(NoReply) } else { Ok(None) };
        };
        let more = rest.get(3) == Some(&b'-');
        end += length;
        if length > LONGEST_LINE || end > LONGEST_REPLY {
            return Err(NoReply);
        }
        if !more {
            break;
        }
    }
    if let Some(reply) = short(&buffer[..end]) {
        buffer.drain(..end);
        return Ok(Some(reply));
    }
    let text: String = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    parse(&text).ok_or(NoReply).map(Some)
}

/// A code, a space and one line of plain text, as nearly all replies are: it needs no parser.
fn short(line: &[u8]) -> Option<Reply> {
    let [class @ b'2'..=b'5', subject @ b'0'..=b'5', detail @ b'0'..=b'9', b' ', text @ .., b'\r', b'\n'] = line else {
        return None;
    };
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| (0x20..0x7f).contains(&b)))?;
    let code = [class, subject, detail].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'));
    let enhanced = text.split(' ').next().and_then(enhanced).filter(|enhanced| enhanced.0 == code / 100);
    Some(Reply { code, enhanced, lines: vec![text.to_string()] })
}

fn parse(text: &str) -> Option<Reply> {
    let response: Response = match text.parse() {
        Ok(response) => response,
        // Legal, if rare: a code without text, a line that ends in LF alone (RFC 5321 section 4.2 asks clients to bear with it).
        Err(_) => {
            let lines =
                text.lines().map(|line| if line.len() == 3 { format!("{line} \r\n") } else { format!("{line}\r\n") });
            lines.collect::<String>().parse().ok()?
        }
    };
    let code = u16::from(response.code());
    Some(Reply {
        code,
        enhanced: response.first_word().and_then(enhanced).filter(|enhanced| enhanced.0 == code / 100),
        lines: response.message().map(String::from).collect(),
    })
}

fn enhanced(word: &str) -> Option<(u16, u16, u16)> {
    let mut parts = word.splitn(3, '.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// What must hold for any bytes of a server: see `fuzz::replies`.
pub(crate) fn attacked(bytes: &[u8]) {
    fn all(packets: &mut dyn Iterator<Item = &[u8]>) -> Vec<Result<Reply, NoReply>> {
        let (mut buffer, mut replies) = (Vec::new(), Vec::new());
        for packet in packets {
            buffer.extend_from_slice(packet);
            loop {
                match take(&mut buffer) {
                    Ok(Some(reply)) => replies.push(Ok(reply)),
                    Ok(None) => break,
                    Err(error) => {
                        replies.push(Err(error));
                        return replies;
                    }
                }
            }
        }
        replies
    }
    let replies = all(&mut std::iter::once(bytes));
    assert_eq!(all(&mut bytes.chunks(1 + bytes.len() / 4096)), replies, "the same in small packets");
    for reply in replies.into_iter().flatten() {
        let detail = reply.detail();
        assert!(
            detail.len() <= LONGEST_TEXT + 16 && !detail.contains(|c: char| c.is_control() || c == '@'),
            "{detail:?}"
        );
        // A line as servers write it; what else is borne with is not written back.
        if reply.lines.is_empty()
            || reply.lines.iter().any(|line| line.trim() != line || line.bytes().any(|b| !(0x20..0x7f).contains(&b)))
        {
            continue;
        }
        let last = reply.lines.len().saturating_sub(1);
        let mark = |at: usize| if at == last { ' ' } else { '-' };
        let mut printed: Vec<u8> = Vec::new();
        for (at, line) in reply.lines.iter().enumerate() {
            printed.extend_from_slice(format!("{}{}{line}\r\n", reply.code, mark(at)).as_bytes());
        }
        assert_eq!(take(&mut printed), Ok(Some(reply)), "it reads back as it was printed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_off_whole_and_in_order() {
        let mut buffer = b"250-one\r\n250 two\r\n550 5.1.1 <a@b>: no such user\r\n354".to_vec();
        let first = take(&mut buffer).expect("reply").expect("whole");
        assert_eq!((first.code, first.lines.len()), (250, 2));
        let second = take(&mut buffer).expect("reply").expect("whole");
        assert_eq!((second.code, second.enhanced), (550, Some((5, 1, 1))));
        assert_eq!(take(&mut buffer), Ok(None));
        buffer.extend_from_slice(b"\r\n");
        assert_eq!(take(&mut buffer).expect("reply").expect("whole").code, 354);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_short_reply_is_read_as_the_parser_reads_it() {
        for text in [
            "250 2.1.0 Ok",
            "354 End data with <CR><LF>.<CR><LF>",
            "250 2.0.0 Ok: queued as 4XyZ",
            "421 closing",
            "550 5.1.1 <a@b> no",
            "250  two",
            "250 ",
            "259 x",
            "450 5.1.1 hm",
            "299 x.y z",
            "250 2.1 x",
        ] {
            let line = format!("{text}\r\n");
            assert_eq!(short(line.as_bytes()), parse(&line), "{text:?}");
        }
        for text in ["260 x\r\n", "150 x\r\n", "250-x\r\n", "250\r\n", "250 x\n", "250 \u{7}\r\n", "250 ü\r\n"] {
            assert_eq!(short(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_detail_names_no_address_and_stays_short() {
        let mut buffer = format!("550 5.1.1 <ann@example.com>: \u{7}no {}\r\n", "such user ".repeat(90)).into_bytes();
        let detail = take(&mut buffer).expect("reply").expect("whole").detail();
        assert!(detail.starts_with("550 5.1.1 (address) no such user"), "{detail}");
        assert!(!detail.contains("ann") && detail.len() < 170 && !detail.chars().any(char::is_control), "{detail}");
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for text in ["HTTP/1.1 400 Bad Request\r\n", "\r\n", "250-one\r\n550 two\r\n", "999 x\r\n"] {
            assert_eq!(take(&mut text.as_bytes().to_vec()), Err(NoReply), "{text:?}");
        }
        assert_eq!(take(&mut vec![b'2'; LONGEST_LINE + 1]), Err(NoReply));
        assert_eq!(take(&mut b"250-x\r\n".repeat(LONGEST_REPLY / 7 + 1)), Err(NoReply));
    }

    #[test]
    fn an_enhanced_code_that_contradicts_the_reply_is_not_believed() {
        let mut buffer = b"450 5.1.1 hm\r\n250 2.0.0 Ok: queued as 4XyZ.\r\n250\r\n".to_vec();
        assert_eq!(take(&mut buffer).expect("reply").expect("whole").enhanced, None);
        assert_eq!(take(&mut buffer).expect("reply").expect("whole").reference().as_deref(), Some("4XyZ"));
        assert_eq!(take(&mut buffer).expect("reply").expect("whole").code, 250);
    }
}
