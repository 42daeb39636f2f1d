//! Several nodes on one database of PostgreSQL: what each owns, and what they hear of each other.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::select_all;
use loudhailer::store::{Heard, Leases, Notice, Notices, Wanted};

use super::*;

/// Waits until it holds, looking again whenever somebody's shards change.
async fn until(what: &str, leases: &[Arc<Leases>], holds: impl Fn() -> bool) {
    let mut changes: Vec<_> = leases.iter().map(|one| one.changes()).collect();
    let done = async {
        while !holds() {
            select_all(changes.iter_mut().map(|one| Box::pin(one.changed()))).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), done).await.unwrap_or_else(|_| panic!("not within 15 s: {what}"));
}

/// Nobody owned a shard before and after a look at another, which owned it then. Whose lease has ended owns nothing.
fn disjoint(leases: &[Arc<Leases>]) -> bool {
    let owned = |of: &Leases| {
        let epochs = of.epochs();
        if of.last(clock().monotonic()) { epochs } else { [0; 64] }
    };
    let both = |one: &Leases, other: &Leases| {
        let (before, between) = (owned(one), owned(other));
        let after = owned(one);
        (0..64).any(|shard| before[shard] != 0 && before[shard] == after[shard] && between[shard] != 0)
    };
    !(0..leases.len()).any(|one| (0..one).any(|other| both(&leases[one], &leases[other])))
}

fn all(leases: &[Arc<Leases>]) -> bool {
    leases.iter().fold(0, |all, one| all | one.mask()) == u64::MAX
}

fn manifest(id: BroadcastId, shard: u8, epoch: i64) -> Manifest {
    Manifest { key: ManifestKey { broadcast: id, shard, number: 1 }, at: NOW, epoch, decided: Vec::new(), end: true }
}

