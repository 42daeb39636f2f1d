//! What is kept beside the words of an incident and who was told: confirmations, wishes, signals, what outlives a process, and the lists
//! that people look at.

use std::sync::Arc;

use loudhailer::audience::route::ChannelId;
use loudhailer::channel::ReceiptStatus;
use loudhailer::id::{BroadcastId, DeliveryId, SubscriberId};
use loudhailer::ingest::DeadRecord;
use loudhailer::plan::Priority;
use loudhailer::store::{
    BreakerRow, Broadcast, BroadcastFilter, BroadcastState, CONFIRMS, DeliveryFilter, DeliveryState, Earlier, Fact,
    Frozen, Matching, ReceiptFact, Replayed, Signal, Store, UNDECIDED,
};
use serde_json::json;

use super::{NOW, at, fact, take};

/// A told row that waits for a confirmation: where none comes, the recipient is open again, and stays told.
pub async fn confirmations(store: &dyn Store, people: &[SubscriberId]) {
    let said = take(store, "confirmed", at(9700), json!({ "severity": "critical", "title": "Confirmed" })).await;
    let id = said.broadcasts[0];
    let told = |who| Fact { lane: CONFIRMS, due: at(9800), ..fact(id, who, DeliveryState::Told) };
    store.record(Arc::new(vec![told(people[0]), told(people[1])]), Vec::new()).await.expect("written");
    assert_eq!(store.next_lapse(Priority::High).await.expect("read"), Some(at(9800)));
    let delivered = ReceiptFact {
        channel: ChannelId(1),
        matching: Matching::Delivery(DeliveryId { broadcast: id, subscriber: people[1], place: 1 }),
        status: ReceiptStatus::Delivered,
        fault: None,
        at: at(9750),
        detail: String::new(),
    };
    let reported = store.receipt(delivered).await.expect("written").expect("known");
    assert_eq!(reported.ended, 1, "a confirmation ends the wait: {reported:?}");
    assert!(store.lapse(Priority::High, at(9799), 10).await.expect("written").is_empty(), "too early");
    store.lapse(Priority::High, at(9800), 10).await.expect("written");
    assert_eq!(store.next_lapse(Priority::High).await.expect("read"), None);
    let due = store.due(UNDECIDED, Priority::High, at(9800), 100).await.expect("read");
    let rows: Vec<_> = due.into_iter().filter(|row| row.delivery.broadcast == id).collect();
    assert_eq!(rows.iter().map(|row| row.delivery.subscriber).collect::<Vec<_>>(), [people[0]]);
    let broadcast = store.broadcast(id).await.expect("read").expect("it is there");
    let again = store.again(&broadcast, rows).await.expect("read");
    let [again] = &again[..] else { panic!("one is decided again: {again:?}") };
    assert_eq!(again.subscriber.as_ref().map(|subscriber| subscriber.id), Some(people[0]));
    assert_eq!(again.attempts.iter().map(|attempt| &*attempt.outcome).collect::<Vec<_>>(), ["unconfirmed"]);
    let (counts, _) = store.counts(&broadcast).await.expect("read");
    assert_eq!(counts.told, 2, "who is told stays told");
}

