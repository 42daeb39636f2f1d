//! What says that a platform file is right: a real server in our tests (A), an emulator of it (E), the request that the vendor's own SDK
//! makes for the same message (B), the vendor's description of its API (C), or its documentation alone (D). Each file of
//! tests/evidence/ is held against the request that we build, and docs/PLATFORMS.md is written from them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::BodyExt;
use loudhailer::channel::file::Platform;
use loudhailer::channel::follow::Requests;
use loudhailer::channel::kit;
use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::{Follows, Parcel};
use loudhailer::clock::Time;
use loudhailer::render::message::{Filled, Message};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::documents::read;

/// What talks to a real server of its platform, or to what others receive with, and where that is.
const REAL: [(&str, &str, &str); 13] = [
    ("smtp", "Postfix", "tests/it/counterparties.rs"),
    ("kannel", "Kannel, and an SMPP simulator behind it", "tests/it/counterparties.rs"),
    ("smpp", "an SMS centre on npm's smpp", "tests/it/publish/smpp.rs"),
    ("webpush", "npm's web-push-testing, which decrypts", "tests/it/webpush.rs"),
    ("xmpp", "Prosody", "tests/it/publish/xmpp.rs"),
    ("irc", "ngIRCd", "tests/it/publish/irc.rs"),
    ("amqp", "RabbitMQ", "tests/it/publish/amqp.rs"),
    ("kafka", "Apache Kafka", "tests/it/publish/kafka.rs"),
    ("mqtt", "Mosquitto", "tests/it/publish/mqtt.rs"),
    ("nats", "NATS with JetStream", "tests/it/publish/nats.rs"),
    ("webhook", "PyPI's standardwebhooks, which verifies", "tests/it/received.rs"),
    ("cloudevents-http", "PyPI's cloudevents, which reads the event", "tests/it/received.rs"),
    ("apprise", "PyPI's apprise, behind a server of the tests with its API", "tests/it/received.rs"),
];
/// What talks to a server that others wrote to answer as the platform does.
const EMULATED: [(&str, &str, &str); 6] = [
    ("amazon-ses", "moto, which checks the signature", "tests/it/aws.rs"),
    ("aws-sns", "moto, which checks the signature", "tests/it/aws.rs"),
    ("mastodon", "PyPI's mastodon-mock", "tests/it/received.rs"),
    ("resend", "npm's emulate", "tests/it/received.rs"),
    ("slack", "npm's emulate", "tests/it/received.rs"),
    ("twilio-sms", "npm's emulate", "tests/it/received.rs"),
];
/// What has no other side.
const OURS: [&str; 1] = ["outbox"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    platform: String,
    level: String,
    source: String,
    parcel: Map<String, Value>,
    settings: BTreeMap<String, String>,
    request: Value,
    ours_differs: Vec<Difference>,
    described: Option<Value>,
    /// The same for messages that follow an earlier one.
    #[serde(default)]
    following: Vec<Following>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Following {
    parcel: Map<String, Value>,
    request: Value,
    ours_differs: Vec<Difference>,
    described: Option<Value>,
}

/// A parcel, and what is known of its request.
struct Case<'a> {
    parcel: &'a Map<String, Value>,
    request: &'a Value,
    ours_differs: &'a [Difference],
    described: Option<&'a Value>,
}

impl Evidence {
    fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        let Evidence { parcel, request, ours_differs, described, following, .. } = self;
        let own = Case { parcel, request, ours_differs, described: described.as_ref() };
        let following = following.iter().map(|Following { parcel, request, ours_differs, described }| Case {
            parcel,
            request,
            ours_differs,
            described: described.as_ref(),
        });
        std::iter::once(own).chain(following)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    at: String,
    why: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evidence")
}

fn all() -> Vec<Evidence> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("read");
            let evidence: Evidence =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(&*evidence.platform));
            all.push(evidence);
        }
    }
    all.sort_by(|a, b| a.platform.cmp(&b.platform));
    all
}

