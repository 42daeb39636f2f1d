//! Subscribers, their addresses and audiences. Whom a broadcast selects is decided here (`select`), and by which way each is
//! reached in `route`; both are pure.

pub mod import;
pub mod route;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::fault::{self, Fault};
use crate::id::SubscriberId;
use crate::incident::{Mode, Severity, words};
use crate::plan::{Selected, Selection};

/// A person or a business that is told. Versioned: a message in flight keeps the version that it was decided for.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscriber {
    pub id: SubscriberId,
    pub version: i64,
    /// The key that the operator's own system knows them by.
    pub key: Option<String>,
    pub name: Option<String>,
    pub locale: String,
    pub zone: String,
    pub quiet: Option<Quiet>,
    pub severity: Severity,
    /// Enrolled for exercises.
    pub exercises: bool,
    /// Wants nothing any more.
    pub withdrawn: bool,
    pub audiences: BTreeSet<String>,
    /// Empty: all.
    pub components: BTreeSet<String>,
    pub regions: BTreeSet<String>,
    pub addresses: Vec<Address>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// Numbers the subscriber's addresses, from 1; never used again.
    pub place: u16,
    pub kind: String,
    pub value: String,
    pub verified: bool,
    #[serde(default)]
    pub suppressed: bool,
    /// Of a webhook: `whsec_…`, two during rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Hours in which only what is critical is sent, in the subscriber's zone: minutes of the day, may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    pub from: u16,
    pub to: u16,
}

words!(
    /// Why somebody in the audience is not told.
    Omission {
        NotInterested = "not_interested", BelowSeverity = "below_severity", ToldElsewhere = "told_by_another_step",
        NotTold = "not_told_before", NotEnrolled = "not_enrolled_for_exercises", Withdrawn = "withdrawn",
        NotListed = "not_listed", NoAddress = "no_address", Unverified = "unverified", Suppressed = "suppressed",
        Rejected = "rejected", NoWords = "no_words",
    }
);

impl Omission {
    /// `unreachable` rather than `skipped`: they should be told and can't be.
    pub fn unreachable(self) -> bool {
        matches!(
            self,
            Omission::NoAddress | Omission::Unverified | Omission::Suppressed | Omission::Rejected | Omission::NoWords
        )
    }
}

/// Whether a broadcast is for this subscriber. `told`: whether an earlier broadcast that the selection asks about told them.
pub fn select(selection: &Selection, subscriber: &Subscriber, told: bool) -> Result<(), Omission> {
    if subscriber.withdrawn {
        return Err(Omission::Withdrawn);
    }
    if selection.mode == Mode::Exercise && !subscriber.exercises && !fault::on(Fault::NotEnrolledExercised) {
        return Err(Omission::NotEnrolled);
    }
    if !selection.listed.is_empty() {
        let listed = |a: &Address| {
            selection.listed.iter().any(|l| l.split_once(':') == Some((a.kind.as_str(), a.value.as_str())))
        };
        return if subscriber.addresses.iter().any(listed) { Ok(()) } else { Err(Omission::NotListed) };
    }
    if !selection.told_by.is_empty() || selection.only_if_told {
        if !told {
            return Err(Omission::NotTold);
        }
        if !selection.told_by.is_empty() {
            return Ok(()); // a correction reaches whom the wrong one reached, whatever they are interested in now
        }
    }
    if !selection.untold_by.is_empty() && told {
        return Err(Omission::ToldElsewhere);
    }
    if subscriber.severity > selection.severity {
        return Err(Omission::BelowSeverity);
    }
    if !interested(&selection.components, &selection.regions, subscriber) {
        return Err(Omission::NotInterested);
    }
    match owner(selection, subscriber) {
        Some(_) => Err(Omission::ToldElsewhere),
        None => Ok(()),
    }
}

/// The earlier step of the same update that tells this subscriber in the broadcast's place.
pub fn owner<'a>(selection: &'a Selection, subscriber: &Subscriber) -> Option<&'a Selected> {
    let theirs = |other: &&Selected| {
        subscriber.audiences.contains(&other.audience)
            && subscriber.severity <= other.severity
            && interested(&other.components, &other.regions, subscriber)
    };
    selection.not_in.iter().find(theirs)
}