/// What an address got by a channel in the thread, up to a broadcast; and what was found to be gone.
pub async fn earlier(store: &dyn Store, people: &[SubscriberId]) {
    let by = ChannelId(31);
    let mut said = Vec::new();
    for (n, title) in ["First", "Second", "Third"].into_iter().enumerate() {
        let over = json!({ "severity": "critical", "title": title });
        said.push(take(store, &format!("thread-{n}"), at(9850 + n as u64), over).await.broadcasts[0]);
    }
    // The thread has had others before.
    let of = async |broadcast: &Broadcast, who: Vec<(SubscriberId, u16)>| {
        let mut found = store.earlier(broadcast, by, who).await.expect("read");
        found.iter_mut().for_each(|got| got.retain(|one| said.contains(&one.broadcast)));
        found
    };
    let told = |id, who, reference: &str| Fact {
        channel: by,
        reference: Some(reference.into()),
        ..fact(id, who, DeliveryState::Told)
    };
    let gone = Fact {
        channel: by,
        attempt: Some(("rejected", Some("gone"))),
        fault: Some("gone"),
        ..fact(said[1], people[0], DeliveryState::Open)
    };
    let elsewhere = Fact { channel: ChannelId(32), ..told(said[0], people[1], "other") };
    store.record(Arc::new(vec![told(said[0], people[0], "1"), gone, elsewhere]), Vec::new()).await.expect("written");
    let third = store.broadcast(said[2]).await.expect("read").expect("it is there");
    let who = people.iter().map(|who| (*who, 1)).collect();
    let got =
        |broadcast, reference: Option<&str>, gone| Earlier { broadcast, reference: reference.map(Into::into), gone };
    let found = of(&third, who).await;
    assert_eq!(found.len(), people.len());
    assert_eq!(found[0], [got(said[0], Some("1"), false), got(said[1], None, true)]);
    assert_eq!(found[1], [got(said[0], None, false)], "by another channel");
    assert_eq!(found[2], []);
    store.record(Arc::new(vec![told(said[1], people[0], "2")]), Vec::new()).await.expect("written");
    let second = store.broadcast(said[1]).await.expect("read").expect("it is there");
    let found = of(&second, vec![(people[0], 1), (people[0], 2)]).await;
    assert_eq!(found[0], [got(said[0], Some("1"), false), got(said[1], Some("2"), true)], "this one is the last");
    assert_eq!(found[1], [], "another address");
}

/// What waits for a way is due when one opens; and a dead letter is opened again by a person, once.
pub async fn asked_again(store: &dyn Store, people: &[SubscriberId]) {
    let said = take(store, "again", at(9900), json!({ "severity": "critical", "title": "Again" })).await;
    let id = said.broadcasts[0];
    let (blocked, other) = (ChannelId(7), ChannelId(8));
    let waits = |who, lane| Fact { lane, due: at(20_000), ..fact(id, who, DeliveryState::Open) };
    let dead = Fact { attempt: None, ..fact(id, people[2], DeliveryState::Rejected) };
    let facts = vec![waits(people[0], blocked), waits(people[1], other), dead];
    store.record(Arc::new(facts), Vec::new()).await.expect("written");
    let due = async |lane| store.due(lane, Priority::High, at(9901), 10).await.expect("read").len();
    assert_eq!((due(blocked).await, due(other).await), (0, 0));
    assert_eq!(store.next_due(blocked, Priority::High, at(9901)).await.expect("read"), Some(at(20_000)));
    store.wake(vec![blocked], at(9901)).await.expect("written");
    assert_eq!((due(blocked).await, due(other).await), (1, 0), "a lane that nothing was said of is woken");
    assert!(store.oldest_due(Priority::High).await.expect("read").is_some_and(|oldest| oldest <= at(9901)));

    let letter = DeliveryId { broadcast: id, subscriber: people[2], place: 1 };
    let nobody = DeliveryId { place: 9, ..letter };
    let replay = async |id| store.replay(id, at(9902), at(9902), "desk").await.expect("answered");
    assert_eq!(replay(nobody).await, Replayed::NotThere);
    let Replayed::Open { channel, reopened: true, .. } = replay(letter).await else { panic!("it opens") };
    assert_eq!(channel, ChannelId(1));
    let twice = replay(letter).await;
    assert!(matches!(twice, Replayed::Refused(_)), "open already: {twice:?}");
    let (row, attempts) = store.delivery(letter).await.expect("read").expect("it is there");
    let outcomes: Vec<&str> = attempts.iter().map(|attempt| &*attempt.outcome).collect();
    assert_eq!((row.state, &outcomes[..]), (DeliveryState::Open, &["rejected", "replayed"][..]));

    let kept = store.recipient(id, people[2]).await.expect("read").expect("it is there");
    assert_eq!((kept.rows.len(), kept.attempts.len(), kept.decided.is_none()), (1, 2, true));
    assert!(kept.today.is_some() && kept.member_since.is_some());
    assert!(store.recipient(BroadcastId(999_999), people[2]).await.expect("read").is_none());
}

