//! One turn of a watcher: a look at its page; then what the page says is told as signals, and what it says no more is withdrawn; then
//! what was seen is kept. In this order, so that after a crash a turn is taken again rather than lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::kept::{self, Kept, digest};
use super::look::{look, says};
use super::pace::{self, Wish};
use super::{Finding, Said, Watcher};
use crate::app::App;
use crate::clock::Time;
use crate::ingest::IngestError;
use crate::signal;

/// What is kept of it, and how long to wait. `None`: the process is to stop.
pub async fn turn(app: Arc<App>, watcher: Arc<Watcher>, before: Kept) -> Option<(Kept, Duration)> {
    let looked = tokio::select! {
        () = app.stop.cancelled() => return None,
        looked = look(&watcher, &before, app.clock.calendar()) => looked,
    };
    let now = app.clock.calendar();
    let mut after = looked.kept;
    let note = match looked.read {
        Err(why) => {
            let wait = failed(&watcher, now, &after, &why, looked.wish);
            keep(&app, &watcher, &before, &mut after, wait).await;
            return Some((after, wait));
        }
        Ok(note) => note,
    };
    match tell(&app, &watcher, &before.says, says(&watcher.settings, &after, now)).await {
        Ok(says) => after.says = says,
        Err(error) => {
            tracing::warn!(watcher = watcher.settings.name, %error, "what a watcher saw could not be taken in: it will look again");
            let mut as_before = Kept { failures: before.failures.saturating_add(1), ..before.clone() };
            let wait = failed(&watcher, now, &as_before, "what it says could not be taken in", looked.wish);
            keep(&app, &watcher, &before, &mut as_before, wait).await;
            return Some((as_before, wait));
        }
    }
    watcher.counted(if looked.changed { "changed" } else { "unchanged" });
    metrics::gauge!("loudhailer_watcher_failing", "watcher" => watcher.settings.name.clone()).set(0.0);
    watcher.show(|view| {
        (view.asked, view.read, view.error, view.note) = (Some(now), Some(now), None, note);
        view.says.clone_from(&after.says);
        view.failures = after.failures;
        *if looked.changed { &mut view.changed } else { &mut view.unchanged } += 1;
    });
    let failures = if watcher.settings.is_probe() { 0 } else { after.failures };
    let wait = pace::next(&watcher.settings, failures, looked.wish, fastrand::f64());
    keep(&app, &watcher, &before, &mut after, wait).await;
    Some((after, wait))
}

/// Notes that the page could not be read; answers how long to wait.
pub fn failed(watcher: &Watcher, now: Time, kept: &Kept, why: &str, wish: Wish) -> Duration {
    let name = &watcher.settings.name;
    if watcher.view().error.is_none() {
        tracing::warn!(watcher = name, host = watcher.settings.host, why, "a watcher cannot read its page");
    }
    watcher.counted("failed");
    metrics::gauge!("loudhailer_watcher_failing", "watcher" => name.clone()).set(1.0);
    watcher.show(|view| {
        (view.asked, view.error, view.failures) = (Some(now), Some(why.into()), kept.failures);
        view.failed += 1;
    });
    pace::next(&watcher.settings, kept.failures.max(1), wish, fastrand::f64())
}

/// Signals for what the page says, and the withdrawal of what it said before. Answers what it says, and since when.
async fn tell(
    app: &App,
    watcher: &Watcher,
    before: &BTreeMap<String, Said>,
    says: BTreeMap<String, Finding>,
) -> Result<BTreeMap<String, Said>, IngestError> {
    for component in before.keys().filter(|component| !says.contains_key(*component)) {
        app.store.silence(component, &watcher.origin()).await?;
        tracing::info!(watcher = watcher.settings.name, component, "a watcher's page no longer says so");
    }
    let mut told = BTreeMap::new();
    for (component, Finding { text, cause }) in says {
        let cause = digest(&[&cause]);
        let known = before.get(&component).filter(|said| said.cause == cause);
        let since = known.map_or(app.clock.calendar(), |said| said.since);
        let signal = signal::signal(app, &component, watcher.origin(), true, &text)?;
        signal::take_since(app, signal, since).await?;
        if known.is_none() {
            tracing::info!(
                watcher = watcher.settings.name,
                component,
                text,
                "a watcher's page says that something does not work"
            );
        }
        told.insert(component, Said { text, cause, since });
    }
    Ok(told)
}

/// Keeps what was seen, where it is another, or where the page is to be left alone for long.
async fn keep(app: &App, watcher: &Watcher, before: &Kept, after: &mut Kept, wait: Duration) {
    after.due = app.clock.calendar().plus(wait);
    let same = Kept { due: after.due, ..before.clone() } == *after;
    if same && wait <= watcher.settings.interval.mul_f64(1.2) {
        return;
    }
    if let Err(error) = kept::save(&*app.store, &watcher.settings, after).await {
        tracing::warn!(watcher = watcher.settings.name, %error, "what a watcher saw could not be kept");
    }
}
