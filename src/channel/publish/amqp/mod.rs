//! AMQP 0-9-1 with publisher confirms (<https://www.rabbitmq.com/docs/specification>, <https://www.rabbitmq.com/docs/confirms>). A message
//! is persistent, its routing key is the address, and `mandatory` has it come back where no queue takes it. It is spoken here: of the
//! protocol a publisher needs a dozen methods, and the client at hand brings some fifty crates with a runtime and a resolver of its own.

mod frame;
mod opening;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use self::frame::{AROUND, BODY, Frame, HEADER, HEARTBEAT, METHOD, Method, Reader};
use super::conversation::Lost;
use super::target::{Schemes, Target};
use super::{Letter, Publisher, Session, Settings, deferred, patience, setting};
use crate::channel::{Driver, Fault, Holds, Outcome};

const SCHEMES: Schemes = Schemes { plain: ("amqp", 5672), secure: ("amqps", 5671) };
/// Our one channel; 0 is the connection itself.
const CHANNEL: u16 = 1;
/// Of a name, a routing key or an id (shortstr).
const LONGEST_NAME: usize = 255;
/// A delivery-mode.
const PERSISTENT: u8 = 2;

/// `concurrency` is the number of messages that wait for their confirm at one time.
pub fn driver(settings: &Settings, concurrency: usize) -> Result<Arc<dyn Driver>, String> {
    let get = |name: &str| setting(settings, name).map(String::from);
    let amqp = Amqp {
        target: Target::read(settings, &SCHEMES, true)?,
        user: get("user").ok_or("user: missing")?,
        password: get("password").ok_or("password: missing")?,
        vhost: get("vhost").unwrap_or_else(|| "/".into()),
        exchange: get("exchange").unwrap_or_default().into(),
    };
    for (name, text) in [("vhost", amqp.vhost.as_str()), ("exchange", &amqp.exchange)] {
        if text.len() > LONGEST_NAME {
            return Err(format!("{name}: has more than {LONGEST_NAME} bytes"));
        }
    }
    let secrets = vec![amqp.password.clone()];
    Ok(Arc::new(Publisher::new(amqp, patience(settings)?, concurrency, secrets)))
}

struct Amqp {
    target: Target,
    user: String,
    password: String,
    vhost: String,
    exchange: Arc<str>,
}

/// As it is when a connection begins.
pub(super) fn begun(exchange: Arc<str>, frame: usize) -> Confirmed {
    Confirmed { exchange, frame, published: 0, open: BTreeMap::new(), returning: false, blocked: false }
}

/// The messages that were published and not confirmed.
pub(super) struct Confirmed {
    exchange: Arc<str>,
    /// The longest frame that the broker takes.
    frame: usize,
    /// The broker counts what is published on a channel, from 1 on.
    published: u64,
    open: BTreeMap<u64, Open>,
    /// A message that came back, up to its header, which names it.
    returning: bool,
    /// The broker has no memory or no room on its disk, and reads nothing more of us.
    blocked: bool,
}

struct Open {
    key: u64,
    id: String,
    /// No queue took it; it is confirmed all the same.
    returned: bool,
}

impl Session for Confirmed {
    /// A queue may be slow alone; the count tells each confirm apart for ever.
    const SILENCE_ENDS: bool = false;

    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome> {
        if self.blocked {
            return Err(deferred("the broker is out of memory or disk space, and takes nothing"));
        }
        if letter.to.len() > LONGEST_NAME || letter.id.len() > LONGEST_NAME {
            let detail = format!("a routing key has {LONGEST_NAME} bytes at most");
            return Err(Outcome::Rejected { fault: Fault::Address, detail });
        }
        // Mandatory, not immediate.
        Method::new(60, 40).number(0).short(&self.exchange).short(&letter.to).octet(1).write(out, CHANNEL);
        let mut header = BytesMut::new();
        header.put_u16(60);
        header.put_u16(0);
        header.put_u64(letter.body.len() as u64);
        // content-type, delivery-mode, message-id
        header.put_u16(0x8000 | 0x1000 | 0x0080);
        frame::short(&mut header, "application/json");
        header.put_u8(PERSISTENT);
        frame::short(&mut header, &letter.id);
        frame::put(out, HEADER, CHANNEL, &header);
        for part in letter.body.chunks(self.frame - AROUND) {
            frame::put(out, BODY, CHANNEL, part);
        }
        self.published += 1;
        self.open.insert(self.published, Open { key, id: letter.id.clone(), returned: false });
        Ok(())
    }

