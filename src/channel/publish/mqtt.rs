//! MQTT 3.1.1, QoS 1 (<https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>). The codec is rumqttc's; its event loop
//! is not used, since it publishes by itself again what a lost connection left open (section 4.4), and whether that may be is not
//! decided here. The session is clean, so the broker expects no such thing of us.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use rumqttc::{Connect, ConnectReturnCode, Error, Packet, PingReq, Publish, QoS};

use super::conversation::{Lost, QUIET};
use super::target::{Line, Schemes, Target};
use super::{Letter, Protocol, Publisher, Session, Settings, deferred, patience, rejected, setting};
use crate::channel::{Driver, Fault, Outcome};

const SCHEMES: Schemes = Schemes { plain: ("mqtt", 1883), secure: ("mqtts", 8883) };
/// An answer to someone who only publishes has four bytes.
const LONGEST_PACKET: usize = 1024;
/// Client id, user and password go with their length in two bytes.
const LONGEST_TEXT: usize = 1024;

/// `concurrency` is the number of messages that wait for their PUBACK at one time.
pub fn driver(settings: &Settings, concurrency: usize) -> Result<Arc<dyn Driver>, String> {
    let (user, password) = (setting(settings, "user"), setting(settings, "password"));
    let mut connect = Connect::new(setting(settings, "client_id").unwrap_or_default());
    connect.keep_alive = 2 * QUIET.as_secs() as u16;
    for name in ["client_id", "user", "password"] {
        if setting(settings, name).is_some_and(|text| text.len() > LONGEST_TEXT) {
            return Err(format!("{name}: has more than {LONGEST_TEXT} bytes"));
        }
    }
    match (user, password) {
        // A password without a user is no MQTT 3.1.1 (section 3.1.2.9).
        (None, Some(_)) => return Err("user: missing beside password".into()),
        (Some(user), password) => drop(connect.set_login(user, password.unwrap_or_default())),
        (None, None) => {}
    }
    let target = Target::read(settings, &SCHEMES, password.is_some())?;
    let secrets = password.into_iter().map(String::from).collect();
    Ok(Arc::new(Publisher::new(Mqtt { target, connect }, patience(settings)?, concurrency, secrets)))
}

struct Mqtt {
    target: Target,
    connect: Connect,
}

impl Protocol for Mqtt {
    type Session = Published;

    async fn open(&self) -> Result<(Line, Published), Outcome> {
        let stream = self.target.connect().await?;
        let mut line = match self.target.secure {
            true => self.target.encrypt(stream).await?,
            false => Line::over(stream),
        };
        let mut hello = BytesMut::new();
        self.connect.write(&mut hello).map_err(|_| rejected("CONNECT cannot be written"))?;
        line.write(&hello).await?;
        loop {
            match Packet::read(&mut line.incoming, LONGEST_PACKET) {
                Ok(Packet::ConnAck(answer)) => {
                    taken(answer.code)?;
                    return Ok((line, session()));
                }
                Err(Error::InsufficientBytes(_)) => line.read().await?,
                _ => return Err(deferred("the answer to CONNECT is not MQTT")),
            }
        }
    }
}

/// Section 3.2.2.3.
fn taken(code: ConnectReturnCode) -> Result<(), Outcome> {
    match code {
        ConnectReturnCode::Success => Ok(()),
        ConnectReturnCode::ServiceUnavailable => Err(deferred("CONNACK 3: the server is unavailable")),
        ConnectReturnCode::RefusedProtocolVersion => Err(rejected("CONNACK 1: the server does not speak MQTT 3.1.1")),
        ConnectReturnCode::BadClientId => Err(rejected("CONNACK 2: the client id is refused; set client_id")),
        ConnectReturnCode::BadUserNamePassword => Err(rejected("CONNACK 4: bad user or password")),
        ConnectReturnCode::NotAuthorized => Err(rejected("CONNACK 5: not authorized; see user and password")),
    }
}

/// A name of section 4.7, once more: brokers end the connection of someone who publishes to anything else.
fn check(topic: &str) -> Result<(), Outcome> {
    let wrong =
        topic.is_empty() || topic.len() > 1024 || topic.contains(['+', '#']) || topic.contains(char::is_control);
    match wrong {
        true => Err(Outcome::Rejected { fault: Fault::Address, detail: "not a topic that can be published to".into() }),
        false => Ok(()),
    }
}

/// As it is when a connection begins.
pub(super) fn session() -> Published {
    Published::default()
}

/// The messages that were published and not acknowledged, by their packet identifier.
#[derive(Default)]
pub(super) struct Published {
    keys: BTreeMap<u16, u64>,
}

