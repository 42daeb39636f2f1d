//! Who is told in the timeline of what leaves, and by which channels: each platform that ships has somebody, and customers
//! read all five languages.

use crate::harness::{Broker, Reply, Request};

pub struct Person {
    /// Names the snapshot.
    pub name: &'static str,
    audience: &'static str,
    locale: &'static str,
    zone: &'static str,
    addresses: &'static [(&'static str, &'static str)],
    /// Enrolled for exercises.
    exercises: bool,
}

const fn person(
    name: &'static str,
    audience: &'static str,
    locale: &'static str,
    zone: &'static str,
    addresses: &'static [(&'static str, &'static str)],
) -> Person {
    Person { name, audience, locale, zone, addresses, exercises: false }
}

const fn enrolled(person: Person) -> Person {
    Person { exercises: true, ..person }
}

const NEW_YORK: &str = "America/New_York";
const BERLIN: &str = "Europe/Berlin";
const MADRID: &str = "Europe/Madrid";
const SAO_PAULO: &str = "America/Sao_Paulo";
const KOLKATA: &str = "Asia/Kolkata";

const PEOPLE: [Person; 18] = [
    person("customer en", "customers", "en", NEW_YORK, &[("email", "amy@example.com")]),
    enrolled(person("customer de", "customers", "de", BERLIN, &[("email", "bernd@example.com")])),
    person("customer es", "customers", "es", MADRID, &[("email", "carla@example.com")]),
    person("customer pt", "customers", "pt", SAO_PAULO, &[("email", "davi@example.com")]),
    person("customer hi", "customers", "hi", KOLKATA, &[("email", "esha@example.com")]),
    person("customer en", "customers", "en", NEW_YORK, &[("phone", "+12125550101")]),
    enrolled(person("customer de", "customers", "de", BERLIN, &[("phone", "+4915112345602")])),
    person("customer es", "customers", "es", MADRID, &[("phone", "+34600000003")]),
    person("customer pt", "customers", "pt", SAO_PAULO, &[("phone", "+5511900000004")]),
    person("customer hi", "customers", "hi", KOLKATA, &[("phone", "+919800000005")]),
    person("customer hi", "customers", "hi", KOLKATA, &[("telegram", "@hi_status")]),
    person("customer es", "customers", "es", MADRID, &[("ntfy", "es-status-7kq4")]),
    person("customer pt", "customers", "pt", SAO_PAULO, &[("whatsapp", "+5511900000006")]),
    enrolled(person("staff", "staff", "en", "UTC", &[("slack", "C0123456789")])),
    person("executive", "executives", "en", NEW_YORK, &[("phone", "+12125550199"), ("email", "chief@meta.example")]),
    enrolled(person("business", "businesses", "en", BERLIN, &[("url", "http://127.0.0.1:PORT/hook/shop")])),
    enrolled(person("press", "press", "en", "UTC", &[("email", "desk@news.example")])),
    person("regulator", "regulators", "en", "Europe/Dublin", &[("email", "watch@regulator.example")]),
];

/// The plan for outages that ships, but that executives get their SMS by Twilio.
pub fn plans() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = include_str!("../../../plans/outage.toml").replace("\"sms+email\"", "\"twilio+email\"");
    std::fs::write(folder.path().join("outage.toml"), plan).expect("written");
    folder
}