async fn next(notices: &mut Notices) -> Heard {
    tokio::time::timeout(Duration::from_secs(10), notices.recv()).await.expect("a notice in time").expect("a notice")
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_divide_the_shards_and_what_one_leaves_the_others_take() {
    let Some(database) = Database::on("postgres").await else { return };
    let first = own(&database).await;
    let of_first = first.leases();
    assert_eq!(of_first.mask(), u64::MAX, "who is alone owns all");
    let before = of_first.epochs();
    // Something of a shard is on the wire: it is not given away before that has an outcome.
    of_first.begins(63);
    let second = own(&database).await;
    let leases = [of_first.clone(), second.leases()];
    until("each has its share but for one shard", &leases, || {
        assert!(disjoint(&leases), "two own a shard");
        leases[0].mask().count_ones() == 32 && leases[1].mask().count_ones() == 31
    })
    .await;
    assert_eq!(leases[0].mask() | leases[1].mask(), u64::MAX >> 1, "nobody may send for it now");
    of_first.recorded(63);
    until("that one, too", &leases, || all(&leases) && disjoint(&leases)).await;
    let third = own(&database).await;
    let leases = [leases[0].clone(), leases[1].clone(), third.leases()];
    until("three have their shares", &leases, || {
        assert!(disjoint(&leases), "two own a shard");
        all(&leases) && leases.iter().all(|one| one.mask().count_ones() <= 22)
    })
    .await;
    // One that is about to end keeps only what is on the wire, and that from everybody; the others take the rest.
    let last = (0..64).find(|shard| leases[1].epoch(*shard).is_some()).expect("it owns some");
    leases[1].begins(last);
    leases[1].leave();
    let rest = [leases[0].clone(), leases[2].clone()];
    until("what is not on the wire is taken", &leases, || {
        assert!(disjoint(&leases), "two own a shard");
        leases[1].mask() == 0 && rest[0].mask() | rest[1].mask() == !(1 << last)
    })
    .await;
    leases[1].recorded(last);
    second.close().await.expect("closes");
    assert_eq!(leases[1].mask(), 0);
    until("what one left is taken", &rest, || all(&rest) && disjoint(&rest)).await;
    for shard in 32..64 {
        let owner = rest.iter().find_map(|one| one.epoch(shard)).expect("somebody owns it");
        assert!(owner > before[usize::from(shard)], "shard {shard} has a new owner under an old epoch");
    }
}

/// Nodes that take and give as fast as they can: what one has taken no other has before it was given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shard_is_nobody_elses_from_when_it_is_taken_until_it_is_given() {
    let Some(database) = Database::on("postgres").await else { return };
    own(&database).await.close().await.expect("closes");
    let owners: Arc<Mutex<BTreeMap<u8, i64>>> = Arc::default();
    let taken = Arc::new(AtomicUsize::new(0));
    let nodes = (0..6).map(|_| {
        let (owners, taken, registry) =
            (owners.clone(), taken.clone(), Postgres::registry(&database.server()).expect("it is there"));
        tokio::spawn(async move {
            let line = registry.open().await.expect("opens");
            let node = line.register().await.expect("registers");
            while taken.load(Ordering::Relaxed) < 6_000 {
                let mine: Vec<u8> =
                    line.acquire(node, 12).await.expect("asks").into_iter().map(|(shard, _)| shard).collect();
                taken.fetch_add(mine.len(), Ordering::Relaxed);
                for shard in &mine {
                    let other = owners.lock().expect("no panic").insert(*shard, node);
                    assert_eq!(other, None, "shard {shard} is taken by {node} too");
                }
                assert!(line.extend(node, false).await.expect("extends"));
                owners.lock().expect("no panic").retain(|shard, _| !mine.contains(shard));
                line.release(node, &mine).await.expect("gives");
            }
        })
    });
    for node in nodes.collect::<Vec<_>>() {
        node.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_lease_has_ended_decides_nothing_more_and_joins_anew() {
    let Some(database) = Database::on("postgres").await else { return };
    let (old, new) = (own(&database).await, own(&database).await);
    let leases = [old.leases(), new.leases()];
    until("both have their shares", &leases, || all(&leases) && leases[1].mask().count_ones() == 32).await;
    person(&new, "staff0", "staff", NOW).await;
    let id = take(&new, "1", NOW, json!({ "status": "investigating" })).await.broadcasts[0];
    let (shard, epoch) = (0, leases[0].epoch(0).expect("it owns the first shard"));
    old.decide(vec![manifest(id, shard, epoch)], Vec::new(), Vec::new()).await.expect("it may");
    old.ready().await.expect("ready");
    // As after a stall: its lease has ended by the server's clock, and the other one has seen it.
    database.execute("UPDATE node SET until = 0 WHERE id = (SELECT node FROM shard WHERE id = 0)").await;
    database.execute("DELETE FROM node WHERE until = 0").await;
    database.execute(&format!("UPDATE shard SET node = {}, epoch = nextval('epoch') WHERE id = 0", 1_000_000)).await;
    let late = Manifest { key: ManifestKey { broadcast: id, shard, number: 2 }, ..manifest(id, shard, epoch) };
    assert!(matches!(old.decide(vec![late], Vec::new(), Vec::new()).await, Err(StoreError::Fenced)));
    until("it joins anew", &leases, || {
        let again =
            leases[0].mask().count_ones() == 32 && (0..64).filter_map(|s| leases[0].epoch(s)).all(|e| e > epoch);
        again && all(&leases)
    })
    .await;
    assert!(disjoint(&leases));
}

/// An answer of a node that was taken for dead comes after its shards' new owner has sent the same again: the recipient is told, and
/// counted once.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_fact_of_a_former_owner_counts_nobody_twice() {
    let Some(database) = Database::on("postgres").await else { return };
    let (old, new) = (own(&database).await, own(&database).await);
    let leases = [old.leases(), new.leases()];
    until("both have their shares", &leases, || all(&leases) && leases[1].mask().count_ones() == 32).await;
    let Upserted::Created(who) = person(&new, "staff0", "staff", NOW).await else { panic!("created") };
    let id = take(&new, "1", NOW, json!({ "status": "investigating" })).await.broadcasts[0];
    let told = fact(id, who, DeliveryState::Told);
    let (owner, other) = if leases[0].epoch(who.shard()).is_some() { (&old, &new) } else { (&new, &old) };
    let selected = "INSERT INTO progress (broadcast, shard, cursor, epoch, selected) VALUES";
    database.execute(&format!("{selected} ({}, {}, 0, 0, 1)", id.0, who.shard())).await;
    owner.record(Arc::new(vec![Fact { sole: None, ..told.clone() }]), Vec::new()).await.expect("written");
    // Under whatever epoch it had been decided before.
    other.record(Arc::new(vec![Fact { sole: Some(1), ..told }]), Vec::new()).await.expect("written");
    let broadcast = new.broadcast(id).await.expect("read").expect("it is there");
    assert_eq!(new.counts(&broadcast).await.expect("read").0.told, 1);
}

/// Many that are new are written in a way of their own.
#[tokio::test(flavor = "multi_thread")]
async fn many_facts_at_once_are_as_they_were_said_also_where_one_of_their_rows_is_there_already() {
    let Some(database) = Database::on("postgres").await else { return };
    let store = own(&database).await;
    let leases = store.leases();
    until("it owns all", std::slice::from_ref(&leases), || leases.mask() == u64::MAX).await;
    let mut people = Vec::new();
    for n in 0..100 {
        let Upserted::Created(who) = person(&store, &format!("staff{n}"), "staff", NOW).await else {
            panic!("created")
        };
        people.push(who);
    }
    let mut said = Vec::new();
    for (event, there) in [("1", false), ("2", true)] {
        let changes = json!({ "status": "investigating", "title": format!("It is the {event}.") });
        let id = take(&store, event, NOW, changes).await.broadcasts[0];
        if there {
            let sql = "INSERT INTO delivery (broadcast, subscriber, place, state, channel, began, ended, tries, priority, lane, due)
                       VALUES";
            database.execute(&format!("{sql} ({}, {}, 1, 0, 1, 0, 0, 0, 1, 1, 0)", id.0, people[70].0)).await;
        }
        let new = |n: usize| Fact {
            sole: leases.epoch(people[n].shard()),
            detail: (!n.is_multiple_of(3)).then(|| format!("answer {n}\t\\N ü")),
            reference: (!n.is_multiple_of(2)).then(|| format!("ref {n}")),
            ended: at(n as u64),
            entered: n.is_multiple_of(5).then_some(7),
            ..fact(id, people[n], if n.is_multiple_of(4) { DeliveryState::Rejected } else { DeliveryState::Told })
        };
        let facts: Vec<Fact> = (0..people.len()).map(new).collect();
        store.record(Arc::new(facts.clone()), Vec::new()).await.expect("written");
        let rows = database
            .rows(&format!(
                "SELECT subscriber, state, detail, ref, ended, entered FROM delivery WHERE broadcast = {}",
                id.0
            ))
            .await;
        let mut rows: Vec<_> = rows.iter().map(row_of).collect();
        let mut expected: Vec<_> = facts.iter().map(of_fact).collect();
        rows.sort_unstable();
        expected.sort_unstable();
        assert_eq!(rows, expected);
        let broadcast = store.broadcast(id).await.expect("read").expect("it is there");
        said.push(store.counts(&broadcast).await.expect("read").0.told);
    }
    assert_eq!(said, [75, 75]);
}

type Stored = (i64, i16, Option<String>, Option<String>, i64, i64);

fn row_of(row: &tokio_postgres::Row) -> Stored {
    (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5))
}

