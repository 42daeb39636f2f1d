//! What five platforms' files cost: their driver's requests and what it reads of answers, beside Rust that was written for each of them,
//! which has to make the same requests. Nothing goes over a network. Each leg is a process of its own.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};
use loudhailer::channel::answer::{self, Answer};
use loudhailer::channel::file::Platform;
use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::request::{self, USER};
use loudhailer::channel::{Holds, Outcome, Parcel};
use loudhailer::cli::bench::cpu;
use loudhailer::clock::Time;
use loudhailer::render::message::Filled;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::compare::{Leg, alternate, median, round};
use super::process::{MEASURED, Process, pins};
use super::{Args, Measured, SECRET, texts};

/// Requests of a leg, whatever is asked for: fewer are too short for a clock of 10 ms.
const LEAST: u64 = 200_000;
const CALLBACK: &str = "https://status.example/v1/receipts/sms?delivery=";
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: &str = "Payments in Europe have failed since 15:39 UTC, and our teams are at work. If it is urgent, call the number on your \
                    contract. Next update: 16:30 UTC. \"Störung\" & more: status.example";

type Made = Request<Full<Bytes>>;
type Make = dyn Fn(&Parcel, Time) -> Made;

struct Case {
    platform: &'static str,
    settings: &'static [(&'static str, &'static str)],
    to: &'static str,
    text: &'static str,
    /// What the platform answers when it took a message.
    answer: (u16, &'static str),
    by_hand: fn() -> ByHand,
}

/// What was written for one platform.
struct ByHand {
    make: Box<Make>,
    read: fn(u16, &[u8]) -> Option<Outcome>,
}

const CASES: [Case; 5] = [
    Case {
        platform: "webhook",
        settings: &[],
        to: "https://hooks.example.com/incidents/4711",
        text: "{\"type\":\"incident.update\",\"data\":{\"status\":\"investigating\",\"severity\":\"critical\",\"update\":3}}",
        answer: (204, ""),
        by_hand: webhook,
    },
    Case {
        platform: "telegram",
        settings: &[("token", "123:EXAMPLE-token"), ("url", "https://api.telegram.org")],
        to: "@acme_status",
        text: TEXT,
        answer: (
            200,
            "{\"ok\":true,\"result\":{\"message_id\":17,\"date\":1633363740,\"chat\":{\"id\":-100123,\"type\":\"channel\"}}}",
        ),
        by_hand: telegram,
    },
    Case {
        platform: "twilio-sms",
        settings: &[
            ("account_sid", "AC00000000000000000000000000000000"),
            ("auth_token", "12345example"),
            ("from", "+15551234567"),
            ("url", "https://api.twilio.com"),
        ],
        to: "+46700000000",
        text: TEXT,
        answer: (
            201,
            "{\"sid\":\"SM00000000000000000000000000000001\",\"status\":\"queued\",\"to\":\"+46700000000\",\"from\":\"+15551234567\"}",
        ),
        by_hand: twilio,
    },
    Case {
        platform: "sendgrid",
        settings: &[
            ("token", "SG.example"),
            ("from", "status@acme.example"),
            ("from_name", "Acme"),
            ("url", "https://api.sendgrid.com"),
        ],
        to: "alex@example.org",
        text: TEXT,
        answer: (202, ""),
        by_hand: sendgrid,
    },
    Case {
        platform: "aws-sns",
        settings: &[
            ("key_id", "AKIDEXAMPLE"),
            ("secret", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            ("region", "eu-west-1"),
            ("url", "https://sns.eu-west-1.amazonaws.com"),
        ],
        to: "+46700000000",
        text: TEXT,
        answer: (
            200,
            "<PublishResponse><PublishResult><MessageId>567910cd-659e-55d4-8ccb-5aaf14679dc0</MessageId></PublishResult></PublishResponse>",
        ),
        by_hand: sns,
    },
];

#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    platform: String,
    by_hand: bool,
    count: u64,
}

pub fn drivers(args: &Args) -> anyhow::Result<Measured> {
    let count = args.recipients.max(LEAST);
    let (mut ratios, mut legs_raw) = (BTreeMap::new(), BTreeMap::new());
    for case in &CASES {
        let leg = |by_hand: bool| {
            move || {
                let task = Task { platform: case.platform.into(), by_hand, count };
                Leg::read(&Process::role(MEASURED, "requests", &json!(task))?.json()?, count)
            }
        };
        let legs = alternate(args.rounds, vec![("hand", Box::new(leg(true))), ("driver", Box::new(leg(false)))])?;
        ratios.insert(case.platform, round(legs.cpu_ratio("hand", "driver"), 3));
        legs_raw.insert(case.platform, legs.raw());
    }
    let mut loads = Vec::new();
    for _ in 0..args.rounds.max(1) * 3 {
        let began = Instant::now();
        let files = Process::role(MEASURED, "platforms", &json!({}))?.json()?;
        ensure!(files["platforms"].as_u64() > Some(50), "{files}");
        loads.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let worst = ratios.values().copied().fold(f64::NAN, f64::max);
    let Measured { mut figures, raw } = texts::smpp(args)?;
    figures.extend([("driver_cpu_ratio", worst), ("channels_load_ms", round(median(loads.iter().copied()), 1))]);
    let raw = json!({
        "smpp": raw, "requests": count, "ratios": ratios, "legs": legs_raw, "loads_ms": loads, "pins": pins(),
    });
    Ok(Measured { figures, raw })
}

/// Every file that ships, read in a process that has just begun.
pub fn platforms() -> anyhow::Result<()> {
    println!("{}", json!({ "platforms": Platforms::load(None)?.iter().count() }));
    Ok(())
}

pub fn requests(task: &Task) -> anyhow::Result<()> {
    let case = CASES.iter().find(|case| case.platform == task.platform).context("a case")?;
    let platforms = Platforms::load(None)?;
    let platform: &Platform = platforms.get(case.platform).map_err(anyhow::Error::msg)?;
    let setting =
        |name: &str| case.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    let driver = request::Request::new(platform, &setting, CALLBACK.into()).map_err(anyhow::Error::msg)?;
    let (by_hand, parcel) = ((case.by_hand)(), parcel(case));
    let (headers, now) = (HeaderMap::new(), Time(1_633_363_740_000));
    let (status, body) = (case.answer.0, case.answer.1.as_bytes());
    let build = |now| driver.build(&parcel, now).map(|built| built.request);
    let read = || {
        let answer = Answer { status, headers: &headers, body };
        answer::read(&platform.answers, &answer, false, Holds::Channel, now).0
    };
    same(build(now).map_err(|outcome| anyhow::anyhow!("{outcome:?}"))?, (by_hand.make)(&parcel, now))?;
    ensure!(Some(read()) == (by_hand.read)(status, body), "they read the answer in different ways");

    let (began, before) = (Instant::now(), cpu::own().context("/proc")?);
    for n in 0..task.count {
        // As time goes on, so that nothing of a signature stays.
        let now = Time(now.0 + n as i64 * 10);
        if task.by_hand {
            black_box((by_hand.make)(black_box(&parcel), now));
            black_box((by_hand.read)(black_box(status), black_box(body)));
        } else {
            black_box(build(now).is_ok());
            black_box(read());
        }
    }
    let spent = cpu::own().context("/proc")? - before;
    println!("{}", json!({ "seconds": began.elapsed().as_secs_f64(), "cpu": spent }));
    Ok(())
}

fn parcel(case: &Case) -> Parcel {
    let words = Filled {
        title: Some("Payments fail in Europe".into()),
        text: case.text.into(),
        html: None,
        locale: "en".into(),
    };
    Parcel {
        id: "dlv_4711_1_2_example000".into(),
        broadcast: None,
        incident: None,
        to: case.to.into(),
        secrets: vec![SECRET.into()],
        message: std::sync::Arc::new(words.into()),
        name: None,
        unsubscribe_url: Some("https://status.example/u/abc".into()),
        urgent: false,
        follows: None,
        at: Time(0),
    }
}

/// Method, place and headers are equal, and so are bodies, of JSON as what they say.
fn same(one: Made, other: Made) -> anyhow::Result<()> {
    let parts = |made: Made| {
        let (head, body) = made.into_parts();
        let mut headers: Vec<(String, String)> = (head.headers.iter())
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        headers.sort();
        let body = futures_util::FutureExt::now_or_never(body.collect()).context("it is all there")??.to_bytes();
        let said = serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
        anyhow::Ok((head.method, head.uri, headers, said))
    };
    let (one, other) = (parts(one)?, parts(other)?);
    ensure!(one == other, "the driver makes\n{one:?}\nand by hand it is\n{other:?}");
    Ok(())
}

fn made(path: PathAndQuery, headers: HeaderMap, body: Vec<u8>) -> Made {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = headers;
    request
}

fn fixed(host: &'static str, kind: HeaderValue, more: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(USER_AGENT, USER);
    headers.insert(HOST, HeaderValue::from_static(host));
    headers.insert(CONTENT_TYPE, kind);
    more.map(|value| headers.insert(AUTHORIZATION, value));
    headers
}

/// Whose names need no encoding.
fn form(pairs: &[(&str, &str)]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(pairs.iter().map(|(name, value)| name.len() + value.len() * 2).sum());
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
                _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
            }
        }
    }
    out
}

