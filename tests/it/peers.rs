//! The real counterparties that `tests/run` starts, and a check that each of them answers.
//!
//! Enters: environment variables `PEER_…`, described in tests/peers/README.md. Promised: without its peer a test is
//! skipped and says so; where CI is true it fails instead.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};

const PATIENCE: Duration = Duration::from_secs(20);

/// What `tests/run` exported as `PEER_NAME`, for a name such as `kafka`. Without it the test says that it is skipped and
/// returns early: `let Some(kafka) = peer("kafka") else { return };`.
///
/// # Panics
/// In CI, where a missing peer is a failure.
pub fn peer(name: &str) -> Option<String> {
    peers([name]).map(|[value]| value)
}

/// Several at once: a test that needs them all is skipped once.
pub fn peers<const N: usize>(names: [&str; N]) -> Option<[String; N]> {
    let variable = |name: &str| std::env::var(format!("PEER_{}", name.to_uppercase())).ok();
    if let Some(missing) = names.into_iter().find(|name| variable(name).is_none()) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no peer {missing}: in CI every peer has to be there");
        // Straight to standard error: the harness hides what a passing test prints, and tests/run counts these lines.
        let _ = writeln!(std::io::stderr(), "skipped: no peer {missing} (start the tests with tests/run)");
        return None;
    }
    Some(names.map(|name| variable(name).unwrap_or_default()))
}

/// Asks a peer again and again until it has an answer, for 20 s: a process that is not ours gives no notice.
pub fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// The mails that Postfix accepted for this recipient, whole, in no order.
pub fn mails_to(recipient: &str) -> Vec<String> {
    let Ok(maildir) = std::env::var("PEER_MAILDIR") else { return Vec::new() };
    let header = format!("Delivered-To: {recipient}\n");
    let Ok(entries) = std::fs::read_dir(Path::new(&maildir).join("new")) else { return Vec::new() };
    entries
        .filter_map(|entry| String::from_utf8(std::fs::read(entry.ok()?.path()).ok()?).ok())
        .filter(|mail| mail.split("\n\n").next().is_some_and(|headers| headers.contains(&header)))
        .collect()
}

