//! What people do at one of several nodes is so at every other.

use serde_json::json;

use super::harness::{Broker, Database, webhooks};

#[tokio::test(flavor = "multi_thread")]
async fn who_has_signed_in_at_one_node_is_known_at_the_other_and_who_signs_out_there_is_known_at_neither() {
    let Some(database) = Database::on("postgres").await else { return };
    let (first, second) = (Broker::node(&webhooks(""), &database).await, Broker::node(&webhooks(""), &database).await);
    let token = first.token("ada", true, &["read"]).await;
    let typed = [("content-type", "application/x-www-form-urlencoded")];
    let shown = first.send("POST", "/console/sign-in", &typed, &format!("token={token}")).await;
    assert_eq!(shown.status, 303, "{shown:?}");
    let word = shown.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("its word");
    let cookie = [("cookie", word)];
    for node in [&first, &second] {
        assert_eq!(node.send("GET", "/console/channels", &cookie, "").await.status, 200);
    }
    assert_eq!(
        second.send("GET", "/console/channels", &[("cookie", "loudhailer_session=guess")], "").await.status,
        303
    );
    assert_eq!(second.send("POST", "/console/sign-out", &cookie, "").await.status, 303);
    for node in [&first, &second] {
        assert_eq!(node.send("GET", "/console/channels", &cookie, "").await.status, 303);
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_are_muted_at_one_moment_at_two_nodes_are_muted_at_both() {
    let Some(database) = Database::on("postgres").await else { return };
    let names = ["gatus", "sentry", "grafana", "datadog", "opsgenie", "uptime-kuma"];
    let sources: String = names.iter().map(|name| format!("[sources.{name}]\n")).collect();
    let (first, second) = (Broker::node(&sources, &database).await, Broker::node(&sources, &database).await);
    let nodes = [&first, &second];
    let mute = async |at: usize| {
        let answer = nodes[at % 2].post(&format!("/v1/sources/{}:mute", names[at]), &json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    tokio::join!(mute(0), mute(1), mute(2), mute(3), mute(4), mute(5));
    for node in nodes {
        node.until("it knows all of them", async || {
            let listed = node.get("/v1/sources").await.json();
            let items = listed["items"].as_array().expect("a list").iter();
            let muted = items.filter(|source| source["muted"] == json!(true)).count();
            (muted == names.len()).then_some(())
        })
        .await;
    }
    first.stop().await;
    second.stop().await;
}