impl Session for Published {
    /// There is no way to take a message back, and no later answer to tell apart from that of another.
    const SILENCE_ENDS: bool = true;

    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome> {
        check(&letter.to)?;
        let mut publish = Publish::from_bytes(&*letter.to, QoS::AtLeastOnce, letter.body.clone());
        // Not 0 (section 2.3.1); those under way are far fewer than there are numbers.
        publish.pkid = (key % u64::from(u16::MAX)) as u16 + 1;
        let begins = out.len();
        publish.write(out).map_err(|_| {
            out.truncate(begins);
            Outcome::Rejected { fault: Fault::Message, detail: "longer than an MQTT packet can be".into() }
        })?;
        self.keys.insert(publish.pkid, key);
        Ok(())
    }

    fn forget(&mut self, key: u64, _: &mut BytesMut) {
        self.keys.retain(|_, one| *one != key);
    }

    fn ping(&mut self, out: &mut BytesMut) {
        // Two bytes always fit.
        let _ = PingReq.write(out);
    }

    fn read(
        &mut self,
        incoming: &mut BytesMut,
        _: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost> {
        loop {
            match Packet::read(incoming, LONGEST_PACKET) {
                Ok(Packet::PubAck(answer)) => {
                    if let Some(key) = self.keys.remove(&answer.pkid) {
                        answers.push((key, Outcome::Accepted { reference: None }));
                    }
                }
                Ok(Packet::PingResp) => {}
                Err(Error::InsufficientBytes(_)) => return Ok(()),
                Ok(_) | Err(_) => return Err(Lost::Garbled),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(to: &str) -> Letter {
        Letter { id: "dlv_1".into(), broadcast: None, to: to.into(), body: "{}".into() }
    }

    #[test]
    fn an_acknowledgement_is_that_of_its_packet_identifier_alone_and_only_once() {
        let (mut session, mut out, mut answers) = (Published::default(), BytesMut::new(), Vec::new());
        for key in [65_533, 65_534, 65_535] {
            session.publish(key, &letter("a/b"), &mut out).expect("written");
        }
        let mut pkids = Vec::new();
        while let Ok(Packet::Publish(publish)) = Packet::read(&mut out, LONGEST_PACKET) {
            assert_eq!((publish.topic.as_str(), publish.qos, publish.dup), ("a/b", QoS::AtLeastOnce, false));
            pkids.push(publish.pkid);
        }
        assert_eq!(pkids, [65_534, 65_535, 1], "never 0");
        // The last first, another's, the same again, and a half of the next.
        let mut incoming = BytesMut::from(&[0x40, 2, 0, 1, 0x40, 2, 0, 9, 0x40, 2, 0, 1, 0xd0, 0, 0x40, 2][..]);
        session.read(&mut incoming, &mut out, &mut answers).expect("read");
        assert_eq!(answers, [(65_535, Outcome::Accepted { reference: None })]);
        incoming.extend_from_slice(&[0xff, 0xfe]);
        session.read(&mut incoming, &mut out, &mut answers).expect("read");
        assert_eq!(answers.last().expect("an answer").0, 65_533);
        assert_eq!(session.read(&mut BytesMut::from(&[0xf0, 0][..]), &mut out, &mut answers), Err(Lost::Garbled));
    }

    #[test]
    fn what_is_no_topic_is_not_written() {
        let (mut session, mut out) = (Published::default(), BytesMut::new());
        for topic in ["", "a/+/b", "a/#", "a\0b", "a\nb", &"a".repeat(1025)] {
            let refused = session.publish(1, &letter(topic), &mut out).expect_err(topic);
            assert!(matches!(refused, Outcome::Rejected { fault: Fault::Address, .. }), "{topic:?}: {refused:?}");
        }
        assert!(out.is_empty() && session.keys.is_empty());
    }

    #[test]
    fn settings_that_cannot_be_are_refused_by_name() {
        let error = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.to_string(), crate::config::Secret::new(*value)));
            driver(&pairs.collect(), 8).err().expect("refused")
        };
        let url = ("url", "mqtts://broker.example");
        assert!(error(&[url, ("password", "hunter2")]).starts_with("user: missing"));
        assert!(error(&[url, ("client_id", &"x".repeat(2000))]).starts_with("client_id: has more than"));
        assert!(error(&[url, ("timeout", "soon")]).starts_with("timeout: "));
        assert!(error(&[url, ("ca_file", "/nowhere.pem")]).starts_with("ca_file: "));
    }
}
