//! A registered connection: one message after the other, each a few lines at a time.

use std::collections::{BTreeSet, VecDeque};

use bytes::BytesMut;

use super::line::{self, Line};
use super::numeric::{self, Refusal};
use super::split::{self, LongLink};
use super::{folded, is_channel, is_nick};
use crate::channel::publish::conversation::Lost;
use crate::channel::publish::{Letter, Session};
use crate::channel::{Fault, Outcome};

/// RFC 2812, section 2.3: of a line with its end.
const LINE: usize = 512;
/// What servers let a host's name be.
const HOST: usize = 63;
/// Those of ours, and the `~` before it of a server that asked for no identity.
pub(super) const USER: &str = "loudhailer";
/// So many lines are written before their PONG: with JOIN and PING fewer than any server lets wait.
const BURST: usize = 4;
/// More than this is no message for a channel in which people talk.
const MOST_LINES: usize = 24;

/// As it is once the server has welcomed us under that nick.
pub(in crate::channel::publish) fn begun(nick: String) -> Speaking {
    Speaking { nick, joined: BTreeSet::new(), fences: 0, messages: VecDeque::new() }
}

pub(in crate::channel::publish) struct Speaking {
    nick: String,
    /// Folded.
    joined: BTreeSet<String>,
    /// How many PINGs were written.
    fences: u64,
    /// The first is under way.
    messages: VecDeque<Saying>,
}

struct Saying {
    key: u64,
    to: String,
    waiting: VecDeque<String>,
    written: usize,
    /// How many of those written were refused, and how the last.
    refused: usize,
    why: u16,
    join: Option<u16>,
}

impl Session for Speaking {
    /// What follows waits behind it.
    const SILENCE_ENDS: bool = true;

    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome> {
        let rejected = |fault, detail: String| Err(Outcome::Rejected { fault, detail });
        let to = &*letter.to;
        if !is_channel(to) && !is_nick(to) {
            return rejected(Fault::Address, "neither a channel nor a nick".into());
        }
        // `:nick!~user@host PRIVMSG to :…` is what its readers get.
        let around = 1 + self.nick.len() + 2 + USER.len() + 1 + HOST + " PRIVMSG ".len() + to.len() + 2 + 2;
        let lines = match split::lines(&String::from_utf8_lossy(&letter.body), LINE - around) {
            Ok(lines) => lines,
            Err(LongLink(bytes)) => {
                return rejected(Fault::Message, format!("a link of {bytes} bytes fits into no line"));
            }
        };
        if lines.is_empty() || lines.len() > MOST_LINES {
            return rejected(Fault::Message, format!("{} lines; 1 to {MOST_LINES} are sent", lines.len()));
        }
        let saying = Saying { key, to: to.into(), waiting: lines.into(), written: 0, refused: 0, why: 0, join: None };
        self.messages.push_back(saying);
        if self.messages.len() == 1 {
            self.go_on(out);
        }
        Ok(())
    }

    fn forget(&mut self, key: u64, _: &mut BytesMut) {
        self.messages.retain(|message| message.key != key);
    }

    fn full(&self) -> bool {
        !self.messages.is_empty()
    }

    fn ping(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b"PING :quiet\r\n");
    }

    fn read(
        &mut self,
        incoming: &mut BytesMut,
        out: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost> {
        while let Some(line) = line::next(incoming)? {
            match line.command.as_str() {
                "PING" => out.extend_from_slice(format!("PONG :{}\r\n", line.last()).as_bytes()),
                "PONG" if line.last() == self.fence() => self.taken(out, answers),
                "ERROR" => return Err(Lost::Closed),
                _ => self.hear(&line),
            }
        }
        Ok(())
    }
}

impl Speaking {
    fn fence(&self) -> String {
        format!("loudhailer-{}", self.fences)
    }

    /// Writes the next lines of the first message, and the PING whose PONG says that they were taken.
    fn go_on(&mut self, out: &mut BytesMut) {
        let Some(message) = self.messages.front_mut() else { return };
        // Outsiders may write to some channels, and not to most.
        if message.written == 0 && is_channel(&message.to) && !self.joined.contains(&folded(&message.to)) {
            out.extend_from_slice(format!("JOIN {}\r\n", message.to).as_bytes());
        }
        for line in message.waiting.drain(..message.waiting.len().min(BURST)) {
            out.extend_from_slice(format!("PRIVMSG {} :{line}\r\n", message.to).as_bytes());
            message.written += 1;
        }
        self.fences += 1;
        out.extend_from_slice(format!("PING :{}\r\n", self.fence()).as_bytes());
    }