/// One row for an origin and a component, however often it says so; silenced it is gone.
pub async fn said_of_components(store: &dyn Store) {
    let says = |component: &str, origin: &str, seconds| Signal {
        component: component.into(),
        origin: origin.into(),
        trusted: true,
        at: at(seconds),
        count: 1,
        text: format!("{component} by {origin}"),
    };
    let heard = async |signal| store.signal(signal, at(10_000)).await.expect("written");
    assert_eq!(heard(says("mail", "desk", 10_000)).await.len(), 1);
    assert_eq!(heard(says("mail", "watcher/a", 10_001)).await.len(), 2);
    heard(says("web", "watcher/a", 10_002)).await;
    let again = heard(says("mail", "watcher/a", 10_003)).await;
    let seen: Vec<(&str, i64)> = again.iter().map(|signal| (&*signal.origin, signal.count)).collect();
    assert_eq!(seen, [("watcher/a", 2), ("desk", 1)], "the latest first");
    assert_eq!(store.signals(at(10_001), 10).await.expect("read").len(), 2, "what is older is not asked for");
    store.silence("mail", "watcher/a").await.expect("written");
    let left: Vec<String> =
        store.signals(at(10_000), 10).await.expect("read").into_iter().map(|signal| signal.text).collect();
    assert_eq!(left, ["web by watcher/a", "mail by desk"]);
}

/// What outlives a process beside incidents and deliveries.
pub async fn remembered(store: &dyn Store) {
    let named = store.channels(vec!["mail".into(), "hooks".into()]).await.expect("written");
    let again = store.channels(vec!["hooks".into()]).await.expect("read");
    let hooks = named.iter().find(|(name, ..)| name == "hooks").expect("it has a number");
    assert_eq!(&again, std::slice::from_ref(hooks), "a channel keeps its number");
    store.pause_channel(hooks.1, true).await.expect("written");
    let all = store.channels(Vec::new()).await.expect("read");
    assert_eq!(all.iter().find(|(name, ..)| name == "hooks").map(|(.., paused)| *paused), Some(true));

    let row = |state: &str| BreakerRow {
        channel: hooks.1,
        host: String::new(),
        state: state.into(),
        since: at(1),
        until: at(2),
    };
    for state in ["open", "closed"] {
        store.set_breaker(row(state)).await.expect("written");
        assert_eq!(store.breakers().await.expect("read"), [row(state)]);
    }

    // A bucket that nobody leaves meanwhile, whatever clock numbers it.
    let day = 86_400_000 * 3650;
    for (count, granted) in [(3, 3), (4, 4), (4, 3), (1, 0), (0, 0)] {
        let reserved = store.reserve("hooks 10/h", day, 64, 10, count, NOW).await.expect("written");
        assert_eq!(reserved.count, granted, "of {count}");
        assert_eq!(
            reserved.spent.iter().map(|(_, spent)| spent).sum::<i64>(),
            if granted == 0 { 10 } else { reserved.spent[0].1 }
        );
    }
    let others = store.reserve("calls 10/h", day, 64, 10, 2, NOW).await.expect("written");
    assert_eq!((others.count, others.spent.len()), (2, 1));
    assert_eq!(others.bucket, others.spent[0].0);

    for value in ["a", "b"] {
        store.set_meta("learned/hooks", value).await.expect("written");
        assert_eq!(store.meta("learned/hooks").await.expect("read").as_deref(), Some(value));
    }
    assert_eq!(store.meta("never written").await.expect("read"), None);
    for (was, value, done) in [(Some("a"), "b", false), (None, "a", true), (None, "b", false), (Some("a"), "c", true)] {
        assert_eq!(store.swap_meta("swapped", was, value).await.expect("answered"), done, "{was:?} by {value}");
    }
    assert_eq!(store.meta("swapped").await.expect("read").as_deref(), Some("c"));

    for kind in ["templates", "other"] {
        store.freeze(Frozen { digest: [9; 32], kind, bytes: b"words".to_vec() }).await.expect("written");
        assert_eq!(store.frozen([9; 32]).await.expect("read").as_deref(), Some(&b"words"[..]));
    }
    assert_eq!(store.frozen([8; 32]).await.expect("read"), None);

    // A record without a body is kept, too; and the same one once.
    for body in [Some(b"{".to_vec()), None] {
        let offset = i64::from(body.is_none());
        for _ in 0..2 {
            let (topic, reason) = ("events".into(), "is no event".into());
            let record = DeadRecord { topic, partition: 0, offset, reason, body: body.clone() };
            store.dead(record, NOW).await.expect("written");
        }
    }
}

