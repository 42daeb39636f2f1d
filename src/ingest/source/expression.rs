//! The expressions of a source file: Jinja2's, over what came in. They see nothing else, change nothing, and end.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::clock::Time;

/// What one expression may cost, in steps of its interpreter.
const FUEL: u64 = 200_000;
/// Of a piece of HTML so many bytes are read, as many as a text of an event may have.
const HTML: usize = 16 * 1024;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    environment.add_function("time", time);
    environment.add_function("words", words);
    environment.add_function("digest", digest);
    environment
});

/// What an expression may name.
pub type Names = BTreeMap<String, Value>;

pub struct Expression(minijinja::Expression<'static, 'static>);

impl Expression {
    pub fn parse(text: &str) -> Result<Expression, String> {
        ENVIRONMENT.compile_expression_owned(text.to_string()).map(Expression).map_err(said)
    }

    /// What is undefined is `None`.
    pub fn value(&self, names: &Names) -> Result<Value, String> {
        self.0.eval(Value::from_pairs(names.clone())).map_err(said)
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expression")
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Expression::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Names and what they stand for, in the order of the file.
#[derive(Debug, Default)]
pub struct Ordered(pub Vec<(String, Expression)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Ordered;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("names with expressions")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut ordered = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    ordered.push(entry);
                }
                Ok(Ordered(ordered))
            }
        }
        deserializer.deserialize_map(Reads)
    }
}