    /// The PONG has come: all that was refused of what was written was refused before it.
    fn taken(&mut self, out: &mut BytesMut, answers: &mut Vec<(u64, Outcome)>) {
        let Some(message) = self.messages.front() else { return };
        let outcome = match (message.refused, message.waiting.is_empty()) {
            (0, false) => return self.go_on(out),
            (0, true) => Outcome::Accepted { reference: None },
            (refused, _) if refused >= message.written => numeric::outcome(message.why, message.join),
            (refused, _) => {
                let detail = format!("{refused} of {} lines were refused ({})", message.written, message.why);
                Outcome::Unknown { detail }
            }
        };
        answers.push((message.key, outcome));
        self.messages.pop_front();
        self.go_on(out);
    }

    fn hear(&mut self, line: &Line) {
        let us = |nick: &str| folded(nick) == folded(&self.nick);
        match line.command.as_str() {
            "JOIN" if us(&line.source) => drop(self.joined.insert(folded(line.parameter(0)))),
            "PART" if us(&line.source) => drop(self.joined.remove(&folded(line.parameter(0)))),
            "KICK" if us(line.parameter(1)) => drop(self.joined.remove(&folded(line.parameter(0)))),
            "NICK" if us(&line.source) => self.nick = line.parameter(0).chars().take(LINE / 4).collect(),
            _ => self.refuse(line),
        }
    }

