//! Bounces and complaints come back as mails: by a request, in a Maildir, and by a program that a mail server runs.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::process::BINARY;
use crate::harness::{Answer, Broker, Mail, Mailbox, Sink, outage, plan, within};
use crate::peers::{eventually, peers};

const MAIL: (&str, &str) = ("content-type", "message/rfc822");
const RETURN_PATH: &str = "return_path = \"bounces+{delivery}@example.org\"\n";

fn steps(routes: &str) -> (tempfile::TempDir, String) {
    plan(&format!(
        "title = \"By mail\"\n[[step]]\nname = \"businesses\"\naudience = \"businesses\"\nroutes = [{routes}]\npriority = \"high\"\n"
    ))
}

/// As a relay reports it to where `mail` came from.
fn bounced(mail: &Mail, action: &str, status: &str) -> String {
    format!(
        "From: MAILER-DAEMON@relay.example.net\r\nTo: {}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"=_x\"\r\n\r\n\
         --=_x\r\nContent-Type: text/plain\r\n\r\nIt did not work.\r\n\
         --=_x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.example.net\r\n\r\n\
         Final-Recipient: rfc822; {}\r\nAction: {action}\r\nStatus: {status}\r\n\r\n\
         --=_x\r\nContent-Type: message/rfc822\r\n\r\n{}\r\n--=_x--\r\n",
        mail.from, mail.to[0], mail.data
    )
}

/// The example of RFC 5965, appendix B.2, about this mail.
fn complaint(mail: &Mail) -> String {
    let (_, id) = mail.data.split_once("Message-ID: <").expect("an id");
    let id = id.split('>').next().expect("an id");
    let sample = include_str!("../../fuzz/seeds/report/complaint");
    sample.replace("dlv_1_2_3_example000@example.net", id)
}

async fn report(broker: &Broker, mail: &str) -> Answer {
    broker.send("POST", "/v1/receipts/mail", &[MAIL], mail).await
}

/// Whether each address of the one subscriber is suppressed.
async fn suppressed(broker: &Broker) -> Vec<bool> {
    let subscriber = broker.get("/v1/subscribers").await.json()["items"][0].clone();
    let addresses = subscriber["addresses"].as_array().expect("a list").clone();
    addresses.iter().map(|address| address["suppressed"] == true).collect()
}

async fn deliveries(broker: &Broker) -> Vec<Value> {
    let listed = broker.get("/v1/broadcasts").await.json();
    let id = listed["items"][0]["id"].as_str().expect("an id").to_string();
    broker.get(&format!("/v1/deliveries?broadcast={id}")).await.json()["items"].as_array().expect("a list").clone()
}

async fn of_mail(broker: &Broker, what: &str, key: &str, value: &str) {
    let is =
        async || deliveries(broker).await.iter().any(|row| row["channel"] == "mail" && row[key] == value).then_some(());
    broker.until(what, is).await;
}

