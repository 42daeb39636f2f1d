//! Tokens that a platform gives: asked for once, shared, renewed when they are refused; and what is said where none comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::registry::build;
use loudhailer::channel::{Driver, Fault, Holds, Outcome, Parcel, kit};
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use loudhailer::render::message::Filled;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::harness::{Reply, Request, START, Sink, within};

/// A channel with the settings of the file's examples, at the sink.
fn driver(platform: &str, sink: &Sink) -> Arc<dyn Driver> {
    let platforms = Platforms::load(None).expect("platforms");
    let file = platforms.get(platform).expect("a platform");
    let origin = sink.url().trim_end_matches("/hook").to_string();
    let mut text = format!("[channels.x]\nplatform = {platform:?}\n");
    for name in file.settings.keys() {
        let value = match name.as_str() {
            "url" => origin.clone(),
            "token_url" => format!("{origin}/token"),
            name => kit::samples(file, &BTreeMap::new())(name).expect("a value"),
        };
        text.push_str(&format!("settings.{name} = {value:?}\n"));
    }
    let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
    let clock = Arc::new(Clock::manual(Time::parse(START).expect("a time")));
    build(&config, &platforms, clock).expect("channels").pop().expect("one channel").driver
}

async fn send(driver: &dyn Driver, to: &str) -> Outcome {
    let words = Filled { title: Some("Down".into()), text: "We are back".into(), html: None, locale: "en".into() };
    let parcel = Parcel {
        id: "dlv_1".into(),
        broadcast: None,
        incident: None,
        to: to.into(),
        secrets: Vec::new(),
        message: Arc::new(words.into()),
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: Time::parse(START).expect("a time"),
    };
    within("answered", driver.send(parcel)).await
}

fn full(body: Value) -> Reply {
    Reply::Full(200, "content-type: application/json\r\n".into(), body.to_string())
}

fn posted() -> Reply {
    full(json!({ "json": { "errors": [], "data": { "name": "t3_1" } } }))
}

/// Of each request, its path and who it says that we are.
fn seen(sink: &Sink) -> Vec<(String, String)> {
    let of = |request: &Request| (request.path.clone(), request.header("authorization").unwrap_or_default().into());
    sink.all().iter().map(of).collect()
}

#[tokio::test]
async fn a_token_is_asked_for_once_shared_and_renewed_once_when_it_is_refused() {
    // The first is refused when it comes the third time; the third whenever it comes.
    let sink = Sink::answering(|number, request| match (&*request.path, request.header("authorization")) {
        ("/token", _) => full(json!({ "access_token": format!("t{number}") })),
        (_, Some("Bearer t0")) if number < 3 => posted(),
        (_, Some("Bearer t4")) if number < 6 => posted(),
        _ => Reply::Status(401),
    })
    .await;
    let driver = driver("reddit", &sink);
    let accepted = Outcome::Accepted { reference: Some("t3_1".into()) };
    let (one, two) = tokio::join!(send(&*driver, "acmestatus"), send(&*driver, "acmestatus"));
    assert_eq!((one, two), (accepted.clone(), accepted.clone()));
    assert_eq!(send(&*driver, "acmestatus").await, accepted);
    let basic = "Basic cC1qY29MS0J5blRMZXc6ZXhhbXBsZS1zZWNyZXQ=";
    let is = |path: &str, who: &str| (path.to_string(), who.to_string());
    let first = [
        is("/token", basic),
        is("/api/submit", "Bearer t0"),
        is("/api/submit", "Bearer t0"),
        is("/api/submit", "Bearer t0"),
    ];
    assert_eq!(seen(&sink)[..4], first);
    assert_eq!(seen(&sink)[4..], [is("/token", basic), is("/api/submit", "Bearer t4")]);
    let form = String::from_utf8_lossy(&sink.all()[0].body).into_owned();
    assert_eq!(form, "grant_type=password&password=example-password&username=acme_status");
    // Refused, and the next one too: that is the channel's own fault.
    let refused = send(&*driver, "acmestatus").await;
    assert_eq!(refused, Outcome::Rejected { fault: Fault::Channel, detail: "HTTP 401".into() });
    let last: Vec<String> = seen(&sink)[6..].iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(last, ["/api/submit", "/token", "/api/submit"]);
}

#[tokio::test]
async fn where_no_token_comes_no_message_goes() {
    let deferred = |throttled, detail: &str| Outcome::Deferred {
        after: None,
        holds: Holds::Channel,
        throttled,
        detail: detail.into(),
    };
    let rejected = |detail: &str| Outcome::Rejected { fault: Fault::Channel, detail: detail.into() };
    for (reply, expected) in [
        (Reply::Full(400, String::new(), "{\"error\":\"invalid_grant\"}".into()), rejected("no token: HTTP 400")),
        (Reply::Status(401), rejected("no token: HTTP 401")),
        (Reply::Status(429), deferred(true, "no token: HTTP 429")),
        (Reply::Status(503), deferred(false, "no token: HTTP 503")),
        (full(json!({ "error": "unsupported_grant_type" })), deferred(false, "no token: HTTP 200 without one")),
        (full(json!({ "access_token": "a\nb" })), deferred(false, "no token: it fits into no header")),
    ] {
        let sink = Sink::answering(move |_, _| reply.clone()).await;
        assert_eq!(send(&*driver("reddit", &sink), "acmestatus").await, expected);
        assert_eq!(seen(&sink).len(), 1);
    }
}

#[tokio::test]
async fn an_assertion_is_signed_by_the_key_of_the_service_account() {
    let sink = Sink::answering(|_, request| match &*request.path {
        "/token" => full(json!({ "access_token": "t" })),
        _ => full(json!({ "name": "projects/acme-status/messages/1" })),
    })
    .await;
    let platforms = Platforms::load(None).expect("platforms");
    let fcm = platforms.get("fcm").expect("a platform");
    let accepted = Outcome::Accepted { reference: Some("projects/acme-status/messages/1".into()) };
    assert_eq!(send(&*driver("fcm", &sink), &fcm.address.example).await, accepted);
    let asked = &sink.all()[0];
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&asked.body).into_owned().collect();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let (text, signature) = form["assertion"].rsplit_once('.').expect("a signature");
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let pem = fcm.settings["private_key"].example.as_deref().expect("a key").replace("\\n", "\n");
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("a key");
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    public.verify(text.as_bytes(), &decode(signature)).expect("a good signature");
    let (head, claims) = text.split_once('.').expect("two parts");
    let read = |part: &str| serde_json::from_slice::<Value>(&decode(part)).expect("JSON");
    assert_eq!(read(head), json!({ "alg": "RS256", "typ": "JWT" }));
    let began = Time::parse(START).expect("a time").0 / 1000;
    let audience = sink.url().replace("/hook", "/token");
    let expected = json!({
        "iss": "push@acme-status.iam.gserviceaccount.com", "aud": audience, "iat": began, "exp": began + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
    });
    assert_eq!(read(claims), expected);
    assert_eq!(seen(&sink)[1], ("/v1/projects/acme-status/messages:send".into(), "Bearer t".into()));
}