fn accepted(reference: Option<String>) -> Option<Outcome> {
    Some(Outcome::Accepted { reference })
}

fn webhook() -> ByHand {
    const ID: HeaderName = HeaderName::from_static("webhook-id");
    const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
    const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
    let make = |parcel: &Parcel, now: Time| {
        let body = parcel.filled().text.into_bytes();
        let seconds = now.0 / 1000;
        let secret = STANDARD.decode(&parcel.secrets[0]["whsec_".len()..]).expect("a secret");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{}.{seconds}.", parcel.id).as_bytes());
        context.update(&body);
        let uri: Uri = parcel.to.parse().expect("a URL");
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(USER_AGENT, USER);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(HOST, HeaderValue::from_str(uri.authority().expect("a host").as_str()).expect("a host"));
        headers.insert(ID, HeaderValue::from_str(&parcel.id).expect("an id"));
        headers.insert(TIMESTAMP, HeaderValue::from(seconds));
        let signature = format!("v1,{}", STANDARD.encode(context.sign()));
        headers.insert(SIGNATURE, HeaderValue::from_str(&signature).expect("a signature"));
        made(uri.path_and_query().expect("a path").clone(), headers, body)
    };
    let read = |status, body: &[u8]| {
        #[derive(Deserialize)]
        struct Said {
            challenge: Option<String>,
        }
        let said = || serde_json::from_slice::<Said>(body).ok().and_then(|said| said.challenge);
        (200..300).contains(&status).then(|| accepted(if body.is_empty() { None } else { said() }))?
    };
    ByHand { make: Box::new(make), read }
}