fn said(error: Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Any time that vendors write, as RFC 3339 in UTC: seconds, milli-, micro- or nanoseconds since 1970, a number or digits; or a text,
/// which is in UTC where it names no zone. None, nothing and year 1 are none.
fn time(value: &Value) -> Result<Value, Error> {
    let wrong = || Error::new(ErrorKind::InvalidOperation, format!("{value} is no time"));
    let text = match value.kind() {
        ValueKind::Undefined | ValueKind::None => return Ok(Value::from(())),
        ValueKind::Number | ValueKind::String => value.to_string(),
        _ => return Err(wrong()),
    };
    let text = text.trim();
    if text.is_empty() || text.starts_with("0001-01-01") {
        return Ok(Value::from(()));
    }
    let millis = match text.parse::<f64>() {
        Ok(0.0) => return Ok(Value::from(())),
        Ok(number) => since_1970(number).ok_or_else(wrong)?,
        Err(_) => written(text).ok_or_else(wrong)?,
    };
    Ok(Value::from(Time(millis).to_string()))
}

/// Which unit it is, its size says: seconds reach into the year 5138 before they are as large as milliseconds were in 1973.
fn since_1970(number: f64) -> Option<i64> {
    let millis = match number.abs() {
        size if size < 1e11 => number * 1e3,
        size if size < 1e14 => number,
        size if size < 1e17 => number / 1e3,
        size if size < 1e20 => number / 1e6,
        _ => return None,
    };
    Some(millis.round() as i64)
}

fn written(text: &str) -> Option<i64> {
    if let Ok(time) = Time::parse(text) {
        return Some(time.0);
    }
    // Without a zone, or with one whose hours and minutes no colon parts, which RFC 3339 does not know and vendors write.
    let zoned = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f %z"];
    let zoned = zoned.iter().find_map(|shape| jiff::Timestamp::strptime(shape, text).ok());
    let bare = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let bare = || bare.iter().find_map(|shape| jiff::civil::DateTime::strptime(shape, text).ok());
    let in_utc = || bare()?.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok();
    zoned.map(|time| time.as_millisecond()).or_else(|| in_utc().map(|time| time.timestamp().as_millisecond()))
}

/// The text of a piece of HTML: no tags, entities as what they stand for, blocks and breaks on lines of their own.
fn words(value: &Value) -> Value {
    let Some(html) = value.as_str() else { return Value::from(()) };
    let html = &html[..html.floor_char_boundary(HTML)];
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        // What begins no tag is a sign like any other.
        let tag = after
            .split_once('>')
            .filter(|_| after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!'));
        match tag {
            Some((tag, after)) => {
                let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
                if ["br", "p", "div", "li", "ul", "ol", "tr", "h1", "h2", "h3"].contains(&name.to_lowercase().as_str())
                    && !text.is_empty()
                    && !text.ends_with('\n')
                {
                    text.push('\n');
                }
                rest = after;
            }
            None => {
                text.push('<');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    for (entity, sign) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, sign);
    }
    Value::from(text.trim())
}

/// A short name for a text that is too long to be one.
fn digest(text: &str) -> String {
    short(text.as_bytes())
}

/// The first 16 bytes of SHA-256, in hexadecimal digits.
pub fn short(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use minijinja::value::Serde;

    use super::*;

    fn value(text: &str) -> Result<String, String> {
        let names = [("doc".to_string(), Value::from(Serde(serde_json::json!({ "a": { "b": [1, 2] } }))))];
        let value = Expression::parse(text)?.value(&names.into())?;
        serde_json::to_string(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_a_time_that_vendors_write_is_one() {
        for (given, expected) in [
            ("1633361940", "\"2021-10-04T15:39:00Z\""),
            ("1633361940123", "\"2021-10-04T15:39:00.123Z\""),
            ("1633361940123456", "\"2021-10-04T15:39:00.123Z\""),
            ("1633361940123456789", "\"2021-10-04T15:39:00.123Z\""),
            ("'1633361940'", "\"2021-10-04T15:39:00Z\""),
            ("1633361940.5", "\"2021-10-04T15:39:00.5Z\""),
            ("'2021-10-04T17:39:00+02:00'", "\"2021-10-04T15:39:00Z\""),
            ("'2021-10-04T15:39:00.093+0000'", "\"2021-10-04T15:39:00.093Z\""),
            ("'2021-10-04 15:39:00.25'", "\"2021-10-04T15:39:00.25Z\""),
            ("'2021-10-04 15:39:00'", "\"2021-10-04T15:39:00Z\""),
            ("'2021-10-04 17:39:00 +0200'", "\"2021-10-04T15:39:00Z\""),
            ("'0001-01-01T00:00:00Z'", "null"),
            ("0", "null"),
            ("''", "null"),
            ("none", "null"),
            ("doc.nothing", "null"),
        ] {
            assert_eq!(value(&format!("time({given})")).as_deref(), Ok(expected), "{given}");
        }
        for wrong in ["'soon'", "[1]", "1e30"] {
            let error = value(&format!("time({wrong})")).expect_err("no time");
            assert!(error.contains("is no time"), "{error}");
        }
    }

    #[test]
    fn html_is_read_as_people_read_it() {
        for (html, expected) in [
            ("A fix is <b>out</b>.", "A fix is out."),
            ("<p>One.</p><p>Two &amp; three.<br/>Four.</p>", "One.\nTwo & three.\nFour."),
            ("1 < 2 and 3 &lt; 4", "1 < 2 and 3 < 4"),
            ("&amp;lt;", "&lt;"),
        ] {
            let names = [("html".to_string(), Value::from(html))].into();
            let words = Expression::parse("words(html)").expect("parses").value(&names).expect("evaluates");
            assert_eq!(words.as_str(), Some(expected), "{html}");
        }
    }

    #[test]
    fn what_is_missing_is_no_error_and_what_does_not_end_is_one() {
        assert_eq!(value("doc.x.y.z or 'none'").as_deref(), Ok("\"none\""));
        assert_eq!(value("doc.a.b | length").as_deref(), Ok("2"));
        assert!(value("doc.a.b |").is_err());
        assert!(value("nothing_of_ours(1)").is_err());
        let error = value("range(10000) | map('string') | join(',') | list | map('upper') | join(range(9000) | join)");
        assert!(error.is_err_and(|error| error.contains("fuel")));
    }
}
