//! What the demo did, asked of the broker and of the catchers: a table by audience and channel, a sample of the words, and the
//! numbers by which it is judged.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde_json::Value;

use super::client::Client;
use super::expect::Expected;
use super::play::Played;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Numbers {
    /// Counted from the import file by separate code.
    pub expected: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub unknown: u64,
    /// Recipients, each update counting.
    pub unreachable: u64,
    pub catcher_distinct: u64,
    pub catcher_duplicates: u64,
    pub whatsapp_attempts_while_down: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Line {
    accepted: u64,
    deferred: u64,
    rejected: u64,
    unknown: u64,
    unreachable: u64,
    /// The longest that any update took to its first and to its last message.
    first: Option<Duration>,
    last: Option<Duration>,
}

/// By audience and channel; whoever could not be reached by any is on a line without one.
#[derive(Default)]
pub struct Tally {
    lines: BTreeMap<(String, String), Line>,
    /// Deliveries that ended otherwise than the scenario has it, for whoever looks into a failure.
    odd: Vec<String>,
}

/// Odd deliveries that are named.
const NAMED: usize = 10;

impl Tally {
    pub async fn of(client: &Client, played: &[Played], file: &str) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let owners = owners(file)?;
        for scene in played {
            for broadcast in &scene.broadcasts {
                tally.broadcast(client, broadcast).await?;
            }
            tally.times(scene, &owners);
        }
        Ok(tally)
    }

    fn line(&mut self, audience: &str, channel: &str) -> &mut Line {
        self.lines.entry((audience.into(), channel.into())).or_default()
    }

    async fn broadcast(&mut self, client: &Client, broadcast: &Value) -> anyhow::Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (id, audience) = (text(&broadcast["id"]), text(&broadcast["audience"]));
        let unreachable = broadcast["counts"]["unreachable"].as_u64().unwrap_or(0);
        if unreachable > 0 {
            self.line(&audience, "").unreachable += unreachable;
        }
        for delivery in client.all(&format!("/v1/deliveries?broadcast={id}")).await? {
            let channel = text(&delivery["channel"]);
            let line = self.line(&audience, &channel);
            match delivery["state"].as_str() {
                Some("told") => line.accepted += 1,
                Some("rejected") => line.rejected += 1,
                Some("unknown") => line.unknown += 1,
                _ => {}
            }
            let refused = delivery["state"] == "rejected" && channel == "email";
            if delivery["state"] != "told" && !refused && self.odd.len() < NAMED {
                self.odd.push(format!("{audience}: {delivery}"));
            }
            if delivery["tries"].as_u64() > Some(1) {
                let one = client.get(&format!("/v1/deliveries/{}", text(&delivery["id"]))).await?;
                let attempts = one["attempts"].as_array().into_iter().flatten();
                self.line(&audience, &channel).deferred +=
                    attempts.filter(|tried| tried["outcome"] == "deferred").count() as u64;
            }
        }
        Ok(())
    }

    fn times(&mut self, scene: &Played, owners: &HashMap<(String, String), String>) {
        let mut spans: BTreeMap<(&str, &str), (Duration, Duration)> = BTreeMap::new();
        for ((by, to), (first, last)) in &scene.arrivals {
            let Some(audience) = owners.get(&(by.to_string(), to.clone())) else { continue };
            let channel = match (audience.as_str(), *by) {
                ("public", "webhook") => "status-page",
                ("public", "telegram") => "telegram-channel",
                (_, by) => by,
            };
            let (first, last) = (first.duration_since(scene.started), last.duration_since(scene.started));
            let span = spans.entry((audience, channel)).or_insert((first, last));
            *span = (span.0.min(first), span.1.max(last));
        }
        for ((audience, channel), (first, last)) in spans {
            let line = self.line(audience, channel);
            line.first = line.first.max(Some(first));
            line.last = line.last.max(Some(last));
        }
    }

    fn sum(&self, of: impl Fn(&Line) -> u64) -> u64 {
        self.lines.values().map(of).sum()
    }

    pub fn numbers(&self, expected: &Expected, distinct: u64, duplicates: u64, whatsapp: u64) -> Numbers {
        Numbers {
            expected: expected.messages,
            accepted: self.sum(|line| line.accepted),
            rejected: self.sum(|line| line.rejected),
            unknown: self.sum(|line| line.unknown),
            unreachable: self.sum(|line| line.unreachable),
            catcher_distinct: distinct,
            catcher_duplicates: duplicates,
            whatsapp_attempts_while_down: whatsapp,
        }
    }

    pub fn odd(&self) -> &[String] {
        &self.odd
    }

    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "audience",
            "channel",
            "accepted",
            "deferred",
            "rejected",
            "unknown",
            "unreachable",
            "first within",
            "last within",
        ]);
        let span = |span: Option<Duration>| span.map_or(String::new(), |span| format!("{:.2} s", span.as_secs_f64()));
        for ((audience, channel), line) in &self.lines {
            let counts = [line.accepted, line.deferred, line.rejected, line.unknown, line.unreachable];
            let cells = [audience.clone(), if channel.is_empty() { "no way".into() } else { channel.clone() }]
                .into_iter()
                .chain(counts.map(|count| count.to_string()))
                .chain([span(line.first), span(line.last)]);
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

impl Numbers {
    /// Why the demo failed, if it did.
    pub fn judge(&self, stated_unreachable: u64) -> Result<(), String> {
        let Numbers { expected, accepted, catcher_distinct, .. } = self;
        let wrong = [
            (*accepted == 0, format!("nothing was accepted of {expected} messages")),
            (accepted != catcher_distinct, format!("{accepted} were accepted and {catcher_distinct} caught")),
            (accepted != expected, format!("{accepted} were accepted of {expected} expected")),
            (self.catcher_duplicates > 0, format!("{} came twice", self.catcher_duplicates)),
            (self.whatsapp_attempts_while_down > 0, "WhatsApp was tried while it was down".into()),
            (
                self.unreachable != stated_unreachable,
                format!("{} were unreachable, not {stated_unreachable}", self.unreachable),
            ),
        ];
        let wrong: Vec<String> = wrong.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }
}

/// Whose an address is: the audience that owns its person, by platform and address as the catchers name them.
fn owners(file: &str) -> anyhow::Result<HashMap<(String, String), String>> {
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    let names = reader.headers().context("the demo's file has no header")?.clone();
    let mut owners = HashMap::new();
    for record in reader.records() {
        let record = record.context("the demo's file")?;
        let cell =
            |name: &str| names.iter().position(|known| known == name).and_then(|at| record.get(at)).unwrap_or("");
        // The file names the owning audience first.
        let audience = cell("audiences").split(';').next().unwrap_or_default();
        for (column, by) in [
            ("email", "email"),
            ("phone", "sms"),
            ("whatsapp", "whatsapp"),
            ("telegram", "telegram"),
            ("slack", "slack"),
        ] {
            if !cell(column).is_empty() {
                owners.insert((by.into(), cell(column).into()), audience.into());
            }
        }
        if let Some(at) = cell("url").find("/hooks/") {
            owners.insert(("webhook".into(), cell("url")[at..].into()), audience.into());
        }
    }
    Ok(owners)
}

/// One message of each audience, in English, as people got it.
pub async fn samples(client: &Client, scene: &Played) -> anyhow::Result<String> {
    let mut out = String::new();
    for broadcast in &scene.broadcasts {
        let (Some(id), Some(audience)) = (broadcast["id"].as_str(), broadcast["audience"].as_str()) else { continue };
        let messages = client.get(&format!("/v1/broadcasts/{id}/messages")).await?;
        let items = messages["items"].as_array().cloned().unwrap_or_default();
        let english = |item: &&Value| item["locale"] == "en" && item["format"] != "webhook";
        let rank = |item: &&Value| match item["format"].as_str() {
            Some("email") => 0,
            Some("chat") => 1,
            _ => 2,
        };
        let Some(item) = items.iter().filter(english).min_by_key(rank) else { continue };
        let format = item["format"].as_str().unwrap_or_default();
        out.push_str(&format!("\n── {audience}, as {format} ──\n"));
        if let Some(title) = item["title"].as_str() {
            out.push_str(&format!("{title}\n\n"));
        }
        let text = item["text"].as_str().unwrap_or_default().trim();
        let lines: Vec<&str> = text.lines().take(12).collect();
        out.push_str(&format!("{}\n", lines.join("\n")));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_judged_by_every_number() {
        let good = || Numbers {
            expected: 5,
            accepted: 5,
            rejected: 1,
            unknown: 0,
            unreachable: 2,
            catcher_distinct: 5,
            catcher_duplicates: 0,
            whatsapp_attempts_while_down: 0,
        };
        assert_eq!(good().judge(2), Ok(()));
        assert!(good().judge(3).is_err());
        let changes: [fn(&mut Numbers); 5] = [
            |n| n.accepted = 4,
            |n| n.catcher_distinct = 6,
            |n| n.catcher_duplicates = 1,
            |n| n.whatsapp_attempts_while_down = 1,
            |n| (n.expected, n.accepted, n.catcher_distinct) = (0, 0, 0),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut numbers = good();
            change(&mut numbers);
            assert!(numbers.judge(2).is_err(), "change {at}");
        }
    }
}