/// Lists, a page at a time, newest first.
pub async fn looked_at(store: &dyn Store, people: &[SubscriberId]) {
    let all = store.broadcasts(BroadcastFilter::default(), 1000).await.expect("read");
    assert!(all.windows(2).all(|pair| pair[0].0.id > pair[1].0.id), "newest first");
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let filter = BroadcastFilter { before, ..BroadcastFilter::default() };
        let page = store.broadcasts(filter, 3).await.expect("read");
        let Some((last, _)) = page.last() else { break };
        before = Some(last.id);
        paged.extend(page.into_iter().map(|(broadcast, _)| broadcast.id));
    }
    assert_eq!(paged, all.iter().map(|(broadcast, _)| broadcast.id).collect::<Vec<_>>());
    let running = BroadcastFilter { state: Some(BroadcastState::Running), ..BroadcastFilter::default() };
    let running = store.broadcasts(running, 1000).await.expect("read");
    assert!(!running.is_empty() && running.iter().all(|(one, _)| one.state == BroadcastState::Running));
    assert_eq!(store.live().await.expect("read").iter().filter(|one| one.state.live()).count(), {
        let live = all.iter().filter(|(one, _)| one.state.live());
        live.count()
    });

    let of = |subscriber| DeliveryFilter { subscriber: Some(subscriber), ..DeliveryFilter::default() };
    let theirs = store.deliveries(of(people[0]), 1000).await.expect("read");
    assert!(theirs.len() > 3 && theirs.iter().all(|row| row.id.subscriber == people[0]));
    let told = DeliveryFilter { state: Some(DeliveryState::Told), ..of(people[0]) };
    let told = store.deliveries(told, 1000).await.expect("read");
    assert_eq!(told.len(), theirs.iter().filter(|row| row.state == DeliveryState::Told).count());

    let web = store.incident_by_key("web").await.expect("read").expect("it is there");
    let updates = store.updates(web).await.expect("read");
    assert!(updates.windows(2).all(|pair| pair[0].number < pair[1].number) && !updates.is_empty());
    let latest = store.latest_event("suite", web).await.expect("read");
    assert_eq!(latest.as_deref(), Some("again"));
    assert!(store.open_incidents().await.expect("read").iter().any(|incident| incident.id == web));
    assert_eq!(store.incidents(None, false, 100).await.expect("read").len(), 1);

    let staff = store.audiences().await.expect("read").into_iter().find(|(name, _)| name == "staff");
    assert_eq!(staff, Some(("staff".into(), 3)));
    assert_eq!(store.subscribers(None, Some("staff"), 2).await.expect("read").len(), 2);
    let found = store.subscriber_by_key("staff0").await.expect("read").expect("it is there");
    assert_eq!(found.id, people[0]);
    let address = store.subscriber_by_address("email", "staff1@example.org").await.expect("read");
    assert_eq!(address.map(|subscriber| subscriber.id), Some(people[1]));

    let end = store.journal_end().await.expect("read");
    let journal = store.journal(0, 10_000, true).await.expect("read");
    assert_eq!(journal.last().map(|row| row.sequence), Some(end));
    assert!(journal.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert!(journal.iter().any(|row| row.kind == "replayed"));
}
