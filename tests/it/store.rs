//! What every `Store` promises, as one suite over the trait; it is run over each store there is.

mod carried;
mod kept;
mod nodes;
pub mod noted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use loudhailer::audience::route::{ChannelId, Way};
use loudhailer::channel::{Fault, ReceiptStatus};
use loudhailer::clock::{Clock, Time};
use loudhailer::id::{BroadcastId, DeliveryId, SubscriberId};
use loudhailer::incident::{self, Clearance};
use loudhailer::ingest::event::{Event, Principal, parse_value};
use loudhailer::ingest::{IngestError, Ingested};
use loudhailer::plan::{self, Plans, Priority};
use loudhailer::store::access::SESSIONS;
use loudhailer::store::carried::unwatched;
use loudhailer::store::postgres::Postgres;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{
    Applied, Apply, BroadcastState, Committed, Decided, Decision, DeliveryState, Fact, Known, Manifest, ManifestKey,
    Matching, ReceiptFact, Store, StoreError, SubscriberDraft, TokenRow, Upserted,
};
use serde_json::{Value, json};

use super::harness::{Database, draft};

const NOW: Time = Time(1_633_362_660_000);
const PLAN: &str = r#"
title = "suite"
[[step]]
name = "staff"
audience = "staff"
routes = ["email"]
priority = "high"
[[step]]
name = "press"
audience = "press"
routes = ["email"]
priority = "normal"
at_most = "1/15min"
"#;

fn at(seconds: u64) -> Time {
    NOW.plus(Duration::from_secs(seconds))
}

/// An event, and how it is applied.
fn happening(id: &str, when: Time, says: Value) -> (Arc<Event>, Apply) {
    let mut event =
        json!({ "source": "suite", "id": id, "incident": "web", "at": when, "title": "Web", "severity": "major" });
    for (name, value) in says.as_object().expect("an object") {
        event[name] = value.clone();
    }
    let event = Arc::new(parse_value(event, &Principal::Machine("suite".into())).expect("an event"));
    let plan = plan::parse("suite", "suite.toml", PLAN).expect("a plan");
    let audiences = [("staff".into(), Clearance::Internal), ("press".into(), Clearance::Public)].into();
    let plans = Plans::new(vec![plan], audiences, BTreeSet::new(), Duration::from_secs(86_400));
    let applied = event.clone();
    let apply = move |known: Known| {
        let change = incident::apply(known.incident, &applied, when, Duration::from_secs(86_400))?;
        let draws = plan::draw(&change, &known.threads, &plans, None, when, &mut fastrand::Rng::with_seed(7));
        Ok(Applied { change, draws, templates: [0; 32] })
    };
    (event, Box::new(apply))
}

async fn take(store: &dyn Store, id: &str, when: Time, says: Value) -> Ingested {
    let (event, apply) = happening(id, when, says);
    match store.ingest(event, apply).await.expect("written") {
        Committed::Done { ingested, drawn, .. } => {
            for broadcast in drawn {
                let written = store.broadcast(broadcast.id).await.expect("reads").expect("is there");
                assert_eq!(format!("{broadcast:?}"), format!("{written:?}"));
            }
            ingested
        }
        Committed::Seen { .. } => panic!("it came before"),
        Committed::Refused(error) => panic!("{error}"),
    }
}

async fn person(store: &dyn Store, key: &str, audience: &str, when: Time) -> Upserted {
    let mail = format!("{key}@example.org");
    let subscriber = draft(key, audience, &[("email", &mail)]);
    let upserted = store.upsert(vec![SubscriberDraft { id: None, subscriber }], when).await.expect("written");
    upserted.into_iter().next().expect("one answer")
}

async fn state(store: &dyn Store, id: BroadcastId) -> BroadcastState {
    store.broadcast(id).await.expect("read").expect("it is there").state
}

/// The whole suite, on a store that is empty and owned.
async fn suite(store: &dyn Store) {
    let people = subscribers(store).await;
    let broadcasts = incidents(store).await;
    deliveries(store, broadcasts[0], &people).await;
    may_have_been_told(store, &people).await;
    reports(store, &people).await;
    tokens(store).await;
    kept::confirmations(store, &people).await;
    kept::earlier(store, &people).await;
    kept::asked_again(store, &people).await;
    kept::said_of_components(store).await;
    kept::remembered(store).await;
    kept::looked_at(store, &people).await;
    noted::outcomes(store, &people).await;
}

