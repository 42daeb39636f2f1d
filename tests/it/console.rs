//! The console, in a real browser and without one: what it shows, that it moves by itself, who may look, and what pages may load.

mod browser;
mod mailbox;

use std::path::PathBuf;

use browser::Browser;
use loudhailer::clock::{Clock, Time};
use serde_json::{Value, json};

use super::harness::{Broker, Reply, START, Sink, event, kannel, webhooks};
use mailbox::Mailbox;

/// Recipients of the text message whose count is watched.
const CUSTOMERS: usize = 60;

/// A broker with a channel of each format, and people in each audience.
struct Scene {
    broker: Broker,
    _sink: Sink,
    _mailbox: Mailbox,
}

/// What is reported: an outage that every audience is told of.
fn outage() -> Value {
    event(
        "a-1",
        json!({
            "incident": "meta-2021-10-04", "title": "Facebook, Instagram and WhatsApp unreachable",
            "summary": "Our apps and websites cannot be reached from anywhere. Our own tools are affected too.",
            "workaround": "Reinstalling the apps does not help.", "alternatives": "If it is urgent, call or send a text message.",
            "components": ["facebook", "instagram", "whatsapp"], "platforms_down": ["whatsapp"], "owner": "network",
            "internal_notes": "The badge readers are down too.", "impact": { "users": 3_500_000_000_u64, "data": "none" },
            "cause": { "category": "human_error", "text": "A command meant to test capacity." },
        }),
    )
}

impl Scene {
    async fn set() -> Scene {
        let sink = Sink::answering(|_, request| match request.path.as_str() {
            path if path.starts_with("/api/") => {
                Reply::Full(200, "content-type: application/json\r\n".into(), r#"{"ok":true,"ts":"1.2"}"#.into())
            }
            path if path.starts_with("/cgi-bin/") => Reply::accepted(),
            // One business has gone.
            path if path.ends_with("/hook/2") => Reply::Status(410),
            _ => Reply::Status(204),
        })
        .await;
        let mailbox = Mailbox::start().await;
        let (http, mail) = (sink.port(), mailbox.port());
        let config = webhooks(&format!(
            "[sender]\nname = \"Meta\"\n\n[components.facebook]\ntitle = \"Facebook\"\n[components.instagram]\ntitle = \"Instagram\"\n\
             [components.whatsapp]\ntitle = \"WhatsApp\"\nplatforms = [\"whatsapp\"]\n\
             {}\
             [channels.slack]\nplatform = \"slack\"\nallow_private = true\n\
             [channels.slack.settings]\nurl = \"http://127.0.0.1:{http}\"\ntoken = \"xoxb-1\"\n\
             [channels.mail]\nplatform = \"smtp\"\nallow_private = true\n\
             [channels.mail.settings]\nurl = \"smtp://127.0.0.1:{mail}\"\ntls = \"none\"\n\
             [channels.outbox]\nplatform = \"outbox\"\n",
            kannel("sms", http, "allow_private = true\nrate = [\"20/s\"]")
        ));
        let start = Time::parse(START).expect("a time");
        let folder = tempfile::tempdir().expect("a folder");
        let broker = Broker::open(&config, Clock::from(start), folder).await;
        for n in 0..CUSTOMERS {
            let locale = ["en", "en", "de", "es", "hi"][n % 5];
            let zone = if n % 5 == 2 { "Europe/Berlin" } else { "UTC" };
            let phone = format!("+4670000{n:04}");
            let set = |subscriber: &mut loudhailer::audience::Subscriber| {
                (subscriber.locale, subscriber.zone) = (locale.into(), zone.into());
            };
            broker.subscriber(&format!("c{n}"), "customers", &[("phone", &phone)], set).await;
        }
        for (audience, kind, count) in [
            ("press", "email", 3),
            ("regulators", "email", 1),
            ("businesses", "url", 4),
            ("staff", "slack", 5),
            ("executives", "slack", 2),
            ("public", "outbox", 1),
            ("businesses", "email", 1),
            ("customers", "email", 2),
        ] {
            for n in 0..count {
                let address = match kind {
                    "email" => format!("{audience}-{n}@example.org"),
                    "url" => format!("{}/{n}", sink.url()),
                    "slack" => format!("{audience}-{n}"),
                    _ => "public".into(),
                };
                broker.subscriber(&format!("{audience}-{kind}-{n}"), audience, &[(kind, &address)], |_| ()).await;
            }
        }
        Scene { broker, _sink: sink, _mailbox: mailbox }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.broker.url())
    }

    async fn broadcast_to(&self, audience: &str) -> String {
        let all = self.broker.get("/v1/broadcasts").await.json();
        let mut all = all["items"].as_array().expect("items").iter();
        let found = all.find(|broadcast| broadcast["audience"] == audience).unwrap_or_else(|| panic!("{audience}"));
        found["id"].as_str().expect("an id").into()
    }
}

