//! A run: people are imported, then everyone is told by webhook, and then by mail. All the while ten others are told something
//! critical by the same channel, ten times a second: how long they wait is what a person in need would wait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use ring::hmac;
use serde_json::{Value, json};

use super::super::client::{Client, whole};
use super::super::{Failure, show};
use super::place::{URGENT_RECIPIENTS, people};
use super::watch::{Sinks, THREAD};
use super::{cpu, report};
use crate::clock::Time;
use crate::id::{BroadcastId, DeliveryId};

/// Between two urgent events.
const EVERY: Duration = Duration::from_millis(100);
/// Nothing coming for so long is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bench<'a> {
    pub client: &'a Client,
    pub sinks: &'a Sinks,
    /// The installation's, by which it knows its own ids.
    pub key: &'a hmac::Key,
    pub recipients: u64,
    /// Says on the way what it is doing.
    pub tell: bool,
}

/// An urgent message: when it was asked for since the leg began, and how long it took to arrive, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub asked: f64,
    pub took: f64,
}

/// One way of telling everyone.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    /// What the many's and the few's incidents have.
    severity: &'static str,
    urgent: &'static str,
}

const WAYS: [Way; 2] = [
    Way { name: "webhook", severity: "major", urgent: "critical" },
    Way { name: "mail", severity: "minor", urgent: "info" },
];

impl Bench<'_> {
    pub async fn run(&self) -> Result<Vec<report::Leg>, Failure> {
        self.say(&format!("importing {} people", self.recipients))?;
        let file = people(self.sinks, self.recipients);
        let path = "/v1/subscribers:import?format=csv&verified=true";
        let imported = self.client.upload(path, "text/csv", whole(file)).await?;
        if imported["created"] != self.recipients + URGENT_RECIPIENTS {
            return Err(anyhow!("the import went wrong: {imported}").into());
        }
        let mut legs = Vec::new();
        for way in WAYS {
            self.say(&format!("telling them by {}", way.name))?;
            legs.push(self.leg(way).await?);
        }
        Ok(legs)
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.tell { show::line(text) } else { Ok(()) }
    }

    async fn leg(&self, way: Way) -> Result<report::Leg, Failure> {
        let watch = &self.sinks.watch;
        let spent = || Some(cpu::own()? - cpu::threads(THREAD)?);
        let before = spent();
        watch.begin();
        let began = Instant::now();
        let id = self.event(way.name, way.severity).await?;
        let (mut asked, mut taken) = (HashMap::new(), Vec::new());
        let mut next = began;
        let (mut came, mut moved) = ((0, 0), Instant::now());
        loop {
            let now = Instant::now();
            if watch.came() != came {
                (came, moved) = (watch.came(), now);
            }
            match came.0 >= self.recipients {
                // Everyone is told: what is urgent still has to arrive.
                true if came.1 >= asked.len() as u64 * URGENT_RECIPIENTS && self.done(&id).await? => break,
                false if now >= next => {
                    next += EVERY;
                    let name = format!("{}-urgent-{}", way.name, asked.len());
                    let drawn: BroadcastId =
                        self.event(&name, way.urgent).await?.parse().map_err(anyhow::Error::from)?;
                    taken.push(now.elapsed().as_secs_f64());
                    asked.insert(drawn, now);
                    next = next.max(Instant::now());
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
            if moved.elapsed() > PATIENCE {
                return Err(anyhow!("nothing came for {} s after {} messages", PATIENCE.as_secs(), came.0).into());
            }
        }
        let spent = before.zip(spent()).map(|(before, after)| after - before);
        let (seen, distinct, forged) = watch.seen_distinct_forged();
        let expected = self.recipients + asked.len() as u64 * URGENT_RECIPIENTS;
        let told = self.told(&id).await?;
        check(seen, distinct, forged, expected, told, self.recipients)?;
        Ok(report::Leg {
            name: way.name,
            messages: seen,
            seconds: watch.seconds(),
            cpu: spent,
            slices: watch.slices(),
            urgent: arrivals(watch.urgent(), &asked, began, self.key)?,
            taken,
        })
    }

    /// Answers the broadcast that it drew.
    async fn event(&self, name: &str, severity: &str) -> Result<String, Failure> {
        let now = Time(jiff::Timestamp::now().as_millisecond());
        let body = json!({
            "source": "bench", "id": name, "incident": name, "at": now, "started_at": now, "status": "investigating",
            "severity": severity, "title": "The website is unreachable", "summary": "This is a measurement.", "components": [], "regions": [],
        });
        let answer = self.client.post("/v1/events", &body).await?;
        let drawn = answer["broadcasts"][0].as_str();
        Ok(drawn.ok_or_else(|| anyhow!("the event drew nothing: {answer}"))?.to_string())
    }

    async fn shown(&self, id: &str) -> Result<Value, Failure> {
        self.client.get(&format!("/v1/broadcasts/{id}")).await
    }

    async fn done(&self, id: &str) -> Result<bool, Failure> {
        Ok(self.shown(id).await?["state"] == "done")
    }

    async fn told(&self, id: &str) -> Result<u64, Failure> {
        Ok(self.shown(id).await?["counts"]["told"].as_u64().unwrap_or(0))
    }
}

/// Each urgent message that came, beside the event that asked for it.
fn arrivals(
    came: Vec<(String, Instant)>,
    asked: &HashMap<BroadcastId, Instant>,
    began: Instant,
    key: &hmac::Key,
) -> anyhow::Result<Vec<Arrival>> {
    let one = |(id, at): (String, Instant)| {
        let delivery = DeliveryId::read(&id, key).context("void: an urgent message has an id that is not ours")?;
        let asked = asked.get(&delivery.broadcast).context("void: an urgent message came that nobody asked for")?;
        let took = at.saturating_duration_since(*asked).as_secs_f64();
        Ok(Arrival { asked: asked.duration_since(began).as_secs_f64(), took })
    };
    came.into_iter().map(one).collect()
}

/// A number of a run in which anything was lost, came twice or was forged would mean nothing.
fn check(seen: u64, distinct: u64, forged: u64, expected: u64, told: u64, recipients: u64) -> anyhow::Result<()> {
    ensure!(told == recipients, "void: the broker recorded {told} of {recipients} as told");
    ensure!(
        seen == expected && distinct == expected && forged == 0,
        "void: {seen} messages came of {expected}, {distinct} of them different and {forged} forged"
    );
    Ok(())
}

/// Of seconds, the one that this share does not exceed, in milliseconds.
pub fn percentile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0) * 1e3
}

