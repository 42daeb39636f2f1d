//! Alerts of the Common Alerting Protocol, OASIS CAP 1.2, both ways ([docs/CAP.md](../../docs/CAP.md) has the mapping). Enters: an
//! alert as XML; leaves: an event, with the incident that its references lead to. Enters: what of an incident was told to everyone;
//! leaves: an alert for each update, and a feed of them.

use crate::ingest::event::BadEvent;

/// An alert as it was read.
mod alert;

/// Properties of what was read.
mod attacked;

/// From an alert to an event.
mod event;

/// An Atom feed of alerts.
pub mod feed;

/// Which incident an alert is of, and what becomes of it.
pub mod intake;

/// What may stand where.
mod shape;

/// What of an incident was told to everyone.
pub mod told;

/// The closed sets of words.
mod words;

/// From what was told to an alert.
pub mod write;

/// XML into a bounded tree.
mod xml;

pub use self::alert::Alert;
pub use self::attacked::attacked;

pub const NAMESPACE: &str = "urn:oasis:names:tc:emergency:cap:1.2";
pub const MEDIA: &str = "application/cap+xml";

/// Before the names of parameters that carry fields of ours from one broker to another.
const OWN: &str = "loudhailer.";

/// An alert, checked in every element that the standard has.
pub fn read(body: &[u8]) -> Result<Alert, BadEvent> {
    let root = xml::read(body)?;
    shape::check(&root)?;
    Alert::of(&root)
}

/// Whether a Content-Type is that of an alert; one in another charset than XML's own is refused.
pub fn is_alert(content_type: Option<&str>) -> Result<bool, BadEvent> {
    let media = content_type.unwrap_or_default().to_ascii_lowercase();
    let mut parts = media.split(';').map(str::trim);
    if parts.next() != Some(MEDIA) {
        return Ok(false);
    }
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    match charset {
        None | Some("utf-8" | "us-ascii") => Ok(true),
        Some(_) => {
            Err(BadEvent::new("content-type", "an alert is read in UTF-8 alone: send it so, with charset=utf-8"))
        }
    }
}

/// A time as CAP writes it: no `Z`, no fractions; UTC is `-00:00`.
fn time(time: crate::clock::Time) -> String {
    time.timestamp().strftime("%Y-%m-%dT%H:%M:%S-00:00").to_string()
}

#[cfg(test)]
mod tests;
