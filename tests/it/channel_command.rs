//! `loudhailer channel new` and `channel test`, as people type them: a file that passes the check, and one real message with what
//! came of it, in which no secret is shown.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::cli::{Ran, run};
use super::harness::{Reply, Request, SECRET, Sink, kannel, webhooks};

const KINDS: [&str; 7] = ["sms", "chat", "push", "post", "webhook", "email", "voice"];

fn configured(folder: &Path, config: &str) {
    std::fs::write(folder.join("own.toml"), config).expect("written");
}

/// One test message by a channel of `own.toml`.
async fn tried(folder: &Path, channel: &str, to: &str, more: &[&str]) -> Ran {
    let arguments = [&["--config", "own.toml", "channel", "test", channel, "--to", to], more].concat();
    run(folder, None, &arguments, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_of_each_kind_passes_the_check_and_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let mut config = "[paths]\nchannels = \"channels\"\n".to_string();
    for kind in KINDS {
        let name = format!("acme-{kind}");
        let made = run(here, None, &["channel", "new", &name, "--kind", kind], "").await;
        assert_eq!(made.code, Some(0), "{made:?}");
        for said in [&format!("channels/{name}.toml"), "docs", "loudhailer check", "loudhailer channel test"] {
            assert!(made.out.contains(said), "{said}: {made:?}");
        }
        // A token of ours goes to no subscriber's own system.
        let settings =
            if kind == "webhook" { "" } else { "settings = { url = \"https://api.acme.example\", token = \"t\" }\n" };
        config += &format!("[channels.{name}]\nplatform = \"{name}\"\n{settings}");
    }
    configured(here, &config);
    let checked = run(here, None, &["--config", "own.toml", "check"], "").await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.contains("7 channels"), "{checked:?}");

    std::fs::write(here.join("channels/acme-sms.toml"), "mine").expect("written");
    let again = run(here, None, &["channel", "new", "acme-sms", "--kind", "sms"], "").await;
    assert!(again.code == Some(2) && again.err.contains("is there already"), "{again:?}");
    assert_eq!(std::fs::read_to_string(here.join("channels/acme-sms.toml")).expect("read"), "mine");
    for (wrong, said) in [
        (&["telegram"][..], "would replace it"),
        (&["../x"], "letters, digits"),
        (&["x", "--kind", "smss"], "did you mean \"sms\"?"),
    ] {
        let refused = run(here, None, &[&["channel", "new"][..], wrong].concat(), "").await;
        assert!(refused.code == Some(2) && refused.err.contains(said), "{refused:?}");
    }
    let elsewhere = run(here, None, &["channel", "new", "acme", "--folder", "other"], "").await;
    assert!(elsewhere.code == Some(0) && here.join("other/acme.toml").exists(), "{elsewhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_goes_once_for_real_and_shows_how_its_answer_was_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Sink::answering(|_, _| Reply::accepted()).await;
    configured(folder.path(), &kannel("sms", sink.port(), "").replace("\"p\"", "\"hunter2 & more\""));
    let to = "+4915112345678";
    let ran = tried(folder.path(), "sms", to, &["--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let sent = sink.next().await;
    assert!(sent.query("text").is_some_and(|text| text.starts_with("TEST of the channel sms.")), "{sent:?}");
    assert_eq!(sent.query("password").as_deref(), Some("hunter2 & more"));
    let shown = ran.json();
    let url = shown["request"]["url"].as_str().expect("a url");
    assert!(url.contains("password=***&") && url.contains("to=%2B4915112345678"), "{url}");
    assert_eq!(shown["answer"], json!({ "status": 202, "headers": {}, "body": "0: Accepted for delivery" }));
    assert_eq!(
        (&shown["read"]["outcome"], &shown["read"]["rule"]["number"]),
        (&json!("accepted"), &json!(1)),
        "{shown}"
    );
    // For people, and with the kind before the address.
    let ran = tried(folder.path(), "sms", &format!("phone:{to}"), &[]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for said in
        ["request\n  GET http://127.0.0.1", "answer\n  202", "read as\n  accepted", "by [[answer]] 1 of the file"]
    {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    assert!(!ran.out.contains("hunter2"), "{}", ran.out);
    assert_eq!(sink.all().len(), 2);
    assert!(!folder.path().join("loudhailer.db").exists(), "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_shows_nothing_of_what_it_sent_does_not_say_that_nothing_was() {
    let folder = tempfile::tempdir().expect("a folder");
    configured(folder.path(), "[channels.outbox]\nplatform = \"outbox\"\n");
    let ran = tried(folder.path(), "outbox", "public", &[]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("accepted") && ran.out.contains("by the driver, which shows nothing"), "{}", ran.out);
}

/// Has its token wherever a request can have one.
const OWN: &str = r#"
title = "Own"
docs = "https://docs.example/"
driver = "http"
kind = "chat"
format = "chat"
[settings]
url = { example = "https://api.example" }
token = { secret = true, example = "t" }
key = { example = "k" }
[auth]
type = "query"
name = "key"
value = "{{settings.key}}"
[address]
kind = "own"
pattern = '^[a-z]+$'
example = "room"
[send]
url = "{{settings.url}}/bot{{settings.token}}/send"
headers = { Authorization = "Key {{settings.token}}", X-Token = "{{settings.token}}" }
json = { room = "{{to}}", text = "{{text}}", token = "{{settings.token}}" }
[[answer]]
when = { status = "200", json = { "/ok" = true } }
then = "accepted"
ref = { id = "/token" }
[[answer]]
when = { json = { "/ok" = false } }
then = "deferred"
holds = "account"
after = { header = "X-Wait" }
[[example]]
to = "room"
text = "x"
json = { room = "room", text = "x", token = "t" }
[[example]]
answer = { status = 200, json = { ok = true } }
then = "accepted"
[[example]]
answer = { status = 200, json = { ok = false } }
then = "deferred"
"#;

const TOKEN: &str = "9:a/b\\\"c=ü";

fn own(folder: &Path, sink: &Sink) {
    std::fs::create_dir_all(folder.join("channels")).expect("made");
    std::fs::write(folder.join("channels/own.toml"), OWN).expect("written");
    let url = format!("http://127.0.0.1:{}", sink.port());
    let settings = format!("url = {url:?}\ntoken = '{TOKEN}'\nkey = \"my-key\"\n");
    let config = "[paths]\nchannels = \"channels\"\n[channels.own]\nplatform = \"own\"\n[channels.own.settings]\n";
    configured(folder, &format!("{config}{settings}"));
}

/// Parts of the secrets that no form of theirs lacks.
fn leaks(ran: &Ran) -> bool {
    [&ran.out, &ran.err].iter().any(|text| ["9:a", "9%3Aa", "my-key"].iter().any(|part| text.contains(part)))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown_wherever_it_stands_and_whoever_repeats_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Sink::answering(|_, request: &Request| {
        let echoed = json!({ "ok": true, "token": TOKEN, "path": request.path, "pad": "x".repeat(5000) });
        Reply::Full(200, "Content-Type: application/json\r\n".into(), echoed.to_string())
    })
    .await;
    own(folder.path(), &sink);
    for more in [&["--json"][..], &[]] {
        let ran = tried(folder.path(), "own", "room", more).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!leaks(&ran), "{}", ran.out);
        assert!(ran.out.contains("/bot***/send?key=***"), "{}", ran.out);
        assert!(ran.out.contains("… (cut; it has "), "{}", ran.out);
        let sent = sink.next().await;
        assert_eq!(sent.json()["token"], TOKEN, "what went was whole");
    }
    let shown = tried(folder.path(), "own", "room", &["--json"]).await.json();
    let headers = &shown["request"]["headers"];
    assert_eq!((&headers["authorization"], &headers["x-token"]), (&json!("***"), &json!("***")), "{shown}");
    assert_eq!(shown["read"]["reference"], "***", "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_accepted_ends_with_one_and_says_what_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Sink::answering(|number, _| match number {
        0 => Reply::Full(200, "X-Wait: 90\r\nX-Other: 1\r\n".into(), "{\"ok\": false}".into()),
        1 => Reply::Status(404),
        2 => Reply::Status(403),
        _ => Reply::Full(200, String::new(), "<html>".into()),
    })
    .await;
    own(folder.path(), &sink);
    let mut all = Vec::new();
    for _ in 0..4 {
        let ran = tried(folder.path(), "own", "room", &["--json"]).await;
        assert!(ran.code == Some(1) && ran.err.contains("was not accepted"), "{ran:?}");
        all.push(ran.json());
    }
    let [deferred, message, channel, unknown] = all.as_slice() else { panic!("four") };
    let read = |shown: &Value, key: &str| shown["read"][key].clone();
    assert_eq!(
        (read(deferred, "outcome"), read(deferred, "holds")),
        (json!("deferred"), json!("account")),
        "{deferred}"
    );
    assert!(read(deferred, "until").is_string(), "{deferred}");
    assert_eq!(deferred["answer"]["headers"], json!({ "x-wait": "90" }), "what was looked at, and no more");
    assert_eq!(deferred["read"]["rule"], json!({ "number": 2, "when": "/ok = false" }));
    assert_eq!((read(message, "fault"), read(message, "rule")), (json!("message"), Value::Null), "{message}");
    assert_eq!(read(channel, "fault"), "channel", "{channel}");
    assert_eq!((read(unknown, "outcome"), read(unknown, "rule")), (json!("unknown"), Value::Null), "{unknown}");

    // Nobody is there.
    drop(sink);
    let config = kannel("sms", 9, "");
    configured(folder.path(), &config);
    let ran = tried(folder.path(), "sms", "+4915112345678", &[]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("deferred") && ran.out.contains("by no answer: there is none"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Sink::start().await;
    configured(folder.path(), &kannel("sms", sink.port(), ""));
    for (channel, to, said) in [
        ("sms", "nonsense", "--to: not a usable phone address; one looks like"),
        ("sms", "email:alex@example.org", "--to: not a usable phone address"),
        ("smss", "+4915112345678", "did you mean \"sms\"?"),
    ] {
        let ran = tried(folder.path(), channel, to, &[]).await;
        assert!(ran.code == Some(2) && ran.err.contains(said), "{ran:?}");
    }
    let without = run(folder.path(), None, &["--config", "own.toml", "channel", "test", "sms"], "").await;
    assert_eq!(without.code, Some(2), "{without:?}");
    assert_eq!(sink.all().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_its_path_is_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Sink::start().await;
    configured(folder.path(), &webhooks(""));
    let ran = tried(folder.path(), "hooks", &format!("{}/T0/secret-path", sink.url()), &["--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let sent = sink.next().await;
    assert_eq!(
        (sent.json()["type"].as_str(), sent.path.as_str()),
        (Some("loudhailer.channel.test"), "/hook/T0/secret-path")
    );
    assert!(sent.header("webhook-signature").is_some_and(|signature| signature.starts_with("v1,")), "{sent:?}");
    assert_eq!(ran.json()["request"]["url"], format!("http://127.0.0.1:{}/***", sink.port()));
    assert!(!ran.out.contains("secret-path") && !ran.out.contains(SECRET), "{}", ran.out);
}

/// A mail server that wants a password by `mechanism`, and repeats it to whoever gives it.
async fn mail_server(mechanism: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(mail_session(stream, mechanism));
        }
    });
    port
}

async fn mail_session(mut stream: TcpStream, mechanism: &str) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 relay.test ESMTP\r\n").await?;
    let mut body = false;
    while let Some(line) = lines.next_line().await? {
        let reply = match line.split([' ', ':']).next().unwrap_or_default() {
            "." => {
                body = false;
                "250 2.0.0 Ok: queued as 4XyZ".to_string()
            }
            _ if body => continue,
            "EHLO" => format!("250-relay.test\r\n250 AUTH {mechanism}"),
            "AUTH" if mechanism == "LOGIN" => "334 VXNlcm5hbWU6".into(),
            "AUTH" => format!("235 2.7.0 welcome {}", line.split(' ').next_back().unwrap_or_default()),
            "dXNlcg==" => "334 UGFzc3dvcmQ6".into(),
            "aHVudGVyMg==" => "235 2.7.0 welcome hunter2".into(),
            "DATA" => {
                body = true;
                "354 go on".into()
            }
            _ => "250 2.1.0 yes".into(),
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_shows_its_conversation_without_the_password() {
    let folder = tempfile::tempdir().expect("a folder");
    for mechanism in ["PLAIN", "LOGIN"] {
        let port = mail_server(mechanism).await;
        let settings = format!("url = \"smtp://127.0.0.1:{port}\"\nusername = \"user\"\npassword = \"hunter2\"\n");
        configured(
            folder.path(),
            &format!("[channels.mail]\nplatform = \"smtp\"\n[channels.mail.settings]\n{settings}"),
        );
        let ran = tried(folder.path(), "mail", "alex@example.org", &[]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for said in [
            "< 220 relay.test ESMTP",
            "> AUTH ",
            "***",
            "< 235 2.7.0 welcome ",
            "> RCPT TO:<alex@example.org>",
            "> Subject: TEST of the channel mail",
            "< 250 2.0.0 Ok: queued as 4XyZ",
            "accepted, as 4XyZ",
            "by the codes of the server's replies",
        ] {
            assert!(ran.out.contains(said), "{said}: {}", ran.out);
        }
        // As it is, in base64, and with the user's name before it.
        for secret in ["hunter2", "aHVudGVyMg", "AHVzZXIAaHVudGVyMg"] {
            assert!(!ran.out.contains(secret), "{}", ran.out);
        }
    }
    let closed = "[channels.mail]\nplatform = \"smtp\"\nsettings.url = \"smtp://127.0.0.1:9\"\n";
    configured(folder.path(), closed);
    let ran = tried(folder.path(), "mail", "alex@example.org", &["--json"]).await;
    assert_eq!((ran.code, &ran.json()["read"]["outcome"]), (Some(1), &json!("deferred")), "{ran:?}");
}
