use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use loudhailer::channel::{Fault, Holds, Outcome};
use loudhailer::store::DeliveryState;

use super::server::Server;
use super::{crowd, driver, outage_of, parcel, sent, states};
use crate::peers::peers;

/// A second client, in whatever channels it has joined.
struct Reader {
    stream: BufReader<TcpStream>,
    nick: String,
}

impl Reader {
    fn connect(host: &str, password: &str) -> Reader {
        let stream = TcpStream::connect(host).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let mut reader = Reader { stream: BufReader::new(stream), nick: nick() };
        if !password.is_empty() {
            reader.say(&format!("PASS {password}"));
        }
        reader.say(&format!("NICK {0}\r\nUSER reader 0 * :{0}", reader.nick));
        reader.until(|line| line.contains(" 001 "));
        reader
    }

    fn say(&mut self, line: &str) {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("written");
    }

    /// Every line up to the first that is so.
    fn until(&mut self, so: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).expect("a line"), 0, "it hung up after {lines:?}");
            let line = line.trim_end().to_string();
            assert!(line.len() <= 510, "{line}");
            if let Some(token) = line.strip_prefix("PING ") {
                self.say(&format!("PONG {token}"));
            }
            let last = so(&line);
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    fn join(&mut self, channel: &str) {
        self.say(&format!("JOIN {channel}"));
        let joined = format!(" 366 {} {channel} ", self.nick);
        self.until(|line| line.contains(&joined));
    }

    /// What was said up to here, by channel or nick: who, and in which words.
    fn said(&mut self) -> BTreeMap<String, Vec<(String, String)>> {
        self.say("PING :so-far");
        let mut said: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for line in self.until(|line| line.contains("PONG") && line.ends_with("so-far")) {
            let Some((source, rest)) = line.split_once(" PRIVMSG ") else { continue };
            let (to, words) = rest.split_once(" :").expect("words");
            let who = source.trim_start_matches(':').split('!').next().unwrap_or_default();
            said.entry(to.to_lowercase()).or_default().push((who.into(), words.into()));
        }
        said
    }
}