fn interested(components: &BTreeSet<String>, regions: &BTreeSet<String>, subscriber: &Subscriber) -> bool {
    let fits = |about: &BTreeSet<String>, wanted: &BTreeSet<String>| {
        about.is_empty() || wanted.is_empty() || about.contains("global") || !about.is_disjoint(wanted)
    };
    fits(components, &subscriber.components) && fits(regions, &subscriber.regions)
}

impl Quiet {
    pub fn parse(text: &str) -> Result<Quiet, String> {
        let minute = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        text.split_once('-')
            .and_then(|(from, to)| Some(Quiet { from: minute(from)?, to: minute(to)? }))
            .filter(|quiet| quiet.from != quiet.to)
            .ok_or_else(|| format!("{text:?} is not a span of quiet hours; write 22:00-07:00"))
    }

    /// When quiet ends, if `now` lies within it.
    pub fn ends(self, zone: &str, now: Time) -> Option<Time> {
        let local = local(zone, now);
        let minute = minute_of(&local);
        let within = match self.from < self.to {
            true => (self.from..self.to).contains(&minute),
            false => minute >= self.from || minute < self.to,
        };
        within.then(|| next(&local, self.to)).flatten()
    }

    /// When quiet begins next: `now`, if it lies within.
    pub fn begins(self, zone: &str, now: Time) -> Option<Time> {
        if self.ends(zone, now).is_some() {
            return Some(now);
        }
        next(&local(zone, now), self.from)
    }
}