fn parcel(said: &Map<String, Value>) -> Parcel {
    let text = |name: &str| said.get(name).and_then(Value::as_str).map(String::from);
    let secrets = said.get("secrets").and_then(Value::as_array).into_iter().flatten();
    let words =
        Filled { title: text("title"), text: text("text").expect("text"), html: text("html"), locale: "en".into() };
    Parcel {
        id: text("id").expect("an id"),
        broadcast: None,
        incident: None,
        to: text("to").expect("an address").into(),
        secrets: secrets.filter_map(|secret| Some(secret.as_str()?.to_string())).collect(),
        message: Arc::new(Message { status: text("status"), ..words.into() }),
        name: None,
        unsubscribe_url: text("unsubscribe_url"),
        urgent: said.get("urgent") == Some(&json!(true)),
        follows: text("reply").map(Follows::Reply).or(text("edit").map(Follows::Edit)),
        at: Time(0),
    }
}

/// The request that we would make, in the shape of the evidence.
async fn ours(platform: &Platform, evidence: &Evidence, said: &Map<String, Value>) -> Value {
    let given =
        |name: &str| evidence.settings.get(name).cloned().or_else(|| platform.settings.get(name)?.default.clone());
    let requests = Requests::new(platform, &given, kit::callback(platform)).expect("settings");
    let at = said.get("at").and_then(Value::as_str).map_or(Time(0), |at| Time::parse(at).expect("a time"));
    let parcel = parcel(said);
    let (request, follows) = requests.of(&parcel);
    assert_eq!(follows, parcel.follows.as_ref(), "{}", platform.name);
    let built = request.build(&parcel, at).expect("a request");
    let (head, body) = built.request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let host = head.headers["host"].to_str().expect("a host");
    let mut headers: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in &head.headers {
        if !["host", "user-agent"].contains(&name.as_str()) {
            headers.insert(name.as_str(), value.to_str().expect("text"));
        }
    }
    let pairs = |text: &[u8]| -> BTreeMap<String, String> { url::form_urlencoded::parse(text).into_owned().collect() };
    let form = headers.get("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let body = match form {
        true => json!(pairs(&body)),
        false => serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))),
    };
    let scheme = if built.origin.secure { "https" } else { "http" };
    let mut request = json!({
        "method": head.method.as_str(), "origin": format!("{scheme}://{host}"), "path": head.uri.path(),
        "query": pairs(head.uri.query().unwrap_or_default().as_bytes()), "headers": headers, "body": body,
    });
    if form {
        request["form"] = json!(true);
    }
    request
}

/// As both sides are compared: what means the same is written the same.
fn plain(request: &Value) -> Value {
    let mut request = request.clone();
    if let Some(kind) = request["headers"].get_mut("content-type") {
        *kind = json!(kind.as_str().and_then(|kind| kind.split(';').next()).unwrap_or_default().trim());
    }
    let path = request["path"].as_str().unwrap_or_default().replace('+', "%2B");
    let decoded = url::form_urlencoded::parse(path.as_bytes()).next().map(|(path, _)| path.into_owned());
    request["path"] = json!(decoded.unwrap_or_default());
    request
}

fn differences(ours: &Value, theirs: &Value, at: &str, found: &mut BTreeSet<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for key in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
                match (ours.get(key), theirs.get(key)) {
                    (Some(ours), Some(theirs)) => differences(ours, theirs, &format!("{at}/{key}"), found),
                    _ => drop(found.insert(format!("{at}/{key}"))),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (n, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(ours, theirs, &format!("{at}/{n}"), found);
            }
        }
        (ours, theirs) if ours == theirs => {}
        _ => drop(found.insert(at.to_string())),
    }
}

