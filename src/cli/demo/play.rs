//! The outage of 2021-10-04, scene by scene: an event of each goes in by the public HTTP API, and the next follows when all
//! that it called for has ended. Only the clock's calendar is moved past the API: it is the demo's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::catcher::Basket;
use super::client::Client;
use crate::clock::{Clock, Time};

const FACTS: &str = include_str!("facts.json");

/// When it began: a quarter of an hour before the first word.
pub const BEGAN: &str = "2021-10-04T15:39:00Z";

pub type Arrivals = HashMap<(&'static str, String), (Instant, Instant)>;

/// What one scene led to.
pub struct Played {
    pub started: Instant,
    pub broadcasts: Vec<Value>,
    pub arrivals: Arrivals,
}

pub struct Stage<'a> {
    pub client: &'a Client,
    pub clock: &'a Arc<Clock>,
    pub basket: &'a Basket,
    pub bars: &'a MultiProgress,
}

pub struct Scenes(Vec<Map<String, Value>>);

impl Scenes {
    pub fn read() -> anyhow::Result<Scenes> {
        Ok(Scenes(serde_json::from_str(FACTS).context("facts.json")?))
    }

    /// WhatsApp is what is down, until all is over.
    pub fn whatsapp_down(&self) -> Vec<bool> {
        (1..=self.0.len()).map(|n| n < self.0.len()).collect()
    }

    /// Plays them all. Also answers how often the WhatsApp endpoint was tried while it was down.
    pub async fn play(&self, stage: &Stage<'_>) -> anyhow::Result<(Vec<Played>, u64)> {
        let mut played = Vec::new();
        let mut tried_while_down = 0;
        for (number, down) in self.whatsapp_down().into_iter().enumerate() {
            played.push(self.scene(number, stage).await?);
            if down {
                tried_while_down = stage.basket.whatsapp_attempts();
            }
        }
        Ok((played, tried_while_down))
    }

    async fn scene(&self, number: usize, stage: &Stage<'_>) -> anyhow::Result<Played> {
        let scene = &self.0[number];
        let word = |name: &str| scene.get(name).and_then(Value::as_str).unwrap_or_default();
        let bar = stage.bars.add(bar(&word("at")[11..16], word("occasion"))?);
        stage.clock.set_calendar(Time::parse(word("at"))?);
        let mut stream = stage.client.stream("/v1/stream").await?;
        stage.basket.arrivals();
        let started = Instant::now();
        let answer = stage.client.post("/v1/events", &self.event(number)).await?;
        let mut open: Vec<String> = serde_json::from_value(answer["broadcasts"].clone())?;
        ensure!(!open.is_empty(), "the scene of {} led to no broadcast", word("at"));
        let mut broadcasts: Vec<Value> = Vec::new();
        loop {
            let mut still = Vec::new();
            let (mut running, mut all, mut left) = (Vec::new(), 0, 0);
            for id in std::mem::take(&mut open) {
                let broadcast = stage.client.get(&format!("/v1/broadcasts/{id}")).await?;
                match broadcast["state"].as_str() {
                    Some("done") => broadcasts.push(broadcast),
                    Some("running") => {
                        still.push(id);
                        running.push(broadcast);
                    }
                    state => bail!("broadcast {id} of the scene of {} is {state:?}", word("at")),
                }
            }
            for counts in broadcasts.iter().chain(&running).map(|broadcast| &broadcast["counts"]) {
                let count = |name: &str| counts[name].as_u64().unwrap_or(0);
                all += count("selected") + count("unread") - count("skipped");
                left += count("open") + count("unread");
            }
            bar.set_length(all);
            bar.set_position(all.saturating_sub(left));
            open = still;
            if open.is_empty() {
                break;
            }
            stream.wait().await?;
        }
        bar.abandon();
        for broadcast in &broadcasts {
            let occasion = &broadcast["occasion"];
            ensure!(*occasion == word("occasion"), "the scene of {} was taken for {occasion}", word("at"));
        }
        Ok(Played { started, broadcasts, arrivals: stage.basket.arrivals() })
    }

    /// What monitoring, and the people at work on it, say at this moment.
    fn event(&self, number: usize) -> Value {
        let mut event = self.0[number].clone();
        event.remove("occasion");
        if let Some(Value::Object(cause)) = event.get_mut("cause") {
            // The token is a person's: its name is stamped on the cause.
            if let Some(confirmed) = cause.remove("confirmed") {
                cause.insert("confirmed_by".into(), confirmed);
            }
        }
        let mut say = |more: Value| {
            if let Value::Object(more) = more {
                event.extend(more);
            }
        };
        say(
            json!({ "id": format!("demo-{number}"), "source": "demo", "incident": "meta-2021-10-04", "sequence": number }),
        );
        if number == 0 {
            say(json!({
                "mode": "real", "kind": "incident", "severity": "critical", "owner": "network", "started_at": BEGAN,
                "components": ["facebook", "instagram", "messenger", "whatsapp"], "regions": ["global"],
                "platforms_down": ["whatsapp"],
                "impact": { "users": 3_500_000_000u64, "functions": ["login", "messaging"], "data": "none" },
            }));
        }
        if number + 1 == self.0.len() {
            say(json!({ "platforms_down": [], "action": null, "workaround": null, "next_update_at": null,
                "restored_percent": 100 }));
        }
        Value::Object(event)
    }
}

fn bar(at: &str, occasion: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix} {msg:<13} {bar:40} {human_pos:>5} of {human_len} {elapsed}")?;
    let bar = ProgressBar::new(0).with_style(style).with_prefix(format!("{at} UTC")).with_message(occasion.to_string());
    Ok(bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scene_is_an_event_of_a_person_and_the_end_clears_what_is_over() {
        let scenes = Scenes::read().expect("scenes");
        let by = crate::ingest::event::Principal::Person("Ada".into());
        let mut causes = Vec::new();
        for number in 0..scenes.0.len() {
            let event = crate::ingest::event::parse_value(scenes.event(number), &by).expect("an event");
            causes.extend(event.says.get("cause.confirmed_by").cloned());
            if number + 1 == scenes.0.len() {
                for cleared in ["action", "workaround", "next_update_at"] {
                    assert_eq!(event.says[cleared], Value::Null, "{cleared}");
                }
                assert_eq!(event.says["platforms_down"], json!([]));
            }
        }
        assert_eq!(causes, ["Ada"]);
    }
}