    /// Of numbers, the first parameter is our nick; the second, where there is one before the words, whom or what it is about.
    fn refuse(&mut self, line: &Line) {
        let (Some(message), Some(numeric)) = (self.messages.front_mut(), line.numeric()) else { return };
        let about = line.parameters.get(1).filter(|_| line.parameters.len() > 2);
        // 263, 417 and 421 name a command, or nothing.
        let ours = matches!(numeric, 263 | 417 | 421) || about.is_none_or(|about| folded(about) == folded(&message.to));
        match numeric::refusal(numeric) {
            Some(Refusal::Join) if ours => message.join = Some(numeric),
            Some(Refusal::Line) if ours => (message.refused, message.why) = (message.refused + 1, numeric),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(to: &str, body: &str) -> Letter {
        Letter { id: "dlv_1".into(), broadcast: None, to: to.into(), body: body.to_string().into() }
    }

    /// What it writes when it hears that, and the outcomes.
    fn heard(session: &mut Speaking, said: &str) -> (String, Vec<(u64, Outcome)>) {
        let (mut incoming, mut out, mut answers) = (BytesMut::from(said.as_bytes()), BytesMut::new(), Vec::new());
        session.read(&mut incoming, &mut out, &mut answers).expect("read");
        (String::from_utf8_lossy(&out).into_owned(), answers)
    }

    fn said(session: &mut Speaking, key: u64, to: &str, body: &str) -> String {
        let mut out = BytesMut::new();
        session.publish(key, &letter(to, body), &mut out).expect("written");
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_channel_is_joined_once_and_lines_go_a_few_at_a_time_each_few_after_the_pong_of_those_before() {
        let mut session = begun("us".into());
        let first = said(&mut session, 1, "#Ops", "1\n2\n3\n4\n5\n6");
        let four = "PRIVMSG #Ops :1\r\nPRIVMSG #Ops :2\r\nPRIVMSG #Ops :3\r\nPRIVMSG #Ops :4\r\n";
        assert_eq!(first, format!("JOIN #Ops\r\n{four}PING :loudhailer-1\r\n"));
        assert!(session.full());
        let (out, answers) = heard(&mut session, ":us!~u@h JOIN :#ops\r\nPING :x y\r\n:s PONG s :loudhailer-0\r\n");
        assert_eq!((out.as_str(), answers), ("PONG :x y\r\n", vec![]));
        let (out, answers) = heard(&mut session, ":s PONG s :loudhailer-1\r\n");
        assert_eq!((out.as_str(), answers), ("PRIVMSG #Ops :5\r\nPRIVMSG #Ops :6\r\nPING :loudhailer-2\r\n", vec![]));
        let (out, answers) = heard(&mut session, ":s PONG s loudhailer-2\r\n:s PONG s loudhailer-2\r\n");
        assert_eq!((out.as_str(), answers), ("", vec![(1, Outcome::Accepted { reference: None })]));
        assert!(!session.full());
        assert_eq!(said(&mut session, 2, "#OPS", "x"), "PRIVMSG #OPS :x\r\nPING :loudhailer-3\r\n");
        heard(&mut session, ":s PONG s loudhailer-3\r\n:op!o@h KICK #ops us :out\r\n");
        assert!(said(&mut session, 3, "#ops", "x").starts_with("JOIN #ops\r\n"));
    }

    #[test]
    fn what_is_refused_before_the_pong_is_what_its_number_means() {
        let outcome = |to: &str, body: &str, said_back: &str| {
            let mut session = begun("us".into());
            said(&mut session, 7, to, body);
            let (_, answers) = heard(&mut session, &format!("{said_back}:s PONG s :loudhailer-1\r\n"));
            assert_eq!(answers.len(), 1, "{said_back}");
            format!("{:?}", answers[0].1)
        };
        for (to, said_back, begins) in [
            ("nobody", ":s 401 us nobody :No such nick\r\n", "Rejected { fault: Message, detail: \"401: nobody has"),
            ("#a", ":s 403 us #a :No such channel\r\n:s 403 us #A :No such channel\r\n", "Rejected { fault: Address"),
            (
                "#a",
                ":s 474 us #a :(+b)\r\n:s 404 us #a :no\r\n",
                "Rejected { fault: Message, detail: \"404: the channel takes",
            ),
            ("#a", ":s 474 us #a :(+b)\r\n", "Accepted"),
            ("#a", ":s 437 us #a :split\r\n:s 404 us #a :no\r\n", "Deferred { after: None, holds: Address"),
            ("x", ":s 439 us x :Target change too fast\r\n", "Deferred { after: None, holds: Channel, throttled: true"),
            ("x", ":s 263 us PRIVMSG :wait\r\n", "Deferred { after: None, holds: Channel, throttled: false"),
            ("x", ":s 401 us other :No such nick\r\n:s 301 us x :away\r\n", "Accepted"),
        ] {
            let shown = outcome(to, "x", said_back);
            assert!(shown.starts_with(begins), "{said_back}: {shown}");
        }
        let both = outcome("#a", "x\ny", ":s 404 us #a :no\r\n");
        assert_eq!(both, "Unknown { detail: \"1 of 2 lines were refused (404)\" }");
    }

    #[test]
    fn no_line_with_all_that_the_server_adds_is_longer_than_the_protocol_allows() {
        let mut session = begun("a-long-nick-of-ours".into());
        let out = said(&mut session, 1, "#status", &"größer ".repeat(200));
        let lines: Vec<&str> = out.lines().filter(|line| line.starts_with("PRIVMSG")).collect();
        let source = format!(":a-long-nick-of-ours!~{USER}@{} ", "h".repeat(HOST));
        let longest = lines.iter().map(|line| source.len() + line.len() + 2).max().expect("lines");
        assert!((LINE - 10..=LINE).contains(&longest), "{longest}");
    }

    #[test]
    fn what_cannot_be_said_is_not_written() {
        let (mut session, mut out) = (begun("us".into()), BytesMut::new());
        let link = format!("https://a.example/{}", "x".repeat(500));
        for (to, body, fault) in [
            ("#a b", "x", Fault::Address),
            ("a\r\nQUIT", "x", Fault::Address),
            ("#a,#b", "x", Fault::Address),
            ("#a", " \n", Fault::Message),
            ("#a", &"x\n".repeat(25), Fault::Message),
            ("#a", &link, Fault::Message),
        ] {
            let refused = session.publish(1, &letter(to, body), &mut out).expect_err(to);
            assert!(matches!(&refused, Outcome::Rejected { fault: is, .. } if *is == fault), "{to:?}: {refused:?}");
        }
        assert!(out.is_empty() && !session.full());
    }

    #[test]
    fn a_server_that_ends_it_says_so() {
        let mut incoming = BytesMut::from(&b"ERROR :Closing Link: us (Excess Flood)\r\n"[..]);
        let read = begun("us".into()).read(&mut incoming, &mut BytesMut::new(), &mut Vec::new());
        assert_eq!(read, Err(Lost::Closed));
    }
}
