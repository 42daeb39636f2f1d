//! What each kind of page says.

use std::time::Duration;

use super::page::{Page, again, looked, says, shown, watching};
use super::{HISTORY, STATUSPAGE, TIMELINE};
use crate::harness::{Broker, Reply, webhooks};
use loudhailer::clock::{Clock, Time};

const RSS: &str = include_str!("../../../fuzz/seeds/page/cloud.rss");
const THUNDERSTORM: &str = include_str!("../../../fuzz/seeds/cap/thunderstorm.xml");

async fn broker(watchers: &[(&str, &str, &str)]) -> Broker {
    Broker::start(&webhooks(&watching(watchers))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_page_speaks_of_what_is_broken_there_and_not_of_what_is_maintained() {
    let page = Page::of(STATUSPAGE).await;
    let url = page.url("/api/v2/summary.json");
    let named = "kind = \"statuspage\"\ncomponents = { \"API Requests\" = \"api\", \"Webhooks\" = \"web\", \"8l4ygp009s5s\" = \"web\" }";
    let lacking = "kind = \"statuspage\"\ncomponents = { \"API Request\" = \"api\" }";
    let watchers = [
        ("named", &*url, named),
        ("whole", &url, "kind = \"statuspage\"\ncomponent = \"web\""),
        ("lacking", &url, lacking),
    ];
    let broker = broker(&watchers).await;
    for (name, ..) in watchers {
        looked(&broker, name, 1).await;
    }
    let api = "api: Forge: API Requests: major outage; Incident with API Requests";
    assert_eq!(says(&broker, "named").await, [api]);
    assert_eq!(says(&broker, "whole").await, ["web: Forge: Partial System Outage; Incident with API Requests"]);
    assert_eq!(says(&broker, "lacking").await, [""; 0]);
    let lacking = shown(&broker, "lacking").await;
    assert_eq!(lacking["note"], "the page shows no component \"API Request\"; did you mean \"API Requests\"?");
    // An incident that is looked for counts before a component's state is moved, and one that is watched after a remedy does not.
    let works = STATUSPAGE.replace("\"major_outage\"", "\"operational\"");
    page.shows(&works);
    again(&broker, "named").await;
    assert_eq!(says(&broker, "named").await, ["api: Forge: Incident with API Requests"]);
    page.shows(&works.replace("\"status\": \"investigating\"", "\"status\": \"monitoring\""));
    again(&broker, "named").await;
    assert_eq!(says(&broker, "named").await, [""; 0]);
    // In the whole, the page's own word counts.
    assert_eq!(says(&broker, "whole").await.len(), 1);
    page.shows(&works.replace("\"indicator\": \"critical\"", "\"indicator\": \"maintenance\""));
    again(&broker, "whole").await;
    assert_eq!(says(&broker, "whole").await, [""; 0]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_a_feed_speaks_while_it_is_recent_until_it_says_that_it_is_over() {
    let atom = Page::of(HISTORY).await;
    let rss = Page::of(RSS).await;
    let named = "kind = \"feed\"\ncomponents = { \"API Requests\" = \"api\", \"Webhooks\" = \"web\" }";
    let of_region = "kind = \"feed\"\ncomponent = \"web\"\nwords = [\"eu-west-1\"]\nlasts = \"1h\"";
    let elsewhere = "kind = \"feed\"\ncomponent = \"web\"\nwords = [\"eu-west-10\", \"west\"]\nover = []";
    let (atom_url, rss_url) = (atom.url("/history.atom"), rss.url("/rss/s3.rss"));
    let watchers = [("atom", &*atom_url, named), ("rss", &rss_url, of_region), ("elsewhere", &rss_url, elsewhere)];
    let broker = broker(&watchers).await;
    for (name, ..) in watchers {
        looked(&broker, name, 1).await;
    }
    // What is from last week is no news.
    assert_eq!(says(&broker, "atom").await, ["api: Incident with API Requests"]);
    assert_eq!(says(&broker, "rss").await, ["web: Informational message: Increased Error Rates"]);
    // `west` stands in `EU-WEST-1`, between hyphens.
    assert_eq!(says(&broker, "elsewhere").await, ["web: Informational message: Increased Error Rates"]);
    // An entry that is written anew, as its digest alone says, is news.
    atom.shows(&HISTORY.replace("delayed by minutes", "delayed by hours"));
    again(&broker, "atom").await;
    assert_eq!(says(&broker, "atom").await, ["api: Incident with API Requests", "web: Webhooks are delayed"]);
    // One that is only dated anew is not.
    rss.shows(&RSS.replace("02:10:00 PDT", "08:50:00 PDT").replace("Thu, 30 Sep", "Mon, 04 Oct"));
    again(&broker, "rss").await;
    assert_eq!(says(&broker, "rss").await.len(), 1);
    let resolved = "&lt;strong&gt;Resolved&lt;/strong&gt; - This incident has been resolved. &lt;br&gt;&lt;strong&gt;Investigating";
    atom.shows(&HISTORY.replace("&lt;strong&gt;Investigating", resolved));
    again(&broker, "atom").await;
    assert_eq!(says(&broker, "atom").await, ["web: Webhooks are delayed"], "of the other nobody said so");
    // It ends by itself.
    while broker.clock.calendar() < Time::parse("2021-10-04T16:43:00Z").expect("a time") {
        again(&broker, "rss").await;
        assert_eq!(says(&broker, "rss").await.len(), 1, "{}", broker.clock.calendar());
    }
    again(&broker, "rss").await;
    again(&broker, "rss").await;
    assert_eq!(says(&broker, "rss").await, [""; 0]);
    assert!(
        shown(&broker, "rss").await["looks"]["unchanged"].as_i64() > Some(40),
        "it asks only whether it is another"
    );
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_feed_held_is_no_news_after_a_restart_and_what_comes_undated_is_news_once() {
    let undated = |items: &str| {
        format!(
            "<rss version=\"2.0\"><channel><title>t</title><link>http://a.example</link><description>d</description>{items}</channel></rss>"
        )
    };
    let item = |guid: &str, title: &str| {
        format!("<item><guid isPermaLink=\"false\">{guid}</guid><title>{title}</title></item>")
    };
    let page = Page::of(&undated(&item("1", "Outage of the web"))).await;
    let url = page.url("/rss");
    let watchers = [("rss", &*url, "kind = \"feed\"\ncomponent = \"web\"\nlasts = \"10m\"")];
    let broker = broker(&watchers).await;
    looked(&broker, "rss", 1).await;
    // Nobody knows how old it is.
    assert_eq!(says(&broker, "rss").await, [""; 0]);
    page.shows(&undated(&(item("2", "Another outage") + &item("1", "Outage of the web"))));
    again(&broker, "rss").await;
    assert_eq!(says(&broker, "rss").await, ["web: Another outage"]);
    let since = shown(&broker, "rss").await["says"][0]["since"].clone();
    let next = broker.clock.calendar().plus(Duration::from_secs(120));
    let folder = broker.stop().await;
    let config = webhooks(&watching(&watchers));
    let broker = Broker::open(&config, Clock::manual(next), folder).await;
    looked(&broker, "rss", 1).await;
    let after = shown(&broker, "rss").await;
    assert_eq!((&after["says"][0]["text"], &after["says"][0]["since"]), (&"Another outage".into(), &since));
    assert_eq!(after["looks"]["unchanged"], 1, "it knows the page by what it kept: {after}");
    for _ in 0..10 {
        again(&broker, "rss").await;
    }
    assert_eq!(says(&broker, "rss").await, [""; 0]);
    let folder = broker.stop().await;
    // By other words it is read anew, and what stands there is old.
    let other = watching(&[("rss", &url, "kind = \"feed\"\ncomponent = \"web\"\nlasts = \"11m\"")]);
    let broker = Broker::open(&webhooks(&other), Clock::manual(next.plus(Duration::from_secs(3600))), folder).await;
    looked(&broker, "rss", 1).await;
    assert_eq!(shown(&broker, "rss").await["looks"]["changed"], 1);
    assert_eq!(says(&broker, "rss").await, [""; 0]);
    broker.stop().await;
}

/// A feed of alerts, by identifier.
fn alerts(of: &[&str]) -> String {
    let entry = |name: &&str| {
        format!(
            "<entry><id>urn:alert:{name}</id><title>{name}</title><updated>2021-10-04T15:45:00Z</updated>\
             <link rel=\"alternate\" type=\"text/html\" href=\"/pages/{name}\"/>\
             <link rel=\"alternate\" type=\"application/cap+xml\" href=\"/alerts/{name}.cap\"/></entry>"
        )
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><feed xmlns=\"http://www.w3.org/2005/Atom\"><id>urn:alerts</id><title>Alerts</title>\
         <updated>2021-10-04T15:45:00Z</updated><author><name>Weather Service</name></author>{}</feed>",
        of.iter().map(entry).collect::<String>()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_a_feed_names_is_read_once_and_speaks_until_it_expires_or_is_cancelled() {
    let page = Page::of("").await;
    let lists = |names: &'static [&'static str]| {
        page.answers(move |request| {
            let name = request.path.rsplit('/').next().expect("a name");
            let refers = "<references>KSTO@weather.example,KSTO1055887203,2021-10-04T15:45:00-00:00</references><info>";
            let body = match name {
                "feed" => alerts(names),
                "test.cap" => THUNDERSTORM.replace("KSTO1055887203", "t-1").replace("Actual", "Test"),
                "cancel.cap" => THUNDERSTORM
                    .replace("KSTO1055887203", "c-1")
                    .replace("<msgType>Alert", "<msgType>Cancel")
                    .replacen("<info>", refers, 1),
                "broken.cap" => "<alert>".into(),
                _ => THUNDERSTORM.into(),
            };
            Reply::Full(200, String::new(), body)
        });
    };
    lists(&["storm", "test", "broken"]);
    let url = page.url("/feed");
    let of_place = "kind = \"cap\"\ncomponent = \"web\"\nwords = [\"thunderstorm\", \"flood\"]\nareas = [\"006003\"]";
    let elsewhere = "kind = \"cap\"\ncomponent = \"api\"\nareas = [\"Somewhere else\"]";
    let (feed, single) = (page.url("/feed"), page.url("/storm.cap"));
    let broker = broker(&[("near", &feed, of_place), ("far", &url, elsewhere), ("one", &single, of_place)]).await;
    for name in ["near", "far", "one"] {
        looked(&broker, name, 1).await;
        let expected: &[&str] = if name == "far" { &[] } else { &["web: SEVERE THUNDERSTORM WARNING"] };
        assert_eq!(says(&broker, name).await, expected, "{name}");
    }
    let near = shown(&broker, "near").await;
    let note = near["note"].as_str().expect("a note");
    assert!(note.starts_with("an alert is not as CAP 1.2 wants it: line 1: "), "{note}");
    let asked = |path: &str| page.sink.all().iter().filter(|request| request.path.ends_with(path)).count();
    again(&broker, "near").await;
    assert_eq!(
        (asked("/alerts/storm.cap"), asked("/alerts/broken.cap"), asked("/pages/storm")),
        (2, 2, 0),
        "of two watchers"
    );
    // It speaks on when the feed no longer names it, until it is cancelled.
    lists(&["broken"]);
    again(&broker, "near").await;
    assert_eq!(says(&broker, "near").await, ["web: SEVERE THUNDERSTORM WARNING"]);
    lists(&["cancel"]);
    again(&broker, "near").await;
    assert_eq!(says(&broker, "near").await, [""; 0]);
    // The other has been told no end: it expires at 17:00.
    while broker.clock.calendar() < Time::parse("2021-10-04T16:58:50Z").expect("a time") {
        again(&broker, "one").await;
        assert_eq!(says(&broker, "one").await.len(), 1, "{}", broker.clock.calendar());
    }
    again(&broker, "one").await;
    again(&broker, "one").await;
    assert_eq!(says(&broker, "one").await, [""; 0]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_not_to_be_had_is_asked_for_again_although_the_feed_is_the_same() {
    let page = Page::answering(|request| match &*request.path {
        "/feed" => Reply::Full(200, "ETag: \"1\"\r\n".into(), alerts(&["storm"])),
        _ => Reply::Status(503),
    })
    .await;
    let broker = broker(&[("near", &page.url("/feed"), "kind = \"cap\"\ncomponent = \"web\"")]).await;
    looked(&broker, "near", 1).await;
    let near = shown(&broker, "near").await;
    assert_eq!((&near["health"], &near["note"]), (&"working".into(), &"an alert that it names answers 503".into()));
    page.answers(|request| match &*request.path {
        "/feed" if request.header("if-none-match").is_some() => Reply::Status(304),
        "/feed" => Reply::Full(200, "ETag: \"1\"\r\n".into(), alerts(&["storm"])),
        _ => Reply::Full(200, String::new(), THUNDERSTORM.into()),
    });
    again(&broker, "near").await;
    assert_eq!(says(&broker, "near").await, ["web: SEVERE THUNDERSTORM WARNING"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_under_a_tag_speak_once_enough_people_wrote_within_the_span() {
    let page = Page::of(TIMELINE).await;
    let server = page.url("");
    let two =
        "kind = \"mastodon\"\ntag = \"#forgedown\"\nposts = 2\nwithin = \"10m\"\ncomponents = { \"API\" = \"api\" }";
    let broker = broker(&[
        ("two", &server, two),
        ("three", &server, &two.replace("posts = 2", "posts = 3")),
        ("words", &server, &two.replace("posts = 2", "posts = 1\nwords = [\"weg\"]")),
    ])
    .await;
    for name in ["two", "three", "words"] {
        looked(&broker, name, 1).await;
    }
    let asked = page.sink.next().await;
    assert_eq!(asked.path, "/api/v1/timelines/tag/forgedown?limit=40");
    assert_eq!(says(&broker, "two").await, ["api: 2 people wrote of #forgedown within 10m"]);
    assert_eq!(says(&broker, "three").await, [""; 0], "who writes twice is one, and a program is nobody");
    assert_eq!(says(&broker, "words").await, ["api: 1 people wrote of #forgedown within 10m"]);
    let kept = broker.app.store.meta("watcher/two").await.expect("read").expect("kept");
    assert!(!kept.contains("ada") && !kept.contains("kim"), "nobody's name is kept: {kept}");
    // The newest of the second person is from 15:46:02.
    while broker.clock.calendar() < Time::parse("2021-10-04T15:56:02Z").expect("a time") {
        assert_eq!(says(&broker, "two").await.len(), 1, "{}", broker.clock.calendar());
        again(&broker, "two").await;
    }
    assert_eq!(says(&broker, "two").await, [""; 0], "the page is the same, and the time another");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_url_speaks_after_so_many_wrong_answers_in_a_row_and_not_after_the_first_right_one() {
    let page = Page::answering(|_| Reply::Full(200, String::new(), "<h1>Sign in</h1>".into())).await;
    let url = page.url("/health");
    let three = "kind = \"url\"\ncomponent = \"web\"\ninterval = \"10s\"\nhas = \"<h1>Sign in\"";
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}/", listener.local_addr().expect("an address"))
    };
    let broker = broker(&[
        ("url", &url, three),
        ("gone", &gone, "kind = \"url\"\ncomponent = \"api\"\nfailures = 2"),
        ("moved", &url, "kind = \"url\"\ncomponent = \"api\"\nfailures = 1\nstatus = 301"),
        ("slow", &page.url("/slow"), "kind = \"url\"\ncomponent = \"api\"\nfailures = 1\ntime_limit = \"200ms\""),
    ])
    .await;
    for name in ["url", "gone", "moved"] {
        looked(&broker, name, 1).await;
    }
    assert_eq!(says(&broker, "moved").await, ["api: it answers 200, not 301"]);
    for (answer, text) in [
        (Reply::Full(500, String::new(), "<h1>Sign in</h1>".into()), "web: it answers 500, not 200"),
        (Reply::Full(200, String::new(), "<h1>Sorry</h1>".into()), "web: its answer does not hold what it should"),
    ] {
        let wrong = answer.clone();
        page.answers(move |_| wrong.clone());
        for expected in [&[][..], &[], &[text], &[text]] {
            again(&broker, "url").await;
            assert_eq!(says(&broker, "url").await, expected);
        }
        page.answers(|_| Reply::Full(200, String::new(), "<h1>Sign in</h1>".into()));
        again(&broker, "url").await;
        assert_eq!(says(&broker, "url").await, [""; 0]);
    }
    page.answers(|_| Reply::Full(301, "Location: /elsewhere\r\n".into(), String::new()));
    again(&broker, "moved").await;
    assert_eq!(says(&broker, "moved").await, [""; 0], "what leads elsewhere is what was expected");
    page.answers(|_| Reply::Hold);
    again(&broker, "slow").await;
    assert_eq!(says(&broker, "slow").await, ["api: no answer in time"]);
    again(&broker, "gone").await;
    assert_eq!(says(&broker, "gone").await, ["api: no connection to the host"]);
    assert_eq!(shown(&broker, "gone").await["health"], "working", "it is what it looks for");
    page.sink.release();
    broker.stop().await;
}