pub fn took(arrivals: &[Arrival]) -> impl Iterator<Item = f64> {
    arrivals.iter().map(|arrival| arrival.took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_anything_is_amiss_is_void() {
        assert!(check(110, 110, 0, 110, 100, 100).is_ok());
        for wrong in [
            check(109, 109, 0, 110, 100, 100),
            check(111, 110, 0, 110, 100, 100),
            check(110, 109, 0, 110, 100, 100),
            check(110, 110, 1, 110, 100, 100),
            check(110, 110, 0, 110, 99, 100),
        ] {
            assert!(wrong.expect_err("void").to_string().starts_with("void: "));
        }
    }

    #[test]
    fn an_urgent_message_belongs_to_the_event_that_asked_for_it() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"ours");
        let began = Instant::now();
        let after = |milliseconds| began + Duration::from_millis(milliseconds);
        let id = |broadcast| {
            DeliveryId { broadcast: BroadcastId(broadcast), subscriber: crate::id::SubscriberId(7), place: 1 }
                .public(&key)
        };
        let asked = HashMap::from([(BroadcastId(1), after(100)), (BroadcastId(2), after(200))]);
        let came = vec![(id(2), after(205)), (id(1), after(230))];
        let found = arrivals(came, &asked, began, &key).expect("ours");
        let found: Vec<_> = found.iter().map(|a| ((a.asked * 1e3).round(), (a.took * 1e3).round())).collect();
        assert_eq!(found, [(200.0, 5.0), (100.0, 130.0)]);
        for foreign in ["dlv_1_2_3_4", &id(3)] {
            assert!(arrivals(vec![(foreign.to_string(), began)], &asked, began, &key).is_err());
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values = || (1..=100).map(|n| f64::from(n) / 1e3);
        assert_eq!(percentile(values(), 0.5).round(), 50.0);
        assert_eq!(percentile(values(), 0.99).round(), 99.0);
        assert_eq!(percentile(values(), 1.0).round(), 100.0);
        assert_eq!(percentile(std::iter::empty(), 0.5), 0.0);
    }
}
