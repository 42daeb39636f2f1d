//! The commands as people type them: the real binary, beside a running server or its store.

use std::path::Path;
use std::process::Stdio;

use loudhailer::clock::Clock;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Store, SubscriberDraft};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::harness::{Broker, Reply, START, Sink, outage, webhooks};

#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The binary in `folder`, with its store there and without the environment of whoever runs the tests.
pub async fn run(folder: &Path, server: Option<&str>, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loudhailer"));
    command.env_clear().current_dir(folder).args(arguments);
    command.env("LOUDHAILER__STORE__URL", format!("sqlite:{}", folder.join("loudhailer.db").display()));
    if let Some(server) = server {
        command.env("LOUDHAILER_SERVER", server);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("starts");
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes()).await; // it may not read it
    }
    // A debug build checks for a while.
    let patience = std::time::Duration::from_secs(180);
    let output = tokio::time::timeout(patience, child.wait_with_output()).await.expect("it never ends").expect("ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into(),
        err: String::from_utf8_lossy(&output.stderr).into(),
    }
}

const PLAN: &str = r#"title = "By hand"
[match]
by_hand = true
[[step]]
name = "businesses"
audience = "businesses"
routes = ["hooks"]
priority = "high"
"#;

/// A broker with the plan `hand` and two businesses, one of them without any address.
async fn with_plan(plans: &Path, sink: &Sink) -> Broker {
    std::fs::write(plans.join("hand.toml"), PLAN).expect("writes");
    let broker =
        Broker::start(&webhooks(&format!("[paths]\nplans = {plans:?}\n[components.web]\ntitle = \"Website\"\n"))).await;
    broker.webhook("alex", "businesses", &sink.url()).await;
    broker.subscriber("mute", "businesses", &[], |_| ()).await;
    broker
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_helps_and_wrong_use_is_two() {
    let folder = tempfile::tempdir().expect("a folder");
    for command in [
        "serve", "import", "export", "send", "status", "stop", "pause", "resume", "release", "channel", "explain",
        "check", "template", "token", "bench", "backup", "restore",
    ] {
        let help = run(folder.path(), None, &[command, "--help"], "").await;
        assert_eq!(help.code, Some(0), "{command}: {help:?}");
    }
    for wrong in
        [&["nonsense"][..], &["stop"], &["stop", "inc_1"], &["explain", "brd_1"], &["--config", "none.toml", "check"]]
    {
        assert_eq!(run(folder.path(), None, wrong, "").await.code, Some(2), "{wrong:?}");
    }
    let unheard = run(folder.path(), Some("http://127.0.0.1:9"), &["status"], "").await;
    assert_eq!(unheard.code, Some(1), "{unheard:?}");
    assert!(unheard.err.contains("is loudhailer serve running"), "{unheard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_shown_once_and_open_the_door() {
    let broker = Broker::start("").await;
    let folder = broker.folder().to_path_buf();
    let url = broker.url();
    let made = run(&folder, None, &["token", "create", "--name", "ci", "--scope", "ingest,read"], "").await;
    let token = made.out.trim().to_string();
    assert!(made.code == Some(0) && token.starts_with("lh_") && token.len() == 46, "{made:?}");
    let twice = run(&folder, None, &["token", "create", "--name", "ci", "--scope", "read"], "").await;
    assert_eq!(twice.code, Some(1), "{twice:?}");
    let wrong = run(&folder, None, &["token", "create", "--name", "x", "--scope", "everything"], "").await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    let list = run(&folder, None, &["token", "list", "--json"], "").await;
    assert_eq!(list.json()[0]["scopes"], serde_json::json!(["ingest", "read"]), "{list:?}");
    assert!(!list.out.contains(&token));

    let without = run(&folder, Some(&url), &["status"], "").await;
    assert!(without.code == Some(1) && without.err.contains("--token"), "{without:?}");
    assert_eq!(run(&folder, Some(&url), &["status", "--token", &token], "").await.code, Some(0));
    let not_allowed = run(&folder, Some(&url), &["stop", "--all", "--token", &token], "").await;
    assert_eq!(not_allowed.code, Some(1), "{not_allowed:?}");
    assert_eq!(run(&folder, None, &["token", "revoke", "ci"], "").await.code, Some(0));
    assert_eq!(run(&folder, None, &["token", "revoke", "ci"], "").await.code, Some(1));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn send_shows_first_and_sends_when_the_number_is_typed() {
    let (sink, plans) = (Sink::start().await, tempfile::tempdir().expect("a folder"));
    let broker = with_plan(plans.path(), &sink).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let send = |more: &'static [&'static str], input: &'static str| {
        let (folder, url) = (folder.clone(), url.clone());
        async move {
            let mut arguments = vec!["send", "--plan", "hand", "--title", "The website is down", "--component", "web"];
            arguments.extend(["--fact", "summary=Nobody can open it."]);
            arguments.extend(more);
            run(&folder, Some(&url), &arguments, input).await
        }
    };
    let dry = send(&["--dry-run"], "").await;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(
        dry.out.contains("hooks") && dry.out.contains("no address") && dry.out.contains("The website is down"),
        "{dry:?}"
    );
    let preview = send(&["--dry-run", "--json"], "").await.json();
    assert_eq!(preview["recipients"], 1, "{preview}");
    assert_eq!(preview["steps"][0]["routes"]["hooks"], 1, "{preview}");
    assert_eq!(preview["steps"][0]["missed"][0]["reason"], "no_address", "{preview}");

    for input in ["", "2\n", "yes\n"] {
        let not = send(&[], input).await;
        assert!(not.code == Some(1) && not.err.contains("not sent"), "{not:?}");
    }
    assert!(broker.app.store.open_incidents().await.expect("reads").is_empty());
    assert_eq!(sink.all().len(), 0);

    let sent = send(&[], "1\n").await;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let request = sink.next().await;
    assert_eq!(request.json()["type"], "incident.update");
    broker.settled().await;
    let status = run(&folder, Some(&url), &["status", "--json"], "").await;
    assert!(status.out.contains("The website is down"), "{status:?}");
    broker.stop().await;
    assert_eq!(sink.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_component_or_plan_is_an_error_with_the_nearest_name() {
    let (sink, plans) = (Sink::start().await, tempfile::tempdir().expect("a folder"));
    let broker = with_plan(plans.path(), &sink).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let base = ["send", "--title", "x", "--yes"];
    for (more, expected) in [
        (&["--plan", "hand", "--component", "wep"][..], "did you mean \"web\"?"),
        (&["--plan", "hnad"], "did you mean \"hand\"?"),
        (&["--plan", "hand", "--fact", "sumary=x"], "did you mean \"summary\"?"),
    ] {
        let ran = run(&folder, Some(&url), &[&base[..], more].concat(), "").await;
        assert!(ran.code == Some(2) && ran.err.contains(expected), "{ran:?}");
    }
    broker.stop().await;
    assert_eq!(sink.all().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_to_me_reach_me_alone_and_leave_no_trace() {
    let (sink, mine, plans) = (Sink::start().await, Sink::start().await, tempfile::tempdir().expect("a folder"));
    let broker = with_plan(plans.path(), &sink).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let arguments = ["send", "--plan", "hand", "--title", "Only to me", "--to-me", &mine.url()];
    let ran = run(&folder, Some(&url), &arguments, "").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(mine.next().await.json().to_string().contains("Only to me"));
    assert!(broker.app.store.open_incidents().await.expect("reads").is_empty());
    broker.stop().await;
    assert_eq!((sink.all().len(), mine.all().len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_goes_to_exactly_those_whom_the_wrong_one_reached() {
    let (sink, late, plans) = (Sink::start().await, Sink::start().await, tempfile::tempdir().expect("a folder"));
    let broker = with_plan(plans.path(), &sink).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let sent =
        run(&folder, Some(&url), &["send", "--plan", "hand", "--title", "Wrong", "--yes", "--json"], "").await.json();
    sink.next().await;
    broker.settled().await;
    broker.webhook("late", "businesses", &late.url()).await;
    let update = sent["sent"]["update"].as_str().expect("an update").to_string();
    let correct = ["send", "--plan", "hand", "--title", "Right", "--correct", &update, "--yes", "--json"];
    let corrected = run(&folder, Some(&url), &correct, "").await;
    assert_eq!(corrected.json()["preview"]["recipients"], 1, "{corrected:?}");
    sink.next().await;
    broker.stop().await;
    assert_eq!((sink.all().len(), late.all().len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_why_and_why_not() {
    let (sink, plans) = (Sink::start().await, tempfile::tempdir().expect("a folder"));
    let broker = with_plan(plans.path(), &sink).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let sent =
        run(&folder, Some(&url), &["send", "--plan", "hand", "--title", "x", "--yes", "--json"], "").await.json();
    sink.next().await;
    broker.settled().await;
    let broadcast = sent["sent"]["broadcasts"][0].as_str().expect("a broadcast").to_string();
    let address = format!("url:{}", sink.url());
    // The channels are set up there as the server has them.
    std::fs::write(folder.join("broker.toml"), webhooks("")).expect("writes");
    let explain = ["--config", "broker.toml", "explain"];
    let told =
        run(&folder, None, &[&explain[..], &[&broadcast, "--address", &address, "--json"]].concat(), "").await.json();
    assert!(
        told["because"].as_str().is_some_and(|because| because.contains("was selected, by hooks (url, place 1)")),
        "{told}"
    );
    assert_eq!(told["deliveries"][0]["state"], "told", "{told}");
    let id = told["deliveries"][0]["id"].as_str().expect("an id").to_string();
    let same = run(&folder, None, &[&explain[..], &[&id, "--json"]].concat(), "").await.json();
    let by_server = broker.get(&format!("/v1/deliveries/{id}/explain")).await.json();
    assert!(same == told && by_server == told && told["recomputed"] == "equal", "{same:#}\n{by_server:#}\n{told:#}");
    for wrong in [&[id.as_str(), "--address", &address][..], &["inc_1"]] {
        assert_eq!(run(&folder, None, &[&["explain"][..], wrong].concat(), "").await.code, Some(2), "{wrong:?}");
    }
    let mute = broker.app.store.subscriber_by_key("mute").await.expect("reads").expect("there").id.to_string();
    let not = run(&folder, None, &["explain", &broadcast, "--subscriber", &mute], "").await;
    assert!(not.out.contains("could not be told: no address"), "{not:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_broadcast_is_stopped_from_the_command_line() {
    let broker = Broker::start(&webhooks("")).await;
    broker.webhook("alex", "businesses", "http://127.0.0.1:9/").await; // nobody answers there: it waits
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let answer = broker.post("/v1/events", &outage("a-1")).await.json();
    let stopped = run(&folder, Some(&url), &["stop", "--all", "--json"], "").await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let ids: Vec<String> =
        answer["broadcasts"].as_array().expect("ids").iter().map(|id| id.as_str().unwrap_or_default().into()).collect();
    let one = run(&folder, Some(&url), &["stop", &ids[0]], "").await;
    assert!(one.code == Some(0) || one.err.contains("done"), "{one:?}");
    let paused = run(&folder, Some(&url), &["channel", "pause", "hooks"], "").await;
    assert!(paused.out.contains("hooks is paused"), "{paused:?}");
    let unknown = run(&folder, Some(&url), &["channel", "pause", "hoocks"], "").await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_through_the_server_while_it_owns_the_store() {
    let broker = Broker::start("").await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let file = "key,audiences,email\na,staff,a@example.org\n";
    let import = ["import", "subscribers", "-", "--format", "csv", "--verified", "--json"];
    let refused = run(&folder, None, &import, file).await;
    assert!(refused.code == Some(1) && refused.err.contains("--server"), "{refused:?}");
    let through = run(&folder, Some(&url), &import, file).await;
    assert_eq!(through.json()["created"], 1, "{through:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_imports_unchanged_and_a_backup_restores() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let file = "key,name,audiences,quiet_hours,email,phone\na,A,staff;press,22:00-07:00,a@example.org,+4912345678\n";
    let import = ["import", "subscribers", "-", "--format", "csv", "--verified"];
    let imported = run(here, None, &import, file).await;
    assert!(imported.out.contains("created 1"), "{imported:?}");
    let export = run(here, None, &["export", "subscribers"], "").await;
    let again = run(here, None, &["import", "subscribers", "-", "--format", "ndjson"], &export.out).await;
    assert!(again.out.contains("unchanged 1, bad 0"), "{again:?} {export:?}");

    assert_eq!(run(here, None, &["backup", "copy.db"], "").await.code, Some(0));
    assert_eq!(run(here, None, &["backup", "copy.db"], "").await.code, Some(2));
    run(here, None, &import, "key,audiences,email\nb,staff,b@example.org\n").await;
    assert_eq!(run(here, None, &["restore", "copy.db"], "").await.code, Some(2));
    std::fs::write(here.join("no.db"), "nothing").expect("writes");
    assert_eq!(run(here, None, &["restore", "no.db", "--force"], "").await.code, Some(1));
    let restored = run(here, None, &["restore", "copy.db", "--force"], "").await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(run(here, None, &["export", "subscribers"], "").await.out, export.out);
    // A line a table, and the same for programs.
    let backup = run(here, None, &["backup", "again.db", "--json"], "").await.json();
    for table in backup["tables"].as_array().expect("tables") {
        let [name, checksum] = ["table", "checksum"].map(|field| table[field].as_str().expect("a text"));
        assert!(restored.out.contains(&format!("{name}\t{}\t{checksum}\n", table["rows"])), "{restored:?} {table}");
    }
    assert!(restored.out.contains("subscriber\t1\t"), "{restored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_brings_nobody_back_who_wants_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let file =
        "key,audiences,email,phone\na,staff,a@example.org,+4912345678\nw,staff,w@example.org,\n,staff,s@example.org,\n";
    let import = ["import", "subscribers", "-", "--format", "csv", "--verified"];
    assert!(run(here, None, &import, file).await.out.contains("created 3"));
    let store = Sqlite::own(&here.join("loudhailer.db"), 64).expect("opens");
    let now = Clock::system().calendar();
    for address in ["a@example.org", "s@example.org"] {
        store.suppress("email", address, "unsubscribed", now).await.expect("suppresses");
    }
    let mut withdrawn = store.subscriber_by_key("w").await.expect("read").expect("there");
    withdrawn.withdrawn = true;
    let drafts = vec![SubscriberDraft { id: Some(withdrawn.id), subscriber: withdrawn }];
    store.upsert(drafts, now).await.expect("written");
    store.close().await.expect("closes");
    drop(store);

    let export = run(here, None, &["export", "subscribers"], "").await;
    assert!(export.out.lines().count() == 1 && !export.out.contains("@example.org"), "{export:?}");
    let ndjson = ["import", "subscribers", "-", "--format", "ndjson", "--verified"];
    let back = run(here, None, &ndjson, &export.out).await;
    assert!(back.out.contains("bad 0"), "{back:?}");
    // The file of before, from which they came.
    assert!(run(here, None, &import, file).await.out.contains("bad 0"));
    let store = Sqlite::own(&here.join("loudhailer.db"), 64).expect("opens");
    assert!(store.subscriber_by_key("w").await.expect("read").expect("there").withdrawn);
    for address in ["a@example.org", "s@example.org"] {
        let whose = store.subscriber_by_address("email", address).await.expect("read").expect("there");
        let own = whose.addresses.iter().find(|own| own.value == address).expect("theirs");
        assert!(own.suppressed, "{address}");
    }
    store.close().await.expect("closes");
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_taken_beside_a_running_server_and_no_restore() {
    let broker = Broker::start("").await;
    let folder = broker.folder().to_path_buf();
    broker.subscriber("alex", "staff", &[("email", "alex@example.org")], |_| ()).await;
    let backup = run(&folder, None, &["backup", "copy.db"], "").await;
    assert_eq!(backup.code, Some(0), "{backup:?}");
    let restore = run(&folder, None, &["restore", "copy.db", "--force"], "").await;
    assert!(restore.code == Some(1) && restore.err.contains("another loudhailer"), "{restore:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_passes_what_ships_and_names_the_line_of_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let fine = run(here, None, &["check"], "").await;
    assert_eq!(fine.code, Some(0), "{fine:?}");
    let matrix = run(here, None, &["check", "--matrix"], "").await;
    assert!(matrix.code == Some(0) && matrix.out.contains("customers"), "{matrix:?}");
    std::fs::create_dir_all(here.join("plans")).expect("a folder");
    std::fs::write(here.join("plans/bad.toml"), PLAN.replace("priority = \"high\"", "priority = \"hihg\""))
        .expect("writes");
    std::fs::write(here.join("own.toml"), "[paths]\nplans = \"plans\"\n").expect("writes");
    let bad = run(here, None, &["--config", "own.toml", "check"], "").await;
    assert!(bad.code == Some(2) && bad.out.contains("bad.toml:"), "{bad:?}");
    let asks = PLAN.replace("[\"hooks\"]", "[\"hooks\", \"sms\"]\nconfirm_within = \"90s\"");
    std::fs::write(here.join("plans/bad.toml"), asks).expect("writes");
    std::fs::write(here.join("own.toml"), webhooks("[paths]\nplans = \"plans\"")).expect("writes");
    let bad = run(here, None, &["--config", "own.toml", "check"], "").await;
    let said = "plan bad, step businesses: confirm_within: no channel of its routes reports what arrived: hooks";
    assert!(bad.code == Some(2) && bad.out.contains(said), "{bad:?}");
    let shown = run(here, None, &["template", "preview", "customers", "investigating", "--format", "sms"], "").await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_of_a_server_is_one_and_a_wrong_configuration_two() {
    let broker = Broker::start("").await;
    let folder = broker.folder().to_path_buf();
    let serve = async |text: &str| {
        std::fs::write(folder.join("own.toml"), text).expect("writes");
        run(&folder, None, &["serve", "--config", "own.toml"], "").await
    };
    let second = serve("[server]\nlisten = \"127.0.0.1:0\"\n").await;
    assert!(second.code == Some(1) && second.err.contains("another loudhailer sends from this store"), "{second:?}");
    let taken = serve(&format!("[server]\nlisten = \"{}\"\n", broker.url().trim_start_matches("http://"))).await;
    assert!(taken.code == Some(1) && taken.err.contains("can't be listened on"), "{taken:?}");
    let wrong = serve("[server]\nlisten = \"127.0.0.1:0\"\nbody_limt = \"1MB\"\n").await;
    assert!(wrong.code == Some(2) && wrong.err.contains("body_limit"), "{wrong:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_hides_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let matrix = run(folder.path(), None, &["check", "--matrix"], "").await;
    assert_eq!(matrix.code, Some(0), "{matrix:?}");
    std::fs::create_dir(folder.path().join("plans")).expect("a folder");
    std::fs::write(folder.path().join("plans/own.toml"), "titel = \"x\"\n").expect("writes");
    std::fs::write(folder.path().join("own.toml"), "[paths]\nplans = \"plans\"\n").expect("writes");
    let wrong = run(folder.path(), None, &["check", "--matrix", "--config", "own.toml"], "").await;
    assert!(wrong.code == Some(2) && wrong.out.contains("own.toml"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_in_mid_broadcast_sends_the_rest_after_it_is_restored() {
    let sink = Sink::answering(|n, _| if n < 3 { Reply::Status(204) } else { Reply::Hold }).await;
    let narrow = "[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\nconcurrency = 1\n";
    let broker = Broker::start(narrow).await;
    broker.crowd(20, "businesses", &sink.url()).await;
    assert_eq!(broker.post("/v1/events", &outage("a-1")).await.status, 202);
    for _ in 0..4 {
        sink.next().await;
    }
    let three = async || {
        let running = broker.get("/v1/broadcasts?state=running").await.json();
        (running["items"][0]["counts"]["told"] == 3).then_some(())
    };
    broker.until("told three", three).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let copied = run(&folder, Some(&url), &["backup", "copy.db"], "").await;
    assert_eq!(copied.code, Some(0), "{copied:?}");
    // That machine is gone: it begins nothing more.
    broker.app.engine.stop.cancel();
    sink.release();
    let old = broker.stop_as_it_is().await;
    assert_eq!(sink.all().len(), 4);

    let other = tempfile::tempdir().expect("a folder");
    let copy = old.path().join("copy.db").display().to_string();
    let restored = run(other.path(), None, &["restore", &copy], "").await;
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let start = loudhailer::clock::Time::parse(START).expect("a time");
    Broker::open(narrow, Clock::manual(start), other).await.stop().await;
    let mut ids = std::collections::BTreeMap::<String, std::collections::BTreeSet<String>>::new();
    for request in sink.all() {
        let id = request.header("webhook-id").expect("an id").to_string();
        ids.entry(request.path).or_default().insert(id);
    }
    assert_eq!(ids.len(), 20, "{ids:?}");
    // What was on the wire as the copy was taken goes out again, under its id.
    assert_eq!(sink.all().len(), 21);
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_released_paused_resumed_and_followed_from_the_command_line() {
    let (sink, plans) = (Sink::answering(|_, _| Reply::Hold).await, tempfile::tempdir().expect("a folder"));
    let held = PLAN.replace("priority = \"high\"", "priority = \"high\"\napproval = true");
    std::fs::write(plans.path().join("hand.toml"), held).expect("writes");
    let narrow = format!(
        "[paths]\nplans = {:?}\n[channels.hooks]\nplatform = \"webhook\"\nallow_private = true\nconcurrency = 1\n",
        plans.path()
    );
    let broker = Broker::start(&narrow).await;
    broker.crowd(5, "businesses", &sink.url()).await;
    let (folder, url) = (broker.folder().to_path_buf(), broker.url());
    let command = async |arguments: &[&str]| run(&folder, Some(&url), arguments, "").await;
    let sent = command(&["send", "--plan", "hand", "--title", "x", "--yes", "--json"]).await.json();
    let id = sent["sent"]["broadcasts"][0].as_str().expect("a broadcast").to_string();
    let shown = async || broker.get(&format!("/v1/broadcasts/{id}")).await.json()["state"].clone();
    assert_eq!(shown().await, "held");
    for (verb, state) in [("release", "running"), ("pause", "paused"), ("resume", "running"), ("pause", "paused")] {
        let done = command(&[verb, &id]).await;
        assert_eq!((done.code, shown().await.as_str()), (Some(0), Some(state)), "{verb}: {done:?}");
    }
    // Followed until it is done: what stands there at last is that all five were told.
    let follow = ["status", &id, "--follow"];
    let (followed, ()) = tokio::join!(command(&follow), async {
        sink.next().await;
        assert_eq!(command(&["resume", &id]).await.code, Some(0));
        sink.release();
    });
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert!(followed.out.contains("done") && followed.out.contains('5'), "{followed:?}");
    broker.stop().await;
    assert_eq!(sink.all().len(), 5);
}
