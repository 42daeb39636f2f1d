//! A watcher as the operator has set it up, checked: what is wrong is said with its key.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use super::words::{Speaks, Words};
use crate::channel::place::Place;
use crate::config::watcher::{Kind, Watcher};
use crate::config::{Config, Secret, suggest};

/// What others publish is asked for no more often than this.
const FLOOR: Duration = Duration::from_secs(30);
/// An URL that the operator wants watched.
const PROBE_FLOOR: Duration = Duration::from_secs(5);
/// Posts on one page of a timeline.
const POSTS: usize = 40;
/// Of a tag, in characters.
const TAG: usize = 100;
/// A page that has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    pub url: Secret,
    /// Of the URL, for who looks on: the rest may have a key in it.
    pub host: String,
    pub interval: Duration,
    /// Within which signals count together.
    pub window: Duration,
    /// For a whole answer.
    pub patience: Duration,
    pub allow_private: bool,
    pub ca_file: Option<PathBuf>,
    pub token: Option<Secret>,
    pub speaks: Speaks,
    pub reads: Reads,
}

/// What it reads, and what counts there.
#[derive(Debug, Clone)]
pub enum Reads {
    Statuspage,
    Feed { words: Words, over: Words, lasts: Duration },
    Cap { words: Words, areas: Vec<String>, lasts: Duration },
    Mastodon { tag: String, words: Words, posts: usize, within: Duration },
    Url { status: u16, has: Option<Regex>, failures: u32 },
}

impl Reads {
    pub fn word(&self) -> &'static str {
        match self {
            Reads::Statuspage => "statuspage",
            Reads::Feed { .. } => "feed",
            Reads::Cap { .. } => "cap",
            Reads::Mastodon { .. } => "mastodon",
            Reads::Url { .. } => "url",
        }
    }
}

/// A key, and what is wrong there.
#[derive(Debug, PartialEq)]
pub struct Misfit {
    pub key: &'static str,
    pub message: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

fn misfit<T>(key: &'static str, message: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit { key, message: message.into() })
}

impl Settings {
    pub fn of(name: &str, own: &Watcher, config: &Config) -> Result<Settings, Misfit> {
        if name.is_empty() || name.len() > 60 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            return misfit(
                "kind",
                "a watcher's name has letters, digits, - and _ only, up to 60: it is an origin's name",
            );
        }
        own.foreign()?;
        let url = url(own)?;
        let window = config.signals.window.0;
        let reads = reads(own)?;
        Ok(Settings {
            name: name.into(),
            host: url.origin.host.to_string(),
            url: own.url.clone(),
            interval: interval(own, window)?,
            window,
            patience: bounded("time_limit", own.time_limit, PATIENCE, [Duration::from_millis(100), PATIENCE * 3])?,
            allow_private: own.allow_private,
            ca_file: own.ca_file.clone(),
            token: token(own)?,
            speaks: speaks(own, config)?,
            reads,
        })
    }

    /// What is watched is an URL's answer.
    pub fn is_probe(&self) -> bool {
        matches!(self.reads, Reads::Url { .. })
    }

    /// What is asked for.
    pub fn target(&self) -> String {
        let url = self.url.expose();
        match &self.reads {
            Reads::Mastodon { tag, .. } => {
                let tag = tag.trim_start_matches('#');
                let tag: String = url::form_urlencoded::byte_serialize(tag.as_bytes()).collect();
                let tag = tag.replace('+', "%20");
                format!("{}/api/v1/timelines/tag/{tag}?limit={POSTS}", url.trim_end_matches('/'))
            }
            _ => url.into(),
        }
    }