async fn subscribers(store: &dyn Store) -> Vec<SubscriberId> {
    let mut ids = Vec::new();
    for n in 0..3 {
        let Upserted::Created(id) = person(store, &format!("staff{n}"), "staff", NOW).await else { panic!("created") };
        ids.push(id);
        assert_eq!(person(store, &format!("staff{n}"), "staff", at(1)).await, Upserted::Unchanged(id));
    }
    person(store, "press0", "press", NOW).await;

    // Who left stays left: the address outlives the subscriber.
    let Upserted::Created(gone) = person(store, "gone", "staff", NOW).await else { panic!("created") };
    assert_eq!(store.suppress("email", "gone@example.org", "wish", NOW).await.expect("written"), Some(gone));
    assert!(store.remove_subscriber(gone, NOW).await.expect("written"));
    let Upserted::Created(back) = person(store, "gone", "staff", at(1)).await else { panic!("created") };
    let back = store.subscriber(back).await.expect("read").expect("it is there");
    assert!(back.addresses[0].suppressed, "a suppression ended with its subscriber");
    assert!(store.remove_subscriber(back.id, NOW).await.expect("written"));

    // A place is an address's own for ever.
    let Upserted::Created(id) = person(store, "moves", "nobody", NOW).await else { panic!("created") };
    let mut places = BTreeSet::new();
    for n in 0..3 {
        let mail = format!("moves{n}@example.org");
        let subscriber = draft("moves", "nobody", &[("email", &mail)]);
        store.upsert(vec![SubscriberDraft { id: Some(id), subscriber }], at(n)).await.expect("written");
        let now = store.subscriber(id).await.expect("read").expect("it is there");
        assert!(places.insert(now.addresses[0].place), "a place was used again");
    }
    ids
}

/// The broadcasts to staff and press that run at the end.
async fn incidents(store: &dyn Store) -> Vec<BroadcastId> {
    let first = take(store, "1", NOW, json!({ "status": "investigating", "components": ["mail"] })).await;
    let [staff, press] = first.broadcasts[..] else { panic!("two broadcasts: {first:?}") };
    let seen = store.known("suite", "1", "web", None).await.expect("read").seen.expect("the event is known").1;
    assert_eq!((seen.update, &seen.broadcasts, seen.duplicate), (first.update, &first.broadcasts, true));

    // Two at one moment: each finds what the one before it left, and one that does not apply leaves nothing.
    let one = happening("2", at(60), json!({ "title": "Web and mail", "components": ["web"] }));
    let other = happening("3", at(60), json!({ "title": "Drill", "mode": "exercise" }));
    let (second, refused) = tokio::join!(store.ingest(one.0, one.1), store.ingest(other.0, other.1));
    let Committed::Done { ingested: second, .. } = second.expect("written") else { panic!("it is new") };
    assert!(matches!(refused.expect("answered"), Committed::Refused(IngestError::ModeConflict { .. })));
    assert!(
        store.known("suite", "3", "web", None).await.expect("read").seen.is_none(),
        "half of a refused event is there"
    );

    // The newer word replaces the older, and whom that left untold it tells; at_most holds the press's back.
    let [staff_two, press_two] = second.broadcasts[..] else { panic!("two broadcasts: {second:?}") };
    assert_eq!(state(store, staff).await, BroadcastState::Superseded);
    assert_eq!(
        (state(store, staff_two).await, state(store, press).await),
        (BroadcastState::Running, BroadcastState::Running)
    );
    assert_eq!(state(store, press_two).await, BroadcastState::Held);
    let selection = store.broadcast(staff_two).await.expect("read").expect("it is there").selection;
    let both: BTreeSet<String> = ["mail".to_string(), "web".to_string()].into();
    assert_eq!(selection.components, both, "whom the older one was for is forgotten");
    let (due, next) = store.due_timers(at(61)).await.expect("read");
    assert!(due.iter().all(|timer| timer.subject != press_two.0) && next.is_some());
    let (due, _) = store.due_timers(at(16 * 60)).await.expect("read");
    let timer = due.iter().find(|timer| timer.subject == press_two.0).expect("its release is due");
    let released = store.release(press_two, at(16 * 60), "clock").await.expect("written");
    assert_eq!(released.map(|broadcast| broadcast.state), Some(BroadcastState::Running));
    let twice = store.release(press_two, at(16 * 60), "clock").await.expect("answered");
    assert!(twice.is_none(), "released twice");
    store.end_timer(timer.kind, timer.subject, timer.due).await.expect("written");
    assert_eq!(
        (state(store, press).await, state(store, press_two).await),
        (BroadcastState::Superseded, BroadcastState::Running)
    );
    vec![staff_two, press_two]
}

