//! What was said in a conversation, line by line, for a person who tries a channel: `>` is ours, `<` the server's. A password is
//! never given to it.

use std::sync::{Arc, Mutex, PoisonError};

use super::reply::Reply;

/// A mail that someone looks at is short; of a longer one its beginning is noted.
const LINES: usize = 300;
const LINE: usize = 1000;

#[derive(Debug, Clone, Default)]
pub(super) struct Transcript(Arc<Mutex<Vec<String>>>);

impl Transcript {
    pub fn said(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        text.lines().for_each(|line| self.note('>', line));
    }

    pub fn heard(&self, reply: &Reply) {
        match reply.lines.split_last() {
            Some((last, before)) => {
                before.iter().for_each(|line| self.note('<', &format!("{}-{line}", reply.code)));
                self.note('<', &format!("{} {last}", reply.code));
            }
            None => self.note('<', &reply.code.to_string()),
        }
    }

    pub fn secured(&self) {
        self.note('=', "TLS from here");
    }

    fn note(&self, who: char, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.len() {
            LINES => lines.push("= more was said, and is not noted".into()),
            noted if noted < LINES => lines.push(format!("{who} {}", line.chars().take(LINE).collect::<String>())),
            _ => {}
        }
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_said_what_is_noted_within_bounds() {
        let transcript = Transcript::default();
        transcript.said(b"MAIL FROM:<a@example.org>\r\nDATA\r\n");
        transcript.heard(&Reply { code: 250, enhanced: None, lines: vec!["one".into(), "two".into()] });
        assert_eq!(transcript.lines(), ["> MAIL FROM:<a@example.org>", "> DATA", "< 250-one", "< 250 two"]);
        transcript.said("x\r\n".repeat(1000).as_bytes());
        transcript.said("y".repeat(100_000).as_bytes());
        let lines = transcript.lines();
        assert_eq!(
            (lines.len(), lines.last().map(String::as_str)),
            (LINES + 1, Some("= more was said, and is not noted"))
        );
    }
}
