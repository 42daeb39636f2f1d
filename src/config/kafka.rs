//! Kafka: what is read there, and what is offered.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Secret;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    pub brokers: String,
    pub group: String,
    pub topics: Vec<String>,
    pub urgent_topics: Vec<String>,
    pub dead_suffix: String,
    /// The topic on which what happened is offered; empty: it is not.
    pub outcomes: String,
    #[serde(default)]
    pub settings: BTreeMap<String, Secret>,
}

impl Kafka {
    /// Whether what happened is offered to others.
    pub fn offers(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// What is wrong with the topic.
    pub(super) fn check(&self) -> Result<(), String> {
        let read = self.topics.iter().chain(&self.urgent_topics);
        let mut ours = read.flat_map(|topic| [topic.clone(), format!("{topic}{}", self.dead_suffix)]);
        match self.offers() {
            true if self.brokers.is_empty() => Err("names a topic, and kafka.brokers no Kafka".into()),
            true if ours.any(|topic| topic == self.outcomes) => {
                Err(format!("{:?} is a topic of events or of dead records; name one of its own", self.outcomes))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn what_happened_is_offered_on_a_topic_of_its_own_and_only_where_there_is_kafka() {
        let read =
            |text: &str| Config::from_toml(text, "own.toml", std::iter::empty()).map_err(|error| error.to_string());
        assert!(
            !read("[kafka]\nbrokers = \"k:9092\"\n").expect("reads").kafka.offers(),
            "off unless somebody wants it"
        );
        let error = read("[kafka]\noutcomes = \"loudhailer.outcomes\"\n").expect_err("refused");
        assert_eq!(error, "own.toml:2: kafka.outcomes: names a topic, and kafka.brokers no Kafka");
        for topic in ["incidents", "incidents.urgent.dead"] {
            let text = format!("[kafka]\nbrokers = \"k:9092\"\noutcomes = {topic:?}\n");
            let error = read(&text).expect_err("refused");
            assert!(
                error.starts_with(&format!("own.toml:3: kafka.outcomes: {topic:?} is a topic of events")),
                "{error}"
            );
        }
    }
}