pub fn config(plans: &std::path::Path, http: u16, smtp: u16) -> String {
    let channel = |name: &str, platform: &str, more: &str, settings: &str| {
        format!("[channels.{name}]\nplatform = {platform:?}\n{more}\n[channels.{name}.settings]\n{settings}\n")
    };
    let url = |path: &str| format!("url = \"http://127.0.0.1:{http}/{path}\"\n");
    let inner = "allow_private = true";
    [
        "[server]\npublic_url = \"https://loudhailer.meta.example\"\n".to_string(),
        "[sender]\nname = \"Meta\"\nemail = \"status@meta.example\"\nstatus_page = \"status.meta.example\"\n"
            .to_string(),
        format!("[paths]\nplans = {:?}\n", plans.display().to_string()),
        "[components.facebook]\ntitle = \"Facebook\"\n[components.instagram]\ntitle = \"Instagram\"\n".to_string(),
        channel("email", "smtp", "", &format!("url = \"smtp://127.0.0.1:{smtp}\"\nehlo = \"loudhailer.meta.example\"")),
        channel("sms", "kannel", inner, &(url("kannel") + "username = \"u\"\npassword = \"p\"\nfrom = \"META\"")),
        channel(
            "twilio",
            "twilio-sms",
            "allow_private = true\nweight = 0",
            &(url("twilio") + "account_sid = \"AC1\"\nauth_token = \"t\"\nfrom = \"+15551234567\""),
        ),
        "[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\n".to_string(),
        channel("telegram", "telegram", inner, &(url("telegram") + "token = \"1:t\"")),
        channel("slack", "slack", inner, &(url("slack") + "token = \"xoxb-t\"")),
        channel("ntfy", "ntfy", inner, &url("ntfy")),
        channel(
            "whatsapp",
            "whatsapp-cloud",
            inner,
            &(url("whatsapp") + "phone_number_id = \"106\"\ntoken = \"t\"\napp_secret = \"s\"\nverify_token = \"v\""),
        ),
        "[channels.page]\nplatform = \"outbox\"\n".to_string(),
    ]
    .concat()
}

/// As each platform says that it took the message.
pub fn answer(request: &Request) -> Reply {
    let json = |status, body: &str| Reply::Full(status, "Content-Type: application/json\r\n".into(), body.into());
    match request.path.split(['/', '?']).nth(1) {
        Some("kannel") => Reply::accepted(),
        Some("twilio") => json(201, r#"{"sid":"SM1","status":"queued"}"#),
        Some("telegram") => json(200, r#"{"ok":true,"result":{"message_id":17}}"#),
        Some("slack") => json(200, r#"{"ok":true,"ts":"1633363740.000100"}"#),
        Some("ntfy") => json(200, r#"{"id":"n1","event":"message"}"#),
        Some("whatsapp") => json(200, r#"{"messaging_product":"whatsapp","messages":[{"id":"wamid.1"}]}"#),
        _ => Reply::Status(204),
    }
}

/// Who owns the address that is named somewhere in `text`, and which kind it is.
pub fn whom(text: &str, kinds: &[&str]) -> String {
    let owners = PEOPLE.iter().flat_map(|person| person.addresses.iter().map(move |address| (person, address)));
    let path = |value: &str| value.split_once("PORT").map_or(value.to_string(), |(_, path)| path.to_string());
    owners
        .filter(|(_, (kind, _))| kinds.contains(kind))
        .find(|(_, (_, value))| text.contains(&path(value)))
        .map(|(person, (kind, _))| format!("{} by {}", person.name, if *kind == "url" { "webhook" } else { kind }))
        .unwrap_or_else(|| panic!("whose is it? {text}"))
}

pub async fn move_in(broker: &Broker, http: u16) {
    for (number, person) in PEOPLE.iter().enumerate() {
        let owned: Vec<(&str, String)> =
            person.addresses.iter().map(|(kind, value)| (*kind, value.replace("PORT", &http.to_string()))).collect();
        let addresses: Vec<(&str, &str)> = owned.iter().map(|(kind, value)| (*kind, value.as_str())).collect();
        broker
            .subscriber(&format!("p{number}"), person.audience, &addresses, |subscriber| {
                subscriber.locale = person.locale.into();
                subscriber.zone = person.zone.into();
                subscriber.exercises = person.exercises;
            })
            .await;
    }
    broker.subscriber("page", "public", &[("outbox", "public")], |_| ()).await;
}