fn telegram() -> ByHand {
    #[derive(Serialize)]
    struct Send<'a> {
        chat_id: &'a str,
        text: &'a str,
        parse_mode: &'a str,
        link_preview_options: Preview,
    }
    #[derive(Serialize)]
    struct Preview {
        is_disabled: bool,
    }
    let path = PathAndQuery::from_static("/bot123:EXAMPLE-token/sendMessage");
    let headers = fixed("api.telegram.org", JSON, None);
    let make = move |parcel: &Parcel, _| {
        let text = parcel.filled().text;
        let link_preview_options = Preview { is_disabled: true };
        let send = Send { chat_id: &parcel.to, text: &text, parse_mode: "HTML", link_preview_options };
        made(path.clone(), headers.clone(), serde_json::to_vec(&send).expect("JSON"))
    };
    let read = |status, body: &[u8]| {
        #[derive(Deserialize)]
        struct Said {
            ok: bool,
            result: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            message_id: i64,
        }
        let said: Said = serde_json::from_slice(body).ok().filter(|_| status == 200)?;
        said.ok.then(|| accepted(Some(said.result.message_id.to_string())))?
    };
    ByHand { make: Box::new(make), read }
}

fn twilio() -> ByHand {
    let account = "AC00000000000000000000000000000000";
    let path = format!("/2010-04-01/Accounts/{account}/Messages.json");
    let path = PathAndQuery::try_from(path).expect("a path");
    let basic = format!("Basic {}", STANDARD.encode(format!("{account}:12345example")));
    let headers = fixed("api.twilio.com", FORM, Some(HeaderValue::from_str(&basic).expect("a header")));
    let make = move |parcel: &Parcel, _| {
        let text = parcel.filled().text;
        let callback = format!("{CALLBACK}{}", parcel.id);
        let pairs = [("Body", &*text), ("From", "+15551234567"), ("StatusCallback", &callback), ("To", &parcel.to)];
        made(path.clone(), headers.clone(), form(&pairs))
    };
    let read = |status, body: &[u8]| {
        #[derive(Deserialize)]
        struct Said {
            sid: String,
            status: String,
        }
        let said: Said = serde_json::from_slice(body).ok().filter(|_| status == 201)?;
        let taken = matches!(said.status.as_str(), "accepted" | "scheduled" | "queued" | "sending" | "sent");
        taken.then(|| accepted(Some(said.sid)))?
    };
    ByHand { make: Box::new(make), read }
}

