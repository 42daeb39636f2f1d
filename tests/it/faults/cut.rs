//! Nodes whose store goes away: from one of them, by the network, or from all, by a restart.

use std::process::Command;

use super::nodes::Telling;
use super::process::until;
use super::proxy::Proxy;
use crate::harness::Database;
use crate::peers::peer;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_store_sends_nothing_that_is_others_and_comes_back() {
    let Some(database) = Database::on("postgres").await else { return };
    let proxy = Proxy::start(database.at()).await;
    let telling = Telling::begin_by(database, "", |node| (node == 1).then_some(proxy.at)).await;
    telling.told(2).await;
    // Nothing more begins while all that may be on the wire is held: what comes again is known beforehand.
    let on_wire = telling.stand_still().await;
    let in_flight = telling.in_flight(&on_wire).await;
    let nodes = telling.database.number("SELECT max(id) FROM node").await;
    proxy.cut();
    until("the others own what it had", async || {
        let orphans = "SELECT count(*) FROM shard WHERE node NOT IN (SELECT id FROM node)";
        let alive = telling.database.number("SELECT count(*) FROM node").await;
        (alive == 2 && telling.database.number(orphans).await == 0).then_some(())
    })
    .await;
    telling.release().await;
    telling.told(6).await;
    proxy.mend();
    until("it has joined anew", async || {
        let anew = format!("SELECT count(*) FROM node WHERE id > {nodes}");
        (telling.database.number(&anew).await == 1).then_some(())
    })
    .await;
    let again = telling.end().await as u64;
    assert!(again <= in_flight, "{again} came again, and {in_flight} were in flight");
    assert!(again > 0, "it hit nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_postgres_is_restarted_lose_nobody() {
    let Some(database) = Database::on("postgres_spare").await else { return };
    let Some(control) = peer("postgres_spare_control") else { return };
    let telling = Telling::begin(database, "").await;
    let mut in_flight = 0;
    for share in [1, 4, 7] {
        telling.told(share).await;
        let on_wire = telling.stand_still().await;
        // Of every node, since whoever connects first may find that the lease of another has ended.
        in_flight += telling.in_flight(&on_wire).await;
        let control = control.clone();
        let restarted = tokio::task::spawn_blocking(move || Command::new(control).arg("restart").status());
        assert!(restarted.await.expect("no panic").expect("runs").success());
        telling.release().await;
    }
    let again = telling.end().await as u64;
    assert!(again <= in_flight, "{again} came again, and {in_flight} were in flight");
}
