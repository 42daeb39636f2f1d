//! NATS, published into a stream of JetStream (<https://docs.nats.io/reference/reference-protocols/nats-protocol>,
//! <https://docs.nats.io/reference/reference-protocols/nats_api_reference>). Each message asks for an answer at an inbox of its own, and
//! goes with `Nats-Msg-Id`, by which the stream drops what it has already. A subject that no stream takes has nobody who answers.
//! The protocol is a few lines of text, so it is spoken here: the client of the NATS project brings an event loop that sends again by
//! itself, and some twenty crates.

mod opening;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use serde::Deserialize;

use super::conversation::Lost;
use super::target::{Schemes, Target};
use super::{Letter, Publisher, Session, Settings, patience, setting};
use crate::channel::{Driver, Fault, Holds, Outcome};

const SCHEMES: Schemes = Schemes { plain: ("nats", 4222), secure: ("tls", 4222) };
const LONGEST_PAYLOAD: usize = 32 * 1024;

/// `concurrency` is the number of messages that wait for their answer at one time.
pub fn driver(settings: &Settings, concurrency: usize) -> Result<Arc<dyn Driver>, String> {
    let get = |name: &str| setting(settings, name).map(String::from);
    let login = match (get("user"), get("password"), get("token")) {
        (None, None, None) => Login::None,
        (None, None, Some(token)) => Login::Token(token),
        (Some(user), Some(password), None) => Login::User(user, password),
        (Some(_), None, None) => return Err("password: missing beside user".into()),
        (None, Some(_), None) => return Err("user: missing beside password".into()),
        (_, _, Some(_)) => return Err("token: set it, or user and password, not both".into()),
    };
    let secret = match &login {
        Login::None => None,
        Login::Token(secret) | Login::User(_, secret) => Some(secret.clone()),
    };
    let target = Target::read(settings, &SCHEMES, secret.is_some())?;
    let secrets = secret.into_iter().collect();
    Ok(Arc::new(Publisher::new(Nats { target, login }, patience(settings)?, concurrency, secrets)))
}

enum Login {
    None,
    Token(String),
    User(String, String),
}

struct Nats {
    target: Target,
    login: Login,
}

/// As it is when a connection to a server of that limit begins, with its answers at that inbox.
pub(super) fn begun(inbox: String, largest: usize) -> Asked {
    Asked { inbox, largest, subjects: BTreeMap::new() }
}

/// The messages that were published and not answered.
pub(super) struct Asked {
    inbox: String,
    largest: usize,
    /// Only a refusal of a subject names it, and not the message.
    subjects: BTreeMap<u64, Arc<str>>,
}

impl Session for Asked {
    /// A stream that has lost its quorum is silent, and others go on: each answer is told apart by its inbox for ever.
    const SILENCE_ENDS: bool = false;

    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome> {
        if !is_subject(&letter.to) {
            let detail = "not a subject that can be published to".into();
            return Err(Outcome::Rejected { fault: Fault::Address, detail });
        }
        let header = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", letter.id);
        let total = header.len() + letter.body.len();
        if total > self.largest {
            let detail = format!("{total} bytes are more than the server takes ({})", self.largest);
            return Err(Outcome::Rejected { fault: Fault::Message, detail });
        }
        let line = format!("HPUB {} {}{key} {} {total}\r\n{header}", letter.to, self.inbox, header.len());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(&letter.body);
        out.extend_from_slice(b"\r\n");
        self.subjects.insert(key, letter.to.clone());
        Ok(())
    }

    fn forget(&mut self, key: u64, _: &mut BytesMut) {
        self.subjects.remove(&key);
    }