fn fact(broadcast: BroadcastId, subscriber: SubscriberId, state: DeliveryState) -> Fact {
    Fact {
        delivery: DeliveryId { broadcast, subscriber, place: 1 },
        state,
        channel: ChannelId(1),
        began: NOW,
        ended: at(state as u64),
        tries: 1,
        detail: Some(state.word().into()),
        reference: None,
        indexed: false,
        priority: Priority::High,
        lane: ChannelId(1),
        due: NOW,
        attempt: None,
        fault: None,
        sole: None,
        suppress: false,
        reopens: false,
        entered: None,
        perhaps: None,
    }
}

fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    (0..items.len())
        .flat_map(|at| {
            let mut rest = items.to_vec();
            let first = rest.remove(at);
            permutations(&rest).into_iter().map(move |mut tail| {
                tail.insert(0, first.clone());
                tail
            })
        })
        .collect()
}

async fn deliveries(store: &dyn Store, id: BroadcastId, people: &[SubscriberId]) {
    let broadcast = store.broadcast(id).await.expect("read").expect("it is there");
    let epoch = epoch_of(store);
    // All shards in one go, two members at a time, in order.
    let (mut read, mut after) = (Vec::new(), 0);
    loop {
        let (page, end) = store.page(&broadcast, 0..=63, after, 2).await.expect("read");
        assert!(page.len() == 2 || end, "{} members, and more to come", page.len());
        read.extend(page.iter().map(|member| member.subscriber.id));
        after = read.last().map_or(0, |last| last.0);
        if end {
            break;
        }
    }
    let mut sorted = people.to_vec();
    sorted.sort();
    assert_eq!(read, sorted);
    let mut members = BTreeMap::new();
    for shard in (0..64u8).filter(|shard| broadcast.shards >> shard & 1 == 1) {
        let (page, end) = store.page(&broadcast, shard..=shard, 0, 100).await.expect("read");
        assert!(end);
        let decided = page.iter().map(|member| Decided {
            subscriber: member.subscriber.id,
            version: member.subscriber.version,
            decision: Decision::Ways(vec![Way { place: 1, channel: ChannelId(1) }], Vec::new()),
        });
        let decided: Vec<Decided> = decided.collect();
        let key = ManifestKey { broadcast: id, shard, number: 1 };
        let manifest = Manifest { key, at: NOW, epoch, decided: decided.clone(), end: true };
        let stranger = Manifest { epoch: epoch - 1, ..manifest.clone() };
        assert!(matches!(store.decide(vec![stranger], Vec::new(), Vec::new()).await, Err(StoreError::Fenced)));
        store.decide(vec![manifest], Vec::new(), Vec::new()).await.expect("written");
        members.extend(decided.iter().map(|one| (one.subscriber, key)));
    }
    assert_eq!(members.keys().copied().collect::<BTreeSet<_>>(), people.iter().copied().collect());

    // What a crash leaves open is found again until it is recorded.
    let mut missing = BTreeSet::new();
    let mut after = None;
    while let Some(found) = store.unfinished(u64::MAX, after).await.expect("read") {
        missing.extend(found.missing.iter().map(|(subscriber, ..)| subscriber.id));
        after = Some(found.key);
    }
    assert_eq!(missing, people.iter().copied().collect());

    let broadcast = store.broadcast(id).await.expect("read").expect("it is there");
    assert_eq!(broadcast.shards, 0);

    // Facts merge to the same end in any order, and nobody is counted twice.
    use DeliveryState::{Open, Rejected, Told, Unknown};
    let mut ends = BTreeSet::new();
    for order in permutations(&[Open, Rejected, Unknown, Told]) {
        for state in order {
            store.record(Arc::new(vec![fact(id, people[0], state)]), Vec::new()).await.expect("written");
        }
        let delivery = DeliveryId { broadcast: id, subscriber: people[0], place: 1 };
        let (row, _) = store.delivery(delivery).await.expect("read").expect("it is there");
        let (counts, unread) = store.counts(&broadcast).await.expect("read");
        assert_eq!((counts.told, counts.open(), unread), (1, 2, 0), "{counts:?}");
        ends.insert(format!("{row:?}"));
    }
    assert_eq!(ends.len(), 1, "{ends:?}");

    // A receipt that comes before its outcome is kept, and counts when that comes.
    let reference = ReceiptFact {
        channel: ChannelId(1),
        matching: Matching::Reference("r-1".into()),
        status: ReceiptStatus::Delivered,
        fault: None,
        at: at(5),
        detail: String::new(),
    };
    assert_eq!(store.receipt(reference).await.expect("kept"), None);
    let closed: Vec<ManifestKey> = members.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let told = Fact { reference: Some("r-1".into()), indexed: true, ..fact(id, people[2], Told) };
    let rest = vec![fact(id, people[1], Unknown), told];
    let ended = store.record(Arc::new(rest), closed).await.expect("written").ended;
    assert_eq!(ended.get(&id), Some(&2));
    let (counts, _) = store.counts(&broadcast).await.expect("read");
    assert_eq!((counts.selected, counts.told, counts.unknown, counts.open()), (3, 2, 1, 0));
    assert!(store.unfinished(u64::MAX, None).await.expect("read").is_none());
    let delivery = DeliveryId { broadcast: id, subscriber: people[2], place: 1 };
    let (row, _) = store.delivery(delivery).await.expect("read").expect("it is there");
    assert_eq!((row.state, row.receipt.as_deref()), (Told, Some("delivered")));
}