    fn forget(&mut self, key: u64, _: &mut BytesMut) {
        self.open.retain(|_, open| open.key != key);
    }

    fn ping(&mut self, out: &mut BytesMut) {
        frame::put(out, HEARTBEAT, 0, &[]);
    }

    fn read(
        &mut self,
        incoming: &mut BytesMut,
        out: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost> {
        while let Some(Frame { kind, payload }) = frame::take(incoming)? {
            match kind {
                METHOD => self.method(Reader(payload), answers)?,
                HEADER if self.returning => self.came_back(Reader(payload)).ok_or(Lost::Garbled)?,
                // As often as the broker, so that it hears us too.
                HEARTBEAT => self.ping(out),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Confirmed {
    fn method(&mut self, mut said: Reader, answers: &mut Vec<(u64, Outcome)>) -> Result<(), Lost> {
        let method = said.number().zip(said.number()).ok_or(Lost::Garbled)?;
        match method {
            (60, 80 | 120) => {
                let (count, bits) = said.longlong().zip(said.octet()).ok_or(Lost::Garbled)?;
                // 0 with `multiple` is all there are.
                let last = if count == 0 { u64::MAX } else { count };
                let first = if bits & 1 == 1 { 0 } else { last };
                for (_, open) in self.open.extract_if(first..=last, |_, _| true) {
                    answers.push((open.key, confirmed(method.1 == 80, open.returned)));
                }
            }
            (60, 50) => self.returning = true,
            (10, 60) => self.blocked = true,
            (10, 61) => self.blocked = false,
            // Connection or channel: what was under way may or may not have been taken.
            (10, 50) | (20, 40) => return Err(Lost::Closed),
            _ => {}
        }
        Ok(())
    }

    /// The header as we wrote it.
    fn came_back(&mut self, mut header: Reader) -> Option<()> {
        self.returning = false;
        let (_, _, _, flags) = (header.number()?, header.number()?, header.longlong()?, header.number()?);
        if flags & 0x8000 != 0 {
            header.short()?;
        }
        if flags & 0x1000 != 0 {
            header.octet()?;
        }
        let id: Bytes = header.short()?;
        for open in self.open.values_mut().filter(|open| open.id.as_bytes() == id) {
            open.returned = true;
        }
        Some(())
    }
}

fn confirmed(taken: bool, returned: bool) -> Outcome {
    let waits = |detail: &str| Outcome::Deferred {
        after: None,
        holds: Holds::Address,
        throttled: false,
        detail: detail.into(),
    };
    match (taken, returned) {
        (_, true) => waits("no queue takes this routing key"),
        (true, false) => Outcome::Accepted { reference: None },
        (false, false) => waits("the queue did not take it (basic.nack)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Confirmed {
        begun("alerts".into(), 4096)
    }

    fn letter(id: &str, body: usize) -> Letter {
        Letter { id: id.into(), broadcast: None, to: "web.down".into(), body: vec![b'x'; body].into() }
    }

    fn confirm(method: u16, count: u64, bits: u8) -> BytesMut {
        let mut said = BytesMut::new();
        let count = count.to_be_bytes();
        let halves = [0, 4].map(|at| u32::from_be_bytes([count[at], count[at + 1], count[at + 2], count[at + 3]]));
        Method::new(60, method).long(halves[0]).long(halves[1]).octet(bits).write(&mut said, CHANNEL);
        said
    }

    fn heard(session: &mut Confirmed, mut said: BytesMut) -> Vec<(u64, Outcome)> {
        let (mut out, mut answers) = (BytesMut::new(), Vec::new());
        session.read(&mut said, &mut out, &mut answers).expect("read");
        answers
    }

    #[test]
    fn confirms_are_counted_and_may_be_of_many() {
        let (mut session, mut out) = (session(), BytesMut::new());
        for key in 10..16 {
            session.publish(key, &letter(&format!("dlv_{key}"), 2), &mut out).expect("written");
        }
        let accepted = |key| (key, Outcome::Accepted { reference: None });
        assert_eq!(heard(&mut session, confirm(80, 2, 0)), [accepted(11)]);
        assert_eq!(heard(&mut session, confirm(80, 3, 1)), [accepted(10), accepted(12)]);
        assert_eq!(heard(&mut session, confirm(80, 3, 0)), []);
        let refused = heard(&mut session, confirm(120, 4, 0));
        assert!(matches!(&refused[..], [(13, Outcome::Deferred { holds: Holds::Address, .. })]), "{refused:?}");
        assert_eq!(heard(&mut session, confirm(80, 0, 1)), [accepted(14), accepted(15)]);
    }

    #[test]
    fn what_comes_back_is_known_by_its_id_and_waits_for_a_queue() {
        let (mut session, mut out) = (session(), BytesMut::new());
        for key in 0..3 {
            session.publish(key, &letter(&format!("dlv_{key}"), 5000), &mut out).expect("written");
        }
        // The broker sends header and body of the second as they came.
        let mut frames = Vec::new();
        while let Some(frame) = frame::take(&mut out).expect("ours") {
            frames.push(frame);
        }
        assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [1, 2, 3, 3, 1, 2, 3, 3, 1, 2, 3, 3]);
        assert!(frames.iter().all(|frame| frame.payload.len() + AROUND <= 4096));
        let mut said = BytesMut::new();
        Method::new(60, 50).number(312).short("NO_ROUTE").short("alerts").short("web.down").write(&mut said, CHANNEL);
        for frame in &frames[5..8] {
            frame::put(&mut said, frame.kind, CHANNEL, &frame.payload);
        }
        said.unsplit(confirm(80, 3, 1));
        let answers = heard(&mut session, said);
        let waits: Vec<u64> = answers
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Deferred { .. }))
            .map(|(key, _)| *key)
            .collect();
        assert_eq!((answers.len(), waits), (3, vec![1]));
    }

    #[test]
    fn a_broker_without_room_is_left_alone_and_heartbeats_are_answered() {
        let (mut session, mut out) = (session(), BytesMut::new());
        let mut said = BytesMut::new();
        Method::new(10, 60).short("low on memory").write(&mut said, 0);
        heard(&mut session, said);
        let blocked = session.publish(0, &letter("dlv_0", 2), &mut out);
        assert!(matches!(blocked, Err(Outcome::Deferred { holds: Holds::Channel, .. })), "{blocked:?}");
        let mut said = BytesMut::new();
        Method::new(10, 61).write(&mut said, 0);
        heard(&mut session, said);
        session.publish(0, &letter("dlv_0", 2), &mut out).expect("written");
        let (mut beat, mut answer) = (BytesMut::new(), BytesMut::new());
        session.ping(&mut beat);
        session.read(&mut beat.clone(), &mut answer, &mut Vec::new()).expect("read");
        assert_eq!(answer, beat);
        let mut said = BytesMut::new();
        Method::new(20, 40).number(404).short("NOT_FOUND").number(60).number(40).write(&mut said, CHANNEL);
        assert_eq!(session.read(&mut said, &mut answer, &mut Vec::new()), Err(Lost::Closed));
    }
}
