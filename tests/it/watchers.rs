//! Watchers: what others publish becomes signals, which propose an incident and are withdrawn.

mod kinds;
mod page;
mod polite;

use std::time::Duration;

use serde_json::json;

use self::page::{Page, again, looked, open, says, watching};
use super::cli;
use super::harness::{Broker, Reply, webhooks};

pub const STATUSPAGE: &str = include_str!("../../fuzz/seeds/page/statuspage.json");
pub const HISTORY: &str = include_str!("../../fuzz/seeds/page/history.atom");
pub const TIMELINE: &str = include_str!("../../fuzz/seeds/page/timeline.json");

const WHOLE: &str = "kind = \"statuspage\"\ncomponent = \"api\"";

/// A page on which everything works.
fn works() -> String {
    STATUSPAGE
        .replace("\"major_outage\"", "\"operational\"")
        .replace("critical", "none")
        .replace("investigating", "resolved")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_watcher_raises_nothing_however_often_it_looks_and_a_second_origin_does_until_the_pages_say_that_it_works()
{
    let page = Page::of(STATUSPAGE).await;
    let feed = Page::of("").await;
    let mute = feed.url("/history.atom");
    let broker = Broker::start(&webhooks(&watching(&[
        ("forge", &page.url("/api/v2/summary.json"), WHOLE),
        ("feed", &mute, "kind = \"feed\"\ncomponent = \"api\"\nover = [\"resolved\"]\nlasts = \"20d\""),
    ])))
    .await;
    looked(&broker, "forge", 1).await;
    for _ in 1..1000 {
        again(&broker, "forge").await;
    }
    let signals = broker.get("/v1/signals").await.json();
    let of_page = &signals["items"][0];
    let expected = (&json!("watcher/forge"), &json!(true));
    assert_eq!((&of_page["origin"], &of_page["trusted"]), expected, "{signals}");
    assert_eq!((of_page["count"].as_i64(), signals["items"].as_array().map(Vec::len)), (Some(1000), Some(1)));
    assert_eq!(open(&broker).await, [] as [serde_json::Value; 0], "one origin alone raises nothing");

    feed.shows(HISTORY);
    again(&broker, "feed").await;
    again(&broker, "forge").await;
    let proposed = open(&broker).await;
    let seen = (proposed.len(), &proposed[0]["proposed"], &proposed[0]["facts"]["components"]);
    assert_eq!(seen, (1, &json!(true), &json!(["api"])), "{proposed:?}");
    assert_eq!(broker.get("/v1/broadcasts").await.json()["items"], json!([]), "nobody is told");

    // What works again is withdrawn; what is proposed waits for a person.
    page.shows(&works());
    again(&broker, "forge").await;
    assert_eq!(says(&broker, "forge").await, [""; 0]);
    feed.shows(&HISTORY.replace("Investigating", "Resolved"));
    again(&broker, "feed").await;
    assert_eq!(says(&broker, "feed").await, [""; 0]);
    assert_eq!(broker.get("/v1/signals").await.json()["items"], json!([]));
    assert_eq!(open(&broker).await.len(), 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dismissed_stays_so_while_pages_only_go_on_saying_it_and_something_new_counts() {
    let page = Page::of(STATUSPAGE).await;
    let other = Page::answering(|_| Reply::Status(500)).await;
    let broker = Broker::start(&webhooks(&watching(&[
        ("forge", &page.url("/"), WHOLE),
        ("probe", &other.url("/"), "kind = \"url\"\ncomponent = \"api\"\nfailures = 1\ninterval = \"60s\""),
    ])))
    .await;
    looked(&broker, "forge", 1).await;
    looked(&broker, "probe", 1).await;
    let proposed = open(&broker).await;
    let id = proposed[0]["id"].as_str().expect("an id").to_string();
    let dismissed = broker.post(&format!("/v1/incidents/{id}:dismiss"), &json!({})).await;
    assert_eq!(dismissed.status, 200, "{dismissed:?}");
    for _ in 0..20 {
        again(&broker, "forge").await;
        again(&broker, "probe").await;
    }
    assert_eq!(open(&broker).await, [] as [serde_json::Value; 0], "nothing new was said");
    // Another incident on the page, and an URL that worked in between, are news.
    page.shows(&STATUSPAGE.replace("rhznvxg4v7yh", "zzznvxg4v7yh"));
    again(&broker, "forge").await;
    assert_eq!(open(&broker).await.len(), 0);
    other.answers(|_| Reply::Status(200));
    again(&broker, "probe").await;
    other.answers(|_| Reply::Status(500));
    again(&broker, "probe").await;
    assert_eq!(open(&broker).await.len(), 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_worked_again_while_the_process_was_down_is_withdrawn_at_its_start() {
    let page = Page::of(STATUSPAGE).await;
    let config = webhooks(&watching(&[("forge", &page.url("/"), WHOLE)]));
    let broker = Broker::start(&config).await;
    looked(&broker, "forge", 1).await;
    assert_eq!(says(&broker, "forge").await.len(), 1);
    let now = broker.clock.calendar().plus(Duration::from_secs(90));
    let folder = broker.stop().await;
    page.shows(&works());
    let broker = Broker::open(&config, loudhailer::clock::Clock::manual(now), folder).await;
    looked(&broker, "forge", 1).await;
    assert_eq!(says(&broker, "forge").await, [""; 0]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_watchers_and_tries_one() {
    let page = Page::of(STATUSPAGE).await;
    let config = watching(&[
        ("forge", &page.url("/"), WHOLE),
        ("url", &page.url("/none"), "kind = \"url\"\ncomponent = \"web\"\nstatus = 204"),
    ]);
    let broker = Broker::start(&webhooks(&config)).await;
    looked(&broker, "forge", 1).await;
    let url = broker.url();
    let listed = cli::run(broker.folder(), Some(&url), &["watchers"], "").await;
    assert!(listed.out.contains("forge") && listed.out.contains("api: Forge: Partial System Outage"), "{listed:?}");
    let listed = cli::run(broker.folder(), Some(&url), &["watchers", "--json"], "").await.json();
    assert_eq!(listed[0]["host"], "127.0.0.1", "{listed}");
    let folder = broker.stop().await;
    std::fs::write(folder.path().join("own.toml"), &config).expect("written");
    let run = async |arguments: &[&str]| {
        cli::run(folder.path(), None, &[&["--config", "own.toml", "watchers"], arguments].concat(), "").await
    };
    let tried = run(&["--try", "forge"]).await;
    assert_eq!(tried.out, "api: Forge: Partial System Outage; Incident with API Requests\n", "{tried:?}");
    let tried = run(&["--try", "url"]).await;
    assert_eq!(tried.out, "it says of nothing that it does not work\nbut it answers 200, not 204\n", "{tried:?}");
    page.answers(|_| Reply::Status(404));
    let failed = run(&["--try", "forge"]).await;
    assert_eq!(
        (failed.code, &*failed.err),
        (Some(1), "loudhailer: forge cannot be read: it answers 404\n"),
        "{failed:?}"
    );
    let unknown = run(&["--try", "forg"]).await;
    assert!(unknown.code == Some(2) && unknown.err.contains("did you mean \"forge\"?"), "{unknown:?}");
}
