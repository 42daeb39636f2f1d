//! How pages are asked, and what a watcher does with one that cannot be read.

use std::time::Duration;

use loudhailer::clock::Clock;

use super::page::{Page, again, idle, looked, says, shown, wait, watching};
use super::{HISTORY, STATUSPAGE};
use crate::harness::{Broker, Reply, webhooks};
use crate::peers::peers;

const WHOLE: &str = "kind = \"statuspage\"\ncomponent = \"web\"";

fn minute(wait: Duration, minutes: u64) {
    let span = Duration::from_secs(60 * minutes);
    assert!(wait >= span && wait <= span + span / 10, "{wait:?} is not {minutes} minutes and a tenth at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_asked_by_name_with_what_is_known_of_it_and_the_same_page_goes_on_speaking() {
    let page = Page::answering(|request| match request.header("if-none-match") {
        Some("W/\"7\"") => Reply::Full(304, "Cache-Control: max-age=240\r\n".into(), String::new()),
        _ => {
            let known = "ETag: W/\"7\"\r\nLast-Modified: Mon, 04 Oct 2021 15:47:58 GMT\r\n";
            Reply::Full(200, known.into(), STATUSPAGE.into())
        }
    })
    .await;
    let config = format!(
        "[server]\npublic_url = \"https://status.example\"\n{}",
        watching(&[("polite", &page.url("/summary.json?key=k-1"), &format!("{WHOLE}\ntoken = \"t-1\""))])
    );
    let broker = Broker::start(&webhooks(&config)).await;
    looked(&broker, "polite", 1).await;
    let first = page.sink.next().await;
    assert_eq!((&*first.method, &*first.path), ("GET", "/summary.json?key=k-1"));
    let agent = format!("Loudhailer/{} (+https://status.example)", env!("CARGO_PKG_VERSION"));
    assert_eq!(first.header("user-agent"), Some(&*agent));
    assert_eq!(first.header("authorization"), Some("Bearer t-1"));
    assert_eq!((first.header("if-none-match"), first.header("accept-encoding")), (None, Some("identity")));
    minute(wait(&broker, "polite"), 1);
    broker.clock.advance(Duration::from_secs(59));
    assert_eq!(page.sink.all().len(), 1, "not before its minute is over");
    again(&broker, "polite").await;
    let second = page.sink.next().await;
    assert_eq!(second.header("if-none-match"), Some("W/\"7\""));
    assert_eq!(second.header("if-modified-since"), Some("Mon, 04 Oct 2021 15:47:58 GMT"));
    let after = shown(&broker, "polite").await;
    assert_eq!((&after["looks"]["changed"], &after["looks"]["unchanged"]), (&1.into(), &1.into()), "{after}");
    minute(wait(&broker, "polite"), 4);
    let signals = broker.get("/v1/signals").await.json();
    assert_eq!(signals["items"][0]["count"], 2, "what is the same is said again: {signals}");
    // Its URL and its token are nobody's business.
    let seen = format!("{after}{}{}", broker.get("/metrics").await.text, signals);
    assert!(!seen.contains("k-1") && !seen.contains("t-1"), "{seen}");
    let metrics = broker.get("/metrics").await.text;
    for line in [
        "loudhailer_watcher_looks_total{watcher=\"polite\",what=\"unchanged\"}",
        "loudhailer_watcher_failing{watcher=\"polite\"} 0",
        "loudhailer_signals_total{from=\"watcher\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_read_says_nothing_and_is_asked_less_and_less_often() {
    let page = Page::of(STATUSPAGE).await;
    let broker = Broker::start(&webhooks(&watching(&[("away", &page.url("/"), WHOLE)]))).await;
    looked(&broker, "away", 1).await;
    assert_eq!(says(&broker, "away").await.len(), 1);
    let since = shown(&broker, "away").await["says"][0]["since"].clone();
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    for (failures, answer, error) in [
        (1, Reply::Status(500), "it answers 500"),
        (2, Reply::Full(200, String::new(), "<html>".into()), "is no summary of Statuspage (/api/v2/summary.json): "),
        (
            3,
            Reply::Full(200, String::new(), "[".repeat(100_000)),
            "is no summary of Statuspage (/api/v2/summary.json): ",
        ),
        (4, Reply::Full(200, String::new(), "x".repeat((2 << 20) + 1)), "its answer is longer than 2 MiB"),
        (
            5,
            Reply::Full(302, "Location: /again\r\n".into(), String::new()),
            "it leads on and on: more than 5 redirects",
        ),
        (
            6,
            Reply::Full(302, "Location: ftp://a.example/\r\n".into(), String::new()),
            "\"ftp\" is neither http nor https",
        ),
        (7, Reply::Full(200, String::new(), deep), "is no summary of Statuspage"),
    ] {
        page.answers(move |_| answer.clone());
        again(&broker, "away").await;
        let after = shown(&broker, "away").await;
        let said = after["error"].as_str().unwrap_or_default();
        assert!(said.starts_with(error), "{said:?} is not {error:?}");
        assert_eq!((&after["health"], &after["failures"]), (&"failing".into(), &failures.into()), "{after}");
        minute(wait(&broker, "away"), [1, 2, 4, 8, 16, 32, 60][failures - 1]);
    }
    // What it said is neither repeated nor withdrawn: nobody knows. After the window it counts no more.
    let signals = broker.get("/v1/signals").await.json();
    assert_eq!(signals["items"], serde_json::json!([]), "{signals}");
    assert!(broker.get("/metrics").await.text.contains("loudhailer_watcher_failing{watcher=\"away\"} 1"));
    page.shows(STATUSPAGE);
    again(&broker, "away").await;
    let after = shown(&broker, "away").await;
    assert_eq!(
        (&after["health"], &after["failures"], &after["says"][0]["since"]),
        (&"working".into(), &0.into(), &since)
    );
    minute(wait(&broker, "away"), 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_to_be_left_alone_is_left_alone_over_a_restart_too() {
    let page = Page::answering(|_| Reply::Full(429, "Retry-After: 3600\r\n".into(), String::new())).await;
    let config = webhooks(&watching(&[("page", &page.url("/"), WHOLE)]));
    let broker = Broker::start(&config).await;
    looked(&broker, "page", 1).await;
    minute(wait(&broker, "page"), 60);
    let now = broker.clock.calendar().plus(Duration::from_secs(600));
    let folder = broker.stop().await;
    page.shows(STATUSPAGE);
    let broker = Broker::open(&config, Clock::manual(now), folder).await;
    idle(&broker, "page").await;
    let left = wait(&broker, "page");
    assert!(left >= Duration::from_secs(3000) && left <= Duration::from_secs(3361), "{left:?}");
    assert_eq!(page.sink.all().len(), 1);
    again(&broker, "page").await;
    assert_eq!((page.sink.all().len(), shown(&broker, "page").await["health"].clone()), (2, "working".into()));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_says_that_its_page_is_the_same_and_is_heeded() {
    let Some([nginx, pages]) = peers(["nginx", "nginx_pages"]) else { return };
    let page = std::path::Path::new(&pages).join("summary.json");
    std::fs::write(&page, STATUSPAGE).expect("written");
    let url = |path: &str| format!("http://{nginx}{path}");
    let broker =
        Broker::start(&webhooks(&watching(&[("page", &url("/moved"), WHOLE), ("busy", &url("/busy"), WHOLE)]))).await;
    looked(&broker, "page", 1).await;
    for _ in 0..3 {
        again(&broker, "page").await;
    }
    let same = shown(&broker, "page").await;
    assert_eq!((&same["looks"]["changed"], &same["looks"]["unchanged"]), (&1.into(), &3.into()), "{same}");
    assert_eq!(says(&broker, "page").await.len(), 1);
    std::fs::write(&page, STATUSPAGE.replace("\"indicator\": \"critical\"", "\"indicator\": \"none\""))
        .expect("written");
    again(&broker, "page").await;
    assert_eq!(shown(&broker, "page").await["looks"]["changed"], 2);
    assert_eq!(says(&broker, "page").await, [""; 0]);
    looked(&broker, "busy", 1).await;
    let busy = shown(&broker, "busy").await;
    assert_eq!(
        (&busy["error"], &busy["looks"]["failed"]),
        (&"it answers 503".into(), &1.into()),
        "it was asked once: {busy}"
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_followed_past_the_guard_and_takes_no_token_along() {
    let target = Page::of(STATUSPAGE).await;
    let to = target.url("/moved");
    let page = Page::answering(move |_| Reply::Full(301, format!("Location: {to}\r\n"), String::new())).await;
    let config = watching(&[("page", &page.url("/"), &format!("{WHOLE}\ntoken = \"t-1\""))]);
    // Names resolve to loopback as addresses are: neither may be reached where nobody allows it.
    let guarded = format!("{config}[watchers.inner]\nurl = {:?}\n{WHOLE}\n", page.url("/"));
    let probe =
        format!("[watchers.probe]\nurl = {:?}\nkind = \"url\"\ncomponent = \"api\"\nfailures = 1\n", page.url("/"));
    let broker = Broker::start(&webhooks(&(guarded + &probe))).await;
    for name in ["page", "inner", "probe"] {
        looked(&broker, name, 1).await;
    }
    assert_eq!(says(&broker, "page").await.len(), 1);
    assert_eq!(page.sink.next().await.header("authorization"), Some("Bearer t-1"));
    let moved = target.sink.next().await;
    assert_eq!((&*moved.path, moved.header("authorization")), ("/moved", None));
    assert_eq!(page.sink.all().len(), 1, "nobody else came");
    for name in ["inner", "probe"] {
        let after = shown(&broker, name).await;
        let error = "it leads to a loopback address, which is not asked unless allow_private = true";
        assert_eq!((&after["health"], &after["error"]), (&"failing".into(), &error.into()), "{name}");
        assert_eq!(says(&broker, name).await, [""; 0], "what we may not ask says nothing");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_none_or_lies_too_deep_is_refused_with_its_reason() {
    let deep = |element: &str| {
        format!("<feed xmlns=\"http://www.w3.org/2005/Atom\">{}", format!("<{element}>").repeat(100_000))
    };
    let page = Page::of(HISTORY).await;
    let broker =
        Broker::start(&webhooks(&watching(&[("page", &page.url("/"), "kind = \"feed\"\ncomponent = \"web\"")]))).await;
    looked(&broker, "page", 1).await;
    for (body, error) in [
        (STATUSPAGE.to_string(), "is no feed of Atom or RSS: "),
        ("<html><body>Sorry</body></html>".into(), "is no feed of Atom or RSS: "),
        (deep("entry"), "has elements in one another, deeper than 64"),
        (deep("div"), "has elements in one another, deeper than 64"),
        ("<feed <<<".into(), "is no "),
        (HISTORY[..700].into(), "is no "),
        (String::new(), "is no feed of Atom or RSS: "),
    ] {
        let sent = body.clone();
        page.answers(move |_| Reply::Full(200, String::new(), sent.clone()));
        again(&broker, "page").await;
        let after = shown(&broker, "page").await;
        let said = after["error"].as_str().unwrap_or_default();
        assert!(said.starts_with(error), "{said:?} is not {error:?} for {}", &body[..body.len().min(60)]);
    }
    broker.stop().await;
}