/// Whom a wrong update may have reached is whom its correction selects, although it was stopped before the next try.
async fn may_have_been_told(store: &dyn Store, people: &[SubscriberId]) {
    let said = take(store, "wrong", at(9000), json!({ "severity": "critical", "title": "Wrong" })).await;
    let id = said.broadcasts[0];
    use DeliveryState::Open;
    let lost = Fact { attempt: Some(("unknown", None)), tries: 1, ..fact(id, people[0], Open) };
    let refused = Fact { attempt: Some(("deferred", None)), tries: 1, ..fact(id, people[1], Open) };
    store.record(Arc::new(vec![lost, refused]), Vec::new()).await.expect("written");
    let from = vec![BroadcastState::Running];
    let cancelled = store.change_state(id, from, BroadcastState::Cancelled, at(9001), "suite").await.expect("written");
    assert_eq!(cancelled.map(|broadcast| broadcast.state), Some(BroadcastState::Cancelled));
    let mut correction = store.broadcast(id).await.expect("read").expect("it is there");
    correction.selection.told_by = vec![id.0];
    let (page, end) = store.page(&correction, 0..=63, 0, 100).await.expect("read");
    assert!(end);
    let told: BTreeSet<_> = page.iter().filter(|member| member.told).map(|member| member.subscriber.id).collect();
    assert_eq!(told, [people[0]].into());
}

/// A report is about the attempt of its own channel, and counts once that has an outcome.
async fn reports(store: &dyn Store, people: &[SubscriberId]) {
    use DeliveryState::{Open, Rejected, Told, Unknown};
    let said = take(store, "reported", at(9500), json!({ "severity": "critical", "title": "Reported" })).await;
    let id = said.broadcasts[0];
    let (first, second) = (ChannelId(1), ChannelId(2));
    let delivery = |who| DeliveryId { broadcast: id, subscriber: who, place: 1 };
    let report = |channel, who, status| ReceiptFact {
        channel,
        matching: Matching::Delivery(delivery(who)),
        status,
        fault: None,
        at: at(9501),
        detail: String::new(),
    };
    let record = async |fact| drop(store.record(Arc::new(vec![fact]), Vec::new()).await.expect("written"));
    let row = async |who| store.delivery(delivery(who)).await.expect("read").expect("it is there");
    let tried = |who, outcome, state| Fact { attempt: Some((outcome, None)), tries: 1, ..fact(id, who, state) };

    // Open again, since the answer was lost: the bounce waits for the outcome of the next try, which the platform may drop.
    record(tried(people[0], "unknown", Open)).await;
    assert_eq!(store.receipt(report(first, people[0], ReceiptStatus::Bounced)).await.expect("kept"), None);
    record(Fact { tries: 2, ..fact(id, people[0], Told) }).await;
    assert_eq!(row(people[0]).await.0.state, Rejected);

    // The first channel's bounce says nothing about the second, which told them.
    record(tried(people[1], "unknown", Open)).await;
    record(Fact { channel: second, tries: 2, ..fact(id, people[1], Told) }).await;
    let reported =
        store.receipt(report(first, people[1], ReceiptStatus::Bounced)).await.expect("written").expect("known");
    assert!(!reported.opened && reported.ended == 0, "{reported:?}");
    let (told, attempts) = row(people[1]).await;
    assert_eq!((told.state, told.receipt.as_deref(), &*attempts[0].outcome), (Told, None, "rejected"));

    // Nor does it stand in the way of what the second reports.
    record(fact(id, people[2], Told)).await;
    let reported =
        store.receipt(report(first, people[2], ReceiptStatus::Bounced)).await.expect("written").expect("known");
    assert!(reported.opened && reported.ended == -1, "{reported:?}");
    record(Fact { channel: second, reopens: true, ..fact(id, people[2], Open) }).await;
    record(Fact { channel: second, tries: 1, ..fact(id, people[2], Unknown) }).await;
    store.receipt(report(second, people[2], ReceiptStatus::Delivered)).await.expect("written").expect("known");
    let (told, _) = row(people[2]).await;
    assert_eq!((told.state, told.receipt.as_deref()), (Told, Some("delivered")));

    // A report that the address is gone, faster than the answer: it is suppressed when that is written, and whoever wrote it knows.
    let said = take(store, "gone", at(9600), json!({ "severity": "critical", "title": "Gone" })).await;
    let sent = DeliveryId { broadcast: said.broadcasts[0], ..delivery(people[0]) };
    let matching = Matching::Delivery(sent);
    let gone =
        ReceiptFact { fault: Some(Fault::Address), matching, ..report(first, people[0], ReceiptStatus::Bounced) };
    assert_eq!(store.receipt(gone).await.expect("kept"), None);
    let told = fact(sent.broadcast, people[0], Told);
    let written = store.record(Arc::new(vec![told]), Vec::new()).await.expect("written");
    assert_eq!(written.suppressed, [people[0]].into());
    let person = store.subscriber(people[0]).await.expect("read").expect("it is there");
    assert!(person.addresses.iter().any(|address| address.suppressed), "{person:?}");
}