fn sendgrid() -> ByHand {
    #[derive(Serialize)]
    struct Mail<'a> {
        personalizations: [Person<'a>; 1],
        from: Sender<'a>,
        subject: &'a str,
        content: [Content<'a>; 1],
        headers: Headers,
        custom_args: Own<'a>,
        tracking_settings: Tracking,
    }
    #[derive(Serialize)]
    struct Person<'a> {
        to: [Address<'a>; 1],
    }
    #[derive(Serialize)]
    struct Address<'a> {
        email: &'a str,
    }
    #[derive(Serialize)]
    struct Sender<'a> {
        email: &'a str,
        name: &'a str,
    }
    #[derive(Serialize)]
    struct Content<'a> {
        r#type: &'a str,
        value: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Headers {
        #[serde(rename = "Auto-Submitted")]
        auto_submitted: &'static str,
        #[serde(rename = "List-Unsubscribe")]
        list_unsubscribe: String,
    }
    #[derive(Serialize)]
    struct Own<'a> {
        delivery: &'a str,
    }
    #[derive(Serialize)]
    struct Tracking {
        click_tracking: Enable,
        open_tracking: Enable,
    }
    #[derive(Serialize)]
    struct Enable {
        enable: bool,
    }
    let path = PathAndQuery::from_static("/v3/mail/send");
    let headers = fixed("api.sendgrid.com", JSON, Some(HeaderValue::from_static("Bearer SG.example")));
    let make = move |parcel: &Parcel, _| {
        let filled = parcel.filled();
        let unsubscribe = parcel.unsubscribe_url.as_deref().unwrap_or_default();
        let mail = Mail {
            personalizations: [Person { to: [Address { email: &parcel.to }] }],
            from: Sender { email: "status@acme.example", name: "Acme" },
            subject: filled.title.as_deref().unwrap_or_default(),
            content: [Content { r#type: "text/plain", value: &filled.text }],
            headers: Headers { auto_submitted: "auto-generated", list_unsubscribe: format!("<{unsubscribe}>") },
            custom_args: Own { delivery: &parcel.id },
            tracking_settings: Tracking {
                click_tracking: Enable { enable: false },
                open_tracking: Enable { enable: false },
            },
        };
        made(path.clone(), headers.clone(), serde_json::to_vec(&mail).expect("JSON"))
    };
    ByHand { make: Box::new(make), read: |status, _| (status == 202).then(|| accepted(None))? }
}

fn sns() -> ByHand {
    const DATE: HeaderName = HeaderName::from_static("x-amz-date");
    const HOSTED: &str = "sns.eu-west-1.amazonaws.com";
    let headers = fixed(HOSTED, FORM, None);
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::with_capacity(64), |mut out, byte| {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
            out
        })
    };
    // Of one day, as an SDK keeps it.
    let today: std::cell::RefCell<Option<(String, hmac::Key)>> = Default::default();
    let make = move |parcel: &Parcel, now: Time| {
        let text = parcel.filled().text;
        let body = form(&[
            ("Action", "Publish"),
            ("Message", &text),
            ("MessageAttributes.entry.1.Name", "AWS.SNS.SMS.SMSType"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", "Transactional"),
            ("PhoneNumber", &parcel.to),
            ("Version", "2010-03-31"),
        ]);
        let at = now.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &at[..8];
        let scope = format!("{day}/eu-west-1/sns/aws4_request");
        let hash = hex(digest::digest(&digest::SHA256, &body).as_ref());
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-www-form-urlencoded\nhost:{HOSTED}\nx-amz-date:{at}\n\n\
             content-type;host;x-amz-date\n{hash}"
        );
        let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let mut today = today.borrow_mut();
        if today.as_ref().is_none_or(|(of, _)| of != day) {
            let first = hmac::Key::new(hmac::HMAC_SHA256, b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
            let key = [day, "eu-west-1", "sns", "aws4_request"]
                .iter()
                .fold(first, |key, text| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, text.as_bytes()).as_ref()));
            *today = Some((day.to_string(), key));
        }
        let key = &today.as_ref().expect("made above").1;
        let signed = hmac::sign(key, format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{canonical}").as_bytes());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders=content-type;host;x-amz-date, Signature={}",
            hex(signed.as_ref())
        );
        let mut headers = headers.clone();
        headers.insert(DATE, HeaderValue::from_str(&at).expect("a date"));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).expect("a header"));
        made(PathAndQuery::from_static("/"), headers, body)
    };
    let read = |status, body: &[u8]| {
        let said = std::str::from_utf8(body).ok().filter(|_| status == 200)?;
        said.contains("<MessageId>").then(|| accepted(None))?
    };
    ByHand { make: Box::new(make), read }
}