fn local(zone: &str, now: Time) -> jiff::ZonedDateTime {
    let zone = jiff::tz::TimeZone::get(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    now.timestamp().to_zoned_datetime(zone)
}

fn minute_of(local: &jiff::ZonedDateTime) -> u16 {
    (local.hour() as u16) * 60 + local.minute() as u16
}

/// When it is that minute of the day next, there.
fn next(local: &jiff::ZonedDateTime, minute: u16) -> Option<Time> {
    let day = if minute_of(local) < minute { local.clone() } else { local.tomorrow().ok()? };
    let at = day.with().hour((minute / 60) as i8).minute((minute % 60) as i8).second(0).subsec_nanosecond(0).build();
    Some(Time(at.ok()?.timestamp().as_millisecond()))
}

impl std::fmt::Display for Quiet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn subscriber(addresses: &[(&str, &str)]) -> Subscriber {
        Subscriber {
            id: SubscriberId(1),
            version: 1,
            key: None,
            name: None,
            locale: "en".into(),
            zone: "UTC".into(),
            quiet: None,
            severity: Severity::Info,
            exercises: false,
            withdrawn: false,
            audiences: ["customers".to_string()].into(),
            components: BTreeSet::new(),
            regions: BTreeSet::new(),
            addresses: addresses
                .iter()
                .enumerate()
                .map(|(n, (kind, value))| Address {
                    place: n as u16 + 1,
                    kind: kind.to_string(),
                    value: value.to_string(),
                    verified: true,
                    suppressed: false,
                    secrets: Vec::new(),
                })
                .collect(),
        }
    }

    pub fn selection() -> Selection {
        Selection {
            components: ["web".to_string()].into(),
            regions: BTreeSet::new(),
            severity: Severity::Major,
            mode: Mode::Real,
            only_if_told: false,
            told_by: Vec::new(),
            untold_by: Vec::new(),
            not_in: Vec::new(),
            listed: Vec::new(),
        }
    }

    #[test]
    fn who_is_selected() {
        type Case = (&'static str, fn(&mut Selection, &mut Subscriber), bool, Result<(), Omission>);
        let cases: &[Case] = &[
            ("anyone without narrower interests", |_, _| (), false, Ok(())),
            ("withdrawn", |_, s| s.withdrawn = true, false, Err(Omission::Withdrawn)),
            ("drill", |sel, _| sel.mode = Mode::Exercise, false, Err(Omission::NotEnrolled)),
            ("enrolled", |sel, s| (sel.mode, s.exercises) = (Mode::Exercise, true), false, Ok(())),
            ("other component", |_, s| s.components = ["mail".to_string()].into(), false, Err(Omission::NotInterested)),
            ("one of two", |_, s| s.components = ["mail".to_string(), "web".into()].into(), false, Ok(())),
            (
                "other region",
                |sel, s| (sel.regions, s.regions) = (["eu".to_string()].into(), ["us".to_string()].into()),
                false,
                Err(Omission::NotInterested),
            ),
            (
                "global",
                |sel, s| (sel.regions, s.regions) = (["global".to_string()].into(), ["us".to_string()].into()),
                false,
                Ok(()),
            ),
            ("only critical", |_, s| s.severity = Severity::Critical, false, Err(Omission::BelowSeverity)),
            ("resolved, untold", |sel, _| sel.only_if_told = true, false, Err(Omission::NotTold)),
            ("resolved, told", |sel, _| sel.only_if_told = true, true, Ok(())),
            (
                "correction ignores interests",
                |sel, s| (sel.told_by, s.components) = (vec![1], ["mail".to_string()].into()),
                true,
                Ok(()),
            ),
            ("correction, untold", |sel, _| sel.told_by = vec![1], false, Err(Omission::NotTold)),
            (
                "owned by an earlier step",
                |sel, s| {
                    s.audiences.insert("staff".into());
                    sel.not_in = vec![Selected {
                        audience: "staff".into(),
                        components: BTreeSet::new(),
                        regions: BTreeSet::new(),
                        severity: Severity::Major,
                    }];
                },
                false,
                Err(Omission::ToldElsewhere),
            ),
            (
                "an earlier step that does not select them",
                |sel, s| {
                    s.audiences.insert("staff".into());
                    s.severity = Severity::Major;
                    sel.not_in = vec![Selected {
                        audience: "staff".into(),
                        components: BTreeSet::new(),
                        regions: BTreeSet::new(),
                        severity: Severity::Minor,
                    }];
                },
                false,
                Ok(()),
            ),
        ];
        for (name, set, told, expected) in cases {
            let (mut selection, mut subscriber) = (selection(), subscriber(&[]));
            set(&mut selection, &mut subscriber);
            assert_eq!(select(&selection, &subscriber, *told), *expected, "{name}");
        }
    }

    #[test]
    fn quiet_hours_begin_in_the_subscribers_zone_or_have_begun() {
        let quiet = Quiet::parse("22:00-07:00").expect("reads");
        let at = |text: &str| Time::parse(text).expect("time");
        for (now, begins) in [
            ("2021-10-04T19:59:59Z", "2021-10-04T20:00:00Z"),
            ("2021-10-04T20:00:00Z", "2021-10-04T20:00:00Z"),
            ("2021-10-05T04:59:59Z", "2021-10-05T04:59:59Z"),
            ("2021-10-05T05:00:00Z", "2021-10-05T20:00:00Z"),
        ] {
            assert_eq!(quiet.begins("Europe/Berlin", at(now)), Some(at(begins)), "{now}");
        }
    }

    #[test]
    fn quiet_hours_end_in_the_subscribers_zone() {
        let quiet = Quiet::parse("22:00-07:00").expect("reads");
        assert_eq!(quiet.to_string(), "22:00-07:00");
        let at = |text: &str| Time::parse(text).expect("time");
        assert_eq!(quiet.ends("Europe/Berlin", at("2021-10-04T21:00:00Z")), Some(at("2021-10-05T05:00:00Z")));
        assert_eq!(quiet.ends("Europe/Berlin", at("2021-10-05T04:59:00Z")), Some(at("2021-10-05T05:00:00Z")));
        assert_eq!(quiet.ends("Europe/Berlin", at("2021-10-05T05:00:00Z")), None);
        assert_eq!(Quiet::parse("01:00-02:00").expect("reads").ends("UTC", at("2021-10-05T00:59:00Z")), None);
        for bad in ["", "22-7", "22:00", "25:00-07:00", "22:00-22:00"] {
            assert!(Quiet::parse(bad).is_err(), "{bad}");
        }
    }
}
