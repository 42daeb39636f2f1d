//! `[watchers.NAME]` as it is written; `watch::Settings` makes sense of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Secret;
use crate::quantity::Span;

/// What a watcher reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The summary of a page of Statuspage, version 2.
    Statuspage,
    /// Atom or RSS.
    Feed,
    /// A feed that names alerts of CAP 1.2, or one alert.
    Cap,
    /// What is written under a tag.
    Mastodon,
    /// An answer that is expected.
    Url,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watcher {
    pub kind: Kind,
    /// It may have a key of the reader's in it.
    pub url: Secret,
    /// Ours, of which everything there speaks.
    pub component: Option<String>,
    /// What stands there, and which of ours that is.
    #[serde(default)]
    pub components: BTreeMap<String, String>,
    pub interval: Option<Span>,
    #[serde(default)]
    pub allow_private: bool,
    pub ca_file: Option<std::path::PathBuf>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    pub words: Option<Vec<String>>,
    pub over: Option<Vec<String>>,
    pub lasts: Option<Span>,
    pub areas: Option<Vec<String>>,
    pub tag: Option<String>,
    pub posts: Option<usize>,
    pub within: Option<Span>,
    pub status: Option<u16>,
    pub has: Option<String>,
    pub pattern: Option<String>,
    pub time_limit: Option<Span>,
    pub failures: Option<u32>,
}
