//! Who is told.

use serde_json::{Value, json};

use crate::harness::{Broker, Mailbox, Reply, Sink, outage, webhooks};

/// Answers a challenge as it should.
fn echoes(request: &crate::harness::Request) -> Reply {
    let said = request.json();
    match said["type"].as_str() {
        Some("loudhailer.webhook.challenge") => {
            let body = json!({ "challenge": said["data"]["challenge"] }).to_string();
            Reply::Full(200, "Content-Type: application/json\r\n".into(), body)
        }
        _ => Reply::Status(204),
    }
}

fn alex(url: &str) -> Value {
    json!({
        "key": "alex", "name": "Alex", "locale": "de", "time_zone": "Europe/Berlin", "quiet_hours": "22:00-07:00",
        "min_severity": "major", "audiences": ["businesses"], "addresses": [{ "kind": "url", "address": url }]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_made_read_changed_and_removed() {
    let sink = Sink::answering(|_, request| echoes(request)).await;
    let broker = Broker::start(&webhooks("")).await;
    let made = broker.post("/v1/subscribers", &alex(&sink.url())).await;
    assert_eq!(made.status, 201, "{made:?}");
    let location = made.header("location").expect("a place").to_string();
    let made = made.json();
    let secret = made["addresses"][0]["secret"].as_str().expect("shown once").to_string();
    assert!(secret.starts_with("whsec_"));
    assert_eq!(
        (&made["addresses"][0]["verified"], &made["addresses"][0]["place"]),
        (&json!(true), &json!(1)),
        "{made}"
    );
    let read = broker.get(&location).await;
    assert!(!read.text.contains(&secret), "never again");
    let read = read.json();
    assert_eq!((&read["quiet_hours"], &read["time_zone"]), (&json!("22:00-07:00"), &json!("Europe/Berlin")), "{read}");

    let again = broker.post("/v1/subscribers", &alex(&sink.url())).await;
    assert_eq!((again.status, &again.json()["version"]), (200, &read["version"]), "unchanged: {again:?}");
    let changed = broker.client.json("PATCH", &location, &json!({ "min_severity": "critical", "name": null })).await;
    let changed = changed.json();
    assert_eq!((&changed["min_severity"], &changed["name"]), (&json!("critical"), &json!(null)), "{changed}");
    assert_eq!(changed["locale"], "de", "what is absent stays");
    assert_eq!(changed["version"].as_i64(), read["version"].as_i64().map(|version| version + 1));

    let listed = broker.get("/v1/subscribers?key=alex").await.json();
    assert_eq!(listed["items"][0]["id"], read["id"]);
    assert_eq!(broker.send("DELETE", &location, &[], "").await.status, 204);
    assert_eq!(broker.get(&location).await.status, 404);
    assert_eq!(broker.send("DELETE", &location, &[], "").await.status, 404);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_echo_the_challenge_is_not_verified_and_hears_nothing() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    let made = broker.post("/v1/subscribers", &alex(&sink.url())).await.json();
    assert_eq!(made["addresses"][0]["verified"], json!(false), "{made}");
    let challenge = sink.next().await;
    assert_eq!(challenge.json()["type"], "loudhailer.webhook.challenge");
    assert!(challenge.header("webhook-signature").is_some());
    broker.post("/v1/events", &outage("a-1")).await;
    broker.settled().await;
    assert_eq!(sink.all().len(), 1, "only the challenge");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tried_out_and_signed_with_both_secrets_after_a_rotation() {
    let sink = Sink::answering(|_, request| echoes(request)).await;
    let broker = Broker::start(&webhooks("")).await;
    let made = broker.post("/v1/subscribers", &alex(&sink.url())).await.json();
    let id = made["id"].as_str().expect("an id");
    sink.next().await;
    let tested = broker.post(&format!("/v1/subscribers/{id}/addresses/1:test"), &json!({})).await.json();
    assert_eq!(tested["outcome"], "accepted", "{tested}");
    let test = sink.next().await;
    assert_eq!(test.json()["type"], "loudhailer.webhook.test");
    let rotated = broker.post(&format!("/v1/subscribers/{id}/addresses/1:rotate"), &json!({})).await.json();
    assert!(rotated["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{rotated}");
    broker.post(&format!("/v1/subscribers/{id}/addresses/1:test"), &json!({})).await;
    let signatures =
        |request: &crate::harness::Request| request.header("webhook-signature").expect("signed").split(' ').count();
    assert_eq!((signatures(&test), signatures(&sink.next().await)), (1, 2));
    let missing = broker.post(&format!("/v1/subscribers/{id}/addresses/9:test"), &json!({})).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_belongs_to_one_subscriber() {
    let sink = Sink::answering(|_, request| echoes(request)).await;
    let broker = Broker::start(&webhooks("")).await;
    assert_eq!(broker.post("/v1/subscribers", &alex(&sink.url())).await.status, 201);
    let mut other = alex(&sink.url());
    other["key"] = json!("sam");
    let taken = broker.post("/v1/subscribers", &other).await;
    assert_eq!((taken.status, &taken.json()["pointer"]), (409, &json!("/addresses/0/address")), "{taken:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_subscriber_is_said_with_its_place() {
    let broker = Broker::start("[components.web]\ntitle = \"Website\"\n").await;
    let address =
        |kind: &str, address: &str| json!({ "key": "x", "addresses": [{ "kind": kind, "address": address }] });
    for (body, pointer, words) in [
        (json!([]), "", "expected an object"),
        (json!({}), "", "a key, or at least one address"),
        (json!({ "audience": [] }), "/audience", "did you mean \"audiences\"?"),
        (json!({ "audiences": ["busineses"] }), "/audiences/0", "did you mean \"businesses\"?"),
        (json!({ "components": ["wep"] }), "/components/0", "did you mean \"web\"?"),
        (json!({ "locale": "german" }), "/locale", "language tag"),
        (json!({ "time_zone": "Berlin" }), "/time_zone", "time zone"),
        (json!({ "quiet_hours": "22" }), "/quiet_hours", "22:00-07:00"),
        (json!({ "min_severity": "huge" }), "/min_severity", "critical"),
        (json!({ "name": "a\nb" }), "/name", "control character"),
        (json!({ "exercises": 1 }), "/exercises", "true or false"),
        (address("emial", "a@b.c"), "/addresses/0/kind", "email"),
        (address("email", "a@b.c\r\nBcc: d@e.f"), "/addresses/0/address", "control character"),
        (address("email", "nobody"), "/addresses/0/address", "email"),
        (address("phone", "0151"), "/addresses/0/address", "phone"),
        (address("url", "ftp://x"), "/addresses/0/address", "url"),
        (address("url", "http://u:p@x/"), "/addresses/0/address", "password"),
    ] {
        let answer = broker.post("/v1/subscribers", &body).await;
        let problem = answer.json();
        assert_eq!((answer.status, &problem["pointer"]), (400, &json!(pointer)), "{body}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{body}: {problem}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_address_is_told_only_after_its_reader_confirmed_it() {
    let mailbox = Mailbox::start().await;
    let broker = Broker::start(&mailbox.channel()).await;
    let body = json!({ "key": "alex", "locale": "de-AT", "audiences": ["businesses"],
        "addresses": [{ "kind": "email", "address": "alex@example.org" }] });
    let made = broker.post("/v1/subscribers", &body).await.json();
    assert_eq!(made["addresses"][0]["verified"], json!(false), "{made}");
    assert_eq!(made["addresses"][0]["verification"], "sent", "{made}");
    let mail = mailbox.next().await;
    assert_eq!(mail.to, ["alex@example.org"]);
    let text = mail_parser::MessageParser::default().parse(mail.data.as_bytes()).expect("parses");
    assert_eq!(text.subject(), Some("Loudhailer: Best\u{e4}tigen Sie Ihre Adresse"));
    let link = mail.link();
    let path = link.strip_prefix(&broker.url()).expect("ours").to_string();

    // Mail scanners follow links: looking confirms nothing.
    let page = broker.get(&path).await;
    assert!(page.status == 200 && page.text.contains("<form method=\"post\">"), "{page:?}");
    broker.post("/v1/events", &outage("a-1")).await;
    broker.settled().await;
    let id = made["id"].as_str().expect("an id");
    let verified =
        async || broker.get(&format!("/v1/subscribers/{id}")).await.json()["addresses"][0]["verified"].clone();
    assert_eq!(verified().await, json!(false));
    let forged = path.replace("cnf_", "cnf_1");
    assert_eq!(broker.send("POST", &forged, &[], "").await.status, 404);
    assert_eq!(broker.send("POST", &path, &[], "").await.status, 200);
    assert_eq!(verified().await, json!(true));
    broker
        .post(
            "/v1/events",
            &crate::harness::event("b-1", json!({ "incident": "mail-down", "summary": "Nobody gets mail." })),
        )
        .await;
    let told = mailbox.next().await;
    assert!(told.text().contains("Nobody gets mail."), "told before it was verified: {}", told.data);
    assert!(told.data.contains("List-Unsubscribe: <http"), "{}", told.data);
    assert!(told.data.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{}", told.data);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_asked_and_taken_off_in_its_readers_language() {
    let mailbox = Mailbox::start().await;
    let broker = Broker::start(&format!("[sender]\nlocale = \"es\"\n{}", mailbox.channel())).await;
    // Who reads none of the languages that there are is asked in the sender's, and that is marked.
    for (locale, said_in, asked, confirm, confirmed, leave, left) in [
        (
            "en-GB",
            "en",
            "Somebody, probably you",
            "Confirm your address",
            "is confirmed",
            "Unsubscribe",
            "You are unsubscribed",
        ),
        (
            "de-AT",
            "de",
            "Jemand, vermutlich Sie",
            "Adresse bestätigen",
            "ist bestätigt",
            "Nachrichten abbestellen",
            "Sie sind abgemeldet",
        ),
        (
            "es",
            "es",
            "seguramente usted",
            "Confirme su dirección",
            "confirmada",
            "Cancelar la suscripción",
            "Suscripción cancelada",
        ),
        (
            "pt-BR",
            "pt",
            "provavelmente você",
            "Confirme seu endereço",
            "confirmado",
            "Cancelar inscrição",
            "Inscrição cancelada",
        ),
        ("hi-IN", "hi", "शायद आपने", "पुष्टि करें", "पुष्टि हो गई", "सूचनाएँ बंद करें", "बंद कर दी गईं"),
        (
            "fr",
            "es",
            "seguramente usted",
            "Confirme su dirección",
            "confirmada",
            "Cancelar la suscripción",
            "Suscripción cancelada",
        ),
    ] {
        let body =
            json!({ "locale": locale, "addresses": [{ "kind": "email", "address": format!("{locale}@example.org") }] });
        let made = broker.post("/v1/subscribers", &body).await.json();
        let mail = mailbox.next().await;
        let parsed = mail_parser::MessageParser::default().parse(mail.data.as_bytes()).expect("parses");
        let text = mail.text();
        assert!(text.contains(asked), "{locale}: {text}");
        assert!(mail.data.contains(&format!("Content-Language: {said_in}\r\n")), "{locale}: {}", mail.data);
        let html = parsed.body_html(0).expect("html").into_owned();
        assert!(html.contains(&format!("<html lang=\"{said_in}\">")), "{locale}: {html}");
        let link = mail.link();
        let to_confirm = link.strip_prefix(&broker.url()).expect("ours").to_string();
        let id = made["id"].as_str().expect("an id").parse().expect("an id");
        let withdrawal = loudhailer::id::Withdrawal { subscriber: id, place: 1 }.public(&broker.app.key);
        let to_leave = format!("/unsubscribe/{withdrawal}");
        for (method, path, words) in [
            ("GET", &to_confirm, confirm),
            ("POST", &to_confirm, confirmed),
            ("GET", &to_leave, leave),
            ("POST", &to_leave, left),
        ] {
            let page = broker.send(method, path, &[], "").await;
            assert_eq!(
                (page.status, page.header("content-language")),
                (200, Some(said_in)),
                "{locale} {method} {path}"
            );
            assert!(page.text.contains(&format!("<html lang=\"{said_in}\">")), "{locale}: {}", page.text);
            assert!(page.text.contains(words), "{locale} {method} {path}: {words} is not in {}", page.text);
        }
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_link_ends() {
    let mailbox = Mailbox::start().await;
    let broker = Broker::start(&mailbox.channel()).await;
    let body = json!({ "addresses": [{ "kind": "email", "address": "alex@example.org" }] });
    broker.post("/v1/subscribers", &body).await;
    let mail = mailbox.next().await;
    let link = mail.link();
    let path = link.strip_prefix(&broker.url()).expect("ours");
    broker.clock.advance(std::time::Duration::from_secs(8 * 24 * 3600));
    const FORGED: &str = "/unsubscribe/uns_1_1_0000000000000000";
    // Whoever follows it reads a page, not a document for programs.
    for (method, path) in [
        ("POST", path),
        ("GET", path),
        ("GET", FORGED),
        ("POST", FORGED),
        ("GET", "/confirm/cnf_1_1_1_0000000000000000"),
    ] {
        let answer = broker.send(method, path, &[], "").await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(answer.text.contains("<h1>This link does not work</h1>"), "{}", answer.text);
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_that_ask_keep_the_limit_of_their_channel() {
    let mailbox = Mailbox::start().await;
    let limited = mailbox.channel().replacen("platform", "rate = [\"1/min\"]\nplatform", 1);
    let broker = Broker::start(&limited).await;
    // A limiter starts empty, and this one has room in a minute.
    let body = json!({ "addresses": [{ "kind": "email", "address": "alex@example.org" }] });
    let made = broker.post("/v1/subscribers", &body).await.json();
    let ask = format!("/v1/subscribers/{}/addresses/1:verify", made["id"].as_str().expect("an id"));
    let refused = broker.post(&ask, &json!({})).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("61")), "{refused:?}");
    broker.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(broker.post(&ask, &json!({})).await.json()["verification"], "sent");
    assert_eq!(mailbox.next().await.to, ["alex@example.org"]);
    assert_eq!(broker.post(&ask, &json!({})).await.status, 503);
    broker.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(broker.post("/v1/channels/mail:pause", &json!({})).await.status, 200);
    let paused = broker.post(&ask, &json!({})).await;
    assert!(paused.status == 409 && paused.text.contains("mail is paused"), "{paused:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_one_moment_are_all_kept() {
    let broker = Broker::start("").await;
    let made = broker.post("/v1/subscribers", &json!({ "key": "alex" })).await.json();
    let path = format!("/v1/subscribers/{}", made["id"].as_str().expect("an id"));
    let changes = [
        json!({ "name": "Alex" }),
        json!({ "locale": "de" }),
        json!({ "audiences": ["press"] }),
        json!({ "exercises": true }),
        json!({ "min_severity": "major" }),
        json!({ "time_zone": "Europe/Berlin" }),
    ];
    let sent = changes.iter().map(|change| broker.client.json("PATCH", &path, change));
    let answers = crate::harness::within("answers", futures_util::future::join_all(sent)).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let read = broker.get(&path).await.json();
    for change in changes {
        for (name, value) in change.as_object().expect("an object") {
            assert_eq!(&read[name], value, "{read}");
        }
    }
    broker.stop().await;
}