async fn tokens(store: &dyn Store) {
    let row = TokenRow { name: "desk".into(), person: true, scopes: vec!["admin".into()] };
    assert!(store.access().add_token([1; 32], row.clone(), NOW).await.expect("written"));
    assert!(!store.access().add_token([2; 32], row.clone(), NOW).await.expect("answered"), "one name for two");
    assert_eq!(store.access().tokens().await.expect("read"), [([1; 32], row)]);
    assert!(store.access().remove_token("desk").await.expect("written"));
    assert!(store.access().tokens().await.expect("read").is_empty());

    let (ends, word) = (at(12 * 3600), |n: u8| [n; 32]);
    store.access().begin_session(word(1), [7; 32], ends, NOW).await.expect("written");
    store.access().begin_session(word(2), [8; 32], at(60), NOW).await.expect("written");
    let token = async |n, now| store.access().session(word(n), now).await.expect("read");
    assert_eq!((token(1, NOW).await, token(2, NOW).await, token(3, NOW).await), (Some([7; 32]), Some([8; 32]), None));
    assert_eq!((token(1, Time(ends.0 - 1)).await, token(1, ends).await), (Some([7; 32]), None), "it has ended");
    store.access().end_session(word(1)).await.expect("written");
    assert_eq!((token(1, NOW).await, token(2, NOW).await), (None, Some([8; 32])));
    for n in 0..=SESSIONS {
        let mut word = [9; 32];
        word[..8].copy_from_slice(&n.to_be_bytes());
        store.access().begin_session(word, [7; 32], Time(ends.0 + n as i64), at(60)).await.expect("written");
    }
    assert_eq!(token(2, NOW).await, None, "it had ended when others began");
    let mut oldest = [9; 32];
    oldest[..8].copy_from_slice(&0_usize.to_be_bytes());
    assert_eq!(store.access().session(oldest, NOW).await.expect("read"), None, "there is no room for it");
    oldest[..8].copy_from_slice(&1_usize.to_be_bytes());
    assert_eq!(store.access().session(oldest, NOW).await.expect("read"), Some([7; 32]));
}

/// What is old enough goes, and only that.
async fn forgotten(store: &dyn Store) {
    let keep = |hours: u64| at(hours * 3600);
    store.retain(NOW, NOW, NOW, NOW).await.expect("deleted");
    assert!(store.incident_by_key("web").await.expect("read").is_some());
    while store.retain(keep(9), keep(9), keep(9), keep(9)).await.expect("deleted") > 0 {}
    assert!(store.known("suite", "1", "web", None).await.expect("read").seen.is_none(), "the event is still there");
    noted::numbered_on(store).await;
}

