//! Posts under a tag, `GET /api/v1/timelines/tag/:hashtag` of Mastodon (https://docs.joinmastodon.org/methods/timelines/#tag): so many
//! people within a span say that something does not work. An account counts once; programs do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::Finding;
use super::kept::{Entry, Kept, digest};
use super::words::{Speaks, Words, plain};
use crate::clock::Time;

#[derive(Deserialize)]
struct Status {
    id: String,
    created_at: Time,
    content: String,
    account: Account,
}

#[derive(Deserialize)]
struct Account {
    acct: String,
    #[serde(default)]
    bot: bool,
}

/// What the page holds takes the place of what it held before.
pub fn merge(kept: &mut Kept, body: &[u8], speaks: &Speaks, words: &Words, now: Time) -> Result<(), String> {
    let posts: Vec<Status> = serde_json::from_slice(body)
        .map_err(|error| format!("is no timeline of Mastodon (/api/v1/timelines/tag/…): {error}"))?;
    let people = posts.into_iter().take(super::feed::ENTRIES).filter(|post| !post.account.bot);
    kept.entries = people
        .map(|post| {
            let text = plain(&post.content);
            let is_meant = words.is_empty() || words.stand_in(&text);
            let entry = Entry {
                at: post.created_at.min(now),
                speaks: if is_meant { speaks.of(&text) } else { Vec::new() },
                // Nobody's name is kept.
                by: digest(&[&post.account.acct]),
                ..Entry::default()
            };
            (digest(&[&post.id]), entry)
        })
        .collect();
    Ok(())
}

pub fn says(kept: &Kept, tag: &str, least: usize, within: Duration, now: Time) -> BTreeMap<String, Finding> {
    let mut people: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in kept.entries.values().filter(|entry| entry.at.plus(within) > now) {
        for component in &entry.speaks {
            people.entry(component).or_default().insert(&entry.by);
        }
    }
    let within = crate::quantity::Span(within);
    let enough = people.into_iter().filter(|(_, people)| people.len() >= least);
    enough
        .map(|(component, people)| {
            let text = format!("{} people wrote of #{} within {within}", people.len(), tag.trim_start_matches('#'));
            // As long as enough of them do, it is the same.
            (component.to_string(), Finding { text, cause: tag.into() })
        })
        .collect()
}
