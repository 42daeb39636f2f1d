//! Subscribers from files: by the running server and by the command, good rows beside bad ones, twice the same.

use std::sync::Arc;

use loudhailer::app::load_platforms;
use loudhailer::audience::import::{Format, Importer, Options, Report};
use loudhailer::clock::Clock;
use loudhailer::config::Config;
use loudhailer::store::Store;
use loudhailer::store::sqlite::Sqlite;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::harness::{Broker, Sink, event, outage, webhooks, within};

const FILE: &str = "\
key,name,audiences,email,url,url_verified
a,Alex,businesses,alex@example.org,,
b,Bo,businesses,bo@example.org,,
c,Cy,businesses,alex@example.org,,
d,Di,businesses,not an address,,
a,Alex again,businesses,other@example.org,,
e,Ed,busineses,ed@example.org,,
f,Flo,businesses,flo@example.org,,
";

async fn import(store: &Arc<dyn Store>, format: Format, file: &str, chunk: usize) -> Report {
    let config = Config::from_toml("", "test.toml", std::iter::empty()).expect("a configuration");
    let validators = load_platforms(&config).expect("platforms").validators();
    let options = Options::new(&config, validators, true, None);
    let mut importer = Importer::new(format, options, store.clone(), None, Arc::new(Clock::system()));
    for chunk in file.as_bytes().chunks(chunk) {
        importer.feed(chunk).await.expect("feeds");
    }
    importer.finish().await.expect("finishes")
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Sqlite::own(&folder.path().join("store.db"), 64).expect("opens");
    (folder, Arc::new(store))
}

fn counts(report: &Report) -> [u64; 5] {
    [report.rows, report.created, report.updated, report.unchanged, report.bad]
}

