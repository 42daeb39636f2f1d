//! A stream that is bound: messages out, each with what answers it.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::framing::{Framer, Item};
use super::stanza::{Element, written};
use super::{condition, is_jid};
use crate::channel::publish::conversation::Lost;
use crate::channel::publish::{Letter, Session};
use crate::channel::{Fault, Holds, Outcome};

/// As an address of XEP-0147 ends that is a room's.
const JOIN: &str = "?join";
/// RFC 6120, section 13.12, lets no server take less than 10,000 bytes; most take much more.
const LARGEST: usize = 48 * 1024;

/// As it is once a resource is bound.
pub(in crate::channel::publish) fn begun(domain: String, nick: String) -> Bound {
    Bound { domain, nick, conflicts: 0, rooms: BTreeMap::new(), waiting: BTreeMap::new(), framer: Framer::within() }
}

pub(in crate::channel::publish) struct Bound {
    domain: String,
    nick: String,
    /// How often somebody in a room had our nick.
    conflicts: usize,
    /// Those that we have asked to let us in, with our nick there.
    rooms: BTreeMap<String, String>,
    waiting: BTreeMap<u64, Waiting>,
    framer: Framer,
}

struct Waiting {
    id: String,
    /// In small letters.
    to: String,
    room: bool,
}

impl Session for Bound {
    /// A room may be silent and everyone else answer: each answer is told apart by its id.
    const SILENCE_ENDS: bool = false;

    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome> {
        let (to, room) = match letter.to.strip_suffix(JOIN) {
            Some(to) => (to, true),
            None => (&*letter.to, false),
        };
        if !is_jid(to) {
            return Err(Outcome::Rejected { fault: Fault::Address, detail: "not somebody@domain".into() });
        }
        let id = written(&letter.id);
        let kind = if room { "groupchat" } else { "chat" };
        let message = format!(
            "<message to='{}' type='{kind}' id='{id}'><body>{}</body><origin-id xmlns='urn:xmpp:sid:0' id='{id}'/></message>",
            written(to),
            written(&String::from_utf8_lossy(&letter.body)),
        );
        if message.len() > LARGEST {
            let detail = format!("{} bytes; at most {LARGEST} are sent", message.len());
            return Err(Outcome::Rejected { fault: Fault::Message, detail });
        }
        let bare = to.to_lowercase();
        if room && !self.rooms.contains_key(&bare) {
            let nick = match self.conflicts {
                0 => self.nick.clone(),
                number => format!("{}-{}", self.nick, number + 1),
            };
            let join = format!(
                "<presence to='{}/{}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>",
                written(to),
                written(&nick)
            );
            out.extend_from_slice(join.as_bytes());
            self.rooms.insert(bare.clone(), nick);
        }
        out.extend_from_slice(message.as_bytes());
        if !room {
            let ping = format!(
                "<iq type='get' id='fence-{key}' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>",
                written(&self.domain)
            );
            out.extend_from_slice(ping.as_bytes());
        }
        self.waiting.insert(key, Waiting { id: letter.id.clone(), to: bare, room });
        Ok(())
    }

    fn forget(&mut self, key: u64, _: &mut BytesMut) {
        // Whether we are still in a room that is silent nobody knows: the next message asks to be let in again.
        if let Some(one) = self.waiting.remove(&key).filter(|one| one.room) {
            self.rooms.remove(&one.to);
        }
    }

    fn ping(&mut self, out: &mut BytesMut) {
        let ping =
            format!("<iq type='get' id='quiet' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>", written(&self.domain));
        out.extend_from_slice(ping.as_bytes());
    }

