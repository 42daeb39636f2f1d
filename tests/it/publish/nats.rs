use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use loudhailer::channel::{Fault, Holds, Outcome};
use loudhailer::store::DeliveryState;
use serde_json::{Value, json};

use super::server::Server;
use super::{EACH, crowd, driver, outage_of, parcel, sent, states, stopped_and_started};
use crate::peers::peers;

/// A second client, which asks JetStream one thing after the other.
struct Asking {
    stream: BufReader<TcpStream>,
}

impl Asking {
    fn connect(host: &str, login: Value) -> Asking {
        let stream = TcpStream::connect(host).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let mut asking = Asking { stream: BufReader::new(stream) };
        let hello = format!("CONNECT {login}\r\nSUB answers.> 1\r\nPING\r\n");
        asking.stream.get_mut().write_all(hello.as_bytes()).expect("written");
        while asking.line() != "PONG" {}
        asking
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        assert!(line.ends_with("\r\n") && !line.starts_with("-ERR"), "{line:?}");
        line.trim_end().to_string()
    }

    fn ask(&mut self, subject: &str, what: &Value) -> Value {
        let (what, inbox) = (what.to_string(), format!("answers.{:08x}", fastrand::u32(..)));
        let asked = format!("PUB $JS.API.{subject} {inbox} {}\r\n{what}\r\n", what.len());
        self.stream.get_mut().write_all(asked.as_bytes()).expect("written");
        loop {
            let line = self.line();
            if !line.starts_with("MSG ") {
                continue;
            }
            let size: usize = line.rsplit(' ').next().and_then(|size| size.parse().ok()).expect("a size");
            let mut payload = vec![0; size + 2];
            self.stream.read_exact(&mut payload).expect("a payload");
            if line.contains(&inbox) {
                let answer: Value = serde_json::from_slice(&payload[..size]).expect("JSON");
                assert!(answer.get("error").is_none(), "{answer}");
                return answer;
            }
        }
    }

    /// A stream of everything under `<prefix>`.
    fn stream(&mut self, name: &str, prefix: &str) {
        let stream = json!({
            "name": name, "subjects": [format!("{prefix}.>")], "storage": "file", "retention": "limits", "num_replicas": 1,
            "duplicate_window": 600_000_000_000_u64,
        });
        self.ask(&format!("STREAM.CREATE.{name}"), &stream);
    }

    /// What the stream holds: by subject, the `Nats-Msg-Id` and the id in the event of each.
    fn held(&mut self, name: &str) -> BTreeMap<String, Vec<(String, String)>> {
        let info = self.ask(&format!("STREAM.INFO.{name}"), &json!({}));
        let mut held: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for number in 1..=info["state"]["last_seq"].as_u64().expect("a number") {
            let got = self.ask(&format!("STREAM.MSG.GET.{name}"), &json!({ "seq": number }))["message"].clone();
            let decoded = |name: &str| STANDARD.decode(got[name].as_str().expect("text")).expect("base64");
            let header = String::from_utf8(decoded("hdrs")).expect("text");
            let id = header.lines().find_map(|line| line.strip_prefix("Nats-Msg-Id: ")).expect("an id").to_string();
            let event: Value = serde_json::from_slice(&decoded("data")).expect("JSON");
            let own = event["id"].as_str().unwrap_or_default().to_string();
            held.entry(got["subject"].as_str().expect("a subject").to_string()).or_default().push((id, own));
        }
        held
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_stored_at_every_subject_once_and_a_known_id_is_dropped() {
    let names = ["nats", "nats_user", "nats_password", "ca"];
    let Some([nats, user, password, ca]) = peers(names) else { return };
    let run = format!("r{:08x}", fastrand::u32(..));
    let mut asking = Asking::connect(&nats, json!({ "verbose": false, "user": user, "pass": password }));
    asking.stream(&run, &run);
    let url = format!("tls://{nats}");
    let login = [("url", url.as_str()), ("ca_file", &ca), ("user", &user), ("password", &password)];
    let (_plans, broker, addresses) = crowd(EACH, "nats", "nats", &format!("{run}."), "", &login).await;
    let broadcast = outage_of(&broker).await;
    broker.settled().await;
    let states = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), EACH);
    assert!(states.values().all(|state| *state == DeliveryState::Told), "{states:?}");
    let held = asking.held(&run);
    assert_eq!(held.len(), EACH);
    for stored in held.values() {
        assert!(stored.len() == 1 && stored[0].0 == stored[0].1 && stored[0].0.starts_with("dlv_"), "{stored:?}");
    }
    broker.stop().await;