#[tokio::test(flavor = "multi_thread")]
async fn good_rows_are_imported_and_bad_ones_named_by_line() {
    for chunk in [1, 7, 1 << 20] {
        let (_folder, store) = store();
        let report = import(&store, Format::Csv, FILE, chunk).await;
        assert_eq!(counts(&report), [7, 3, 0, 0, 4], "{report:?}");
        let bad: Vec<(u64, &str)> = report.bad_rows.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
        assert_eq!(
            bad,
            [
                (4, "email: the address belongs to another subscriber"),
                (5, "email: not a usable email address; one looks like alex@example.org"),
                (6, "an earlier row of this file is about the same subscriber"),
                (7, "audiences: \"busineses\" is not registered; did you mean \"businesses\"?"),
            ]
        );
        let alex = store.subscriber_by_key("a").await.expect("reads").expect("is there");
        assert_eq!((alex.name.as_deref(), alex.version), (Some("Alex"), 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_again_writes_no_subscriber() {
    let (_folder, store) = store();
    let rows: String = (0..3000).map(|n| format!("k{n},customers;press,p{n}@example.org,+4917{n:07}\n")).collect();
    let file = format!("key,audiences,email,phone\n{rows}");
    assert_eq!(counts(&import(&store, Format::Csv, &file, 4096).await), [3000, 3000, 0, 0, 0]);
    let before = store.subscribers(None, None, 5000).await.expect("reads");
    let end = store.journal(0, 10, true).await.expect("reads").len();
    assert_eq!(counts(&import(&store, Format::Csv, &file, 4096).await), [3000, 0, 0, 3000, 0]);
    assert_eq!(store.subscribers(None, None, 5000).await.expect("reads"), before);
    assert_eq!(store.journal(0, 10, true).await.expect("reads").len(), end);
    // One row changed is one subscriber written, as a new version.
    let changed = file.replace("p17@example.org", "new17@example.org");
    assert_eq!(counts(&import(&store, Format::Csv, &changed, 4096).await), [3000, 0, 1, 2999, 0]);
    let k17 = store.subscriber_by_key("k17").await.expect("reads").expect("is there");
    assert_eq!((k17.version, k17.addresses.iter().map(|a| a.place).collect::<Vec<_>>()), (2, vec![2, 3]));
    assert!(store.subscriber_by_address("email", "p17@example.org").await.expect("reads").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_go_from_one_to_another_within_a_file_in_its_order() {
    let (_folder, store) = store();
    import(&store, Format::Csv, "key,audiences,email\na,staff,x@example.org\nb,staff,y@example.org\n", 99).await;
    // a gives x up before b takes it.
    let report =
        import(&store, Format::Csv, "key,audiences,email\na,staff,z@example.org\nb,staff,x@example.org\n", 99).await;
    assert_eq!(counts(&report), [2, 0, 2, 0, 0], "{report:?}");
    let owner = store.subscriber_by_address("email", "x@example.org").await.expect("reads").expect("owned");
    assert_eq!(owner.key.as_deref(), Some("b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_suppressed_or_withdrawn_stays_so() {
    let (_folder, store) = store();
    let file = "key,audiences,email\na,customers,a@example.org\n";
    import(&store, Format::Csv, file, 99).await;
    store.suppress("email", "a@example.org", "unsubscribed", Clock::system().calendar()).await.expect("suppresses");
    store.suppress("email", "n@example.org", "complained", Clock::system().calendar()).await.expect("suppresses");
    let file = format!("{file}n,customers,n@example.org\n");
    import(&store, Format::Csv, &file, 99).await;
    for key in ["a", "n"] {
        let found = store.subscriber_by_key(key).await.expect("reads").expect("is there");
        assert!(found.addresses[0].suppressed, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_tells_nobody_anything_and_its_people_get_the_next_update() {
    let sink = Sink::start().await;
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    sink.next().await;
    broker.settled().await;

    let line = json!({ "key": "bo", "audiences": ["businesses"],
        "addresses": [{ "kind": "url", "address": format!("{}/bo", sink.url().trim_end_matches('/')), "verified": true,
            "secret": super::harness::SECRET }] });
    let csv = [("content-type", "application/x-ndjson")];
    let answer = broker.send("POST", "/v1/subscribers:import", &csv, &format!("{line}\n{{}}\n")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["created"], 1, "{answer:?}");
    assert_eq!(answer.json()["bad_rows"][0]["line"], 2);
    let unsigned = "key,audiences,url\ncy,press,https://hooks.example.org/cy\n";
    let answer = broker.send("POST", "/v1/subscribers:import", &[("content-type", "text/csv")], unsigned).await;
    assert_eq!(answer.json()["created"], 1, "its secret can be made later, by :rotate");
    broker.settled().await;
    assert_eq!(sink.all().len(), 1, "the import told somebody");

    let next = event("a-2", json!({ "status": "identified", "at": "2021-10-04T15:51:00Z" }));
    assert_eq!(broker.post("/v1/events", &next).await.status, 202);
    sink.next().await;
    sink.next().await;
    broker.stop().await;
    assert_eq!(sink.all().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_wrong_imports_nothing() {
    let broker = Broker::start("").await;
    let csv = [("content-type", "text/csv")];
    let answer = broker.send("POST", "/v1/subscribers:import", &csv, "key,audiences,emial\na,staff,a@b.c\n").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text.contains("did you mean"), "{answer:?}");
    assert!(broker.app.store.subscribers(None, None, 10).await.expect("reads").is_empty());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_larger_than_any_body_is_streamed_and_of_one_cut_off_the_whole_rows_are_imported() {
    let broker = Broker::start("[server]\nbody_limit = \"10KiB\"\n").await;
    let rows = |range: std::ops::Range<usize>| -> String {
        range.map(|n| format!("s{n},businesses,s{n}@example.org\n")).collect()
    };
    let csv = [("content-type", "text/csv")];
    let file = format!("key,audiences,email\n{}", rows(0..3_000));
    assert!(file.len() > 80_000, "{}", file.len());
    let answer = broker.send("POST", "/v1/subscribers:import", &csv, &file).await;
    assert_eq!((answer.status, &answer.json()["created"]), (200, &json!(3_000)), "{answer:?}");

    // Whole rows and a part of one, which reads like a row, and then nothing more.
    let cut = format!("key,audiences,email\n{}cut,businesses,cut@example.or", rows(5_000..5_003));
    let (url, length) = (broker.url(), cut.len() + 1000);
    let host = url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await.expect("connects");
    let head = format!(
        "POST /v1/subscribers:import HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/csv\r\nContent-Length: {length}\r\n\r\n{cut}"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    drop(stream);
    let there = async |key: &str| broker.app.store.subscriber_by_key(key).await.expect("reads").is_some();
    within("is imported", async {
        while !there("s5002").await {
            broker.get("/healthz").await;
        }
    })
    .await;
    assert!(there("s5000").await && !there("cut").await);
    broker.stop().await;
}
