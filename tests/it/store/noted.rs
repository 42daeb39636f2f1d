//! What the journal says of deliveries, where it is asked for: enough to know how everybody stands.

use loudhailer::audience::Omission;
use loudhailer::store::{BroadcastFilter, Counts, OUTCOMES, OutcomeRow};

use super::*;

pub type Followed = BTreeMap<(BroadcastId, SubscriberId), String>;

/// How each recipient stands, by the rows of the journal alone.
pub async fn followed(store: &dyn Store) -> Followed {
    let mut stand = BTreeMap::new();
    for row in store.journal(0, 1_000_000, true).await.expect("read") {
        let id = |name: &str| row.body[name].as_str().unwrap_or_else(|| panic!("{name} of {row:?}")).to_string();
        match row.kind.as_str() {
            OUTCOMES => {
                let all: Vec<OutcomeRow> = serde_json::from_value(row.body["outcomes"].clone()).expect("reads");
                let broadcast = id("broadcast").parse().expect("an id");
                let said = all.into_iter().filter_map(|one| Some(((broadcast, one.subscriber), one.recipient?)));
                stand.extend(said);
            }
            "receipt" | "replayed" => {
                let recipient = (id("broadcast").parse().expect("an id"), id("subscriber").parse().expect("an id"));
                if let Some(word) = row.body["recipient"].as_str() {
                    stand.insert(recipient, word.to_string());
                }
            }
            _ => {}
        }
    }
    stand
}

/// What that makes of a broadcast which has selected so many.
pub fn counted(followed: &Followed, id: BroadcastId, selected: i64) -> Counts {
    let of = followed.range((id, SubscriberId(0))..).take_while(|((of, _), _)| *of == id);
    let stands: Vec<&str> = of.map(|(_, stands)| stands.as_str()).collect();
    let by = |word| stands.iter().filter(|stands| **stands == word).count() as i64;
    Counts {
        selected,
        told: by("told"),
        unknown: by("unknown"),
        unreachable: by("unreachable"),
        skipped: by("skipped"),
        superseded: by("superseded"),
        cancelled: by("cancelled"),
        expired: by("expired"),
    }
}

/// After everything that the suite has done.
pub async fn outcomes(store: &dyn Store, people: &[SubscriberId]) {
    let said = json!({ "incident": "noted", "title": "Noted", "status": "investigating" });
    let id = take(store, "noted", at(20_000), said).await.broadcasts[0];
    let left_out = |n: usize, omission| Manifest {
        key: ManifestKey { broadcast: id, shard: people[n].shard(), number: n as i64 },
        at: at(20_000),
        epoch: store.leases().epoch(people[n].shard()).expect("it is ours"),
        decided: vec![Decided { subscriber: people[n], version: 1, decision: Decision::Omitted(omission) }],
        end: false,
    };
    let manifests = vec![left_out(0, Omission::NotInterested), left_out(1, Omission::NoAddress)];
    store.decide(manifests, Vec::new(), Vec::new()).await.expect("written");
    let refused = Fact { sole: None, fault: Some("address"), ..fact(id, people[2], DeliveryState::Rejected) };
    store.record(Arc::new(vec![refused]), Vec::new()).await.expect("written");
    let rows = store.journal(0, 10_000, true).await.expect("read");
    let of = |who: SubscriberId| {
        let all = rows.iter().filter(|row| row.kind == OUTCOMES && row.body["broadcast"] == json!(id));
        let one = all.flat_map(|row| row.body["outcomes"].as_array().expect("a list")).find(|one| one[0] == json!(who));
        serde_json::from_value::<OutcomeRow>(one.expect("it is noted").clone()).expect("reads")
    };
    for (n, state, reason, recipient) in [
        (0, "skipped", "not_interested", "skipped"),
        (1, "unreachable", "no_address", "unreachable"),
        (2, "rejected", "address", "unreachable"),
    ] {
        let one = of(people[n]);
        let noted = (one.state.as_str(), one.reason.as_deref(), one.recipient.as_deref());
        assert_eq!(noted, (state, Some(reason), Some(recipient)));
    }
    let stopped =
        store.change_state(id, vec![BroadcastState::Running], BroadcastState::Cancelled, at(20_001), "me").await;
    assert!(stopped.expect("written").is_some());

    // Whoever follows knows what the store knows, of everything that was done to it.
    let followed = followed(store).await;
    let broadcasts = store.broadcasts(BroadcastFilter::default(), 1000).await.expect("read");
    assert!(broadcasts.len() > 8);
    for (broadcast, counts) in &broadcasts {
        assert_eq!(counted(&followed, broadcast.id, counts.selected), *counts, "{}", broadcast.id);
    }
    // Each broadcast that has ended says so, and with which counts.
    let last = |id: BroadcastId| rows_of(&rows, id).last().map(|row| row.body["state"].clone());
    for (broadcast, _) in broadcasts.iter().filter(|(broadcast, _)| broadcast.id != id && !broadcast.state.live()) {
        assert_eq!(last(broadcast.id), Some(json!(broadcast.state)), "{}", broadcast.id);
    }
    let rows = store.journal(0, 10_000, true).await.expect("read");
    let end = rows_of(&rows, id).last().expect("it ended");
    assert_eq!((&end.body["state"], &end.body["counts"]["unreachable"]), (&json!("cancelled"), &json!(2)));

    let kinds: BTreeSet<String> =
        store.journal(0, 10_000, false).await.expect("read").into_iter().map(|row| row.kind).collect();
    assert!(kinds.contains("broadcast") && !kinds.contains(OUTCOMES), "pages are not told of each: {kinds:?}");
}

fn rows_of(
    rows: &[loudhailer::store::JournalRow],
    id: BroadcastId,
) -> impl Iterator<Item = &loudhailer::store::JournalRow> {
    rows.iter().filter(move |row| row.kind == "broadcast" && row.body["broadcast"] == json!(id))
}

/// What is numbered once is not numbered again.
pub async fn numbered_on(store: &dyn Store) {
    let end = store.journal_end().await.expect("read");
    let left = store.journal(0, 10, true).await.expect("read");
    assert_eq!((left.len(), left.last().map(|row| row.sequence)), (1, Some(end)), "all but the last are gone");
    take(store, "after", at(40_000), json!({ "incident": "after", "title": "After", "status": "investigating" })).await;
    let next = store.journal(end, 1, true).await.expect("read");
    assert_eq!(next.first().map(|row| row.sequence), Some(end + 1));
}