    fn read(
        &mut self,
        incoming: &mut BytesMut,
        out: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost> {
        while let Some(item) = self.framer.next(incoming)? {
            let Item::Stanza(text) = item else { return Err(Lost::Closed) };
            let stanza = Element::read(&text)?;
            match (stanza.name.as_str(), stanza.attribute("type")) {
                ("iq", "result" | "error") => self.fenced(&stanza, answers),
                ("iq", _) => asked(&stanza, out),
                ("message", "error") => self.refused(&stanza, answers),
                ("message", "groupchat") => self.came_back(&stanza, answers),
                ("presence", "error") => self.kept_out(&stanza, answers),
                ("presence", _) => self.seen(&stanza, out, answers),
                // Its reason is in the log of the server's side.
                ("error", _) => return Err(Lost::Closed),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Bound {
    /// A ping is answered: the message before it was taken.
    fn fenced(&mut self, stanza: &Element, answers: &mut Vec<(u64, Outcome)>) {
        let key = stanza.attribute("id").strip_prefix("fence-").and_then(|key| key.parse().ok());
        if let Some(key) = key
            && self.waiting.get(&key).is_some_and(|one| !one.room)
        {
            self.waiting.remove(&key);
            answers.push((key, Outcome::Accepted { reference: None }));
        }
    }

    fn refused(&mut self, stanza: &Element, answers: &mut Vec<(u64, Outcome)>) {
        let (from, _) = stanza.from();
        let key = self.waiting.iter().find(|(_, one)| one.id == stanza.attribute("id") && one.to == from);
        if let Some(key) = key.map(|(key, _)| *key) {
            self.waiting.remove(&key);
            answers.push((key, condition::outcome(stanza)));
        }
    }

    /// To everyone in the room, and to us, too.
    fn came_back(&mut self, stanza: &Element, answers: &mut Vec<(u64, Outcome)>) {
        let (room, nick) = stanza.from();
        if self.rooms.get(&room).is_none_or(|ours| ours != nick) {
            return;
        }
        let origin = stanza.child("origin-id").map_or("", |origin| origin.attribute("id"));
        let key = self
            .waiting
            .iter()
            .find(|(_, one)| one.room && one.to == room && (one.id == stanza.attribute("id") || one.id == origin));
        if let Some(key) = key.map(|(key, _)| *key) {
            self.waiting.remove(&key);
            let name = stanza.child("stanza-id").map(|id| id.attribute("id"));
            let reference = name.filter(|name| !name.is_empty() && name.len() <= 128).map(String::from);
            answers.push((key, Outcome::Accepted { reference }));
        }
    }

    /// What waits for a room has the answer that we had at its door.
    fn end_room(&mut self, room: &str, outcome: &Outcome, answers: &mut Vec<(u64, Outcome)>) {
        self.rooms.remove(room);
        for (key, _) in self.waiting.extract_if(.., |_, one| one.room && one.to == room) {
            answers.push((key, outcome.clone()));
        }
    }

    fn kept_out(&mut self, stanza: &Element, answers: &mut Vec<(u64, Outcome)>) {
        let (room, _) = stanza.from();
        if self.rooms.contains_key(&room) {
            // The next try comes under another nick.
            self.conflicts += usize::from(condition::condition(stanza) == "conflict");
            self.end_room(&room, &condition::outcome(stanza), answers);
        }
    }

    /// XEP-0045: 110 is about ourselves, 210 says that our nick is another, 201 that nobody had made the room.
    fn seen(&mut self, stanza: &Element, out: &mut BytesMut, answers: &mut Vec<(u64, Outcome)>) {
        let (room, nick) = stanza.from();
        let status = |code: &str| {
            let muc = stanza.children.iter().filter(|child| child.name == "x").flat_map(|x| &x.children);
            muc.filter(|child| child.name == "status").any(|status| status.attribute("code") == code)
        };
        let Some(ours) = self.rooms.get_mut(&room) else { return };
        if stanza.attribute("type") == "unavailable" {
            if *ours == nick {
                let detail = "the room has sent us out".into();
                let out = Outcome::Deferred { after: None, holds: Holds::Address, throttled: false, detail };
                self.end_room(&room, &out, answers);
            }
        } else if status("110") {
            *ours = nick.into();
            if status("201") {
                // Whoever wrote the address meant another room.
                let leave = format!("<presence type='unavailable' to='{}'/>", written(stanza.attribute("from")));
                out.extend_from_slice(leave.as_bytes());
                let detail = "there is no such room".into();
                self.end_room(&room, &Outcome::Rejected { fault: Fault::Message, detail }, answers);
            }
        }
    }
}

/// Every question has to be answered (RFC 6120, section 8.2.3).
fn asked(stanza: &Element, out: &mut BytesMut) {
    let (id, from) = (written(stanza.attribute("id")), stanza.attribute("from"));
    let to = if from.is_empty() { String::new() } else { format!(" to='{}'", written(from)) };
    let answer = match stanza.child("ping") {
        Some(_) => format!("<iq type='result' id='{id}'{to}/>"),
        None => format!(
            "<iq type='error' id='{id}'{to}><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        ),
    };
    out.extend_from_slice(answer.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Bound {
        begun("x.example".into(), "Alerts".into())
    }

    fn said(session: &mut Bound, key: u64, to: &str, body: &str) -> String {
        let mut out = BytesMut::new();
        let letter = Letter { id: format!("dlv_{key}"), broadcast: None, to: to.into(), body: body.to_string().into() };
        session.publish(key, &letter, &mut out).expect("written");
        String::from_utf8_lossy(&out).into_owned()
    }

    fn heard(session: &mut Bound, said: &str) -> (String, Vec<String>) {
        let (mut incoming, mut out, mut answers) = (BytesMut::from(said.as_bytes()), BytesMut::new(), Vec::new());
        session.read(&mut incoming, &mut out, &mut answers).expect("read");
        let shown = answers.iter().map(|(key, outcome)| format!("{key} {outcome:?}")).collect();
        (String::from_utf8_lossy(&out).into_owned(), shown)
    }

    #[test]
    fn a_message_to_somebody_is_answered_by_the_ping_behind_it_or_by_its_error() {
        let mut session = session();
        assert_eq!(
            said(&mut session, 1, "ann@x.example", "a < b"),
            "<message to='ann@x.example' type='chat' id='dlv_1'><body>a &lt; b</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='dlv_1'/></message>\
             <iq type='get' id='fence-1' to='x.example'><ping xmlns='urn:xmpp:ping'/></iq>"
        );
        for (key, to) in [(2, "Bob@x.example"), (3, "c@x.example"), (4, "d@x.example"), (5, "e@x.example")] {
            said(&mut session, key, to, "x");
        }
        let error = |key: u64, from: &str, kind: &str, condition: &str| {
            format!(
                "<message type='error' id='dlv_{key}' from='{from}'><error type='{kind}'><{condition}/></error></message>"
            )
        };
        let text = error(2, "bob@x.example/home", "cancel", "gone")
            + &error(3, "c@x.example", "cancel", "service-unavailable")
            + &error(4, "d@x.example", "wait", "policy-violation")
            + &error(5, "somebody@else.example", "cancel", "gone")
            + "<iq type='result' id='fence-2' from='x.example'/><iq type='error' id='fence-1'><error/></iq><iq type='result' id='fence-1'/>";
        let (_, answers) = heard(&mut session, &text);
        let begins = [
            "2 Rejected { fault: Address, detail: \"gone: there is no",
            "3 Rejected { fault: Message, detail: \"service-unavailable: nobody",
            "4 Deferred { after: None, holds: Channel, throttled: true, detail: \"policy-violation: ",
            "1 Accepted { reference: None }",
        ];
        assert_eq!(answers.len(), begins.len(), "{answers:#?}");
        for (answer, begins) in answers.iter().zip(begins) {
            assert!(answer.starts_with(begins), "{answer}");
        }
    }

    #[test]
    fn a_room_is_joined_once_and_what_it_sends_back_is_its_answer() {
        let mut session = session();
        let first = said(&mut session, 1, "Ops@rooms.example?join", "one");
        assert!(first.starts_with("<presence to='Ops@rooms.example/Alerts'><x xmlns"), "{first}");
        assert!(first.contains("type='groupchat'") && !first.contains("<ping"), "{first}");
        assert!(said(&mut session, 2, "ops@rooms.example?join", "two").starts_with("<message"));
        let back = |id: &str, nick: &str| {
            format!(
                "<message type='groupchat' from='ops@rooms.example/{nick}' id='{id}'><body/><stanza-id id='s1'/></message>"
            )
        };
        let ourselves = "<presence from='ops@rooms.example/Alerts'><x><status code='110'/></x></presence>";
        let text = format!(
            "{ourselves}{}{}<iq type='result' id='fence-2'/>",
            back("dlv_1", "Alerts"),
            back("dlv_2", "Mallory")
        );
        assert_eq!(heard(&mut session, &text).1, ["1 Accepted { reference: Some(\"s1\") }"]);
        // Sent out of the room; the next message joins it again, and its nick is taken.
        let (_, answers) = heard(&mut session, "<presence type='unavailable' from='ops@rooms.example/Alerts'/>");
        assert!(answers[0].starts_with("2 Deferred { after: None, holds: Address"), "{answers:?}");
        assert!(said(&mut session, 3, "ops@rooms.example?join", "x").starts_with("<presence"));
        let conflict = "<presence type='error' from='ops@rooms.example/Alerts'><error type='cancel'><conflict/></error></presence>";
        let (_, answers) = heard(&mut session, conflict);
        assert!(answers[0].starts_with("3 Deferred { after: None, holds: Address"), "{answers:?}");
        assert!(said(&mut session, 4, "ops@rooms.example?join", "x").contains("/Alerts-2'"));
        // One that was not there.
        let made =
            "<presence from='ops@rooms.example/Alerts-2'><x><status code='201'/><status code='110'/></x></presence>";
        let (out, answers) = heard(&mut session, made);
        assert_eq!(out, "<presence type='unavailable' to='ops@rooms.example/Alerts-2'/>");
        assert_eq!(answers, ["4 Rejected { fault: Message, detail: \"there is no such room\" }"]);
    }

    #[test]
    fn who_asks_us_is_answered_and_a_stream_that_ends_is_lost() {
        let mut session = session();
        let (out, _) = heard(
            &mut session,
            " <iq type='get' id='a&amp;b' from='x.example'><ping/></iq><iq type='set' id='2'><q/></iq>",
        );
        assert!(out.starts_with("<iq type='result' id='a&amp;b' to='x.example'/><iq type='error' id='2'>"), "{out}");
        for end in ["</stream:stream>", "<stream:error><conflict/></stream:error>"] {
            let read = self::session().read(&mut BytesMut::from(end.as_bytes()), &mut BytesMut::new(), &mut Vec::new());
            assert_eq!(read, Err(Lost::Closed), "{end}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_not_written() {
        let (mut session, mut out) = (session(), BytesMut::new());
        for (to, body, fault) in [
            ("a b@c", "x", Fault::Address),
            ("a@b'/><x", "x", Fault::Address),
            ("?join", "x", Fault::Address),
            ("a@b", &"x".repeat(50_000), Fault::Message),
        ] {
            let letter = Letter { id: "dlv_1".into(), broadcast: None, to: to.into(), body: body.to_string().into() };
            let refused = session.publish(1, &letter, &mut out).expect_err(to);
            assert!(matches!(&refused, Outcome::Rejected { fault: is, .. } if *is == fault), "{to}: {refused:?}");
        }
        assert!(out.is_empty() && session.waiting.is_empty() && session.rooms.is_empty());
    }
}