#[tokio::test]
async fn our_requests_are_those_of_the_vendors_own_sdks_but_for_what_is_said_with_its_reason() {
    let platforms = Platforms::load(None).expect("the platforms");
    for evidence in all() {
        let platform = platforms.get(&evidence.platform).expect("a platform");
        for case in evidence.cases() {
            let mut ours = plain(&ours(platform, &evidence, case.parcel).await);
            let theirs = plain(case.request);
            if theirs.get("origin").is_none() {
                ours.as_object_mut().expect("an object").remove("origin");
            }
            let mut found = BTreeSet::new();
            differences(&ours, &theirs, "", &mut found);
            let said: BTreeSet<String> = case.ours_differs.iter().map(|difference| difference.at.clone()).collect();
            let source = &evidence.source;
            assert_eq!(found, said, "{} ({source}): ours is {ours:#}, theirs {theirs:#}", evidence.platform);
            assert!(case.ours_differs.iter().all(|difference| difference.why.len() > 10), "{}", evidence.platform);
            assert_eq!(evidence.level == "C", case.described.is_some(), "{}", evidence.platform);
        }
        assert!(matches!(&*evidence.level, "B" | "C"), "{}", evidence.platform);
    }
}

/// Whether a value is as a part of JSON Schema says; what the vendor's text does not name may not be there.
fn fits(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().filter_map(|kind| Some(kind.as_str()?.to_string())).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &String| match kind.as_str() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    if !kinds.is_empty() && !kinds.iter().any(is) {
        return Err(format!("{at} is no {kinds:?}: {value}"));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        return Err(format!("{at} is none of {}: {value}", schema["enum"]));
    }
    let long = value.as_str().map_or(0, |text| text.chars().count() as u64);
    if schema["maxLength"].as_u64().is_some_and(|most| long > most) {
        return Err(format!("{at} is too long"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        value.get(name).ok_or_else(|| format!("{at}/{name} is missing"))?;
    }
    if let (Some(members), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for (name, member) in members {
            let schema = known.get(name).ok_or_else(|| format!("{at}/{name} is not described"))?;
            fits(member, schema, &format!("{at}/{name}"))?;
        }
    }
    let items = value.as_array().into_iter().flatten();
    items.enumerate().try_for_each(|(n, item)| fits(item, &schema["items"], &format!("{at}/{n}")))
}

/// Whether a text is as a pattern says, from end to end.
fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(&format!("^(?:{pattern})$")).expect("a pattern").is_match(text)
}

fn is_described(name: &str, ours: &Value, described: &Value) {
    assert_eq!(ours["method"], described["method"], "{name}");
    let mut template = String::new();
    let mut parts = described["path"].as_str().expect("a path").split(['{', '}']);
    while let Some(fixed) = parts.next() {
        template.push_str(&regex::escape(fixed));
        template.push_str(parts.next().map_or("", |_| "[^/]+"));
    }
    let path = ours["path"].as_str().expect("a path");
    assert!(matches(&template, path), "{name}: {path} is not {}", described["path"]);
    for query in ours["query"].as_object().expect("a query").keys() {
        assert!(described["query"].get(query).is_some(), "{name}: the query's {query} is not described");
    }
    for (header, pattern) in described["headers"].as_object().into_iter().flatten() {
        let value = ours["headers"][header].as_str().unwrap_or_default();
        assert!(matches(pattern.as_str().expect("a pattern"), value), "{name}: {header} is {value:?}, not {pattern}");
    }
    fits(&ours["body"], &described["body"], "").unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
}

#[tokio::test]
async fn our_requests_are_what_the_vendors_descriptions_allow() {
    let platforms = Platforms::load(None).expect("the platforms");
    for evidence in all() {
        let name = &evidence.platform;
        for case in evidence.cases() {
            let Some(described) = case.described else { continue };
            let ours = plain(&ours(platforms.get(name).expect("a platform"), &evidence, case.parcel).await);
            is_described(name, &ours, described);
        }
    }
    let schema =
        json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "string", "maxLength": 2 } } });
    assert_eq!(fits(&json!({ "a": "xy" }), &schema, ""), Ok(()));
    for wrong in [json!({}), json!({ "a": "xyz" }), json!({ "a": 1 }), json!({ "a": "x", "b": 1 }), json!([])] {
        assert!(fits(&wrong, &schema, "").is_err(), "{wrong}");
    }
}

