//! When a page is asked again: at its interval, no sooner than it wants to be, and less and less often while it cannot be read.
//! Chance comes in as an argument.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{AGE, CACHE_CONTROL};

use super::settings::Settings;
use crate::channel::answer::retry_after;
use crate::clock::Time;

/// Nobody is waited for longer.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// While a page cannot be read, it is asked at least so often.
const SELDOM: Duration = Duration::from_secs(3600);

/// What an answer says of the next question.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wish {
    /// How long it is fresh.
    pub fresh: Option<Duration>,
    /// How long it wants to be left alone.
    pub after: Option<Duration>,
}

impl Wish {
    pub fn of(headers: &HeaderMap, now: Time) -> Wish {
        Wish { fresh: fresh(headers), after: retry_after(headers, "retry-after", now) }
    }
}

/// How long to wait after so many failures in a row, 0 after an answer. `chance` is from 0 to 1: who begins at one time need not go
/// on asking at one time.
pub fn next(settings: &Settings, failures: u32, wish: Wish, chance: f64) -> Duration {
    let interval = settings.interval;
    let wait = match failures {
        // How an URL answers is what is watched: whether it is fresh, or fails, changes nothing.
        _ if settings.is_probe() => interval,
        0 => wish.fresh.unwrap_or_default().min(settings.window / 2).max(interval),
        failures => {
            let doubled = interval.saturating_mul(1 << (failures - 1).min(16));
            doubled.min(SELDOM.max(interval))
        }
    };
    // Up to a tenth more, never less.
    let wait = wait.max(wish.after.unwrap_or_default()).min(LONGEST);
    wait + wait.mul_f64(chance.clamp(0.0, 1.0) / 10.0)
}

/// By `Cache-Control` and `Age` (RFC 9111, section 4.2).
fn fresh(headers: &HeaderMap) -> Option<Duration> {
    let mut age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" | "no-store" => return None,
                "max-age" => age = value.trim().trim_matches('"').parse::<u64>().ok(),
                _ => {}
            }
        }
    }
    let spent = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    age.map(|age| Duration::from_secs(age.saturating_sub(spent)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn settings(more: &str) -> Settings {
        let text = format!(
            "[components.web]\ntitle = \"W\"\n[watchers.w]\nurl = \"https://a.example\"\ncomponent = \"web\"\n{more}"
        );
        let config = Config::from_toml(&text, "own.toml", std::iter::empty()).expect("reads");
        Settings::of("w", &config.watchers["w"], &config).expect("fits")
    }

    #[test]
    fn a_page_is_asked_less_and_less_often_while_it_fails_and_never_sooner_than_it_wants() {
        let page = settings("kind = \"statuspage\"\ninterval = \"60s\"");
        let probe = settings("kind = \"url\"\ninterval = \"10s\"");
        let seconds = Duration::from_secs;
        let fresh = |span| Wish { fresh: Some(seconds(span)), after: None };
        let after = |span| Wish { fresh: None, after: Some(seconds(span)) };
        let nothing = Wish::default();
        for (settings, failures, wish, expected) in [
            (&page, 0, nothing, 60),
            (&page, 0, fresh(10), 60),
            (&page, 0, fresh(300), 300),
            // What it says must be said again within the window.
            (&page, 0, fresh(86400), 450),
            (&page, 1, nothing, 60),
            (&page, 2, nothing, 120),
            (&page, 3, nothing, 240),
            (&page, 40, nothing, 3600),
            (&page, 1, after(900), 900),
            (&page, 3, after(10), 240),
            (&page, 1, after(90000), 86400),
            (&probe, 0, fresh(300), 10),
            (&probe, 9, nothing, 10),
            (&probe, 1, after(120), 120),
        ] {
            let wait = next(settings, failures, wish, 0.0);
            assert_eq!(wait, seconds(expected), "{failures} {wish:?}");
            let latest = next(settings, failures, wish, 1.0);
            assert_eq!(latest, wait + wait / 10, "{failures} {wish:?}");
        }
    }

    #[test]
    fn how_long_an_answer_is_fresh_is_what_caches_read() {
        for (said, age, expected) in [
            ("max-age=300", None, Some(300)),
            ("public, MAX-AGE=\"300\", must-revalidate", Some("20"), Some(280)),
            ("max-age=10", Some("20"), Some(0)),
            ("no-cache, max-age=300", None, None),
            ("max-age=300, no-store", None, None),
            ("max-age=often", None, None),
            ("s-maxage=300", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, said.parse().expect("a value"));
            if let Some(age) = age {
                headers.insert(AGE, age.parse().expect("a value"));
            }
            assert_eq!(fresh(&headers), expected.map(Duration::from_secs), "{said}");
        }
    }
}