/// Alex, by mail and, where that bounces, by webhook; the mail has been taken.
async fn told(mailbox: &Mailbox, sink: &Sink, more: &str) -> (Broker, Mail, tempfile::TempDir) {
    let (plans, config) = steps("\"email\", \"webhook\"");
    let hooks = "[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\n";
    let broker = Broker::start(&format!("{config}{hooks}{}{more}", mailbox.channel())).await;
    let addresses = [("email", "alex@example.org"), ("url", &sink.url())];
    broker.subscriber("alex", "businesses", &addresses, |_| ()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let mail = mailbox.next().await;
    of_mail(&broker, "told by mail", "state", "told").await;
    (broker, mail, plans)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_suppresses_the_address_and_takes_the_next_route_once() {
    let (mailbox, sink) = (Mailbox::start().await, Sink::start().await);
    let (broker, mail, _plans) = told(&mailbox, &sink, RETURN_PATH).await;
    assert!(mail.from.starts_with("bounces+dlv_") && mail.from.ends_with("@example.org"), "{}", mail.from);

    let delayed = report(&broker, &bounced(&mail, "delayed", "4.4.1")).await;
    assert_eq!((delayed.status, delayed.json()), (200, json!({ "matched": 0, "kept": 0 })));
    assert_eq!(suppressed(&broker).await, [false, false], "a mail that takes longer is no bounce");

    for _ in 0..2 {
        let answer = report(&broker, &bounced(&mail, "failed", "5.1.1")).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "matched": 1, "kept": 0 })));
    }
    sink.next().await;
    broker.settled().await;
    assert_eq!(suppressed(&broker).await, [true, false]);
    let rows = deliveries(&broker).await;
    let by = |channel: &str| rows.iter().find(|row| row["channel"] == channel).unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!((&by("mail")["state"], &by("mail")["receipt"]), (&json!("rejected"), &json!("bounced")));
    assert_eq!((by("mail")["detail"].as_str(), &by("hooks")["state"]), (Some("5.1.1"), &json!("told")));
    assert_eq!(sink.all().len(), 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_after_a_while_takes_the_next_route_and_suppresses_nothing() {
    let (mailbox, sink) = (Mailbox::start().await, Sink::start().await);
    // Without a return path of its own it is known by the mail that is returned.
    let (broker, mail, _plans) = told(&mailbox, &sink, "").await;
    assert_eq!(mail.from, "status@localhost");
    assert_eq!(report(&broker, &bounced(&mail, "failed", "4.4.1")).await.json()["matched"], 1);
    sink.next().await;
    assert_eq!(suppressed(&broker).await, [false, false]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_suppresses_the_address_and_the_message_stays_told() {
    let (mailbox, sink) = (Mailbox::start().await, Sink::start().await);
    let (broker, mail, _plans) = told(&mailbox, &sink, RETURN_PATH).await;
    assert_eq!(report(&broker, &complaint(&mail)).await.json()["matched"], 1);
    assert_eq!(suppressed(&broker).await, [true, false]);
    of_mail(&broker, "complained", "receipt", "complained").await;
    of_mail(&broker, "told", "state", "told").await;
    assert_eq!(sink.all().len(), 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_no_mail_of_ours_suppresses_nobody() {
    let (mailbox, sink) = (Mailbox::start().await, Sink::start().await);
    let (broker, mail, _plans) = told(&mailbox, &sink, RETURN_PATH).await;
    let (before, tag) = mail.from.split_once('@').expect("an address").0.rsplit_once('_').expect("a tag");
    let forged = if tag.starts_with('0') { "1" } else { "0" }.to_string() + &tag[1..];
    let whole = bounced(&mail, "failed", "5.1.1");
    let by_forged = report(&broker, &whole.replace(tag, &forged)).await;
    assert_eq!(by_forged.status, 403, "{by_forged:?}");
    // Another's delivery under the tag of one's own.
    let (id, place) = before.rsplit_once('_').expect("a place");
    let other = format!("{id}_{}", if place == "0" { "1" } else { "0" });
    assert_eq!(report(&broker, &whole.replace(before, &other)).await.status, 403);
    let unnamed = report(&broker, &whole.replace("dlv_", "")).await;
    assert_eq!(unnamed.status, 400, "{unnamed:?}");
    let json = broker.post("/v1/receipts/mail", &json!({ "delivery": mail.from, "event": "complained" })).await;
    assert_eq!(json.status, 400);
    let absent = format!("From: a@example.org\r\nTo: {}\r\nSubject: Away\r\n\r\nUntil Monday.\r\n", mail.from);
    assert_eq!(report(&broker, &absent).await.json(), json!({ "matched": 0, "kept": 0 }));
    assert_eq!(suppressed(&broker).await, [false, false]);
    broker.stop().await;
}

fn files(folder: &Path, name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join(name)).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maildir_is_read_and_a_report_moved_once_it_is_kept() {
    let (mailbox, sink) = (Mailbox::start().await, Sink::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    ["new", "cur", "tmp"].iter().for_each(|name| std::fs::create_dir(folder.path().join(name)).expect("made"));
    let more = format!("{RETURN_PATH}maildir = {:?}\n", folder.path());
    let (broker, mail, _plans) = told(&mailbox, &sink, &more).await;
    // While nobody knows who reports, nothing is taken, and nothing lost.
    assert_eq!(broker.post("/v1/channels/mail:compromised", &json!({})).await.status, 200);
    let put = |name: &str, text: &str| std::fs::write(folder.path().join("new").join(name), text).expect("written");
    put("1.report", &bounced(&mail, "failed", "5.1.1"));
    put("2.absent", "From: a@example.org\r\nSubject: Away\r\n\r\nUntil Monday.\r\n");
    let read = |what: &'static str, left: &'static [&'static str]| {
        let (broker, folder) = (&broker, folder.path());
        within(what, async move {
            while files(folder, "new") != left {
                broker.clock.advance(Duration::from_secs(10));
                tokio::task::yield_now().await;
            }
        })
    };
    read("reads what reports nothing", &["1.report"]).await;
    assert_eq!(suppressed(&broker).await, [false, false]);
    assert_eq!(broker.post("/v1/channels/mail:resume", &json!({ "same_credentials": true })).await.status, 200);
    read("reads the report", &[]).await;
    assert_eq!(files(folder.path(), "cur"), ["1.report:2,S", "2.absent:2,S"]);
    assert_eq!(suppressed(&broker).await, [true, false]);
    sink.next().await;
    broker.stop().await;
}

/// As a mail server runs it.
fn handed_in(server: &str, channel: &str, mail: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new(BINARY)
        .args(["channel", "report", channel, "--server", server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("piped").write_all(mail.as_bytes()).expect("it reads all");
    child.wait_with_output().expect("ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_as_a_mail_server_expects() {
    let (mailbox, sink) = (Mailbox::start().await, Sink::start().await);
    let (broker, mail, _plans) = told(&mailbox, &sink, RETURN_PATH).await;
    let url = broker.url();
    let run = async |channel: &'static str, mail: String| {
        let url = url.clone();
        let output = tokio::task::spawn_blocking(move || handed_in(&url, channel, &mail)).await.expect("ran");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let done = |said: &str| (Some(0), format!("{said}\n"));
    // What a stranger writes is no reason to answer anybody.
    assert_eq!(run("mail", "Subject: Away\n\nUntil Monday.\n".into()).await, done("nothing is reported"));
    let (status, said) = run("mail", bounced(&mail, "failed", "5.1.1").replace("dlv_", "dlv_0")).await;
    assert_eq!(status, Some(0));
    assert!(said.starts_with("nothing was taken: "), "{said}");
    // Far more than is read.
    let long = bounced(&mail, "failed", "5.1.1") + &"x".repeat(3_000_000);
    // An operator's mistake waits in the queue until it is mended, and so does whatever comes while the server is away.
    assert_eq!(run("none", long.clone()).await.0, Some(75));
    let output = tokio::task::spawn_blocking(|| handed_in("http://127.0.0.1:1", "mail", "x")).await.expect("ran");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert_eq!(run("mail", long).await, done("taken"));
    assert_eq!(suppressed(&broker).await, [true, false]);
    sink.next().await;
    broker.stop().await;
}

/// Two mails through a Postfix that takes them and finds nobody: one reports to the program, the other to the Maildir.
#[tokio::test(flavor = "multi_thread")]
async fn what_postfix_reports_comes_back_by_the_program_and_in_the_maildir() {
    let names = ["postfix_late", "postfix_report", "postfix_bounces"];
    let Some([postfix, program, maildir]) = peers(names) else { return };
    let (_plans, config) = steps("\"email\"");
    let channel = |name: &str, more: &str| {
        format!(
            "[channels.{name}]\nplatform = \"smtp\"\n[channels.{name}.settings]\nurl = \"smtp://{postfix}\"\ntls = \"none\"\n{more}"
        )
    };
    let run = format!("{:08x}", fastrand::u32(..)); // the mailbox outlives a run
    let address = format!("gone-{run}@example.com");
    let folder = tempfile::tempdir_in(&program).expect("a folder");
    let copy = folder.path().join("loudhailer");
    std::fs::copy(BINARY, &copy).expect("copied");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("set");
    let program = Path::new(&program);
    let runs = |server: &str| {
        let line = format!("exec {} channel report mail --server {server}\n", copy.display());
        std::fs::write(program.join("program"), line).expect("written");
    };
    let ended = |status: &str| {
        let ends =
            || std::fs::read_to_string(program.join("ended")).ok()?.lines().any(|line| line == status).then_some(());
        assert!(eventually(ends).is_some(), "no run ended with {status}");
    };

    // By the program, at first while nobody answers.
    runs("http://127.0.0.1:1");
    let broker = Broker::start(&format!("{config}{}", channel("mail", &RETURN_PATH.replace("org", "test")))).await;
    broker.subscriber("alex", "businesses", &[("email", &address)], |_| ()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    tokio::task::block_in_place(|| ended("75"));
    assert_eq!(suppressed(&broker).await, [false]);
    runs(&broker.url());
    of_mail(&broker, "heard of the bounce", "receipt", "bounced").await;
    tokio::task::block_in_place(|| ended("0"));
    of_mail(&broker, "ended the delivery", "state", "rejected").await;
    of_mail(&broker, "noted the status", "detail", "5.1.1").await;
    assert_eq!(suppressed(&broker).await, [true]);
    broker.stop().await;

    // In the Maildir; whoever is there is reported, too, where that is asked for.
    let more =
        format!("return_path = \"returned+{{delivery}}@example.test\"\ndsn = \"success\"\nmaildir = {maildir:?}\n");
    let broker = Broker::start(&format!("{config}{}", channel("mail", &more))).await;
    broker.subscriber("alex", "businesses", &[("email", &address)], |_| ()).await;
    let there = broker.subscriber("bob", "businesses", &[("email", &format!("there-{run}@example.com"))], |_| ()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    let both = async || {
        let rows = deliveries(&broker).await;
        let of = |is_there: bool| {
            rows.iter().find(|row| row["channel"] == "mail" && (row["subscriber"] == there.to_string()) == is_there)
        };
        let receipts = [of(false)?["receipt"].as_str()?, of(true)?["receipt"].as_str()?];
        (receipts == ["bounced", "delivered"]).then_some(())
    };
    within("hears of both", async {
        while both().await.is_none() {
            broker.clock.advance(Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
    })
    .await;
    let moved = || files(Path::new(&maildir), "new").is_empty().then_some(());
    assert!(tokio::task::block_in_place(|| eventually(moved)).is_some(), "they are not moved");
    broker.stop().await;
}