fn of_fact(fact: &Fact) -> Stored {
    let id = fact.delivery.subscriber.0;
    (id, fact.state as i16, fact.detail.clone(), fact.reference.clone(), fact.ended.0, fact.entered.unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_has_written_is_heard_by_the_others_and_waited_for() {
    let Some(database) = Database::on("postgres").await else { return };
    let (first, second) = (own(&database).await, own(&database).await);
    let mut notices = second.notices().expect("the first to ask gets them");
    assert!(second.notices().is_none());
    let Upserted::Created(who) = person(&first, "staff0", "staff", NOW).await else { panic!("created") };
    let id = take(&first, "1", NOW, json!({ "status": "investigating" })).await.broadcasts[0];
    let heard = next(&mut notices).await;
    // One for each step, told of together.
    assert_eq!(heard.notice, Notice::Broadcasts(vec![id.0, id.0 + 1]));
    heard.obeyed();
    first.obeyed().await;

    let stopped = BroadcastState::Cancelled;
    first.change_state(id, vec![BroadcastState::Running], stopped, NOW, "somebody").await.expect("written");
    let waits = first.obeyed();
    tokio::pin!(waits);
    let heard = next(&mut notices).await;
    assert_eq!(heard.notice, Notice::Broadcasts(vec![id.0]));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut waits).await.is_err(),
        "the other has not obeyed yet"
    );
    heard.obeyed();
    tokio::time::timeout(Duration::from_secs(2), waits).await.expect("it has obeyed, and that is heard");

    first.suppress("email", "staff0@example.org", "wish", NOW).await.expect("written");
    let heard = next(&mut notices).await;
    assert_eq!(heard.notice, Notice::Subscribers(vec![who.0]));
    heard.obeyed();
    // A node whose connection was cut has missed what was said meanwhile, and is told so.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
               AND datname = current_database()
               AND (query LIKE 'LISTEN%' OR query LIKE '%FROM node%' OR query LIKE '%FROM shard%' OR query LIKE '%NOTIFY%')";
    database.execute(cut).await;
    loop {
        let heard = next(&mut notices).await;
        let missed = heard.notice == Notice::Missed;
        heard.obeyed();
        if missed {
            break;
        }
    }
}