    /// What of it decides how a page is read: where that is another, nothing that was kept counts any more.
    pub fn digest(&self) -> String {
        let all = format!("{} {:?} {:?}", self.target(), self.speaks, self.reads);
        let digest = ring::digest::digest(&ring::digest::SHA256, all.as_bytes());
        digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Watcher {
    /// A key that only watchers of another kind have.
    fn foreign(&self) -> Result<(), Misfit> {
        use Kind::{Cap, Feed, Mastodon, Statuspage, Url};
        let keys: [(&str, bool, &[Kind]); 13] = [
            ("components", !self.components.is_empty(), &[Statuspage, Feed, Cap, Mastodon]),
            ("words", self.words.is_some(), &[Feed, Cap, Mastodon]),
            ("over", self.over.is_some(), &[Feed]),
            ("lasts", self.lasts.is_some(), &[Feed, Cap]),
            ("areas", self.areas.is_some(), &[Cap]),
            ("tag", self.tag.is_some(), &[Mastodon]),
            ("posts", self.posts.is_some(), &[Mastodon]),
            ("within", self.within.is_some(), &[Mastodon]),
            ("status", self.status.is_some(), &[Url]),
            ("has", self.has.is_some(), &[Url]),
            ("pattern", self.pattern.is_some(), &[Url]),
            ("time_limit", self.time_limit.is_some(), &[Url]),
            ("failures", self.failures.is_some(), &[Url]),
        ];
        match keys.iter().find(|(_, given, kinds)| *given && !kinds.contains(&self.kind)) {
            None => Ok(()),
            Some((key, _, kinds)) => {
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
                misfit(key, format!("is only for a watcher of kind {}", kinds.join(", ")))
            }
        }
    }
}

fn url(own: &Watcher) -> Result<Place, Misfit> {
    let place = Place::parse(own.url.expose()).or_else(|error| misfit("url", error))?;
    let whole = url::Url::parse(own.url.expose()).is_ok_and(|url| url.query().is_some() || url.path().len() > 1);
    match own.kind {
        Kind::Mastodon if whole => misfit("url", "is that of the server alone, such as https://mastodon.example"),
        _ => Ok(place),
    }
}

fn token(own: &Watcher) -> Result<Option<Secret>, Misfit> {
    match &own.token {
        Some(token) if !token.expose().bytes().all(|b| b.is_ascii_graphic()) || token.expose().is_empty() => {
            misfit("token", "has characters that no header may hold")
        }
        token => Ok(token.clone()),
    }
}

fn interval(own: &Watcher, window: Duration) -> Result<Duration, Misfit> {
    let (floor, usual) = match own.kind {
        Kind::Url => (PROBE_FLOOR, Duration::from_secs(30)),
        _ => (FLOOR, Duration::from_secs(60)),
    };
    let interval = own.interval.map_or(usual.min(window / 2), |span| span.0);
    match interval {
        short if short < floor && own.interval.is_some() => misfit(
            "interval",
            format!("is shorter than {}s: what others publish is to be asked for politely", floor.as_secs()),
        ),
        long if long > window / 2 => misfit(
            "interval",
            "is longer than half of signals.window: what it says would have run out before it is said again",
        ),
        interval => Ok(interval.max(floor)),
    }
}

fn bounded(
    key: &'static str,
    span: Option<crate::quantity::Span>,
    usual: Duration,
    [least, most]: [Duration; 2],
) -> Result<Duration, Misfit> {
    match span.map_or(usual, |span| span.0) {
        span if span < least || span > most => {
            misfit(key, format!("is from {} to {}", crate::quantity::Span(least), crate::quantity::Span(most)))
        }
        span => Ok(span),
    }
}

fn speaks(own: &Watcher, config: &Config) -> Result<Speaks, Misfit> {
    let known = |key: &'static str, component: &String| match config.components.contains_key(component) {
        true => Ok(()),
        false => {
            let near = suggest(component, config.components.keys().map(String::as_str));
            misfit(key, format!("there is no component {component:?}{near} (they stand under [components])"))
        }
    };
    match (&own.component, own.components.is_empty()) {
        (Some(_), false) => misfit("component", "stands beside components: write one of them"),
        (None, true) => misfit("kind", "needs component, of which everything there speaks, or components"),
        (Some(component), true) => known("component", component).map(|()| Speaks::Of(component.clone())),
        (None, false) => {
            if own.components.keys().any(|theirs| theirs.trim().is_empty()) {
                return misfit("components", "has an empty name");
            }
            own.components.values().try_for_each(|component| known("components", component))?;
            Ok(Speaks::Named(own.components.clone()))
        }
    }
}

fn reads(own: &Watcher) -> Result<Reads, Misfit> {
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86400));
    let words = |key: &'static str, words: &Option<Vec<String>>, usual: &[&str]| match words {
        Some(words) if words.iter().any(|word| word.trim().is_empty()) => misfit(key, "has an empty word"),
        Some(words) => Ok(Words::new(words)),
        None => Ok(Words::new(&usual.iter().map(|word| word.to_string()).collect::<Vec<_>>())),
    };
    let lasts = || bounded("lasts", own.lasts, 2 * hour, [Duration::from_secs(60), 30 * day]);
    Ok(match own.kind {
        Kind::Statuspage => Reads::Statuspage,
        Kind::Feed => Reads::Feed {
            words: words("words", &own.words, &[])?,
            over: words("over", &own.over, &["resolved"])?,
            lasts: lasts()?,
        },
        Kind::Cap => Reads::Cap {
            words: words("words", &own.words, &[])?,
            areas: own.areas.iter().flatten().map(|area| area.trim().to_lowercase()).collect(),
            lasts: lasts()?,
        },
        Kind::Mastodon => Reads::Mastodon {
            tag: match &own.tag {
                Some(tag) if tag.chars().count() > TAG => {
                    return misfit("tag", format!("has at most {TAG} characters"));
                }
                Some(tag) if !tag.trim_start_matches('#').trim().is_empty() => tag.trim().into(),
                Some(_) => return misfit("tag", "is empty"),
                None => return misfit("kind", "needs tag: the hashtag, such as \"outage\""),
            },
            words: words("words", &own.words, &[])?,
            posts: match own.posts.unwrap_or(10) {
                posts @ 1..=POSTS => posts,
                _ => return misfit("posts", format!("is from 1 to {POSTS}: so many are on one page of a timeline")),
            },
            within: bounded("within", own.within, Duration::from_secs(900), [Duration::from_secs(60), day])?,
        },
        Kind::Url => Reads::Url {
            status: match own.status.unwrap_or(200) {
                status @ 200..=599 => status,
                _ => return misfit("status", "is from 200 to 599"),
            },
            has: expected(own)?,
            failures: match own.failures.unwrap_or(3) {
                0 => return misfit("failures", "is 1 or more"),
                failures => failures,
            },
        },
    })
}

fn expected(own: &Watcher) -> Result<Option<Regex>, Misfit> {
    let (key, pattern) = match (&own.has, &own.pattern) {
        (Some(_), Some(_)) => return misfit("pattern", "stands beside has: write one of them"),
        (Some(text), None) => ("has", regex::escape(text)),
        (None, Some(pattern)) => ("pattern", pattern.clone()),
        (None, None) => return Ok(None),
    };
    match Regex::new(&pattern) {
        Ok(regex) => Ok(Some(regex)),
        Err(error) => misfit(key, format!("is no pattern: {}", error.to_string().lines().last().unwrap_or_default())),
    }
}

/// What each watcher of the configuration misfits by: the first is said.
pub fn check(config: &Config) -> Result<(), (String, Misfit)> {
    config
        .watchers
        .iter()
        .try_for_each(|(name, own)| Settings::of(name, own, config).map(drop).map_err(|misfit| (name.clone(), misfit)))
}