    fn ping(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b"PING\r\n");
    }

    fn read(
        &mut self,
        incoming: &mut BytesMut,
        out: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost> {
        while let Some(end) = end_of_line(incoming) {
            let line = String::from_utf8_lossy(&incoming[..end]).into_owned();
            let mut words = line.split_ascii_whitespace();
            let verb = words.next().unwrap_or_default().to_ascii_uppercase();
            let mut used = end + 2;
            match verb.as_str() {
                "MSG" | "HMSG" => {
                    let words: Vec<&str> = words.collect();
                    let [subject, .., size] = words.as_slice() else { return Err(Lost::Garbled) };
                    let header = if verb == "HMSG" { words.get(words.len() - 2) } else { None };
                    let sizes = (size.parse::<usize>(), header.map_or(Ok(0), |size| size.parse::<usize>()));
                    let (Ok(total), Ok(header)) = sizes else { return Err(Lost::Garbled) };
                    if total > LONGEST_PAYLOAD || header > total {
                        return Err(Lost::Garbled);
                    }
                    let Some(payload) = incoming.get(used..used + total) else { return Ok(()) };
                    if incoming.len() < used + total + 2 {
                        return Ok(());
                    }
                    let (header, payload) = payload.split_at(header);
                    let key = subject.strip_prefix(&self.inbox).and_then(|key| key.parse().ok());
                    if let Some(key) = key
                        && self.subjects.remove(&key).is_some()
                    {
                        answers.push((key, answer(header, payload)));
                    }
                    used += total + 2;
                }
                "PING" => out.extend_from_slice(b"PONG\r\n"),
                "-ERR" => self.refuse(&line, answers),
                "PONG" | "+OK" | "INFO" => {}
                _ => return Err(Lost::Garbled),
            }
            incoming.advance(used);
        }
        Ok(())
    }
}

impl Asked {
    /// `-ERR 'Permissions Violation for Publish to "subject"'` leaves the connection open. After any other the server closes it.
    fn refuse(&mut self, line: &str, answers: &mut Vec<(u64, Outcome)>) {
        let Some((_, subject)) = line.split_once("Permissions Violation for Publish to \"") else { return };
        let Some((subject, _)) = subject.rsplit_once('"') else { return };
        for (key, _) in self.subjects.extract_if(.., |_, one| &**one == subject) {
            let detail = "-ERR: the user may not publish to this subject".into();
            answers.push((key, Outcome::Rejected { fault: Fault::Address, detail }));
        }
    }
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n")
}

/// Words between dots, without wildcards and without what ends a word of the protocol.
fn is_subject(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '*' | '>'))
    };
    text.len() <= 1024 && text.split('.').all(is_word)
}

