//! The feed: an Atom document (RFC 4287) whose entries lead to alerts, the newest first. Enters: what was told; leaves: the feed and
//! the alerts that it names.

use std::collections::BTreeMap;

use super::MEDIA;
use super::told::Told;
use super::write::{self, Page, said, titled};
use crate::clock::Time;
use crate::config::Config;
use crate::id::UpdateId;
use crate::incident::Mode;

pub const ATOM: &str = "application/atom+xml";

/// The newest are named.
const ENTRIES: usize = 100;

/// A feed as it is at one time.
#[derive(Debug, Default)]
pub struct Feed {
    pub atom: String,
    pub alerts: BTreeMap<UpdateId, String>,
}

/// `all`: what was told of each incident, oldest first. Nobody is to take an exercise for an alert, so there is none among them.
pub fn feed(config: &Config, all: &[Vec<Told>]) -> Feed {
    let mut entries: Vec<(&Told, String)> = Vec::new();
    for told in all {
        let alerts = (0..told.len()).filter_map(|at| write::alert(config, Mode::Real, told, at));
        entries.extend(told.iter().zip(alerts));
    }
    entries.sort_by_key(|(told, _)| std::cmp::Reverse((told.sent, told.id)));
    entries.truncate(ENTRIES);
    let place = place(config);
    let mut page = Page("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into());
    page.0.push_str("<feed xmlns=\"http://www.w3.org/2005/Atom\">\n");
    page.leaf("id", format_args!("{place}.xml"));
    page.leaf("title", format_args!("{}: alerts", config.sender.name));
    page.leaf("updated", entries.first().map_or(Time(0), |(told, _)| told.sent));
    page.group("author", |page| page.leaf("name", &config.sender.name));
    link(&mut page, "self", ATOM, &format!("{place}.xml"));
    for (told, _) in &entries {
        page.group("entry", |page| entry(page, config, told, &place));
    }
    page.0.push_str("</feed>\n");
    Feed { atom: page.0, alerts: entries.into_iter().map(|(told, alert)| (told.id, alert)).collect() }
}

fn entry(page: &mut Page, config: &Config, told: &Told, place: &str) {
    let own = &config.sender.locale;
    let title = told.facts.title.as_ref().and_then(|title| titled(title, own, own));
    let to = format!("{place}/{}.xml", told.id);
    page.leaf("id", &to);
    page.leaf("title", title.unwrap_or_else(|| told.id.to_string()));
    page.leaf("updated", told.sent);
    page.leaf("published", told.sent);
    link(page, "alternate", MEDIA, &to);
    if let Some(summary) = told.facts.summary.as_ref().and_then(|summary| said(summary, own, own)) {
        page.leaf("summary", summary);
    }
}

fn link(page: &mut Page, relation: &str, media: &str, to: &str) {
    let to = quick_xml::escape::escape(to);
    page.0.push_str(&format!("<link rel=\"{relation}\" type=\"{media}\" href=\"{to}\"/>\n"));
}

/// Where feed and alerts are, without `.xml`.
fn place(config: &Config) -> String {
    format!("{}/feed/cap", config.public_url())
}
