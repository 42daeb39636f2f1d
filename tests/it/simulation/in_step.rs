//! Memory and the store in step: what was read, drawn or begun before somebody changed it does not come back afterwards.

use std::path::Path;

use loudhailer::clock::Instant;
use loudhailer::dispatch::breaker;
use loudhailer::id::{BroadcastId, IncidentId};
use loudhailer::store::BroadcastState::{Cancelled, Held, Paused, Running};
use loudhailer::store::{BroadcastState, DeliveryFilter, DeliveryState, Store};
use serde_json::json;

use super::full::{Answers, Process, runtime};
use super::world::START;

const STOPPABLE: [BroadcastState; 3] = [Held, Running, Paused];

/// Drawn on disk, and not yet taken up in memory, when somebody changes its state.
fn is_changed_before_it_is_taken_up(to: BroadcastState) -> (Option<BroadcastState>, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let process = Process::start(&folder.path().join("0.db"), 1, Answers::Accepted).await;
        process.says(None).await;
        assert_eq!(process.after(60).await, 1);
        let (drawn, ingested) = process.draws("e2", json!({ "status": "identified" })).await;
        let of = async |id: BroadcastId| process.store.broadcast(id).await.expect("reads").expect("is there");
        let mut id = None;
        for drawn in &ingested.broadcasts {
            if of(*drawn).await.audience == "press" {
                id = Some(*drawn);
            }
        }
        let id = id.expect("the press is told");
        assert!(process.app.engine.change_state(id, STOPPABLE.into(), to, "somebody").await.expect("writes"));
        process.app.engine.take_drawn(drawn);
        let state = process.app.engine.live(id).map(|live| live.state());
        (state, process.after(600).await - 1)
    })
}

#[test]
fn what_was_stopped_before_it_was_taken_up_stays_so() {
    assert_eq!(is_changed_before_it_is_taken_up(Cancelled), (None, 0));
}

#[test]
fn what_was_paused_before_it_was_taken_up_stays_so() {
    assert_eq!(is_changed_before_it_is_taken_up(Paused), (Some(Paused), 0));
}

#[test]
fn what_was_read_before_a_stop_is_not_taken_up_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let process = Process::start(&folder.path().join("0.db"), 1, Answers::Never).await;
        // What it drew is read again, and stopped so many turns later.
        for turns in 0..40 {
            let (name, id) = (format!("outage-{turns}"), format!("e{turns}"));
            let incident = json!({ "incident": name });
            if turns == 0 {
                process.says(None).await;
            }
            let drawn = process.hears(&id, incident).await.broadcasts;
            let stop = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
                for id in &drawn {
                    process.app.engine.change_state(*id, STOPPABLE.into(), Cancelled, "somebody").await.expect("stops");
                }
            };
            let (noticed, ()) = tokio::join!(process.app.engine.notice(&drawn), stop);
            noticed.expect("reads");
            for id in &drawn {
                assert!(process.app.engine.live(*id).is_none(), "{id} was stopped {turns} turns after it was read");
            }
        }
    });
}

#[test]
fn what_was_taken_up_told_and_done_before_it_was_taken_up_as_drawn_stays_so() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let process = Process::start(&folder.path().join("0.db"), 1, Answers::Accepted).await;
        process.says(None).await;
        assert_eq!(process.after(60).await, 1);
        let (drawn, ingested) = process.draws("e2", json!({ "status": "identified" })).await;
        process.hears("e2", json!({ "status": "identified" })).await;
        assert_eq!(process.after(60).await, 2, "who repeats it has it taken up");
        process.app.engine.take_drawn(drawn);
        for id in &ingested.broadcasts {
            assert!(process.app.engine.live(*id).is_none(), "{id} is done, and comes back");
        }
    });
}

