//! The listener over TLS: who trusts its authority is answered, whoever does not is not; what comes in another way harms nobody; and a
//! certificate is replaced while it serves.

pub mod pair;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use loudhailer::api::certificate::{Certificate, Looked};
use loudhailer::app::App;
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::pair::{Authority, Connection, EXPIRES, Pair, place, section};
use super::cli::run;
use super::faults::process::{Place, Process, until};
use super::harness::{Broker, START, webhooks, within};

/// A broker that serves a pair of the authority from `folder`.
async fn start(folder: &Path, authority: &Authority) -> (Broker, Pair) {
    let pair = authority.pair();
    place(folder, &pair.chain, &pair.key);
    (Broker::start(&webhooks(&section(folder))).await, pair)
}

fn port(broker: &Broker) -> u16 {
    broker.app.config.server.listen.port()
}

fn certificate(broker: &Broker) -> &Certificate {
    broker.app.certificate.as_deref().expect("it serves https")
}

async fn open(broker: &Broker, client: &Arc<ClientConfig>) -> Connection {
    Connection::open(port(broker), client.clone()).await.expect("a connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_the_authority_is_answered_over_tls_1_2_and_1_3_and_who_does_not_sees_an_error() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (broker, pair) = start(folder.path(), &authority).await;
    for (version, told) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut connection = open(&broker, &authority.client(&[version])).await;
        assert_eq!((connection.version, &connection.shown), (told, &pair.certificate));
        assert_eq!(connection.protocol, b"http/1.1");
        assert_eq!(connection.get("/healthz").await.status, 200);
    }
    let error = Connection::open(port(&broker), Authority::new().client(&[&TLS13])).await.err().expect("no trust");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    let mut connection = open(&broker, &authority.client(&[&TLS13])).await;
    let metrics = connection.get("/metrics").await.text;
    let expires = Time::parse(&format!("{EXPIRES}-01-01T00:00:00Z")).expect("a time").0 / 1000;
    assert!(metrics.contains(&format!("\nloudhailer_certificate_expires_at_seconds {expires}\n")), "{metrics}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_at_the_port_of_https_gets_no_answer_and_harms_nobody() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (broker, _) = start(folder.path(), &authority).await;
    let mut connection = open(&broker, &authority.client(&[&TLS13])).await;
    for said in ["GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "\0\0\0", "\u{16}\u{3}\u{1}"] {
        let mut plain = TcpStream::connect(("127.0.0.1", port(&broker))).await.expect("connects");
        plain.write_all(said.as_bytes()).await.expect("written");
        plain.shutdown().await.expect("that is all");
        let mut answer = Vec::new();
        let _ = within("closes", plain.read_to_end(&mut answer)).await;
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{said:?}: {answer:?}");
        assert_eq!(connection.get("/healthz").await.status, 200, "{said:?}");
    }
    assert_eq!(open(&broker, &authority.client(&[&TLS13])).await.get("/healthz").await.status, 200);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_is_replaced_is_for_new_connections_and_those_that_are_open_go_on() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (broker, first) = start(folder.path(), &authority).await;
    let client = authority.client(&[&TLS13]);
    let mut before = open(&broker, &client).await;
    assert_eq!(before.get("/healthz").await.status, 200);
    let second = authority.pair();
    place(folder.path(), &second.chain, &second.key);
    let replaced = async {
        loop {
            broker.clock.advance(Duration::from_secs(10));
            let mut after = open(&broker, &client).await;
            assert_eq!(before.get("/healthz").await.status, 200);
            if after.shown == second.certificate {
                return after;
            }
            assert_eq!(after.get("/healthz").await.status, 200);
        }
    };
    let mut after = within("was replaced", replaced).await;
    assert_eq!(after.get("/healthz").await.status, 200);
    assert_eq!((before.get("/healthz").await.status, before.shown), (200, first.certificate));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_does_not_fit_leaves_the_one_before_in_use() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (broker, first) = start(folder.path(), &authority).await;
    let client = authority.client(&[&TLS13]);
    let (second, third) = (authority.pair(), authority.pair());
    for (chain, key) in [(&*second.chain, &*first.key), ("", &second.key), (&second.chain, "no key"), ("", "")] {
        place(folder.path(), chain, key);
        assert_eq!(certificate(&broker).look(), Looked::Unfit);
        let mut connection = open(&broker, &client).await;
        assert_eq!((connection.get("/healthz").await.status, &connection.shown), (200, &first.certificate));
    }
    std::fs::remove_file(folder.path().join("live")).expect("removed");
    assert_eq!(certificate(&broker).look(), Looked::Unfit);
    assert_eq!(open(&broker, &client).await.shown, first.certificate);
    place(folder.path(), &third.chain, &third.key);
    assert_eq!(certificate(&broker).look(), Looked::Replaced);
    assert_eq!(open(&broker, &client).await.shown, third.certificate);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_keep_nobody_out_and_are_given_up() {
    const SLOW: usize = 300;
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (broker, _) = start(folder.path(), &authority).await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(("127.0.0.1", port(&broker))).await.expect("connects");
        stream.write_all(&[22, 3, 1]).await.expect("written"); // how a handshake begins
        slow.push(stream);
    }
    let mut connection = open(&broker, &authority.client(&[&TLS13])).await;
    assert_eq!(connection.get("/healthz").await.status, 200);
    let open = slow.iter().all(|stream| {
        let error = stream.try_read(&mut [0; 64]).expect_err("nothing was said");
        error.kind() == std::io::ErrorKind::WouldBlock
    });
    assert!(open, "who was answered had to wait until somebody else was given up");
    for mut stream in slow {
        let _ = within("was given up", stream.read_to_end(&mut Vec::new())).await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_links_and_cookies_say_so_and_others_still_need_a_token() {
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), Authority::new());
    let (broker, _) = start(folder.path(), &authority).await;
    assert_eq!(broker.url(), format!("https://127.0.0.1:{}", port(&broker)));
    let token = broker.token("ada", true, &["read"]).await;
    let mut connection = open(&broker, &authority.client(&[&TLS13])).await;
    let answer = connection.send("POST", "/console/sign-in", &format!("token={token}")).await;
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(answer.status == 303 && cookie.contains("; Secure"), "{answer:?}");
    broker.stop().await;

    let store = folder.path().join("loudhailer.db");
    let text =
        format!("{}listen = \"0.0.0.0:0\"\n[store]\nurl = \"sqlite:{}\"\n", section(folder.path()), store.display());
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    let clock = Clock::manual(Time::parse(START).expect("a time"));
    let refused = App::build(config, Arc::new(clock)).await.map(drop).expect_err("nobody is to come in").to_string();
    assert!(refused.contains("no token protects it"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_follows_its_files_at_sighup_and_its_commands_find_it() {
    let authority = Authority::new();
    let server = Place::new("127.0.0.1:9", &[]);
    let first = authority.pair();
    place(server.folder.path(), &first.chain, &first.key);
    let file = server.path("loudhailer.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    let text = text.replacen("[server]\n", &section(server.folder.path()), 1).replace("\"warn\"", "\"info\"");
    std::fs::write(&file, text).expect("written");
    let mut process = Process::serve(&server);
    let port: u16 = process.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let client = authority.client(&[&TLS13]);
    let mut before = Connection::open(port, client.clone()).await.expect("a connection");
    assert_eq!((before.get("/healthz").await.status, &before.shown), (200, &first.certificate));

    let second = authority.pair();
    place(server.folder.path(), &second.chain, &second.key);
    let number = process.number().to_string();
    assert!(Command::new("kill").args(["-HUP", &number]).status().expect("kill runs").success());
    let mut after = until("it shows the new certificate", async || {
        let connection = Connection::open(port, client.clone()).await.expect("a connection");
        (connection.shown == second.certificate).then_some(connection)
    })
    .await;
    assert_eq!(after.get("/healthz").await.status, 200);
    let log = std::fs::read_to_string(server.path("log")).expect("read");
    assert!(log.contains("SIGHUP") && log.contains("the certificate was replaced"), "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");

    // Beside the configuration, the certificate in its file is the one that is trusted; from elsewhere, its authority is.
    let at = server.folder.path();
    let listen = format!("127.0.0.1:{port}");
    std::fs::write(at.join("beside.toml"), format!("{}listen = {listen:?}\n", section(at))).expect("written");
    std::fs::write(at.join("ca.pem"), authority.pem()).expect("written");
    let beside = run(at, None, &["--config", "beside.toml", "status"], "").await;
    assert_eq!(beside.code, Some(0), "{beside:?}");
    let url = format!("https://{listen}");
    let untrusted = run(at, Some(&url), &["status"], "").await;
    assert!(
        untrusted.code == Some(1) && untrusted.err.contains("signed by nobody who is trusted here (--ca-file"),
        "{untrusted:?}"
    );
    let named = run(at, Some(&format!("https://localhost:{port}")), &["--ca-file", "ca.pem", "status"], "").await;
    assert_eq!(named.code, Some(0), "{named:?}");
    // The authority is known, and the certificate is for names: not for an address.
    let elsewhere = run(at, Some(&url), &["--ca-file", "ca.pem", "status"], "").await;
    assert!(elsewhere.code == Some(1) && elsewhere.err.contains("is for another name"), "{elsewhere:?}");
    // What is an authority shows itself as a server, as certificates do that were made in a hurry.
    place(at, &authority.pem(), &authority.key());
    assert!(Command::new("kill").args(["-HUP", &number]).status().expect("kill runs").success());
    let itself = until("it shows the authority", async || {
        let shown = run(at, Some(&format!("https://localhost:{port}")), &["--ca-file", "ca.pem", "status"], "").await;
        (shown.code == Some(1)).then_some(shown)
    })
    .await;
    assert!(itself.err.contains("CA:FALSE"), "{itself:?}");
    let wrong = run(at, Some(&url), &["--ca-file", "none.pem", "status"], "").await;
    assert!(wrong.code == Some(2) && wrong.err.contains("--ca-file: none.pem: "), "{wrong:?}");
    // Another pair in the file is another server's.
    let other = Authority::new().pair();
    place(at, &other.chain, &other.key);
    let strange = run(at, None, &["--config", "beside.toml", "status"], "").await;
    assert_eq!(strange.code, Some(1), "{strange:?}");

    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_can_not_be_used_is_refused_at_the_start_and_by_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let (one, other) = (Authority::new().pair(), Authority::new().pair());
    place(at, &one.chain, &other.key);
    std::fs::write(at.join("own.toml"), section(at)).expect("written");
    for command in ["serve", "check"] {
        let ran = run(at, None, &["--config", "own.toml", command], "").await;
        let said = format!("{}{}", ran.out, ran.err);
        let wanted =
            format!("server.key: {}: does not belong to the certificate in", at.join("live/tls.key").display());
        assert!(ran.code == Some(2) && said.contains(&wanted), "{command}: {ran:?}");
    }
}
