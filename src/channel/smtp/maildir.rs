//! A Maildir to which bounces and complaints come. A mail in `new` is read, and moved to `cur` once what it reports is on disk, so none is
//! lost and the same one again changes nothing. What reports nothing is moved, too: it lies there for a person.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::fs;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};

use crate::channel::Report;
use crate::clock::Clock;
use crate::receipt::mail;

/// How often it is looked at. Nobody waits for a bounce.
const EVERY: Duration = Duration::from_secs(10);
/// Mails of one look.
const AT_ONCE: usize = 1000;

/// Until nobody listens any more.
pub(super) async fn watch(folder: PathBuf, reports: mpsc::Sender<Report>, clock: Arc<Clock>) {
    let mut well = true;
    while !reports.is_closed() {
        let looked = look(&folder, &reports).await;
        match &looked {
            // Once, and not at every look.
            Err(error) if well => {
                tracing::warn!(maildir = %folder.display(), %error, "bounces cannot be taken from the Maildir");
            }
            Ok(_) if !well => tracing::info!(maildir = %folder.display(), "bounces are taken from the Maildir again"),
            _ => {}
        }
        well = looked.is_ok();
        if !matches!(looked, Ok(AT_ONCE)) {
            clock.sleep(EVERY).await;
        }
    }
}

/// Answers how many mails it has moved.
async fn look(folder: &Path, reports: &mpsc::Sender<Report>) -> io::Result<usize> {
    let mut entries = fs::read_dir(folder.join("new")).await?;
    let (mut moved, mut wrong) = (0, None);
    while moved < AT_ONCE
        && let Some(entry) = entries.next_entry().await?
    {
        match take(folder, &entry, reports).await {
            Ok(taken) => moved += usize::from(taken),
            // Another node was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The others are read all the same.
            Err(error) => wrong = Some(error),
        }
    }
    wrong.map_or(Ok(moved), Err)
}

/// Answers whether it was moved; one that could not be kept stays for the next look.
async fn take(folder: &Path, entry: &fs::DirEntry, reports: &mpsc::Sender<Report>) -> io::Result<bool> {
    if !entry.file_type().await?.is_file() {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    fs::File::open(entry.path()).await?.take(mail::LIMIT as u64).read_to_end(&mut bytes).await?;
    if let Some(said) = mail::read(&bytes)
        && !kept(said, reports).await
    {
        return Ok(false);
    }
    let mut name = entry.file_name();
    name.push(":2,S");
    fs::rename(entry.path(), folder.join("cur").join(name)).await?;
    Ok(true)
}

async fn kept(said: Value, reports: &mpsc::Sender<Report>) -> bool {
    let (kept, answer) = oneshot::channel();
    reports.send(Report { said, kept }).await.is_ok() && answer.await.unwrap_or(false)
}