#[test]
fn the_document_of_the_platforms_says_what_there_is_evidence_for() {
    let platforms = Platforms::load(None).expect("the platforms");
    let evidence: BTreeMap<String, Evidence> = all().into_iter().map(|one| (one.platform.clone(), one)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    // Of those met, how many were compared with an SDK or a description besides.
    let mut both = 0;
    let mut rows = String::new();
    for platform in platforms.iter() {
        let of = |list: &'static [(&str, &str, &str)]| list.iter().find(|(name, ..)| *name == platform.name);
        let met = of(&REAL).map(|met| ("A", met)).or(of(&EMULATED).map(|met| ("E", met)));
        let compared = evidence.get(&platform.name).map(|evidence| {
            let source = match evidence.source.split_once(' ') {
                Some((address, rest)) if address.starts_with("https://") => format!("[{rest}]({address})"),
                _ => evidence.source.clone(),
            };
            let differs = match evidence.ours_differs.len() {
                0 => String::new(),
                _ => format!("; [differs on purpose](../tests/evidence/{}.json)", platform.name),
            };
            (if evidence.level == "B" { "B" } else { "C" }, source + &differs)
        });
        let (level, what) = match (met, compared) {
            (Some((level, (_, server, file))), compared) => {
                assert!(folder().join("../..").join(file).exists(), "{file}");
                let besides = compared.map(|(level, what)| format!("; {level}: {what}")).unwrap_or_default();
                both += usize::from(!besides.is_empty());
                (level, format!("{server}, in [{file}](../{file}){besides}"))
            }
            (None, Some(compared)) => compared,
            (None, None) if OURS.contains(&&*platform.name) => ("–", "ours: there is no other side".into()),
            (None, None) => ("D", "its documentation alone".into()),
        };
        *counts.entry(level).or_default() += 1;
        rows.push_str(&format!(
            "| `{}` | [{}]({}) | {level} | {what} |\n",
            platform.name, platform.title, platform.docs
        ));
    }
    let of = |level: &str| counts.get(level).copied().unwrap_or(0);
    let text = format!(
        "# Platforms, and what says that each is right\n\n\
         Written by `WRITE=1 cargo test --release --test it evidence`, from [the files](../channels) and [the evidence](../tests/evidence).\n\n\
         | level | means | platforms |\n| --- | --- | --- |\n\
         | A | our tests send to a real server of it, or, for what anybody may receive, to the library that others receive with, and read \
         what arrived | {} |\n\
         | E | our tests send to an emulator: a server that others wrote to answer as the platform does, and not the platform's own. \
         What it took is read back | {} |\n\
         | B | our request is, in method, address, headers and fields, the one that the vendor's own SDK makes for the same message; \
         the SDK was run against a recorder on the same machine | {} |\n\
         | C | our request is what the vendor's published description of its API allows | {} |\n\
         | D | written from the documentation that is linked, and compared with nothing else | {} |\n\n\
         Where B or C stands behind another level, that was compared, too. None but those of level A was ever tried at \
         the platform itself: try each with an account of yours before you need it (`loudhailer channel test`).\n\n\
         | platform | documentation | level | evidence |\n| --- | --- | --- | --- |\n{rows}",
        of("A"),
        of("E"),
        of("B"),
        of("C"),
        of("D")
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PLATFORMS.md");
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(path, &text).expect("written");
    }
    assert_eq!(
        read("docs/PLATFORMS.md"),
        text,
        "docs/PLATFORMS.md is not what the files and the evidence say; see its head"
    );
    assert!(of("A") + of("E") >= 16 && of("B") + of("C") + both >= 20, "{counts:?} {both}");
}
