use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loudhailer::channel::{Fault, Holds, Outcome};
use loudhailer::store::DeliveryState;

use super::{crowd, driver, outage_of, parcel, sent, states};
use crate::peers::peers;

/// A second client, who is there and in the rooms that it has joined.
struct Reader {
    stream: TcpStream,
    heard: String,
}

impl Reader {
    fn connect(host: &str, password: &str) -> Reader {
        let stream = TcpStream::connect(host).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let mut reader = Reader { stream, heard: String::new() };
        let login = STANDARD.encode(format!("\0reader\0{password}"));
        let head = "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' \
                    xmlns:stream='http://etherx.jabber.org/streams'>";
        for (said, until) in [
            (head.to_string(), "</stream:features>"),
            (format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{login}</auth>"), "<success"),
            (head.to_string(), "</stream:features>"),
            ("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><presence/>".into(), "</iq>"),
        ] {
            reader.say(&said);
            reader.until(until);
        }
        reader
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("written");
    }

    /// What came up to there.
    fn until(&mut self, end: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.heard.find(end) {
                let rest = self.heard.split_off(at + end.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            let count = self.stream.read(&mut bytes).expect("read");
            assert_ne!(count, 0, "it hung up after {}", self.heard);
            // The tests' texts may come in two: whole characters are waited for.
            self.heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    /// Made here, and then opened to others.
    fn join(&mut self, room: &str) {
        self.say(&format!("<presence to='{room}/reader'><x xmlns='http://jabber.org/protocol/muc'/></presence>"));
        // The room's subject, an empty one too, ends what it says to who comes.
        self.until("<subject");
        self.say(&format!(
            "<iq type='set' id='open' to='{room}'><query xmlns='http://jabber.org/protocol/muc#owner'>\
             <x xmlns='jabber:x:data' type='submit'/></query></iq>"
        ));
        self.until("'open'");
    }

    /// Every message that came so far: from whom, its id and its words as they stand in XML.
    fn said(&mut self) -> Vec<(String, String, String)> {
        self.say("<iq type='get' id='so-far' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
        // Its attributes come in any order.
        let heard = self.until("'so-far'") + &self.until(">");
        let between = |text: &str, from: &str, to: &str| {
            let text = text.split_once(from)?.1;
            Some(text.split_once(to)?.0.to_string())
        };
        let messages = heard.split("<message ").skip(1);
        messages
            .filter_map(|message| {
                let (head, _) = message.split_once('>')?;
                let words = between(message, "<body>", "</body>")?;
                Some((between(head, "from='", "'")?, between(head, "id='", "'")?, words))
            })
            .collect()
    }
}

fn name() -> String {
    format!("t{:08x}", fastrand::u32(..))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_arrives_in_every_room_once_over_tls() {
    const ROOMS: usize = 20;
    let Some([xmpp, tls, password, ca]) = peers(["xmpp", "xmpp_tls", "xmpp_password", "ca"]) else { return };
    let mut reader = Reader::connect(&xmpp, &password);
    let prefix = format!("{}-", name());
    let room = |n: usize| format!("{prefix}{n}@rooms.localhost");
    for n in 0..ROOMS {
        reader.join(&room(n));
    }
    let (url, nick) = (format!("xmpps://{tls}"), "The status desk");
    let login = [
        ("url", url.as_str()),
        ("ca_file", &ca),
        ("jid", "loudhailer@localhost"),
        ("password", &password),
        ("nick", nick),
    ];
    let (_plans, broker, _) = crowd(0, "xmpp", "xmpp", "", "", &login).await;
    let mut addresses = BTreeMap::new();
    for n in 0..ROOMS {
        let address = format!("{}?join", room(n));
        let id = broker.subscriber(&format!("s{n}"), "customers", &[("xmpp", &address)], |_| ()).await;
        addresses.insert(id.to_string(), address);
    }
    let broadcast = outage_of(&broker).await;
    broker.settled().await;
    let states = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), ROOMS);
    assert!(states.values().all(|state| *state == DeliveryState::Told), "{states:?}");
    // What others write to the reader meanwhile is theirs.
    let said: Vec<_> = reader.said().into_iter().filter(|(from, ..)| from.starts_with(&prefix)).collect();
    assert_eq!(said.len(), ROOMS, "{said:?}");
    for n in 0..ROOMS {
        let from = format!("{}/{nick}", room(n));
        let of: Vec<_> = said.iter().filter(|(who, ..)| *who == from).collect();
        assert_eq!(of.len(), 1, "{from}: {said:?}");
        assert!(of[0].1.starts_with("dlv_") && of[0].2.contains("15:39 UTC"), "{of:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_the_words_as_they_were_after_starttls_by_scram_or_by_plain() {
    let Some([xmpp, password, ca]) = peers(["xmpp", "xmpp_password", "ca"]) else { return };
    let mut reader = Reader::connect(&xmpp, &password);
    let url = format!("xmpp://{xmpp}");
    for (run, jid) in ["loudhailer@localhost", "loudhailer@plain.localhost"].into_iter().enumerate() {
        let pairs = [("url", url.as_str()), ("ca_file", &ca), ("jid", jid), ("password", &password)];
        // The certificate is that of localhost alone: the other domain's is not taken for it.
        let outcome = sent(
            "xmpp",
            &*driver("xmpp", &pairs),
            parcel("dlv_1", "reader@localhost", "a < b & \"c\"\nय é"),
            &[&password],
        )
        .await;
        if run == 0 {
            assert_eq!(outcome, Outcome::Accepted { reference: None });
        } else {
            let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
            assert!(detail.starts_with("TLS: "), "{detail}");
        }
    }
    let said = reader.said();
    assert_eq!(said.len(), 1, "{said:?}");
    let (from, id, words) = &said[0];
    assert!(from.starts_with("loudhailer@localhost/") && id == "dlv_1", "{said:?}");
    assert_eq!(words.replace("&quot;", "\""), "a &lt; b &amp; \"c\"\nय é");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_what_its_conditions_say() {
    let Some([xmpp, tls, password, ca]) = peers(["xmpp", "xmpp_tls", "xmpp_password", "ca"]) else { return };
    let (plain, secure) = (format!("xmpp://{xmpp}"), format!("xmpps://{tls}"));
    let login = |url, jid, password| [("url", url), ("ca_file", ca.as_str()), ("jid", jid), ("password", password)];
    let right = driver("xmpp", &login(&plain, "loudhailer@localhost", &password));
    let nowhere = format!("{}@rooms.localhost?join", name());
    for (to, begins) in [
        ("nobody@localhost", "service-unavailable: "),
        ("somebody@elsewhere.example", "not-allowed: "),
        (&nowhere, "there is no such room"),
    ] {
        let outcome = sent("xmpp", &*right, parcel("dlv_1", to, "x"), &[&password]).await;
        let Outcome::Rejected { fault: Fault::Message, detail } = outcome else { panic!("{outcome:?}") };
        assert!(detail.starts_with(begins), "{detail}");
    }
    // Two of us in one room: the second comes under another nick.
    let mut reader = Reader::connect(&xmpp, &password);
    let room = format!("{}@rooms.localhost", name());
    reader.join(&room);
    let to = format!("{room}?join");
    let second = driver("xmpp", &login(&secure, "loudhailer@localhost", &password));
    let mut outcomes = Vec::new();
    for driver in [&right, &second, &second] {
        outcomes.push(sent("xmpp", &**driver, parcel("dlv_1", &to, "x"), &[&password]).await);
    }
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::Accepted { .. })), "{outcomes:?}");
    assert!(matches!(outcomes[2], Outcome::Accepted { .. }), "{outcomes:?}");

    for (pairs, begins) in [
        (login(&plain, "loudhailer@localhost", "hunter2"), "the login failed"),
        (login(&secure, "nobody@localhost", "hunter2"), "the login failed"),
        (login(&plain, "loudhailer@mail.example.test", "hunter2"), "the server does not serve the domain"),
    ] {
        let outcome =
            sent("xmpp", &*driver("xmpp", &pairs), parcel("dlv_1", "reader@localhost", "x"), &["hunter2"]).await;
        let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
        assert!(detail.starts_with(begins), "{detail}");
    }
    // The system does not know the tests' authority.
    let pairs = [("url", plain.as_str()), ("jid", "loudhailer@localhost"), ("password", "hunter2")];
    let outcome = sent("xmpp", &*driver("xmpp", &pairs), parcel("dlv_1", "reader@localhost", "x"), &["hunter2"]).await;
    let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.starts_with("TLS: "), "{detail}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let url = format!("xmpp://{closed}");
    let nobody = driver("xmpp", &login(&url, "loudhailer@localhost", &password));
    let outcome = sent("xmpp", &*nobody, parcel("dlv_1", "reader@localhost", "x"), &[&password]).await;
    assert!(matches!(outcome, Outcome::Deferred { holds: Holds::Channel, throttled: false, .. }), "{outcome:?}");
}
