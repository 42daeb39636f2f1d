//! Alerts of CAP 1.2 that a feed of Atom or RSS names, each read once. An alert counts until it expires, a later one takes its
//! place, or it is cancelled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::feed::Item;
use super::kept::{Entry, Kept};
use super::words::{Speaks, Words, plain};
use super::{Finding, line};
use crate::cap::{self, Alert};
use crate::clock::Time;

/// Where the alert is that an entry names.
pub fn link(item: &Item) -> Option<&str> {
    let by_type =
        item.links.iter().find(|(_, media)| media.as_deref().is_some_and(|media| media.starts_with(cap::MEDIA)));
    let named = |link: &&(String, Option<String>)| link.0.ends_with(".cap") || link.0.ends_with(".xml");
    let link = by_type.or_else(|| item.links.iter().find(named)).or(item.links.first())?;
    Some(&link.0)
}

/// What counts of an alert.
pub fn entry(alert: &Alert, speaks: &Speaks, words: &Words, areas: &[String], lasts: Duration, now: Time) -> Entry {
    let text = plain(&alert.words());
    let is_actual = alert.is_actual();
    let is_meant = is_actual
        && (words.is_empty() || words.stand_in(&text))
        && (areas.is_empty() || alert.areas().any(|area| areas.contains(&area.to_lowercase())));
    let at = alert.sent.min(now);
    Entry {
        at,
        until: Some(alert.expires().unwrap_or(at.plus(lasts))),
        digest: String::new(),
        speaks: if is_meant { speaks.of(&text) } else { Vec::new() },
        over: alert.is_cancel() || alert.all_clear(),
        text: line(&alert.headline()),
        by: alert.reference().key(),
        // A test ends nothing.
        ends: alert.references.iter().filter(|_| is_actual).map(|reference| reference.key()).collect(),
    }
}

/// Forgets what neither the feed names nor counts any more.
pub fn prune(kept: &mut Kept, named: &BTreeSet<String>, now: Time) {
    kept.entries.retain(|key, entry| named.contains(key) || entry.until.is_some_and(|until| until > now));
    while kept.entries.len() > 2 * super::feed::ENTRIES {
        let oldest = kept.entries.iter().min_by_key(|(_, entry)| entry.at).map(|(key, _)| key.clone());
        oldest.and_then(|key| kept.entries.remove(&key));
    }
}

/// What alerts say that count now.
pub fn says(kept: &Kept, now: Time) -> BTreeMap<String, Finding> {
    let actual = || kept.entries.values();
    let ended: BTreeSet<&str> = actual().flat_map(|entry| &entry.ends).map(String::as_str).collect();
    let counts = |entry: &&Entry| {
        !entry.over && !ended.contains(entry.by.as_str()) && entry.until.is_some_and(|until| until > now)
    };
    let mut says: BTreeMap<String, (Time, Finding)> = BTreeMap::new();
    for entry in actual().filter(counts) {
        for component in &entry.speaks {
            let finding = (entry.at, Finding { text: entry.text.clone(), cause: entry.by.clone() });
            let known = says.entry(component.clone()).or_insert_with(|| finding.clone());
            if known.0 < entry.at {
                *known = finding;
            }
        }
    }
    says.into_iter().map(|(component, (_, finding))| (component, finding)).collect()
}