fn nick() -> String {
    format!("t{:07x}", fastrand::u32(..1 << 28))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_arrives_in_every_channel_once_line_by_line_over_tls() {
    const CHANNELS: usize = 5;
    let Some([irc, tls, password, ca]) = peers(["irc", "irc_tls", "irc_password", "ca"]) else { return };
    let prefix = format!("#{}-", nick());
    let mut reader = Reader::connect(&irc, &password);
    for n in 0..CHANNELS {
        reader.join(&format!("{prefix}{n}"));
    }
    let (url, ours) = (format!("ircs://{tls}"), nick());
    let login = [("url", url.as_str()), ("ca_file", &ca), ("nick", &ours), ("server_password", &password)];
    let (_plans, broker, addresses) = crowd(CHANNELS, "irc", "irc", &prefix, "", &login).await;
    let broadcast = outage_of(&broker).await;
    broker.settled().await;
    let states = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), CHANNELS);
    assert!(states.values().all(|state| *state == DeliveryState::Told), "{states:?}");
    let said = reader.said();
    assert_eq!(said.len(), CHANNELS, "{said:?}");
    for lines in said.values() {
        assert!(lines.iter().all(|(who, _)| *who == ours), "{lines:?}");
        let text: Vec<&str> = lines.iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(text.iter().filter(|line| line.contains("15:39 UTC")).count(), 1, "{text:?}");
        assert!(lines.len() > 1 && text.iter().all(|line| !line.trim().is_empty()), "{text:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_arrives_whole_in_lines_that_break_neither_character_nor_link() {
    let Some([irc, password]) = peers(["irc", "irc_password"]) else { return };
    let mut reader = Reader::connect(&irc, &password);
    let channel = format!("#{}", nick());
    reader.join(&channel);
    let url = format!("irc://{irc}");
    let driver = driver("irc", &[("url", &url), ("nick", &nick()), ("server_password", &password)]);
    let link = format!("https://status.example/{}", "x".repeat(120));
    let text = format!("{} {link} 👩‍👩‍👧‍👦 {link}\n\nहिन्दी {link}", "größer ".repeat(60).trim_end());
    let outcome = sent("irc", &*driver, parcel("dlv_1", &channel, &text), &[&password]).await;
    assert_eq!(outcome, Outcome::Accepted { reference: None });
    let said = reader.said().remove(&channel).expect("said");
    let words: Vec<String> = said.into_iter().map(|(_, words)| words).collect();
    assert!(words.len() >= 3, "{words:?}");
    assert_eq!(words.join(" "), text.replace("\n\n", " "));
    // To somebody, by nick.
    let outcome = sent("irc", &*driver, parcel("dlv_2", &reader.nick, "VERSION\u{1} ok"), &[&password]).await;
    assert_eq!(outcome, Outcome::Accepted { reference: None });
    assert_eq!(reader.said()[&reader.nick.clone()][0].1, "VERSION ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_what_its_numbers_say() {
    let Some([irc, tls, password, ca]) = peers(["irc", "irc_tls", "irc_password", "ca"]) else { return };
    let (plain, secure, ours) = (format!("irc://{irc}"), format!("ircs://{tls}"), nick());
    let with = |pairs: &[(&str, &str)]| {
        let named = pairs.iter().any(|(name, _)| *name == "nick");
        let nick: &[(&str, &str)] = if named { &[] } else { &[("nick", &ours)] };
        driver("irc", &[nick, pairs].concat())
    };
    let send = async |pairs: &[(&str, &str)], to: &str| {
        sent("irc", &*with(pairs), parcel("dlv_1", to, "x"), &["hunter2", &password]).await
    };
    let right = with(&[("url", &plain), ("server_password", &password)]);
    let nobody = sent("irc", &*right, parcel("dlv_1", "absentee", "x\ny"), &[&password]).await;
    assert_eq!(shown(&nobody), (Some(Fault::Message), "401: nobody has this nick now"));
    let invited = sent("irc", &*right, parcel("dlv_1", "#invited", "x"), &[&password]).await;
    let (fault, detail) = shown(&invited);
    assert!(fault == Some(Fault::Message) && detail.starts_with("404: ") && detail.contains("; 473: "), "{detail}");
    // The nick is held by `right`: another like it.
    let mut reader = Reader::connect(&irc, &password);
    let second = with(&[("url", &plain), ("server_password", &password)]);
    let outcome = sent("irc", &*second, parcel("dlv_1", &reader.nick, "x"), &[&password]).await;
    assert_eq!(outcome, Outcome::Accepted { reference: None });
    let said = reader.said();
    let who = &said.values().next().expect("said")[0].0;
    assert!(*who == format!("{}_2", &ours[..7]), "{who}");

    for (pairs, begins) in [
        (vec![("url", plain.as_str()), ("server_password", "hunter2")], "ERROR: the server's password is wrong"),
        (vec![("url", plain.as_str())], "ERROR: the server's password is wrong"),
        (
            vec![("url", &plain), ("server_password", &password), ("account", "a"), ("password", "hunter2")],
            "the server offers no SASL",
        ),
        (vec![("url", &plain), ("server_password", &password), ("nick", &"x".repeat(30))], "432: "),
        // The system does not know the tests' authority.
        (vec![("url", secure.as_str()), ("server_password", &password)], "TLS: "),
    ] {
        let outcome = send(&pairs, "#a").await;
        let (fault, detail) = shown(&outcome);
        assert!(fault == Some(Fault::Channel) && detail.starts_with(begins), "{outcome:?}");
    }
    let with_ca = [("url", secure.as_str()), ("ca_file", &ca), ("server_password", &password)];
    assert_eq!(send(&with_ca, &format!("#{}", nick())).await, Outcome::Accepted { reference: None });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let outcome = send(&[("url", &format!("irc://{closed}"))], "#a").await;
    assert!(matches!(outcome, Outcome::Deferred { holds: Holds::Channel, throttled: false, .. }), "{outcome:?}");
}

fn shown(outcome: &Outcome) -> (Option<Fault>, &str) {
    match outcome {
        Outcome::Rejected { fault, detail } => (Some(*fault), detail),
        Outcome::Deferred { detail, .. } | Outcome::Unknown { detail } => (None, detail),
        Outcome::Accepted { .. } => (None, ""),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_went_away_is_joined_again_when_it_is_back_and_what_it_did_not_answer_is_unknown() {
    let Some([program]) = peers(["ngircd"]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let config = |port: u16, _: &std::path::Path| {
        format!(
            "[Global]\nName = irc.example.test\nListen = 127.0.0.1\nPorts = {port}\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
        )
    };
    let mut server = Server::with_arguments(&program, &["-n", "-f"], config, folder.path());
    let (host, url) = (format!("127.0.0.1:{}", server.port), format!("irc://127.0.0.1:{}", server.port));
    let driver = driver("irc", &[("url", &url), ("nick", &nick()), ("timeout", "2s")]);
    let send = async || sent("irc", &*driver, parcel("dlv_1", "#status", "x"), &[]).await;
    assert_eq!(send().await, Outcome::Accepted { reference: None });
    server.signal("STOP");
    assert!(matches!(send().await, Outcome::Unknown { .. }));
    server.end("KILL");
    assert!(matches!(send().await, Outcome::Deferred { holds: Holds::Channel, .. }));
    server.start();
    let mut reader = Reader::connect(&host, "");
    reader.join("#status");
    assert_eq!(send().await, Outcome::Accepted { reference: None });
    assert_eq!(reader.said()["#status"].len(), 1);
}
