//! From a page to what it says. A look asks, reads, and changes nothing but what is kept; what follows from it is `turn`'s.

use std::collections::{BTreeMap, BTreeSet};

use super::ask::{Answer, Unanswered, Validators};
use super::kept::{Entry, Kept, digest};
use super::pace::Wish;
use super::settings::{Reads, Settings};
use super::{Finding, Watcher, alerts, feed, line, mastodon, probe, statuspage};
use crate::cap;
use crate::clock::Time;

/// Alerts that are fetched in one turn; the others wait for the next.
const ALERTS: usize = 10;

pub struct Looked {
    pub kept: Kept,
    /// Why the page could not be read; or what of it could not be used.
    pub read: Result<Option<String>, String>,
    /// The page is another than before.
    pub changed: bool,
    pub wish: Wish,
}

pub async fn look(watcher: &Watcher, kept: &Kept, now: Time) -> Looked {
    let settings = &watcher.settings;
    let mut looked = Looked { kept: kept.clone(), read: Ok(None), changed: false, wish: Wish::default() };
    let asked = watcher.asker.ask(&settings.target(), &kept.validators).await;
    if let Ok(answer) = &asked {
        looked.wish = Wish::of(&answer.headers, now);
    }
    if let Reads::Url { status, has, .. } = &settings.reads {
        let wrong = match asked {
            Ok(answer) => probe::wrong(answer.status, &answer.body, *status, has.as_ref()),
            Err(Unanswered::Away(why)) => Some(why.into()),
            Err(Unanswered::Refused(why)) => {
                looked.read = Err(why);
                return looked;
            }
        };
        looked.changed = wrong != kept.wrong;
        looked.kept.failures = if wrong.is_some() { kept.failures.saturating_add(1) } else { 0 };
        looked.kept.wrong = wrong;
        return looked;
    }
    looked.read = match asked {
        Err(Unanswered::Away(why)) => Err(why.into()),
        Err(Unanswered::Refused(why)) => Err(why),
        Ok(answer) if answer.status == 304 && kept.validators != Validators::default() => Ok(None),
        Ok(answer) if answer.status == 200 => {
            looked.changed = true;
            looked.kept.validators = Validators::of(&answer.headers);
            let read = page(watcher, &mut looked.kept, &answer, now).await;
            if read.is_ok() {
                looked.kept.seen = true;
            }
            read
        }
        Ok(answer) => Err(format!("it answers {}", answer.status)),
    };
    looked.kept.failures = if looked.read.is_err() { kept.failures.saturating_add(1) } else { 0 };
    // What could not be read is as it was.
    if looked.read.is_err() {
        looked.kept = Kept { failures: looked.kept.failures, ..kept.clone() };
    }
    looked
}

async fn page(watcher: &Watcher, kept: &mut Kept, answer: &Answer, now: Time) -> Result<Option<String>, String> {
    let Settings { speaks, reads, .. } = &watcher.settings;
    match reads {
        Reads::Statuspage => {
            let (says, note) = statuspage::read(&answer.body, speaks)?;
            let entry = |(component, finding): (String, Finding)| {
                let Finding { text, cause } = finding;
                let speaks = vec![component.clone()];
                (component, Entry { at: now, speaks, text, by: digest(&[&cause]), ..Entry::default() })
            };
            kept.entries = says.into_iter().map(entry).collect();
            Ok(note)
        }
        Reads::Feed { words, over, .. } => {
            let items = feed::items(&answer.body, &answer.url)?;
            feed::merge(kept, &items, speaks, words, over, now);
            Ok(None)
        }
        Reads::Mastodon { words, .. } => mastodon::merge(kept, &answer.body, speaks, words, now).map(|()| None),
        Reads::Cap { .. } => alerts_of(watcher, kept, answer, now).await,
        Reads::Url { .. } => Ok(None),
    }
}

/// The alerts of a feed that were not read yet; or the page is itself an alert.
async fn alerts_of(watcher: &Watcher, kept: &mut Kept, answer: &Answer, now: Time) -> Result<Option<String>, String> {
    let Settings { speaks, reads: Reads::Cap { words, areas, lasts }, .. } = &watcher.settings else { return Ok(None) };
    let entry = |body: &[u8]| match cap::read(body) {
        Ok(alert) => Ok(alerts::entry(&alert, speaks, words, areas, *lasts, now)),
        Err(bad) => Err(line(&format!("an alert is not as CAP 1.2 wants it: {bad}"))),
    };
    let items = match feed::items(&answer.body, &answer.url) {
        Ok(items) => items,
        Err(no_feed) if !String::from_utf8_lossy(&answer.body).contains(cap::NAMESPACE) => return Err(no_feed),
        Err(_) => {
            let entry = entry(&answer.body)?;
            let key = digest(&[&entry.by]);
            kept.entries.insert(key.clone(), entry);
            alerts::prune(kept, &[key].into(), now);
            return Ok(None);
        }
    };
    let mut named = BTreeSet::new();
    let (mut note, mut missing, mut fetched) = (None, false, 0);
    for link in items.iter().filter_map(alerts::link) {
        let key = digest(&[link]);
        if !named.insert(key.clone()) || kept.entries.contains_key(&key) {
            continue;
        }
        if fetched == ALERTS {
            missing = true;
            break;
        }
        fetched += 1;
        match watcher.asker.ask(link, &Validators::default()).await {
            Ok(alert) if alert.status == 200 => {
                // One that cannot be read is not asked for again.
                let entry = entry(&alert.body).unwrap_or_else(|why| {
                    note = Some(why);
                    Entry { at: now, ..Entry::default() }
                });
                kept.entries.insert(key, entry);
            }
            other => {
                missing = true;
                note = Some(match other {
                    Ok(answer) => format!("an alert that it names answers {}", answer.status),
                    Err(Unanswered::Away(why)) => format!("an alert that it names is not to be had: {why}"),
                    Err(Unanswered::Refused(why)) => format!("an alert that it names is not to be had: {why}"),
                });
            }
        }
    }
    // What is missing is asked for at the next turn, even if the feed is the same then.
    if missing {
        kept.validators = Validators::default();
        named.extend(items.iter().filter_map(alerts::link).map(|link| digest(&[link])));
    }
    alerts::prune(kept, &named, now);
    Ok(note)
}

/// What the page says by what is kept of it.
pub fn says(settings: &Settings, kept: &Kept, now: Time) -> BTreeMap<String, Finding> {
    match &settings.reads {
        Reads::Statuspage => {
            let finding = |entry: &Entry| Finding { text: entry.text.clone(), cause: entry.by.clone() };
            kept.entries.iter().map(|(component, entry)| (component.clone(), finding(entry))).collect()
        }
        Reads::Feed { lasts, .. } => feed::says(kept, *lasts, now),
        Reads::Cap { .. } => alerts::says(kept, now),
        Reads::Mastodon { tag, posts, within, .. } => mastodon::says(kept, tag, *posts, *within, now),
        Reads::Url { failures, .. } => probe::says(kept, &settings.speaks, *failures),
    }
}
