//! A real relay that is stopped in mid-broadcast and started again: nobody is lost, and nobody is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use loudhailer::id::{BroadcastId, DeliveryId};
use loudhailer::store::{DeliveryFilter, DeliveryState};

use crate::harness::{Broker, outage, plan, within};
use crate::peers::{eventually, peers};

const EACH: usize = 400;

const PLAN: &str = "title = \"By mail\"\n\
    [[step]]\nname = \"customers\"\naudience = \"customers\"\nroutes = [\"email\"]\npriority = \"normal\"\n\
    [[step]]\nname = \"press\"\naudience = \"press\"\nroutes = [\"email\"]\npriority = \"normal\"\n";

/// What a program that ends well prints.
fn run(control: &str, what: &str) -> String {
    let output = Command::new(control).arg(what).output().expect("runs");
    assert!(output.status.success(), "{what}: {output:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_string()
}

/// As what the relay took the mails that arrived at each address. Stopped between writing a mail into the mailbox and noting it, it
/// writes the same one again when it is started: it was told once all the same.
fn taken(maildir: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut taken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new(maildir).join("new")).expect("a Maildir") {
        let mail = std::fs::read_to_string(entry.expect("an entry").path()).expect("a mail");
        let to = mail.lines().find_map(|line| line.strip_prefix("Delivered-To: ")).expect("a recipient");
        let by =
            mail.lines().find_map(|line| line.split_once("(Postfix) with ESMTP id ")).expect("a line of the relay's").1;
        taken.entry(to.to_string()).or_default().insert(by.trim_end_matches(';').to_string());
    }
    taken
}

/// What is known of every delivery of these broadcasts, by the subscriber that it is for.
async fn states(broker: &Broker, broadcasts: &[BroadcastId]) -> Vec<(String, DeliveryState)> {
    let mut states = Vec::new();
    for broadcast in broadcasts {
        let mut after: Option<DeliveryId> = None;
        loop {
            let filter = DeliveryFilter { broadcast: Some(*broadcast), subscriber: None, state: None, after };
            let page = broker.app.store.deliveries(filter, 1000).await.expect("read");
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            states.extend(page.iter().map(|row| (row.id.subscriber.to_string(), row.state)));
        }
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_stopped_in_mid_broadcast_and_started_again_loses_nobody_and_tells_nobody_twice() {
    let names = ["relay", "relay_control", "relay_maildir"];
    let Some([relay, control, maildir]) = peers(names) else { return };
    let (_plans, config) = plan(PLAN);
    let config = format!(
        "{config}[audiences.press]\nclearance = \"public\"\nunsubscribe = false\n\
         [channels.mail]\nplatform = \"smtp\"\n[channels.mail.settings]\nurl = \"smtp://{relay}\"\ntls = \"none\"\n"
    );
    let broker = Broker::start(&config).await;
    let run_id = format!("{:08x}", fastrand::u32(..)); // the mailbox outlives a run
    let mut addresses = BTreeMap::new();
    for n in 0..2 * EACH {
        let audience = if n % 2 == 0 { "customers" } else { "press" };
        let address = format!("{audience}-{n}-{run_id}@example.com");
        let id = broker.subscriber(&format!("s{n}"), audience, &[("email", &address)], |_| ()).await;
        addresses.insert(id.to_string(), address);
    }
    let answer = broker.post("/v1/events", &outage("a-1")).await.json();
    let broadcasts: Vec<BroadcastId> = answer["broadcasts"].as_array().expect("a list").iter().map(id).collect();
    assert_eq!(broadcasts.len(), 2);
    let mut happenings = broker.app.engine.happenings();
    let told =
        |states: &[(String, DeliveryState)]| states.iter().filter(|(_, state)| *state == DeliveryState::Told).count();
    within("begins", async {
        while told(&states(&broker, &broadcasts).await) < EACH / 4 {
            happenings.changed().await.expect("the engine lives");
        }
    })
    .await;

    run(&control, "stop");
    broker.off_the_wire("mail").await;
    let before = told(&states(&broker, &broadcasts).await);
    assert!(before < 2 * EACH, "it was stopped too late to be a test");
    // It is tried again, and does not answer.
    broker.clock.advance(Duration::from_secs(60));
    broker.off_the_wire("mail").await;
    run(&control, "start");
    within("settles", async {
        while !broker.app.engine.idle() {
            broker.clock.advance(Duration::from_secs(5));
            let _ = tokio::time::timeout(Duration::from_millis(50), happenings.changed()).await;
        }
    })
    .await;

    assert!(eventually(|| (run(&control, "queued") == "0").then_some(())).is_some(), "it does not deliver");
    let taken = taken(&maildir);
    let states = states(&broker, &broadcasts).await;
    assert_eq!(states.len(), 2 * EACH);
    assert!(told(&states) > before);
    let mut unknown = 0;
    for (subscriber, state) in states {
        let address = &addresses[&subscriber];
        let mails = taken.get(address).cloned().unwrap_or_default();
        match state {
            DeliveryState::Told => assert_eq!(mails.len(), 1, "{address} was told: {mails:?}"),
            DeliveryState::Unknown => {
                unknown += 1;
                assert!(mails.len() <= 1, "{address} was told twice: {mails:?}");
            }
            other => panic!("{address}: {other:?}, and the mails {mails:?}"),
        }
    }
    assert!(unknown <= 64, "{unknown} unknown: more than were on the wire");
    broker.stop().await;
}

fn id(value: &serde_json::Value) -> BroadcastId {
    value.as_str().expect("an id").parse().expect("of a broadcast")
}