fn open(path: &Path) -> Sqlite {
    Sqlite::own(path, 64).expect("opens").noting_outcomes(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_promises_of_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let store = open(&path);
    suite(&store).await;
    let db = rusqlite::Connection::open(&path).expect("opens");
    let dead: i64 = db.query_row("SELECT count(*) FROM dead_record", [], |row| row.get(0)).expect("reads");
    assert_eq!(dead, 2, "a record without a body is not kept");

    // A backup is the store, and goes on from there under a new epoch.
    let copy = folder.path().join("b.db");
    store.backup(&copy, unwatched()).await.expect("backed up");
    let restored = open(&copy);
    assert!(epoch_of(&restored) > epoch_of(&store));
    let of = async |store: &Sqlite| {
        let incident = store.incident_by_key("web").await.expect("read").expect("it is there");
        format!("{:?} {:?}", store.incident(incident).await.expect("read"), store.subscribers(None, None, 100).await)
    };
    assert_eq!(of(&store).await, of(&restored).await);
    take(&restored, "4", at(3600), json!({ "status": "resolved" })).await;

    forgotten(&restored).await;
    store.close().await.expect("closes");
    restored.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_replaced_decides_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let old = open(&path);
    assert!(Sqlite::own(&path, 64).is_err(), "two send from one store");
    // The lease is lost, as after a stall: another takes over.
    std::fs::remove_file(folder.path().join("a.db.lock")).expect("removed");
    let new = open(&path);
    person(&new, "staff0", "staff", NOW).await;
    let id = take(&new, "1", NOW, json!({ "status": "investigating" })).await.broadcasts[0];
    let manifest = |epoch| Manifest {
        key: ManifestKey { broadcast: id, shard: 0, number: 1 },
        at: NOW,
        epoch,
        decided: Vec::new(),
        end: true,
    };
    let epoch = epoch_of(&old);
    assert!(matches!(old.decide(vec![manifest(epoch)], Vec::new(), Vec::new()).await, Err(StoreError::Fenced)));
    let epoch = epoch_of(&new);
    new.decide(vec![manifest(epoch)], Vec::new(), Vec::new()).await.expect("written");
}

/// Three who wait: one in a lane, one who never was in any, one who has left it.
async fn in_lanes(store: &dyn Store) -> (BroadcastId, Vec<SubscriberId>) {
    let mut people = Vec::new();
    for key in ["in-a-lane", "waited", "left-the-lane"] {
        let Upserted::Created(id) = person(store, key, "staff", NOW).await else { panic!("{key} was there before") };
        people.push(id);
    }
    let id = take(store, "lanes", NOW, json!({ "status": "investigating" })).await.broadcasts[0];
    let epoch = epoch_of(store);
    let entered = |who| Fact { entered: Some(epoch), ..fact(id, who, DeliveryState::Open) };
    let waits = |who| fact(id, who, DeliveryState::Open);
    let facts = vec![entered(people[0]), waits(people[1]), entered(people[2]), waits(people[2])];
    store.record(Arc::new(facts), Vec::new()).await.expect("written");
    assert_eq!(perhaps(store, id).await, ([].into(), [].into()), "its own lanes are no riddle to it");
    (id, people)
}

/// Whom a correction selects, and whose row says that they may have been told.
async fn perhaps(store: &dyn Store, id: BroadcastId) -> (BTreeSet<SubscriberId>, BTreeSet<SubscriberId>) {
    let mut correction = store.broadcast(id).await.expect("read").expect("it is there");
    correction.selection.told_by = vec![id.0];
    let (page, _) = store.page(&correction, 0..=63, 0, 100).await.expect("read");
    let told = page.iter().filter(|member| member.told).map(|member| member.subscriber.id).collect();
    let due = store.due(ChannelId(1), Priority::High, NOW, 100).await.expect("read");
    let due: Vec<_> = due.iter().filter(|row| row.delivery.broadcast == id).collect();
    assert_eq!(due.len(), 3);
    (told, due.iter().filter(|row| row.perhaps).map(|row| row.delivery.subscriber).collect())
}

/// What was in a lane when the process ended may have been told, and once it is in a lane again that stays known.
async fn after_a_start(store: &dyn Store, id: BroadcastId, people: &[SubscriberId]) {
    assert_eq!(perhaps(store, id).await, ([people[0]].into(), [people[0]].into()));
    let entered = Some(epoch_of(store));
    let again = Fact { entered, perhaps: Some(ChannelId(2)), ..fact(id, people[0], DeliveryState::Open) };
    store.record(Arc::new(vec![again]), Vec::new()).await.expect("written");
    assert_eq!(perhaps(store, id).await, ([people[0]].into(), [].into()));
    // A try that is made and one that perhaps was are two.
    let attempt = Some(("deferred", None));
    let refused = Fact { attempt, perhaps: Some(ChannelId(2)), ..fact(id, people[1], DeliveryState::Open) };
    store.record(Arc::new(vec![refused]), Vec::new()).await.expect("written");
    for (who, expected) in [(people[0], &[("perhaps", 2)][..]), (people[1], &[("perhaps", 2), ("deferred", 1)])] {
        let delivery = DeliveryId { broadcast: id, subscriber: who, place: 1 };
        let (_, attempts) = store.delivery(delivery).await.expect("read").expect("it is there");
        let tries: Vec<_> = attempts.iter().map(|attempt| (&*attempt.outcome, attempt.channel.0)).collect();
        assert_eq!(tries, expected);
        assert_eq!(attempts[0].detail, None, "nobody knows what came of it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_a_lane_when_the_process_ended_may_have_been_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let before = open(&path);
    let (id, people) = in_lanes(&before).await;
    before.close().await.expect("closes");
    drop(before);
    after_a_start(&open(&path), id, &people).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_a_lane_of_a_node_on_postgres_may_have_been_told() {
    let Some(database) = Database::on("postgres").await else { return };
    let before = own(&database).await;
    let (id, people) = in_lanes(&before).await;
    before.close().await.expect("closes");
    after_a_start(&own(&database).await, id, &people).await;
}

/// Under which the first shard is this store's.
fn epoch_of(store: &dyn Store) -> i64 {
    store.leases().epoch(0).expect("it owns the first shard")
}

/// One for all nodes of these tests: whether a lease lasts is asked by it.
fn clock() -> Arc<Clock> {
    static CLOCK: LazyLock<Arc<Clock>> = LazyLock::new(|| Arc::new(Clock::system()));
    CLOCK.clone()
}

async fn own(database: &Database) -> Postgres {
    Postgres::own(&database.server(), clock(), 4, 64).await.expect("opens").noting_outcomes(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_promises_of_a_store() {
    let Some(database) = Database::on("postgres").await else { return };
    let store = own(&database).await;
    suite(&store).await;
    let epoch = epoch_of(&store);
    store.close().await.expect("closes");

    // Opened again it is the same store, under a new epoch.
    let again = own(&database).await;
    assert!(epoch_of(&again) > epoch);
    take(&again, "4", at(3600), json!({ "status": "resolved" })).await;
    forgotten(&again).await;
    again.close().await.expect("closes");
}

/// What SQLite does one after the other, many do here at once: nobody is counted twice, no row of the journal comes after a reader
/// has gone past it, and no receipt is lost between an outcome that is being written and the look for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_at_once_on_postgres_is_as_if_one_wrote_it() {
    let Some(database) = Database::on("postgres").await else { return };
    let store = Arc::new(Postgres::own(&database.server(), clock(), 8, 1024).await.expect("opens"));
    let mut people = Vec::new();
    for n in 0..40 {
        let Upserted::Created(id) = person(&*store, &format!("staff{n}"), "staff", NOW).await else {
            panic!("created")
        };
        people.push(id);
    }
    // Sixteen say the same of one incident that nobody knew: one update each, one incident.
    let said = (0..16).map(|n| {
        let (store, title) = (store.clone(), format!("Web {n}"));
        let (event, apply) = happening(&format!("e{n}"), at(n), json!({ "status": "investigating", "title": title }));
        tokio::spawn(async move { store.ingest(event, apply).await.expect("written") })
    });
    let mut numbers = BTreeSet::new();
    for one in said.collect::<Vec<_>>() {
        let Committed::Done { ingested, .. } = one.await.expect("no panic") else { panic!("each is new") };
        numbers.insert(ingested.update.expect("an update").number);
    }
    assert_eq!(numbers, (1..=16).collect());
    assert_eq!(store.incidents(None, false, 100).await.expect("read").len(), 1);
    let live = store.live().await.expect("read");
    let running: Vec<_> = live.iter().filter(|broadcast| broadcast.audience == "staff").collect();
    let [broadcast] = running[..] else { panic!("one word of a thread runs: {running:?}") };
    let id = broadcast.id;

    // Outcomes and their receipts at once, in batches that share recipients.
    let mut tasks = Vec::new();
    for (n, who) in people.iter().copied().enumerate() {
        let name = format!("r-{n}");
        let told = Fact { reference: Some(name.clone()), indexed: true, ..fact(id, who, DeliveryState::Told) };
        let unknown = fact(id, who, DeliveryState::Unknown);
        for fact in [told, unknown] {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                store.record(Arc::new(vec![fact]), Vec::new()).await.expect("written");
            }));
        }
        let store = store.clone();
        let receipt = ReceiptFact {
            channel: ChannelId(1),
            matching: Matching::Reference(name),
            status: ReceiptStatus::Delivered,
            fault: None,
            at: at(5),
            detail: String::new(),
        };
        tasks.push(tokio::spawn(async move {
            store.receipt(receipt).await.expect("kept");
        }));
    }
    // Meanwhile somebody reads the journal, and somebody the same addresses are written by.
    let reading = {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut after, mut read) = (0, 0);
            while read < 16 + 40 {
                for row in store.journal(after, 1000, true).await.expect("read") {
                    read += usize::from(row.kind == "receipt" || row.kind == "update");
                    after = row.sequence;
                }
            }
        })
    };
    for _ in 0..4 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move { drop(person(&*store, "shared", "press", NOW).await) }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("a row was passed over").expect("no panic");
    let (counts, _) = store.counts(broadcast).await.expect("read");
    assert_eq!((counts.told, counts.unknown), (40, 0));
    for who in people {
        let delivery = DeliveryId { broadcast: id, subscriber: who, place: 1 };
        let (row, _) = store.delivery(delivery).await.expect("read").expect("it is there");
        assert_eq!((row.state, row.receipt.as_deref()), (DeliveryState::Told, Some("delivered")), "{row:?}");
    }
    assert_eq!(database.number("SELECT count(*) FROM receipt").await, 0, "a receipt waits for what is there");
    assert_eq!(database.number("SELECT count(*) FROM subscriber WHERE foreign_key = 'shared'").await, 1);
}

