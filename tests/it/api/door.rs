//! Who comes in, how often, and with how much.

use std::sync::Arc;
use std::time::Duration;

use loudhailer::app::App;
use loudhailer::clock::Clock;
use loudhailer::config::Config;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Store, TokenRow};
use serde_json::json;

use crate::harness::{Broker, outage, webhooks};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_this_machine_is_listened_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let build = async || {
        let url = format!("sqlite:{}", folder.path().join("loudhailer.db").display());
        let text = format!("[server]\nlisten = \"0.0.0.0:0\"\n[store]\nurl = \"{url}\"\n");
        let config = Config::from_toml(&text, "test.toml", std::iter::empty()).expect("a configuration");
        App::build(config, Arc::new(Clock::system())).await.map(drop)
    };
    let refused = build().await.expect_err("nobody is to come in").to_string();
    assert!(refused.contains("no token protects it; make one with loudhailer token create"), "{refused}");
    let store = Sqlite::visit(&folder.path().join("loudhailer.db")).expect("opens");
    let row = TokenRow { name: "desk".into(), person: true, scopes: vec!["admin".into()] };
    assert!(store.access().add_token([1; 32], row, Clock::system().calendar()).await.expect("written"));
    drop(store);
    build().await.expect("a token protects it");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scope_opens_its_own_doors_and_no_other() {
    let broker = Broker::start(&webhooks("")).await;
    assert_eq!(broker.get("/v1/incidents").await.status, 200, "open on loopback while there are no tokens");
    let mut clients = vec![("none", broker.client.clone()), ("unknown", broker.client.with("lht_unknown"))];
    for scope in ["ingest", "read", "broadcast", "admin"] {
        clients.push((scope, broker.client.with(&broker.token(scope, false, &[scope]).await)));
    }
    broker.clock.advance(Duration::from_secs(3));
    let doors = [
        ("POST", "/v1/events", "ingest"),
        ("GET", "/v1/incidents", "read"),
        ("GET", "/metrics", "read"),
        ("POST", "/v1/broadcasts:stop", "broadcast"),
        ("POST", "/v1/channels/hooks:resume", "broadcast"),
        ("GET", "/v1/subscribers", "admin"),
    ];
    for (holds, client) in &clients {
        for (method, path, needs) in doors {
            let body = if path == "/v1/events" { outage("a") } else { json!({}) };
            let answer = client.json(method, path, &body).await;
            let expected = match *holds {
                "none" | "unknown" => 401,
                holds if holds == needs || holds == "admin" => 200,
                _ => 403,
            };
            let status = if answer.status == 202 { 200 } else { answer.status };
            assert_eq!(status, expected, "{holds}: {method} {path}: {answer:?}");
        }
        assert_eq!(client.get("/healthz").await.status, 200);
        assert_eq!(client.get("/readyz").await.status, 200);
    }
    broker.stop_as_it_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_withdrawn_stops_working() {
    let broker = Broker::start("").await;
    let kept = broker.client.with(&broker.token("kept", false, &["read"]).await);
    let gone = broker.client.with(&broker.token("gone", false, &["read"]).await);
    assert_eq!(gone.get("/v1/incidents").await.status, 200);
    broker.app.store.access().remove_token("gone").await.expect("removed");
    broker.clock.advance(Duration::from_secs(3));
    assert_eq!(gone.get("/v1/incidents").await.status, 401);
    assert_eq!(kept.get("/v1/incidents").await.status, 200);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_serves_no_strangers_page() {
    let broker = Broker::start("").await;
    for (headers, status) in [
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("origin", "http://localhost:8080")], 200),
        (vec![], 200),
    ] {
        assert_eq!(broker.send("GET", "/v1/incidents", &headers, "").await.status, status, "{headers:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_the_rate_allows_are_sent_away_and_told_when_to_come_back() {
    let broker = Broker::start("[server]\nrate = \"5/s\"\n").await;
    for _ in 0..5 {
        assert_eq!(broker.get("/v1/plans").await.status, 200);
    }
    let answer = broker.get("/v1/plans").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{answer:?}");
    broker.clock.advance(Duration::from_millis(250));
    assert_eq!(broker.get("/v1/plans").await.status, 200);
    assert_eq!(broker.get("/v1/plans").await.status, 429);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_apart_and_addresses_as_the_proxy_says() {
    let broker = Broker::start("[server]\nrate = \"3/s\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n").await;
    let from = |address: &'static str| [("x-forwarded-for", address)];
    for address in ["203.0.113.1", "203.0.113.2"] {
        for n in 0..4 {
            let answer = broker.send("GET", "/v1/plans", &from(address), "").await;
            assert_eq!(answer.status, if n < 3 { 200 } else { 429 }, "{address} {n}");
        }
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused() {
    let broker = Broker::start("[server]\nbody_limit = \"1KiB\"\n").await;
    let answer = broker.send("POST", "/v1/events", &[("content-type", "application/json")], &"x".repeat(2000)).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.json()["type"], "/docs/problems#too-large");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_a_problem_document() {
    let broker = Broker::start(&webhooks("")).await;
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/events", 405),
        ("DELETE", "/v1/incidents", 405),
        ("GET", "/v1/incidents/inc_7", 404),
        ("GET", "/v1/incidents/unknown-key", 404),
        ("GET", "/v1/broadcasts/brd_7", 404),
        ("GET", "/v1/broadcasts/xyz", 404),
        ("POST", "/v1/broadcasts/brd_7:stop", 404),
        ("GET", "/v1/deliveries", 400),
        ("GET", "/v1/deliveries?broadcast=x", 400),
        ("GET", "/v1/deliveries/dlv_1_1_1_0000000000000000", 404),
        ("GET", "/v1/incidents?limit=0", 400),
        ("GET", "/v1/incidents?opne=true", 400),
        ("GET", "/v1/channels/none", 404),
        ("POST", "/v1/receipts/hooks", 404),
        ("GET", "/v1/subscribers/sub_7", 404),
    ] {
        let answer = broker.send(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
        let problem = answer.json();
        assert_eq!(problem["status"], json!(status));
        for name in ["type", "title", "detail"] {
            assert!(problem[name].is_string(), "{method} {path}: {problem}");
        }
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_written_in_another_way_needs_the_same_token() {
    let broker = Broker::start("[sources.gatus]\n").await;
    let reader = format!("Bearer {}", broker.token("reader", false, &["read"]).await);
    broker.clock.advance(Duration::from_secs(3));
    for (method, path) in [
        ("GET", "/%761/subscribers"),
        ("GET", "/v1/%73ubscribers"),
        ("GET", "/v1/subscriber%73"),
        ("POST", "/%76%31/broadcasts:stop"),
        ("POST", "/v1/broadcasts%3Astop"),
        ("POST", "/v1/sources/gatus%3Amute"),
        ("POST", "/v1/sources/gatus%3amute"),
        ("GET", "/v1/incident%73"),
        ("GET", "/metric%73"),
        ("GET", "/%76%31/stream"),
    ] {
        let answer = broker.send(method, path, &[], "").await;
        assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
    }
    for (method, path) in [("GET", "/%761/subscribers"), ("POST", "/v1/sources/gatus%3Amute")] {
        let answer = broker.send(method, path, &[("authorization", &reader)], "").await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
    }
    for path in ["/consol%65", "/%63onsole/incidents"] {
        let answer = broker.get(path).await;
        assert!(answer.header("location").is_some_and(|to| to.contains("/sign-in?next=")), "{path}: {answer:?}");
    }
    assert_eq!(
        broker.send("GET", "/v1/sources", &[("authorization", &reader)], "").await.json()["items"][0]["muted"],
        json!(false)
    );
    broker.stop().await;
}