    let driver = driver("nats", &login);
    let again = || parcel("dlv_1", &format!("{run}.again"), "{\"id\":\"dlv_1\"}");
    let first = sent("nats", &*driver, again(), &[&password]).await;
    assert_eq!(first, Outcome::Accepted { reference: Some(format!("{run}:{}", EACH + 1)) });
    assert_eq!(sent("nats", &*driver, again(), &[&password]).await, first);
    assert_eq!(asking.held(&run)[&format!("{run}.again")].len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_ends_or_waits_as_it_says() {
    let names = ["nats", "nats_user", "nats_password", "ca"];
    let Some([nats, user, password, ca]) = peers(names) else { return };
    let (plain, secure) = (format!("nats://{nats}"), format!("tls://{nats}"));
    let to = |url, password| driver("nats", &[("url", url), ("user", &user), ("password", password)]);

    let right = to(&plain, &password);
    let nobody = sent("nats", &*right, parcel("dlv_1", "nobody.listens", "{}"), &[&password]).await;
    assert!(matches!(nobody, Outcome::Deferred { holds: Holds::Address, throttled: false, .. }), "{nobody:?}");
    let forbidden = sent("nats", &*right, parcel("dlv_1", "forbidden.here", "{}"), &[&password]).await;
    assert!(matches!(forbidden, Outcome::Rejected { fault: Fault::Address, .. }), "{forbidden:?}");
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    let long = sent("nats", &*right, parcel("dlv_1", "nobody.listens", &long), &[&password]).await;
    assert!(matches!(long, Outcome::Rejected { fault: Fault::Message, .. }), "{long:?}");

    let token = driver("nats", &[("url", &plain), ("token", "hunter2")]);
    let with_ca = [("url", secure.as_str()), ("user", &user), ("password", "hunter2"), ("ca_file", &ca)];
    for wrong in [to(&plain, "hunter2"), token, driver("nats", &with_ca)] {
        let outcome = sent("nats", &*wrong, parcel("dlv_1", "a.b", "{}"), &["hunter2"]).await;
        let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
        assert!(detail.starts_with("-ERR: authorization"), "{detail}");
    }
    // The system does not know the tests' authority.
    let outcome = sent("nats", &*to(&secure, &password), parcel("dlv_1", "a.b", "{}"), &[&password]).await;
    let Outcome::Rejected { fault: Fault::Channel, detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.starts_with("TLS: "), "{detail}");
}

/// What may have arrived is sent again, and dropped where it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_mid_broadcast_and_started_again_has_everyone_once() {
    let Some([program]) = peers(["nats_server"]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let config = |port: u16, folder: &std::path::Path| {
        format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n", folder.display())
    };
    let mut server = Server::new(&program, config, folder.path());
    let host = format!("127.0.0.1:{}", server.port);
    Asking::connect(&host, json!({ "verbose": false })).stream("ALERTS", "alerts");
    let url = format!("nats://{host}");
    let more = "rate = [\"200/s\"]\nconcurrency = 16\n";
    let (_plans, broker, addresses) =
        crowd(EACH, "nats", "nats", "alerts.", more, &[("url", &url), ("timeout", "5s")]).await;
    let broadcast = outage_of(&broker).await;
    stopped_and_started(&broker, &mut server, "KILL").await;

    let states = states(&broker, broadcast, &addresses).await;
    assert_eq!(states.len(), EACH);
    assert!(states.values().all(|state| *state == DeliveryState::Told), "{states:?}");
    let held = Asking::connect(&host, json!({ "verbose": false })).held("ALERTS");
    assert_eq!(held.len(), EACH);
    assert!(held.values().all(|stored| stored.len() == 1), "{held:?}");
    broker.stop().await;
}