#[test]
fn what_was_stopped_before_it_was_taken_up_has_superseded_what_is_older() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let process = Process::start(&folder.path().join("0.db"), 1, Answers::Never).await;
        let older = process.says(None).await.broadcasts;
        assert_eq!(process.after(10).await, 1);
        let (drawn, ingested) = process.draws("e2", json!({ "status": "identified" })).await;
        // All that runs is stopped, as the store has it: the older ones are superseded there.
        for id in &ingested.broadcasts {
            process.app.engine.change_state(*id, STOPPABLE.into(), Cancelled, "somebody").await.expect("stops");
        }
        process.app.engine.take_drawn(drawn);
        for id in older.iter().chain(&ingested.broadcasts) {
            assert!(process.app.engine.live(*id).is_none(), "{id} goes on");
        }
    });
}

fn dies_with_one_on_the_wire(path: &Path) {
    runtime().block_on(async {
        let process = Process::start(path, 1, Answers::Never).await;
        process.says(None).await;
        assert_eq!(process.after(10).await, 1, "it is on the wire when the process dies");
    });
}

#[test]
fn who_may_have_heard_before_a_death_hears_the_correction_that_follows_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.db");
    dies_with_one_on_the_wire(&path);
    runtime().block_on(async {
        // What was under way waits for a permit, and is superseded meanwhile.
        let later = START + 60_000;
        let process = Process::start_at(&path, later, 1, Answers::Accepted, &["1/30s"]).await;
        assert_eq!(process.after(1).await, 0);
        process.corrects().await;
        assert_eq!(process.after(120).await, 1, "who may have read the wrong words reads the right ones");
    });
}

#[test]
fn who_may_have_heard_before_a_death_hears_the_correction_though_another_way_was_looked_for_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.db");
    dies_with_one_on_the_wire(&path);
    runtime().block_on(async {
        // Its channel is found to be down before it has had its turn.
        let process = Process::start_at(&path, START + 60_000, 1, Answers::Accepted, &["1/30s"]).await;
        process.app.engine.platforms_changed(IncidentId(99), 1, ["hook-net".to_string()].into());
        assert_eq!(process.after(60).await, 0);
        let drawn = process.corrects().await;
        process.app.engine.platforms_changed(IncidentId(99), 2, Default::default());
        assert_eq!(process.after(120).await, 1);
        let corrected = corrected(&process, &drawn).await;
        assert_eq!(corrected, 1, "they hear that it was wrong, not only what is so");
    });
}

/// How many are told that something was wrong by what a correction drew.
async fn corrected(process: &Process, drawn: &[BroadcastId]) -> i64 {
    let mut corrected = 0;
    for id in drawn {
        let broadcast = process.store.broadcast(*id).await.expect("reads").expect("is there");
        if !broadcast.selection.told_by.is_empty() {
            corrected += process.store.counts(&broadcast).await.expect("reads").0.told;
        }
    }
    corrected
}

fn dies_with_a_second_try_on_the_wire(path: &Path) -> Vec<BroadcastId> {
    runtime().block_on(async {
        let process = Process::start(path, 1, Answers::LaterThenNever).await;
        let drawn = process.says(None).await.broadcasts;
        assert_eq!(process.after(300).await, 2, "it is on the wire when the process dies");
        drawn
    })
}

/// A later try of somebody was on the wire when the process died. The next one finds them waiting, and does what `meanwhile` does,
/// before it hears that the words were wrong: how many hear of that.
fn hear_of_what_a_second_try_may_have_told_them(
    rates: &[&str],
    meanwhile: impl AsyncFnOnce(&Process, &[BroadcastId]),
    afterwards: impl FnOnce(&Process),
) -> i64 {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.db");
    let wrong = dies_with_a_second_try_on_the_wire(&path);
    runtime().block_on(async {
        let process = Process::start_at(&path, START + 360_000, 1, Answers::Accepted, rates).await;
        meanwhile(&process, &wrong).await;
        let drawn = process.corrects().await;
        afterwards(&process);
        process.after(120).await;
        corrected(&process, &drawn).await
    })
}

