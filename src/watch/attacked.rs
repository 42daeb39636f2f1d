//! What holds of any page that anybody could publish.

use std::time::Duration;

use super::kept::Kept;
use super::words::{Speaks, Words};
use super::{Finding, SAID, feed, mastodon, statuspage};
use crate::clock::Time;

const NOW: Time = Time(1_633_362_660_000);

/// Reading it ends, without a panic; and what it says, of few components, is a line that anybody may be shown.
pub fn attacked(bytes: &[u8]) {
    let named = [("API", "api"), ("a", "web"), ("S3", "web")].map(|(theirs, ours)| (theirs.into(), ours.into()));
    let (lasts, nothing) = (Duration::from_secs(86400), Words::new(&[]));
    for speaks in [Speaks::Of("web".into()), Speaks::Named(named.into())] {
        if let Ok((says, note)) = statuspage::read(bytes, &speaks) {
            said(says.values());
            note.iter().for_each(|note| shown(note));
        }
        let mut kept = Kept::default();
        if let Ok(items) = feed::items(bytes, "https://a.example/feed") {
            assert!(items.len() <= feed::ENTRIES, "no more of a feed than is said");
            feed::merge(&mut kept, &items, &speaks, &nothing, &nothing, NOW);
            assert!(kept.entries.values().all(|entry| entry.at <= NOW), "what is ahead of our clock is now");
            said(feed::says(&kept, lasts, NOW).values());
            let before = kept.entries.clone();
            kept.seen = true;
            feed::merge(&mut kept, &items, &speaks, &nothing, &nothing, NOW.plus(lasts));
            assert!(kept.entries == before, "the same page is nothing new");
        }
        if mastodon::merge(&mut kept, bytes, &speaks, &nothing, NOW).is_ok() {
            said(mastodon::says(&kept, "tag", 1, lasts, NOW).values());
        }
    }
}

fn said<'a>(findings: impl ExactSizeIterator<Item = &'a Finding>) {
    assert!(findings.len() <= 2, "of no more components than are watched");
    findings.for_each(|finding| shown(&finding.text));
}

fn shown(text: &str) {
    assert!(text.chars().count() <= SAID + 1 && !text.chars().any(char::is_control), "{text:?}");
}