#[derive(Deserialize)]
struct Ack {
    error: Option<ApiError>,
    stream: Option<String>,
    seq: Option<u64>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// Of errors, <https://github.com/nats-io/nats-server/blob/main/server/errors.json>.
const TOO_LARGE: u32 = 10054;

fn answer(header: &[u8], payload: &[u8]) -> Outcome {
    let holds_address = |detail| Outcome::Deferred { after: None, holds: Holds::Address, throttled: false, detail };
    // A status without a message: nobody listens there.
    if header.starts_with(b"NATS/1.0 503") {
        return holds_address("no stream of JetStream takes this subject now".into());
    }
    match serde_json::from_slice(payload) {
        Ok(Ack { error: None, stream: Some(stream), seq: Some(seq) }) => {
            Outcome::Accepted { reference: Some(format!("{stream}:{seq}")) }
        }
        Ok(Ack { error: Some(ApiError { err_code, description }), .. }) => {
            let description: String = description.chars().filter(|c| !c.is_control()).take(100).collect();
            let detail = format!("JetStream {err_code}: {description}");
            match err_code {
                TOO_LARGE => Outcome::Rejected { fault: Fault::Message, detail },
                _ => holds_address(detail),
            }
        }
        // Somebody who is no stream has answered.
        _ => Outcome::Unknown { detail: "the answer is not that of a stream".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(keys: &[(u64, &str)]) -> Asked {
        let subjects = keys.iter().map(|(key, subject)| (*key, Arc::from(*subject))).collect();
        Asked { inbox: "_INBOX.x.".into(), largest: 100, subjects }
    }

    fn letter(to: &str, body: &str) -> Letter {
        Letter { id: "dlv_1".into(), broadcast: None, to: to.into(), body: body.to_string().into() }
    }

    /// Byte by byte, as a slow network may give it.
    fn heard(session: &mut Asked, said: &str) -> (Vec<(u64, Outcome)>, String, Result<(), Lost>) {
        let (mut incoming, mut out, mut answers) = (BytesMut::new(), BytesMut::new(), Vec::new());
        let mut read = Ok(());
        for byte in said.bytes() {
            incoming.extend_from_slice(&[byte]);
            read = read.and(session.read(&mut incoming, &mut out, &mut answers));
        }
        (answers, String::from_utf8_lossy(&out).into_owned(), read)
    }

    #[test]
    fn a_message_is_published_with_its_id_and_an_inbox_of_its_own() {
        let (mut session, mut out) = (asked(&[]), BytesMut::new());
        session.publish(7, &letter("alerts.web", "{}"), &mut out).expect("written");
        let expected = "HPUB alerts.web _INBOX.x.7 32 34\r\nNATS/1.0\r\nNats-Msg-Id: dlv_1\r\n\r\n{}\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let refused = session.publish(8, &letter("alerts.web", &"x".repeat(69)), &mut out);
        assert!(matches!(refused, Err(Outcome::Rejected { fault: Fault::Message, .. })), "{refused:?}");
        for subject in ["", "a..b", ".a", "a.", "a.*", "a.>", "a b", "a\r\nPUB b 0", "a\u{a0}b", &"a".repeat(1025)] {
            let refused = session.publish(8, &letter(subject, "{}"), &mut out);
            assert!(
                matches!(refused, Err(Outcome::Rejected { fault: Fault::Address, .. })),
                "{subject:?}: {refused:?}"
            );
        }
        assert_eq!((String::from_utf8_lossy(&out), session.subjects.len()), (expected.into(), 1));
    }

    #[test]
    fn each_answer_is_read_as_what_it_says() {
        let mut session = asked(&[(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "d"), (6, "e"), (7, "f")]);
        let (answers, out, read) = heard(
            &mut session,
            "MSG _INBOX.x.2 1 28\r\n{\"stream\":\"ALERTS\",\"seq\":17}\r\n\
             PING\r\n\
             HMSG _INBOX.x.4 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n\
             MSG _INBOX.x.5 1 72\r\n{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum messages\"}}\r\n\
             MSG _INBOX.x.6 1 49\r\n{\"error\":{\"code\":400,\"err_code\":10054,\"x\":\"abc\"}}\r\n\
             -ERR 'Permissions Violation for Publish to \"a\"'\r\n\
             MSG _INBOX.x.7 1 2\r\nhi\r\n\
             MSG _INBOX.x.2 1 28\r\n{\"stream\":\"ALERTS\",\"seq\":17}\r\n\
             MSG _INBOX.y.7 1 2\r\nhi\r\n+OK\r\nPONG\r\nINFO {}\r\n",
        );
        assert_eq!((out.as_str(), read), ("PONG\r\n", Ok(())));
        let shown: Vec<String> = answers.iter().map(|(key, outcome)| format!("{key} {outcome:?}")).collect();
        let begins = [
            "2 Accepted { reference: Some(\"ALERTS:17\") }",
            "4 Deferred { after: None, holds: Address",
            "5 Deferred { after: None, holds: Address, throttled: false, detail: \"JetStream 10077: maximum messages\" }",
            "6 Rejected { fault: Message",
            "1 Rejected { fault: Address",
            "3 Rejected { fault: Address",
            "7 Unknown",
        ];
        assert_eq!(shown.len(), begins.len(), "{shown:#?}");
        for (shown, begins) in shown.iter().zip(begins) {
            assert!(shown.starts_with(begins), "{shown}");
        }
        assert!(session.subjects.is_empty());
    }

    #[test]
    fn what_is_not_nats_ends_the_connection() {
        for said in [
            "HTTP/1.1 400\r\n",
            "MSG a\r\n",
            "MSG _INBOX.x.1 1 99999999\r\n",
            "HMSG _INBOX.x.1 1 9 4\r\n",
            "MSG a 1 x\r\n",
        ] {
            assert_eq!(heard(&mut asked(&[(1, "a")]), said).2, Err(Lost::Garbled), "{said}");
        }
    }

    #[test]
    fn a_login_is_a_token_or_a_user_with_a_password() {
        let error = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.to_string(), crate::config::Secret::new(*value)));
            driver(&pairs.collect(), 8).err().expect("refused")
        };
        let url = ("url", "tls://nats.example");
        assert!(error(&[url, ("password", "hunter2")]).starts_with("user: missing"));
        assert!(error(&[url, ("user", "u")]).starts_with("password: missing"));
        assert!(error(&[url, ("user", "u"), ("token", "t")]).starts_with("token: set it, or"));
        assert!(error(&[("url", "nats://nats.example"), ("token", "t")]).starts_with("url: the password would travel"));
    }
}
