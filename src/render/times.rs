//! Times as people read them: local with the zone's name, the day in letters, UTC beside it. Enters a point of time, a zone
//! and a Locale; leaves the words that a template may use (`started.short`, `next.when` …).

use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::locale::Locale;
use crate::clock::Time;

/// The parts of a time that a template may name.
pub const PARTS: &[&str] = &["short", "when", "day", "date", "full", "utc", "utc_day", "utc_full", "both", "both_full"];

/// Abbreviations that mean different zones to different people are not used; an offset is.
const AMBIGUOUS: &[&str] = &["IST", "CST", "BST", "CDT", "AST", "SST", "WST"];

/// The zone of that name, UTC where there is none.
pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// All the parts of a time. `now` is the time of sending: `when` names the day if it is another.
pub fn parts(time: Time, now: Time, zone: &TimeZone, locale: &Locale) -> Value {
    let local = time.timestamp().to_zoned_datetime(zone.clone());
    let utc = time.timestamp().to_zoned_datetime(TimeZone::UTC);
    let (short, short_utc) = (short(&local, locale), short(&utc, locale));
    let (day, date) = (day(&local, locale), date(&local, locale));
    let utc_full = format!("{short_utc}, {}", self::date(&utc, locale));
    let same_zone = local.offset() == utc.offset();
    let when = match now.timestamp().to_zoned_datetime(zone.clone()).date() == local.date() {
        true => short.clone(),
        false => format!("{short}, {day}"),
    };
    let (both, both_full) = if same_zone {
        (short_utc.clone(), utc_full.clone())
    } else if local.date() == utc.date() {
        (format!("{short_utc} ({short})"), format!("{short_utc} ({short}), {date}"))
    } else {
        (format!("{short_utc}, {} ({short}, {day})", self::day(&utc, locale)), format!("{utc_full} ({short}, {date})"))
    };
    json!({
        "full": format!("{short}, {date}"),
        "short": short, "when": when, "day": day, "date": date,
        "utc": short_utc, "utc_day": self::day(&utc, locale), "utc_full": utc_full, "both": both, "both_full": both_full,
    })
}

fn short(time: &ZonedDateTime, locale: &Locale) -> String {
    format!("{:02}:{:02} {}", time.hour(), time.minute(), zone_name(time, locale))
}

fn day(time: &ZonedDateTime, locale: &Locale) -> String {
    locale.time.day.replace("{d}", &time.day().to_string()).replace("{month}", &locale.time.months_short[month(time)])
}

fn date(time: &ZonedDateTime, locale: &Locale) -> String {
    let date = locale.time.date.replace("{d}", &time.day().to_string());
    date.replace("{month}", &locale.time.months[month(time)]).replace("{year}", &time.year().to_string())
}

fn month(time: &ZonedDateTime) -> usize {
    usize::try_from(time.month() - 1).unwrap_or(0)
}

fn zone_name(time: &ZonedDateTime, locale: &Locale) -> String {
    let known = &locale.time.zones;
    if let Some(name) = time.time_zone().iana_name().and_then(|name| known.get(name)) {
        return name.clone();
    }
    let abbreviation = time.strftime("%Z").to_string();
    if let Some(name) = known.get(&abbreviation) {
        return name.clone();
    }
    let named = abbreviation.len() >= 3 && abbreviation.bytes().all(|b| b.is_ascii_uppercase());
    if named && !AMBIGUOUS.contains(&abbreviation.as_str()) { abbreviation } else { offset(time.offset().seconds()) }
}

fn offset(seconds: i32) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    match (minutes / 60, minutes % 60) {
        (0, 0) => "UTC".into(),
        (hours, 0) => format!("UTC{sign}{hours}"),
        (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::templates::Templates;

    fn read(tag: &str, zone_name: &str, time: &str, part: &str) -> String {
        let set = Templates::embedded().expect("loads");
        let now = Time::parse("2021-10-04T15:55:00Z").expect("time");
        let all = parts(Time::parse(time).expect("time"), now, &zone(zone_name), set.locale(tag));
        all[part].as_str().expect("text").into()
    }

    #[test]
    fn times_are_written_as_the_reader_writes_them() {
        let began = "2021-10-04T15:39:00Z";
        for (tag, zone, time, part, expected) in [
            ("en", "America/New_York", began, "short", "11:39 EDT"),
            ("en", "America/New_York", began, "day", "4 Oct"),
            ("en", "America/New_York", began, "full", "11:39 EDT, 4 October 2021"),
            ("de", "Europe/Berlin", began, "short", "17:39 MESZ"),
            ("de", "Europe/Berlin", began, "day", "4. Okt."),
            ("de", "Europe/Berlin", "2021-12-01T12:00:00Z", "short", "13:00 MEZ"),
            ("es", "Europe/Madrid", began, "full", "17:39 CEST, 4 de octubre de 2021"),
            ("de", "America/Mexico_City", "2021-12-01T12:00:00Z", "short", "06:00 UTC-6"),
            ("pt", "America/Sao_Paulo", began, "short", "12:39 BRT"),
            ("hi", "Asia/Kolkata", began, "full", "21:09 भारतीय समय, 4 अक्टूबर 2021"),
            ("pt", "Asia/Kathmandu", began, "short", "21:24 UTC+5:45"),
            ("en", "Europe/London", began, "short", "16:39 UK time"),
            ("en", "UTC", began, "both", "15:39 UTC"),
            ("en", "No/Such", began, "short", "15:39 UTC"),
            ("en", "America/New_York", began, "both", "15:39 UTC (11:39 EDT)"),
            ("en", "America/New_York", began, "both_full", "15:39 UTC (11:39 EDT), 4 October 2021"),
            ("en", "Europe/Berlin", "2021-10-04T23:30:00Z", "both", "23:30 UTC, 4 Oct (01:30 CEST, 5 Oct)"),
            ("en", "America/New_York", "2021-11-13T02:00:00Z", "utc_day", "13 Nov"),
            ("en", "America/New_York", "2021-11-13T02:00:00Z", "day", "12 Nov"),
            ("en", "America/New_York", "2021-10-04T16:30:00Z", "when", "12:30 EDT"),
            ("de", "Europe/Berlin", "2021-10-04T23:30:00Z", "when", "01:30 MESZ, 5. Okt."),
        ] {
            assert_eq!(read(tag, zone, time, part), expected, "{tag} {zone} {time} {part}");
        }
    }

    #[test]
    fn no_template_writes_the_readers_day_beside_a_time_in_utc() {
        let texts = crate::render::templates::embedded_texts();
        let mut beside = 0;
        for (path, text) in texts {
            for (at, _) in text.match_indices(".utc}}, {{") {
                let next = text[at + ".utc}}, {{".len()..].split("}}").next().unwrap_or_default();
                assert!(!next.ends_with(".day") && !next.ends_with(".date"), "{path}: .utc beside {next}");
                beside += usize::from(next.ends_with(".utc_day"));
            }
        }
        assert!(beside > 10);
    }

    #[test]
    fn every_part_is_there() {
        let set = Templates::embedded().expect("loads");
        let all = parts(Time(0), Time(0), &TimeZone::UTC, set.locale("en"));
        assert_eq!(all.as_object().map(|map| map.len()), Some(PARTS.len()));
        assert!(PARTS.iter().all(|part| all[part].is_string()));
    }
}
