//! What a watcher keeps from one turn to the next. It lies in the store under the watcher's name: what was seen before a restart is
//! not news after it, and a page that asked us to wait is left alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ask::Validators;
use super::settings::Settings;
use super::{ORIGIN, Said};
use crate::clock::Time;
use crate::store::{Result, Store};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Of the settings by which it was read.
    pub of: String,
    pub validators: Validators,
    /// What the page says, by component.
    pub says: BTreeMap<String, Said>,
    /// What was seen there.
    pub entries: BTreeMap<String, Entry>,
    /// The page has been read before.
    pub seen: bool,
    /// What was wrong with an URL's latest answer.
    pub wrong: Option<String>,
    /// In a row.
    pub failures: u32,
    /// When it may be asked again.
    pub due: Time,
}

/// An entry of a feed, an alert or a post.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When it was last new.
    pub at: Time,
    /// Until when it counts, where it says so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Of its words.
    pub digest: String,
    /// The components of which it speaks.
    pub speaks: Vec<String>,
    /// It says that it is over.
    pub over: bool,
    pub text: String,
    /// Who wrote it, or the name by which others refer to it.
    pub by: String,
    /// What it ends or takes the place of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<String>,
}

/// A short name for what a stranger wrote, however long.
pub fn digest(parts: &[&str]) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn name(settings: &Settings) -> String {
    format!("{ORIGIN}/{}", settings.name)
}

/// What was kept, unless it was read by other settings.
pub async fn load(store: &dyn Store, settings: &Settings) -> Kept {
    let of = settings.digest();
    let fresh = Kept { of: of.clone(), ..Kept::default() };
    match store.meta(&name(settings)).await {
        Ok(Some(text)) => serde_json::from_str(&text).ok().filter(|kept: &Kept| kept.of == of).unwrap_or(fresh),
        Ok(None) => fresh,
        Err(error) => {
            tracing::warn!(watcher = settings.name, %error, "what a watcher saw before could not be read: it begins anew");
            fresh
        }
    }
}

pub async fn save(store: &dyn Store, settings: &Settings, kept: &Kept) -> Result<()> {
    store.set_meta(&name(settings), &serde_json::to_string(kept).unwrap_or_default()).await
}