/// A block of broadcasts goes with its partitions, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn retention_on_postgres_drops_partitions() {
    let Some(database) = Database::on("postgres").await else { return };
    let store = own(&database).await;
    person(&store, "staff0", "staff", NOW).await;
    let old = take(&store, "1", NOW, json!({ "status": "investigating" })).await.broadcasts[0];
    store.record(Arc::new(vec![told_by(&store, old).await]), Vec::new()).await.expect("written");
    take(&store, "2", at(60), json!({ "status": "resolved" })).await;
    for broadcast in store.live().await.expect("read") {
        let from = vec![broadcast.state];
        store.change_state(broadcast.id, from, BroadcastState::Cancelled, at(61), "suite").await.expect("written");
    }
    database.execute("SELECT setval('broadcast_id', 3 * 256)").await;
    let young =
        take(&store, "3", at(120), json!({ "incident": "other", "status": "investigating" })).await.broadcasts[0];
    store.record(Arc::new(vec![told_by(&store, young).await]), Vec::new()).await.expect("written");
    let tables = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'delivery'::regclass";
    assert_eq!(database.number(tables).await, 2);
    while store.retain(at(90), NOW, NOW, NOW).await.expect("deleted") > 0 {}
    assert_eq!(database.number(tables).await, 1, "the old block is still there");
    assert_eq!(database.number("SELECT count(*) FROM delivery").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM reference").await, 1, "a reference outlived its delivery");
    assert!(store.broadcast(old).await.expect("read").is_none());
    assert!(store.broadcast(young).await.expect("read").is_some());
}

