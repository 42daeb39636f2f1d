//! Entries of Atom (RFC 4287) and RSS. An entry is news when it is first seen, or its words change; of what stood there before
//! anybody looked, only what says itself that it is recent. The newest entry about a component says how it is.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::kept::{Entry, Kept, digest};
use super::words::{Speaks, Words, plain};
use super::{Finding, line};
use crate::clock::Time;

/// Of one feed, the first ones: feeds begin with the newest.
pub const ENTRIES: usize = 200;
/// How deep elements may lie in one another: whoever reads them descends likewise.
const DEPTH: usize = 64;

/// An entry as it stands there.
#[derive(Debug, PartialEq)]
pub struct Item {
    pub id: String,
    pub title: String,
    /// Title and words, without tags, in small letters.
    pub plain: String,
    pub at: Option<Time>,
    /// Where it leads, and to what type of document.
    pub links: Vec<(String, Option<String>)>,
}

pub fn items(body: &[u8], url: &str) -> Result<Vec<Item>, String> {
    shallow(body)?;
    let parser = feed_rs::parser::Builder::new().base_uri(Some(url)).sanitize_content(false).build();
    let feed = parser.parse(body).map_err(|error| line(&format!("is no feed of Atom or RSS: {error}")))?;
    let item = |entry: feed_rs::model::Entry| {
        let title = entry.title.map(|title| title.content).unwrap_or_default();
        let summary = entry.summary.map(|summary| summary.content).unwrap_or_default();
        let content = entry.content.and_then(|content| content.body).unwrap_or_default();
        let at = entry.updated.max(entry.published).map(|at| Time(at.timestamp_millis()));
        Item {
            id: entry.id,
            plain: plain(&format!("{title} {summary} {content}")),
            title,
            at,
            links: entry.links.into_iter().map(|link| (link.href, link.media_type)).collect(),
        }
    };
    Ok(feed.entries.into_iter().take(ENTRIES).map(item).collect())
}

/// Refuses what lies too deep before anybody descends into it.
fn shallow(body: &[u8]) -> Result<(), String> {
    let mut reader = Reader::from_reader(body);
    reader.config_mut().check_end_names = false;
    let (mut depth, mut buffer) = (0_usize, Vec::new());
    loop {
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(_)) if depth >= DEPTH => {
                return Err(format!("has elements in one another, deeper than {DEPTH}"));
            }
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::Eof) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(line(&format!("is no XML: {error}"))),
        }
        buffer.clear();
    }
}

/// What a feed holds now takes the place of what it held before.
pub fn merge(kept: &mut Kept, items: &[Item], speaks: &Speaks, words: &Words, over: &Words, now: Time) {
    let first = !kept.seen;
    let mut entries = BTreeMap::new();
    for item in items {
        let key = digest(&[&item.id]);
        let said = digest(&[&item.plain]);
        let own = item.at.map(|at| at.min(now));
        let at = match kept.entries.get(&key) {
            Some(known) if known.digest == said => known.at,
            // Its words are others, whatever it says of its time.
            Some(known) => own.filter(|own| *own > known.at).unwrap_or(now),
            None if first => own.unwrap_or_default(),
            None => own.unwrap_or(now),
        };
        let is_meant = words.is_empty() || words.stand_in(&item.plain);
        let entry = Entry {
            at,
            digest: said,
            speaks: if is_meant { speaks.of(&item.plain) } else { Vec::new() },
            over: over.stand_in(&item.plain),
            text: line(&item.title),
            ..Entry::default()
        };
        entries.entry(key).or_insert(entry);
    }
    kept.entries = entries;
}

/// What the newest entry about each component says, as long as it lasts.
pub fn says(kept: &Kept, lasts: std::time::Duration, now: Time) -> BTreeMap<String, Finding> {
    let mut newest: BTreeMap<&str, (&String, &Entry)> = BTreeMap::new();
    for (key, entry) in &kept.entries {
        for component in &entry.speaks {
            let known = newest.entry(component).or_insert((key, entry));
            // Of two at one time, that which says that it is over.
            if (known.1.at, known.1.over) < (entry.at, entry.over) {
                *known = (key, entry);
            }
        }
    }
    let speaking = newest.into_iter().filter(|(_, (_, entry))| !entry.over && entry.at.plus(lasts) > now);
    speaking
        .map(|(component, (key, entry))| {
            (component.to_string(), Finding { text: entry.text.clone(), cause: key.clone() })
        })
        .collect()
}