/// Whoever does not do what others write loses its shards, since nobody waits longer than a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_and_does_not_obey_loses_its_shards() {
    let Some(database) = Database::on("postgres").await else { return };
    let (first, deaf) = (own(&database).await, own(&database).await);
    let leases = [first.leases(), deaf.leases()];
    until("both have their shares", &leases, || all(&leases) && leases[1].mask().count_ones() == 32).await;
    let notices = deaf.notices();
    person(&first, "staff0", "staff", NOW).await;
    take(&first, "1", NOW, json!({ "status": "investigating" })).await;
    let began = std::time::Instant::now();
    first.obeyed().await;
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    until("the other one owns all", &leases, || leases[0].mask() == u64::MAX).await;
    assert!(deaf.ready().await.is_err(), "it is ready without a lease");
    drop(notices);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_time_is_given_out_once_and_obeys_every_limit() {
    let Some(database) = Database::on("postgres").await else { return };
    let (first, second) = (own(&database).await, own(&database).await);
    let seconds = Duration::from_secs;
    let limits = |names: &[(&str, u64)]| -> Vec<(String, Duration)> {
        names.iter().map(|(name, apart)| (name.to_string(), seconds(*apart))).collect()
    };
    let (both, one) = (limits(&[("account", 10), ("hooks", 4)]), limits(&[("hooks", 4)]));
    // Times lie seconds apart, and fewer go by meanwhile.
    let next = async |store: &Postgres, limits: &[(String, Duration)], count, expected: u64, why: &str| {
        let wanted = Wanted { limits: limits.to_vec(), count };
        let after = store.grant(&[wanted]).await.expect("written")[0];
        let gone_by = seconds(expected).checked_sub(after);
        assert!(gone_by.is_some_and(|gone_by| gone_by < seconds(3)), "{after:?} where it was {expected} s: {why}");
    };
    next(&first, &both, 2, 10, "the slowest begins one interval from now").await;
    // Given out until 20; the account's next is at 30, and that of hooks at 24.
    next(&second, &one, 1, 24, "the other node has what comes after that").await;
    next(&first, &both, 1, 30, "hooks could at 28, and the account at 30").await;
    next(&second, &one, 3, 34, "hooks alone").await;
    next(&first, &one, 1, 46, "after three that lie four seconds apart").await;
    next(&second, &limits(&[("calls", 10)]), 1, 10, "another limit's times are its own").await;
    // Several that are wanted at once, as hosts are: each has times of its own, and those of one limit follow each other.
    let wanted = |names, count| Wanted { limits: limits(names), count };
    let several = [wanted(&[("host b", 20)], 2), wanted(&[("host a", 30)], 1), wanted(&[("host b", 20)], 1)];
    let after = second.grant(&several).await.expect("written");
    let expected = [20, 30, 60].map(seconds);
    let near = |(after, expected): (&Duration, &Duration)| expected.saturating_sub(*after) < seconds(3);
    assert!(after.len() == 3 && after.iter().zip(&expected).all(near), "{after:?}");
    // A server whose clock was set back does not make everybody wait for it to come there again.
    database.execute("UPDATE pace SET next = next + 3600000000").await;
    next(&first, &one, 1, 120, "it was an hour away").await;
    // By whose limit nobody has sent for an hour, of them nothing is kept, and they begin anew.
    database.execute("UPDATE pace SET next = next - 14400000000 WHERE name LIKE 'host %'").await;
    first.retain(Time(0), Time(0), Time(0), Time(0)).await.expect("written");
    assert_eq!(database.number("SELECT count(*) FROM pace WHERE name LIKE 'host %'").await, 0);
    assert_eq!(database.number("SELECT count(*) FROM pace").await, 3, "the others are");
    next(&second, &limits(&[("host b", 20)]), 1, 20, "one interval from now").await;
}