async fn told_by(store: &dyn Store, id: BroadcastId) -> Fact {
    let who = store.subscriber_by_key("staff0").await.expect("read").expect("it is there").id;
    let reference = Some(format!("r-{}", id.0));
    Fact { reference, indexed: true, ..fact(id, who, DeliveryState::Told) }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_reached_by_tls_that_is_verified() {
    let Some(database) = Database::on("postgres").await else { return };
    let Some(authority) = super::peers::peer("ca") else { return };
    let trusting = database.server_with(&format!("?sslmode=require&sslrootcert={authority}"));
    let store = Postgres::own(&trusting, clock(), 4, 64).await.expect("opens");
    let encrypted = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
         WHERE a.datname = current_database() AND a.application_name = 'loudhailer' AND NOT s.ssl";
    assert_eq!(database.number(encrypted).await, 0, "a connection is plain");
    store.close().await.expect("closes");
    let error = Postgres::own(&database.server_with("?sslmode=require"), clock(), 4, 64)
        .await
        .err()
        .expect("nobody vouches for it");
    assert!(error.to_string().contains("certificate"), "{error}");
    let wrong = loudhailer::store::postgres::Server::parse(&database.url(), loudhailer::config::Secret::new("wrong"));
    let error =
        Postgres::own(&wrong.expect("a server"), clock(), 4, 64).await.err().expect("a wrong password was let in");
    assert!(error.to_string().contains("password authentication failed"), "{error}");
}