#[test]
fn who_may_have_heard_by_a_later_try_before_a_death_hears_the_correction_while_they_wait_for_a_permit() {
    let waits = async |process: &Process, _: &[BroadcastId]| assert_eq!(process.after(1).await, 0);
    assert_eq!(hear_of_what_a_second_try_may_have_told_them(&["1/30s"], waits, |_| ()), 1);
}

#[test]
fn who_may_have_heard_by_a_later_try_before_a_death_hears_the_correction_though_no_way_works_meanwhile() {
    let down = async |process: &Process, _: &[BroadcastId]| {
        process.app.engine.platforms_changed(IncidentId(99), 1, ["hook-net".to_string()].into());
        assert_eq!(process.after(60).await, 0);
    };
    let up = |process: &Process| process.app.engine.platforms_changed(IncidentId(99), 2, Default::default());
    assert_eq!(hear_of_what_a_second_try_may_have_told_them(&["1/30s"], down, up), 1);
}

#[test]
fn who_may_have_heard_by_a_later_try_before_a_death_hears_the_correction_though_they_go_another_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.db");
    let wrong = dies_with_a_second_try_on_the_wire(&path);
    runtime().block_on(async {
        let channels = [(1, "hook", "url"), (2, "email", "email")];
        let process = Process::with(&path, START + 360_000, Answers::Accepted, &["1/30s"], &channels).await;
        process.app.engine.platforms_changed(IncidentId(99), 1, ["hook-net".to_string()].into());
        assert_eq!(process.after(1).await, 0);
        let mut ways = Vec::new();
        for id in wrong {
            let filter = DeliveryFilter { broadcast: Some(id), ..DeliveryFilter::default() };
            let rows = process.store.deliveries(filter, 10).await.expect("reads");
            ways.extend(rows.into_iter().map(|row| (row.channel.0, row.state)));
        }
        assert_eq!(ways, [(1, DeliveryState::Moved), (2, DeliveryState::Open)], "by mail now, when it may go");
        let drawn = process.corrects().await;
        process.after(120).await;
        assert_eq!(corrected(&process, &drawn).await, 1);
    });
}

#[test]
fn who_may_have_heard_by_a_later_try_before_a_death_hears_the_correction_though_somebody_pauses_or_stops_it() {
    for to in [Paused, Cancelled] {
        let changes = async |process: &Process, wrong: &[BroadcastId]| {
            for id in wrong {
                process.app.engine.change_state(*id, STOPPABLE.into(), to, "somebody").await.expect("writes");
            }
            assert_eq!(process.after(60).await, 0);
        };
        assert_eq!(hear_of_what_a_second_try_may_have_told_them(&["1/30s"], changes, |_| ()), 1, "{to}");
    }
}

#[test]
fn who_may_have_heard_before_a_death_hears_the_correction_though_the_next_try_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.db");
    dies_with_one_on_the_wire(&path);
    runtime().block_on(async {
        let process = Process::start_at(&path, START + 60_000, 1, Answers::RefusedOnce, &[]).await;
        assert_eq!(process.after(10).await, 1);
        let drawn = process.corrects().await;
        process.after(120).await;
        assert_eq!(corrected(&process, &drawn).await, 1);
    });
}

#[test]
fn a_channel_that_was_down_when_the_process_ended_is_tried_by_one_at_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("0.db");
    let state =
        |process: &Process, now: Instant| process.app.engine.lanes.values().next().map(|lane| lane.breaker(now).0);
    runtime().block_on(async {
        let process = Process::start(&path, 1, Answers::Refused).await;
        process.says(None).await;
        assert_eq!(process.after(2).await, 1);
        assert_eq!(state(&process, process.clock.monotonic()), Some(breaker::State::Open));
    });
    runtime().block_on(async {
        let process = Process::start_at(&path, START + 3_600_000, 1, Answers::Never, &[]).await;
        assert_eq!(state(&process, process.clock.monotonic()), Some(breaker::State::HalfOpen), "an hour later");
    });
}
