//! Channels over real sockets: every platform file against a server that answers well, badly, in part, or not at all.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::channel::auth::Auth;
use loudhailer::channel::file::Platform;
use loudhailer::channel::guard::{Network, System};
use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::registry::{Channel, build_with};
use loudhailer::channel::{Fault, Holds, Outcome, Parcel, kit};
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use loudhailer::render::message::Filled;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// What the server does with a request.
#[derive(Clone)]
enum Does {
    Answers(String),
    AnswersAndCloses(String),
    Resets,
    NeverAnswers,
}

struct Server {
    at: SocketAddr,
    connections: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Server {
    /// `does` is given the number of the request, from 0.
    async fn start(does: impl Fn(usize) -> Does + Send + Sync + 'static) -> Arc<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Arc::new(Server::at(listener.local_addr().expect("an address")));
        let (shared, does) = (server.clone(), Arc::new(does));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
                shared.most_open.fetch_max(open, Ordering::SeqCst);
                let (shared, does) = (shared.clone(), does.clone());
                tokio::spawn(async move {
                    let _ = serve(&shared, stream, &*does).await;
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    fn at(at: SocketAddr) -> Server {
        Server {
            at,
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            requests: Mutex::default(),
        }
    }

    async fn that_always(does: Does) -> Arc<Server> {
        Server::start(move |_| does.clone()).await
    }

    /// The number of the request.
    fn note(&self, request: String) -> usize {
        let mut requests = self.requests.lock().expect("not poisoned");
        requests.push(request);
        requests.len() - 1
    }

    fn seen(&self) -> usize {
        self.requests.lock().expect("not poisoned").len()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self) -> String {
        format!("http://{}", self.at)
    }
}

async fn serve(server: &Server, mut stream: TcpStream, does: &(dyn Fn(usize) -> Does + Sync)) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = request(&mut stream, &mut buffer).await? else { return Ok(()) };
        // What a platform's message needs first is always there.
        if request.starts_with("POST /token ") || request.contains(".createSession HTTP") {
            let body = "{\"access_token\":\"t\",\"accessJwt\":\"t\"}";
            stream.write_all(answer("200 OK", "", body).as_bytes()).await?;
            continue;
        }
        let number = server.note(request);
        match does(number) {
            Does::Answers(answer) => stream.write_all(answer.as_bytes()).await?,
            Does::AnswersAndCloses(answer) => {
                stream.write_all(answer.as_bytes()).await?;
                return stream.shutdown().await;
            }
            Does::Resets => {
                stream.set_zero_linger()?;
                return Ok(());
            }
            Does::NeverAnswers => std::future::pending().await,
        }
    }
}

/// One whole request, head and body.
async fn request(stream: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        let text = String::from_utf8_lossy(buffer).to_string();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text[..end]
                .lines()
                .filter_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok())
                .next()
                .unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let rest = buffer.split_off(end + 4 + length);
                let whole = std::mem::replace(buffer, rest);
                return Ok(Some(String::from_utf8_lossy(&whole).into_owned()));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn now() -> Time {
    Time::parse("2021-10-04T16:00:00Z").expect("a time")
}

/// A channel of that platform whose other side is at `url`.
fn channel(platform: &Platform, url: &str, more: &str, network: Arc<dyn Network>) -> Channel {
    let mut text = format!("[channels.x]\nplatform = {:?}\n{more}\n", platform.name);
    for (name, setting) in &platform.settings {
        let value = match name.as_str() {
            "url" => Some(url.to_string()),
            "token_url" => Some(format!("{url}/token")),
            name => setting.sample(name),
        };
        text.extend(value.map(|value| format!("settings.{name} = {value:?}\n")));
    }
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    let platforms = Platforms::load(None).expect("platforms");
    let mut channels = build_with(&config, &platforms, Arc::new(Clock::manual(now())), network).expect("channels");
    channels.pop().expect("one channel")
}

fn parcel(platform: &Platform, url: &str) -> Parcel {
    let keys = platform.address.example.split_once('#').map_or(String::new(), |(_, keys)| format!("#{keys}"));
    let to = if platform.is_per_host() { format!("{url}/hook{keys}") } else { platform.address.example.clone() };
    Parcel {
        id: "dlv_1_2_3_abcdefghjk".into(),
        broadcast: None,
        incident: None,
        to: to.into(),
        secrets: vec![SECRET.into()],
        message: Arc::new(
            Filled {
                title: Some("Outage".into()),
                text: "{\"a\":1}".into(),
                html: Some("<p>a</p>".into()),
                locale: "en".into(),
            }
            .into(),
        ),
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: now(),
    }
}

fn over_http() -> Vec<Arc<Platform>> {
    let platforms = Platforms::load(None).expect("platforms");
    platforms.iter().filter(|platform| platform.send.is_some()).cloned().collect()
}

fn webhook() -> Arc<Platform> {
    Platforms::load(None).expect("platforms").get("webhook").expect("there").clone()
}

const PRIVATE: &str = "allow_private = true";

/// The outcome at every platform, against a server that always does the same.
async fn everywhere(does: Does) -> Vec<(String, Outcome)> {
    let (mut outcomes, mut wrong) = (Vec::new(), Vec::new());
    for platform in over_http() {
        let server = Server::that_always(does.clone()).await;
        let channel = channel(&platform, &server.url(), PRIVATE, Arc::new(System));
        let outcome = channel.driver.send(parcel(&platform, &server.url())).await;
        // Where a token is refused, another may be better.
        let again = matches!(&does, Does::Answers(answer) if answer.contains(" 401 "));
        let times = if again && matches!(platform.auth, Auth::Token(_)) { 2 } else { 1 };
        if server.seen() != times {
            wrong.push(format!("{}: {} requests instead of {times}: {outcome:?}", platform.name, server.seen()));
        }
        kit::leaks(&platform, &outcome, &kit::samples(&platform, &Default::default())).expect("nothing leaks");
        outcomes.push((platform.name.clone(), outcome));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(outcomes.len() >= 39, "{} platforms by HTTP", outcomes.len());
    outcomes
}

#[tokio::test]
async fn every_platform_reads_every_status_as_the_table_says() {
    let platforms = Platforms::load(None).expect("platforms");
    let (mut by_the_table, mut wrong) = (0, Vec::new());
    let elsewhere = Server::that_always(Does::Answers(answer("200 OK", "", ""))).await;
    let location = format!("Location: {}/\r\n", elsewhere.url());
    for (status, headers) in [
        ("200 OK", ""),
        ("204 No Content", ""),
        ("301 Moved Permanently", location.as_str()),
        ("307 Temporary Redirect", location.as_str()),
        ("400 Bad Request", ""),
        ("401 Unauthorized", ""),
        ("403 Forbidden", ""),
        ("404 Not Found", ""),
        ("408 Request Timeout", ""),
        ("410 Gone", ""),
        ("413 Content Too Large", ""),
        ("429 Too Many Requests", ""),
        ("429 Too Many Requests", "Retry-After: 7\r\n"),
        ("429 Too Many Requests", "Retry-After: Mon, 04 Oct 2021 16:00:07 GMT\r\n"),
        ("500 Internal Server Error", ""),
        ("502 Bad Gateway", ""),
        ("503 Service Unavailable", "Retry-After: 7\r\n"),
        ("504 Gateway Timeout", ""),
    ] {
        for (platform, outcome) in everywhere(Does::Answers(answer(status, headers, "<html>not JSON</html>"))).await {
            let is_webhook = platform == "webhook";
            let file = platforms.get(&platform).expect("it was tried");
            // What a file's own rule says of a status, its examples show.
            if !is_webhook && file.answers.iter().any(|rule| rule.decides(status[..3].parse().expect("a status"))) {
                continue;
            }
            by_the_table += 1;
            let wide = if file.is_per_host() { Holds::Host } else { Holds::Channel };
            let waits = if headers.contains("Retry-After") { Some(Duration::from_secs(7)) } else { None };
            let good = match (&status[..3], &outcome) {
                ("200" | "204", Outcome::Accepted { .. }) => is_webhook,
                ("200" | "204", Outcome::Unknown { .. }) => !is_webhook,
                ("301" | "307", Outcome::Unknown { .. }) => !is_webhook,
                ("410", Outcome::Rejected { fault, .. }) => (*fault == Fault::Address) == is_webhook,
                ("301" | "307" | "400" | "401" | "403" | "404" | "413", Outcome::Deferred { holds, .. }) => {
                    is_webhook && *holds == Holds::Address
                }
                ("401", Outcome::Rejected { fault, .. }) => *fault == Fault::Channel,
                ("400" | "403" | "404" | "413", Outcome::Rejected { .. }) => !is_webhook,
                ("429" | "503", Outcome::Deferred { after, holds, .. }) => *after == waits && *holds == wide,
                ("408" | "500" | "502" | "504", Outcome::Deferred { after, .. }) => after.is_none(),
                _ => false,
            };
            if !good {
                wrong.push(format!("{platform} read {status} {headers} as {outcome:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(elsewhere.seen(), 0, "redirects are not followed");
    assert!(by_the_table > 400, "{by_the_table} by the table");
}

#[tokio::test(start_paused = true)]
async fn every_platform_says_unknown_when_no_whole_answer_comes() {
    let mut wrong = Vec::new();
    for (name, does) in [
        ("reset", Does::Resets),
        ("slow", Does::NeverAnswers),
        ("cut head", Does::AnswersAndCloses("HTTP/1.1 200 OK\r\nContent-".into())),
        ("cut body", Does::AnswersAndCloses("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ok\":true".into())),
        ("slow body", Does::Answers("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ok\":true".into())),
        ("cut error", Does::AnswersAndCloses("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n{".into())),
        ("closed", Does::AnswersAndCloses(String::new())),
        ("not HTTP", Does::AnswersAndCloses("SSH-2.0-OpenSSH_9.2\r\n".into())),
    ] {
        for (platform, outcome) in everywhere(does).await {
            if !matches!(outcome, Outcome::Unknown { .. }) {
                wrong.push(format!("{platform}, {name}: {outcome:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_deferred_since_nothing_was_written() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    for platform in over_http() {
        let outcome = channel(&platform, &url, PRIVATE, Arc::new(System)).driver.send(parcel(&platform, &url)).await;
        let wide = if platform.is_per_host() { Holds::Host } else { Holds::Channel };
        assert!(matches!(outcome, Outcome::Deferred { holds, .. } if holds == wide), "{}: {outcome:?}", platform.name);
    }
}

#[tokio::test]
async fn a_warm_connection_is_used_again() {
    let server = Server::that_always(Does::Answers(answer("204 No Content", "", ""))).await;
    let channel = channel(&webhook(), "", PRIVATE, Arc::new(System));
    for _ in 0..10 {
        let outcome = channel.driver.send(parcel(&webhook(), &server.url())).await;
        assert_eq!(outcome, Outcome::Accepted { reference: None });
    }
    assert_eq!((server.seen(), server.connections()), (10, 1));
    let first = server.requests.lock().expect("not poisoned")[0].clone();
    assert!(first.starts_with("POST /hook HTTP/1.1\r\n"), "{first}");
    assert!(first.contains(&format!("host: {}\r\n", server.at)), "{first}");
    assert!(first.contains("webhook-id: dlv_1_2_3_abcdefghjk\r\n"), "{first}");
    assert!(first.contains("content-type: application/json\r\n"), "{first}");
    assert!(first.ends_with("\r\n\r\n{\"a\":1}"), "{first}");
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_costs_nothing() {
    let server = Server::that_always(Does::AnswersAndCloses(answer("204 No Content", "", ""))).await;
    let channel = channel(&webhook(), "", PRIVATE, Arc::new(System));
    for _ in 0..5 {
        let outcome = channel.driver.send(parcel(&webhook(), &server.url())).await;
        assert_eq!(outcome, Outcome::Accepted { reference: None });
        // The server's end of the connection arrives here before the next request.
        while server.open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!((server.seen(), server.connections()), (5, 5));
}

#[tokio::test]
async fn a_warm_connection_lost_after_the_request_is_unknown_and_is_not_sent_again() {
    let server = Server::start(|number| match number {
        0 => Does::Answers(answer("204 No Content", "", "")),
        _ => Does::Resets,
    })
    .await;
    let channel = channel(&webhook(), "", PRIVATE, Arc::new(System));
    let first = channel.driver.send(parcel(&webhook(), &server.url())).await;
    assert_eq!(first, Outcome::Accepted { reference: None });
    let second = channel.driver.send(parcel(&webhook(), &server.url())).await;
    assert!(matches!(second, Outcome::Unknown { .. }), "{second:?}");
    assert_eq!((server.seen(), server.connections()), (2, 1));
}

#[tokio::test]
async fn connections_to_one_host_are_bounded() {
    let server = Server::that_always(Does::Answers(answer("204 No Content", "", ""))).await;
    let channel = channel(&webhook(), "", &format!("{PRIVATE}\nconcurrency = 3"), Arc::new(System));
    let sends = (0..50).map(|_| channel.driver.send(parcel(&webhook(), &server.url())));
    let outcomes = futures_util::future::join_all(sends).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted { reference: None }), "{outcomes:?}");
    assert_eq!(server.seen(), 50);
    assert!(server.most_open.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    let huge = "x".repeat(1 << 20);
    let server = Server::that_always(Does::Answers(answer("200 OK", "", &huge))).await;
    let channel = channel(&webhook(), "", PRIVATE, Arc::new(System));
    for _ in 0..2 {
        let outcome = channel.driver.send(parcel(&webhook(), &server.url())).await;
        assert_eq!(outcome, Outcome::Accepted { reference: None });
    }
    assert_eq!(server.connections(), 2, "a connection with the rest of an answer in it is not used again");
}

#[tokio::test]
async fn an_inner_target_is_refused_unless_the_channel_allows_it() {
    let server = Server::that_always(Does::Answers(answer("204 No Content", "", ""))).await;
    let channel = channel(&webhook(), "", "", Arc::new(System));
    let port = server.at.port();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0"] {
        let outcome = channel.driver.send(parcel(&webhook(), &format!("http://{host}:{port}"))).await;
        assert!(matches!(outcome, Outcome::Rejected { fault: Fault::Address, .. }), "{host}: {outcome:?}");
    }
    assert_eq!(server.connections(), 0);
}

/// Says a public address first and an inner one from then on; what is public lands at the server.
struct Rebinding {
    asked: AtomicUsize,
    connected: Mutex<Vec<SocketAddr>>,
    server: SocketAddr,
}

#[async_trait]
impl Network for Rebinding {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let ip = if self.asked.fetch_add(1, Ordering::SeqCst) == 0 { [93, 184, 215, 14] } else { [127, 0, 0, 1] };
        Ok(vec![SocketAddr::from((ip, port))])
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().expect("not poisoned").push(address);
        TcpStream::connect(self.server).await
    }
}

#[tokio::test]
async fn a_resolver_that_rebinds_does_not_get_through() {
    let server = Server::that_always(Does::AnswersAndCloses(answer("204 No Content", "", ""))).await;
    let network = Arc::new(Rebinding { asked: AtomicUsize::new(0), connected: Mutex::default(), server: server.at });
    let channel = channel(&webhook(), "", "", network.clone());
    let url = "http://hooks.example.com:8080";
    let first = channel.driver.send(parcel(&webhook(), url)).await;
    assert_eq!(first, Outcome::Accepted { reference: None });
    // Had the name been resolved once to be checked and again to connect, the connection would have gone inside.
    assert_eq!(network.asked.load(Ordering::SeqCst), 1);
    assert_eq!(*network.connected.lock().expect("not poisoned"), [SocketAddr::from(([93, 184, 215, 14], 8080))]);
    while server.open.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let second = channel.driver.send(parcel(&webhook(), url)).await;
    assert!(matches!(second, Outcome::Rejected { fault: Fault::Address, .. }), "{second:?}");
    assert_eq!((server.seen(), network.asked.load(Ordering::SeqCst)), (1, 2));
}

/// A server that speaks TLS under the name `hooks.example.com`, and the PEM of the authority that vouches for it.
async fn tls_server() -> (Arc<Server>, String) {
    let made = rcgen::generate_simple_self_signed(vec!["hooks.example.com".to_string()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = Arc::new(Server::at(listener.local_addr().expect("an address")));
    let shared = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, acceptor) = (shared.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut buffer = Vec::new();
                while let Ok(Some(request)) = request(&mut stream, &mut buffer).await {
                    shared.note(request);
                    let _ = stream.write_all(answer("204 No Content", "", "").as_bytes()).await;
                }
            });
        }
    });
    (server, made.cert.pem())
}

/// Every name is at one address.
struct All(SocketAddr);

#[async_trait]
impl Network for All {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![self.0])
    }
}

#[tokio::test]
async fn a_certificate_is_believed_only_from_a_known_authority_and_for_its_own_name() {
    let (server, authority) = tls_server().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority).expect("writes");
    let known = format!("{PRIVATE}\nsettings.ca_file = {:?}", file.display().to_string());
    let send = async |more: &str, name: &str| {
        let channel = channel(&webhook(), "", more, Arc::new(All(server.at)));
        channel.driver.send(parcel(&webhook(), &format!("https://{name}:{}", server.at.port()))).await
    };
    assert_eq!(send(&known, "hooks.example.com").await, Outcome::Accepted { reference: None });
    assert_eq!(server.seen(), 1);
    for (more, name) in [(PRIVATE, "hooks.example.com"), (&*known, "other.example.com")] {
        let outcome = send(more, name).await;
        assert!(matches!(outcome, Outcome::Deferred { holds: Holds::Host, .. }), "{name}: {outcome:?}");
    }
    assert_eq!(server.seen(), 1, "nothing was written to a server that is not trusted");
}
