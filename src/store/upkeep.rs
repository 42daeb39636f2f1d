//! What the store keeps beside incidents, broadcasts and deliveries: words and the templates that they are rendered from,
//! breakers, the journal.

use std::time::Duration;

use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::BroadcastId;
use crate::render::message::{Format, Markup};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WordingKey {
    pub locale: String,
    pub zone: String,
    pub format: Format,
    pub markup: Markup,
}

#[derive(Debug, Clone)]
pub struct Wording {
    pub broadcast: BroadcastId,
    pub key: WordingKey,
    pub digest: [u8; 32],
    pub bytes: Vec<u8>,
}

/// A frozen thing: a set of templates, kept for as long as a broadcast may still render from it.
#[derive(Debug, Clone)]
pub struct Frozen {
    pub digest: [u8; 32],
    pub kind: &'static str,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRow {
    pub channel: ChannelId,
    pub host: String,
    pub state: String,
    pub since: Time,
    pub until: Time,
}

/// One line of the journal: what happened, for pages, streams and the record.
#[derive(Debug, Clone, serde::Serialize)]
pub struct JournalRow {
    pub sequence: i64,
    pub at: Time,
    pub kind: String,
    pub body: serde_json::Value,
}

/// Send times that are wanted by all of these limits: each by its name, and how far apart its times are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub limits: Vec<(String, Duration)>,
    pub count: u32,
}

/// What was reserved of a long window, and what it holds by now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// The bucket that it is now.
    pub bucket: i64,
    pub count: i64,
    /// Attempts begun or reserved, by bucket.
    pub spent: Vec<(i64, i64)>,
    /// By how many milliseconds the clock that numbers the buckets is ahead of the asker's, at most.
    pub ahead: i64,
}
