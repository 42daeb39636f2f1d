//! A store that cannot be written: a disk that is full, files that may not grow, a file that somebody else writes to. Nothing is answered with 202
//! that is not stored, readiness says so, and when it can be written again all goes on without a restart.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use super::catcher::Catcher;
use super::disk::Disk;
use super::process::{BINARY, Place, Process, until};
use super::{PLANS, PRESS, addresses, broadcast, happening, import, incidents, people, send};

const RECIPIENTS: usize = 2_000;
/// Events that find room on a disk that is full.
const MOST: usize = 500;

/// How large files may grow, for a process that runs: every write ends with an error, also where it would need no new room. The
/// signal that comes with it is ignored by the process.
fn limit(process: &Process, size: &str) {
    let arguments = ["--pid", &process.number().to_string(), &format!("--fsize={size}:")];
    assert!(Command::new("prlimit").args(arguments).status().expect("prlimit runs").success());
}

/// Breaks the store while nobody is written to, and while many are; after each it is mended.
async fn goes_on(
    place: &Place,
    catcher: &Catcher,
    mut process: Process,
    file: &str,
    breaks: [&mut dyn FnMut(&Process); 2],
) {
    let [fail, mend] = breaks;
    // A disk that is full may have room in files that are there: what is taken meanwhile is stored as before.
    let mut stored = BTreeSet::new();
    let mut refused = async |key: &str, process: &Process| {
        let mut taken = Vec::new();
        for n in 0..MOST {
            let key = format!("{key}-{n}");
            match send(&process.host, &happening(&key, "minor")).await.expect("an answer") {
                (503, _) => break,
                (202, answer) => taken.push(broadcast(&answer)),
                other => panic!("{other:?}"),
            }
            stored.insert(key);
        }
        assert!(taken.len() < MOST, "so many were taken, and nothing could be written");
        until("it is not ready", async || (!process.ready().await?).then_some(())).await;
        taken
    };
    let taken = async |key: &str, process: &Process| {
        let (status, answer) = send(&process.host, &happening(key, "minor")).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
        broadcast(&answer)
    };
    // Idle: nothing else would be written that could find out that it works again.
    assert_eq!(process.ready().await, Some(true));
    let mut expected: BTreeSet<(String, String)> = BTreeSet::new();
    let mut expect = |audience: &str, broadcast: &str| {
        expected.extend(addresses(file, audience).into_iter().map(|to| (to.to_string(), broadcast.to_string())));
    };
    fail(&process);
    refused("idle", &process).await.iter().for_each(|broadcast| expect("press", broadcast));
    mend(&process);
    until("it is ready", async || process.ready().await.filter(|ready| *ready)).await;
    expect("press", &taken("idle", &process).await);

    // Under way: the outcomes of what is open can't be written.
    catcher.hold().await;
    let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    expect("businesses", &broadcast(&answer));
    until("at least 100 attempts were open", async || (catcher.open().await >= 100).then_some(())).await;
    fail(&process);
    catcher.go().await;
    until("what was open was answered", async || (catcher.open().await == 0).then_some(())).await;
    refused("busy", &process).await.iter().for_each(|broadcast| expect("press", broadcast));
    mend(&process);
    until("it is ready", async || process.ready().await.filter(|ready| *ready)).await;
    let shown = incidents(&process).await;
    stored.extend(["idle", "main"].map(String::from));
    assert_eq!(shown.into_keys().collect::<BTreeSet<_>>(), stored, "what was not stored was not answered with 202");
    expect("press", &taken("busy", &process).await);
    process.settled().await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let caught: Vec<(String, String)> = catcher
        .caught()
        .into_iter()
        .map(|(to, id)| (to, format!("brd_{}", id.trim_start_matches("dlv_").split('_').next().unwrap_or_default())))
        .collect();
    let found: BTreeSet<(String, String)> = caught.iter().cloned().collect();
    let lost: Vec<_> = expected.difference(&found).take(5).collect();
    let strange: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(lost.is_empty() && strange.is_empty(), "lost {lost:?}, strange {strange:?}: {}", log(place));
    assert_eq!((caught.len(), expected.len()), (found.len(), RECIPIENTS + stored.len() * PRESS), "each once");
}

fn log(place: &Place) -> String {
    std::fs::read_to_string(place.path("log")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
    let place = Place::new(&catcher.mail, PLANS);
    let file = people(&catcher, RECIPIENTS);
    import(&place, &file).await;
    let Some(disk) = Disk::of(&place) else { return };
    let process = disk.serve(&place);
    let (mut full, mut free) = (|process: &Process| disk.fill(process), |process: &Process| disk.free(process));
    goes_on(&place, &catcher, process, &file, [&mut full, &mut free]).await;
    let log = log(&place);
    assert!(log.contains("disk is full") || log.contains("disk I/O error"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_may_not_grow_are_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
    let place = Place::new(&catcher.mail, PLANS);
    let file = people(&catcher, RECIPIENTS);
    import(&place, &file).await;
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]);
    let process = Process::start(command, &place);
    let (mut full, mut free) =
        (|process: &Process| limit(process, "0"), |process: &Process| limit(process, "unlimited"));
    goes_on(&place, &catcher, process, &file, [&mut full, &mut free]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_somebody_else_writes_to_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
    let place = Place::new(&catcher.mail, PLANS);
    let file = people(&catcher, RECIPIENTS);
    import(&place, &file).await;
    let process = Process::serve(&place);
    let other = rusqlite::Connection::open(place.path("loudhailer.db")).expect("opens");
    other.busy_timeout(Duration::from_secs(60)).expect("set");
    let mut locked = |_: &Process| other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let mut unlocked = |_: &Process| other.execute_batch("ROLLBACK").expect("unlocked");
    goes_on(&place, &catcher, process, &file, [&mut locked, &mut unlocked]).await;
}