/// A connection to `host:port`, also where the variable is a URL.
fn connect(address: &str) -> TcpStream {
    let host = address.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("{host}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The last line of a mail server's answer, and all of it.
fn answer(reader: &mut impl BufRead) -> String {
    let mut whole = String::new();
    loop {
        let before = whole.len();
        assert_ne!(reader.read_line(&mut whole).unwrap(), 0, "the server hung up after {whole:?}");
        if whole.as_bytes().get(before + 3) != Some(&b'-') {
            return whole;
        }
    }
}

/// Sends commands one by one and returns the answers, the greeting first.
fn converse(address: &str, commands: &[&str]) -> Vec<String> {
    let mut stream = connect(address);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut answers = vec![answer(&mut reader)];
    for command in commands {
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        answers.push(answer(&mut reader));
    }
    answers
}

pub fn http_get(address: &str, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut whole = String::new();
    stream.read_to_string(&mut whole).unwrap();
    whole
}

fn consumer(bootstrap: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "peers").set("auto.offset.reset", "earliest");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

fn broker_answers(consumer: &BaseConsumer) -> bool {
    consumer.fetch_metadata(None, PATIENCE).is_ok_and(|metadata| metadata.brokers().len() == 1)
}

#[test]
fn kafka_answers_on_its_plain_listener() {
    let Some(kafka) = peer("kafka") else { return };
    assert!(broker_answers(&consumer(&kafka, &[])));
}

#[test]
fn kafka_demands_the_right_password() {
    let Some([kafka, user, password]) = peers(["kafka_sasl", "kafka_user", "kafka_password"]) else { return };
    let sasl = |password: &str| {
        let settings = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", user.as_str()),
            ("sasl.password", password),
        ];
        consumer(&kafka, &settings)
    };
    assert!(broker_answers(&sasl(&password)));
    let refused = sasl("wrong").fetch_metadata(None, Duration::from_secs(2));
    assert!(refused.is_err(), "a wrong password was let in");
}

#[test]
fn kafka_speaks_tls_under_the_authority_of_the_tests() {
    let Some([kafka, authority]) = peers(["kafka_tls", "ca"]) else { return };
    let settings = [("security.protocol", "ssl"), ("ssl.ca.location", authority.as_str())];
    assert!(broker_answers(&consumer(&kafka, &settings)));
}

#[test]
fn the_second_kafka_client_produces_records_with_headers() {
    let Some([kafka, produce]) = peers(["kafka", "kafka_produce"]) else { return };
    let mut child = Command::new(produce).arg("peers-answer").stdin(Stdio::piped()).spawn().unwrap();
    let record = b"ce_id=7|content-type=application/json; charset=utf-8\tkey\t{\"a\":\"=|\"}\n";
    child.stdin.take().unwrap().write_all(record).unwrap();
    assert!(child.wait().unwrap().success());

    let consumer = consumer(&kafka, &[("session.timeout.ms", "6000")]);
    consumer.subscribe(&["peers-answer"]).unwrap();
    let message = eventually(|| consumer.poll(Duration::ZERO)).expect("no record came").unwrap();
    let headers = message.headers().unwrap();
    let headers: Vec<_> = headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect();
    assert_eq!(headers, [("ce_id", &b"7"[..]), ("content-type", b"application/json; charset=utf-8")]);
    assert_eq!((message.key(), message.payload()), (Some(&b"key"[..]), Some(&b"{\"a\":\"=|\"}"[..])));
}

#[test]
fn postfix_offers_starttls_and_keeps_the_password_for_it() {
    let Some(postfix) = peer("postfix_submission") else { return };
    let answers = converse(&postfix, &["EHLO tests", "AUTH PLAIN AGEAYg=="]);
    assert!(answers[1].contains("STARTTLS"), "{answers:?}");
    assert!(!answers[1].contains("AUTH"), "{answers:?}");
    assert!(answers[2].starts_with("530"), "{answers:?}");
}

#[test]
fn postfix_answers_each_recipient_as_its_name_says() {
    let Some(postfix) = peer("postfix") else { return };
    for code in ["421", "450", "451", "452", "550", "554", "250"] {
        let recipient = format!("RCPT TO:<answer-{code}-peers@example.com>");
        let answers = converse(&postfix, &["EHLO tests", "MAIL FROM:<a@example.test>", &recipient]);
        assert!(answers[3].starts_with(code), "{answers:?}");
    }
}

#[test]
fn postfix_puts_what_it_accepts_into_the_maildir() {
    let Some(postfix) = peer("postfix") else { return };
    let recipient = "peers@example.net";
    let rcpt = format!("RCPT TO:<{recipient}>");
    let mail = "Subject: peers\r\n\r\nHello.\r\n.";
    let answers = converse(&postfix, &["EHLO tests", "MAIL FROM:<a@example.test>", &rcpt, "DATA", mail]);
    assert!(answers[5].starts_with("250"), "{answers:?}");
    let arrived = eventually(|| mails_to(recipient).pop()).expect("the mail did not arrive");
    assert!(arrived.contains("Subject: peers"), "{arrived}");
}

#[test]
fn smtp_sink_greets() {
    let Some(sink) = peer("smtp_sink") else { return };
    assert!(converse(&sink, &["HELO tests"]).iter().all(|answer| answer.starts_with('2')));
}

#[test]
fn kannel_refuses_a_wrong_password() {
    let Some(kannel) = peer("kannel") else { return };
    let answer = http_get(&kannel, "/cgi-bin/sendsms?username=loudhailer&password=wrong&to=1&text=x");
    assert!(answer.split(' ').nth(1) == Some("403"), "{answer}");
}

#[test]
fn kannel_hands_a_message_on_to_the_smsc() {
    let names = ["kannel", "kannel_user", "kannel_password", "smsc_control"];
    let Some([kannel, user, password, smsc]) = peers(names) else { return };
    let query = format!("?username={user}&password={password}&to=46709990000&from=ALERT&text=hello");
    let answer = http_get(&kannel, &format!("/cgi-bin/sendsms{query}"));
    assert!(answer.split(' ').nth(1) == Some("202"), "{answer}");
    let hello = "\"octets\":\"68656c6c6f\"";
    let arrived = eventually(|| {
        let messages = http_get(&smsc, "/messages?to=46709990000");
        messages.contains(hello).then_some(messages)
    });
    assert!(arrived.is_some(), "the message did not arrive");
}

#[test]
fn the_programs_that_tests_start_themselves_run() {
    let Some(programs) = peers(["chromium", "chromedriver", "strace"]) else { return };
    for program in programs {
        let output = Command::new(&program).arg("--version").output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
    }
}