/// Where pictures go: a folder that is named by PICTURES to look at them, else one that goes with the test.
fn pictures() -> (PathBuf, Option<tempfile::TempDir>) {
    match std::env::var_os("PICTURES") {
        Some(folder) => (folder.into(), None),
        None => {
            let folder = tempfile::tempdir().expect("a folder");
            (folder.path().into(), Some(folder))
        }
    }
}

/// Both screens on which the console has to work.
const SCREENS: [(u32, u32); 2] = [(1440, 900), (375, 812)];

#[tokio::test(flavor = "multi_thread")]
async fn counters_move_without_reload_and_nothing_is_complained_of() {
    for (width, height) in SCREENS {
        let Some(browser) = Browser::start().await else { return };
        let (pictures, _kept) = pictures();
        let scene = Scene::set().await;
        browser.size(width, height).await;
        assert_eq!(scene.broker.post("/v1/channels/sms:pause", &json!({})).await.status, 200);
        browser.open(&scene.url("/console")).await;
        assert_eq!(scene.broker.post("/v1/events", &outage()).await.status, 202);
        // The incident comes into the open page by itself.
        let arrived = "const seen = () => document.querySelector('#incidents .what') && (watch.disconnect(), done(true)); \
            const watch = new MutationObserver(seen); watch.observe(document.body, { subtree: true, childList: true }); seen();";
        assert_eq!(browser.wait(arrived).await, true);
        let id = scene.broadcast_to("customers").await;
        browser.picture(&pictures.join(format!("overview-{width}.png"))).await;
        assert!(!browser.overflows().await);

        browser.open(&scene.url(&format!("/console/broadcasts/{id}"))).await;
        let all = CUSTOMERS + 2;
        // Every count that is shown is noted, from before the first text message goes until the last was taken.
        let watch = "window.seen = []; window.look = () => { \
               const told = Number(document.querySelector('.counts [data-count=told]').textContent.replace(',', '')); \
               if (told !== seen.at(-1)) seen.push(told); \
               return told; \
             }; \
             window.until = (enough, done) => { \
               const look = () => enough(window.look()) && (watch.disconnect(), done(seen)); \
               const watch = new MutationObserver(look); \
               watch.observe(document.body, { subtree: true, childList: true, characterData: true }); \
               look(); \
             };";
        browser.run(watch).await;
        let resume = "fetch('/v1/channels/sms:resume', { method: 'POST' });";
        browser.wait(&format!("until((told) => told > {}, done); {resume}", all / 3)).await;
        browser.picture(&pictures.join(format!("broadcast-{width}.png"))).await;
        let ended = "document.querySelector('.tags .good')";
        let seen = browser.wait(&format!("until((told) => told === {all} && {ended}, done);")).await;
        let seen: Vec<u64> = seen.as_array().expect("counts").iter().filter_map(Value::as_u64).collect();
        assert!(seen.len() >= 3 && seen.is_sorted(), "the count went {seen:?}");
        assert_eq!(browser.text("#following").await, "Live");

        for path in [
            "/console",
            "/console/broadcasts",
            "/console/channels",
            &format!("/console/broadcasts/{id}"),
            "/",
            "/console/sign-in",
            "/docs",
            "/docs/problems",
        ] {
            browser.open(&scene.url(path)).await;
            assert!(!browser.overflows().await, "{path} is wider than {width}");
            assert_eq!(browser.run("return document.querySelectorAll('h1').length").await, 1, "{path}");
        }
        assert_eq!(browser.complaints().await, Vec::<String>::new());
        drop(browser);
        scene.broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_audiences_message_is_within_three_clicks() {
    let Some(browser) = Browser::start().await else { return };
    let (pictures, _kept) = pictures();
    let scene = Scene::set().await;
    assert_eq!(scene.broker.post("/v1/events", &outage()).await.status, 202);
    scene.broker.settled().await;
    for (width, height) in SCREENS {
        browser.size(width, height).await;
        for (audience, formats) in [
            ("customers", ["sms", "email"].as_slice()),
            ("press", &["email"]),
            ("public", &["post"]),
            ("businesses", &["webhook", "email"]),
            ("regulators", &["email"]),
            ("staff", &["chat"]),
            ("executives", &["chat"]),
        ] {
            let id = scene.broadcast_to(audience).await;
            for format in formats {
                browser.open(&scene.url("/console")).await;
                browser.click("#incidents .cover").await;
                browser.click(&format!("#timeline a[href='/console/broadcasts/{id}']")).await;
                browser.click(&format!("#choice a[href*='message={format}.en']")).await;
                browser.shows(&format!("#choice a[aria-current][href*='message={format}.en']")).await;
                let words = browser.text(&format!("article.{format}")).await;
                assert!(words.contains("WhatsApp"), "{audience} by {format}: {words}");
                assert!(!browser.overflows().await, "{audience} by {format} is wider than {width}");
                browser.picture(&pictures.join(format!("{audience}-{format}-{width}.png"))).await;
                if *format == "email" {
                    // The mail is shown, and can do nothing.
                    let frame = "const frame = document.querySelector('iframe.mail'); \
                        return [frame.getAttribute('sandbox'), frame.contentDocument]";
                    assert_eq!(browser.run(frame).await, json!(["", null]));
                }
            }
        }
    }
    browser.open(&scene.url("/console")).await;
    browser.click("#incidents .cover").await;
    browser.picture(&pictures.join("incident-375.png")).await;
    browser.size(1440, 1400).await;
    browser.picture(&pictures.join("incident-1440.png")).await;
    browser.dark(true).await;
    browser.picture(&pictures.join("incident-dark.png")).await;
    browser.open(&scene.url("/")).await;
    browser.picture(&pictures.join("status-dark.png")).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    drop(browser);
    scene.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signs_in_with_a_token_and_the_page_is_live() {
    let Some(browser) = Browser::start().await else { return };
    let (pictures, _kept) = pictures();
    let broker = Broker::start(&webhooks("")).await;
    let token = broker.token("ada", true, &["read"]).await;
    browser.size(375, 812).await;
    browser.open(&format!("{}/console/channels", broker.url())).await;
    browser.picture(&pictures.join("sign-in-375.png")).await;
    browser.fill("#token", &token).await;
    browser.click("form .button").await;
    browser.shows("#channels").await;
    let live = "const look = () => document.getElementById('following').dataset.state === 'on' && (watch.disconnect(), done(true)); \
        const watch = new MutationObserver(look); watch.observe(document.body, { subtree: true, attributes: true }); look();";
    assert_eq!(browser.wait(live).await, true);
    assert_eq!(browser.run("return document.cookie").await, "");
    assert!(!browser.overflows().await);
    browser.picture(&pictures.join("channels-375.png")).await;
    browser.click(".reader button").await;
    browser.shows("#token").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    drop(browser);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_explains_itself_and_its_problems_in_a_browser() {
    let Some(browser) = Browser::start().await else { return };
    let (pictures, _kept) = pictures();
    let broker = Broker::start(&webhooks("")).await;
    broker.token("ada", true, &["read"]).await;
    for (width, height) in SCREENS {
        browser.size(width, height).await;
        browser.open(&format!("{}/docs", broker.url())).await;
        assert!(browser.text("#takeEvents").await.contains("POST /v1/events"));
        browser.picture(&pictures.join(format!("docs-{width}.png"))).await;
        browser.click("#takeEvents a[href='#schema-Event']").await;
        browser.shows("#schema-Event:target").await;
        browser.picture(&pictures.join(format!("docs-schema-{width}.png"))).await;
        browser.click("#getIncident a[href='/docs/problems#not-found']").await;
        browser.shows("#not-found:target").await;
        assert!(browser.text("#not-found").await.contains("What to do"));
        browser.picture(&pictures.join(format!("problems-{width}.png"))).await;
        assert!(!browser.overflows().await);
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    drop(browser);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_public_page_says_is_at_most_a_second_old() {
    let broker = Broker::start(&webhooks("")).await;
    let says_none = async || broker.get("/").await.text.contains("No incident is open");
    assert!(says_none().await);
    assert_eq!(broker.post("/v1/events", &outage()).await.status, 202);
    broker.settled().await;
    broker.clock.advance(std::time::Duration::from_millis(999));
    assert!(says_none().await, "the store is asked more often than once a second");
    broker.clock.advance(std::time::Duration::from_millis(1));
    assert!(!says_none().await);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_page_says_what_was_released_and_keeps_the_rest() {
    let scene = Scene::set().await;
    let mut drill = outage();
    (drill["id"], drill["incident"], drill["mode"]) = (json!("x-1"), json!("drill"), json!("exercise"));
    drill["title"] = json!("The drill");
    assert_eq!(scene.broker.post("/v1/events", &drill).await.status, 202);
    let mut hostile = outage();
    hostile["title"] = json!("<script>alert(1)</script> unreachable");
    hostile["support_url"] = json!("https://help.example/x");
    assert_eq!(scene.broker.post("/v1/events", &hostile).await.status, 202);
    scene.broker.settled().await;
    // Nobody has looked before, so nothing older is kept.
    let text = scene.broker.get("/").await.text;
    for said in [
        "&lt;script&gt;",
        "Facebook, Instagram and WhatsApp",
        "4 Oct 2021, 15:39 UTC",
        "4 Oct 2021, 16:30 UTC",
        "Reinstalling",
        "call or send",
        "https://help.example/x",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    for kept in ["<script>alert", "The drill", "badge readers", "network", "3500000000", "capacity"] {
        assert!(!text.contains(kept), "{kept} stands in {text}");
    }
    scene.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_load_only_their_own_files_and_hold_nothing_inline() {
    let scene = Scene::set().await;
    let answer = scene.broker.post("/v1/events", &outage()).await;
    let incident = answer.json()["incident"].as_str().expect("an id").to_string();
    scene.broker.settled().await;
    let (customers, businesses) = (scene.broadcast_to("customers").await, scene.broadcast_to("businesses").await);
    let lost = scene.broker.get(&format!("/console/broadcasts/{businesses}")).await.text;
    assert!(lost.contains("Not told, or not known to be") && lost.contains("ht…/2"), "{lost}");
    for path in [
        "/".into(),
        "/console".into(),
        "/console/broadcasts".into(),
        "/console/channels".into(),
        "/console/sign-in".into(),
        "/docs".into(),
        "/docs/problems".into(),
        format!("/console/incidents/{incident}"),
        format!("/console/broadcasts/{customers}"),
        format!("/console/broadcasts/{businesses}"),
        "/console/nowhere".into(),
        "/console/incidents/inc_zzz".into(),
    ] {
        let page = scene.broker.get(&path).await;
        let there = !path.ends_with("nowhere") && !path.ends_with("zzz");
        assert_eq!(page.status, if there { 200 } else { 404 }, "{path}: {}", page.text);
        let policy = page.header("content-security-policy").unwrap_or_else(|| panic!("{path} has no policy"));
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        for inline in [" style=", "<style", "<script>", " onclick=", "javascript:"] {
            assert!(!page.text.contains(inline), "{inline} in {path}");
        }
        let mut outside =
            page.text.split(['"', '\'']).filter(|part| part.starts_with("http") || part.starts_with("//"));
        assert_eq!(outside.next(), None, "{path} names something outside");
        for linked in page.text.split('"').filter(|part| part.starts_with("/assets/")) {
            let file = scene.broker.get(linked).await;
            assert_eq!(file.status, 200, "{linked}");
            assert!(file.header("cache-control").is_some_and(|kept| kept.contains("immutable")), "{linked}");
        }
        assert!(!page.text.contains("+4670000") && !page.text.contains("@example.org"), "an address stands in {path}");
    }
    scene.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_the_console_asks_for_one_and_a_session_only_reads() {
    let broker = Broker::start(&webhooks("")).await;
    let ingest = broker.token("pipeline", false, &["ingest"]).await;
    let read = broker.token("ada", true, &["read", "broadcast"]).await;
    let away = broker.get("/console/channels").await;
    assert_eq!((away.status, away.header("location")), (303, Some("/console/sign-in?next=%2Fconsole%2Fchannels")));
    let form = |token: &str| format!("token={token}&next=%2Fconsole%2Fchannels");
    let typed = [("content-type", "application/x-www-form-urlencoded")];
    for refused in ["lht_guess", "", &ingest] {
        let answer = broker.send("POST", "/console/sign-in", &typed, &form(refused)).await;
        assert_eq!(answer.status, 422, "{refused}");
        assert!(answer.header("set-cookie").is_none());
    }
    let foreign = [typed[0], ("sec-fetch-site", "cross-site")];
    assert_eq!(broker.send("POST", "/console/sign-in", &foreign, &form(&read)).await.status, 403);

    let answer = broker.send("POST", "/console/sign-in", &typed, &form(&read)).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/console/channels")));
    let cookie = answer.header("set-cookie").expect("a cookie");
    for rule in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(rule), "{cookie}");
    }
    assert!(!cookie.contains(&read));
    let cookie = [("cookie", cookie.split(';').next().expect("its word"))];
    assert_eq!(broker.send("GET", "/console/channels", &cookie, "").await.status, 200);
    assert_eq!(broker.send("GET", "/v1/channels", &cookie, "").await.status, 200);
    assert_eq!(broker.send("POST", "/v1/broadcasts:stop", &cookie, "").await.status, 401);

    // Signing out ends it, and so does taking the token away.
    let again = broker.send("POST", "/console/sign-in", &typed, &form(&read)).await;
    let other = [("cookie", again.header("set-cookie").and_then(|c| c.split(';').next()).expect("its word"))];
    assert_eq!(broker.send("POST", "/console/sign-out", &cookie, "").await.status, 303);
    assert_eq!(broker.send("GET", "/console", &cookie, "").await.status, 303);
    assert_eq!(broker.send("GET", "/console", &other, "").await.status, 200);
    assert!(broker.app.store.access().remove_token("ada").await.expect("removed"));
    broker.clock.advance(std::time::Duration::from_secs(3));
    assert_eq!(broker.send("GET", "/console", &other, "").await.status, 303);
    broker.stop().await;
}
