//! The watchdog that is told that we live.

use std::time::Duration;

use serde::Deserialize;

use super::Secret;
use crate::channel::place::Place;
use crate::quantity::Span;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Whoever knows it can say that we live. Empty: nobody is told.
    pub url: Secret,
    pub every: Span,
}

impl Heartbeat {
    pub fn place(&self) -> Result<Option<Place>, &'static str> {
        match self.url.expose() {
            "" => Ok(None),
            // Its parser's own words might show some of it.
            url => Place::parse(url).map(Some).map_err(|_| "is no URL of http or https"),
        }
    }

    /// What is wrong, with its key.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.every.0 < Duration::from_secs(1) {
            return Err(("every", "write 1s or more"));
        }
        self.place().map(drop).map_err(|why| ("url", why))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_heartbeat_that_can_not_be_is_refused_and_its_url_is_not_shown() {
        let read = |text: &str| Config::from_toml(text, "own.toml", std::iter::empty());
        let refused = |text: &str| read(text).expect_err("refused").to_string();
        let error = refused("[heartbeat]\nurl = \"c0ffee:c0ffee\"\n");
        assert_eq!(error, "own.toml:2: heartbeat.url: is no URL of http or https");
        let error = refused("[heartbeat]\nevery = \"1ms\"\n");
        assert_eq!(error, "own.toml:2: heartbeat.every: write 1s or more");
        let config = read("[heartbeat]\nurl = \"https://watchdog.example/c0ffee\"\n").expect("reads");
        assert!(!format!("{config:?}").contains("c0ffee"));
    }
}
