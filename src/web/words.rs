//! How pages write numbers, times and the words of states. Helpers of the templates; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use handlebars::{Context, Handlebars, Helper, HelperResult, Output, RenderContext, handlebars_helper, html_escape};
use serde_json::Value;

use crate::clock::Time;
use crate::incident::Text;

pub fn register(registry: &mut Handlebars<'_>) {
    handlebars_helper!(number: |n: Json| n.as_i64().map_or_else(|| "–".to_string(), grouped));
    handlebars_helper!(word: |given: Json| given.as_str().map_or_else(String::new, said));
    handlebars_helper!(Word: |given: Json| given.as_str().map_or_else(String::new, |given| capital(&said(given))));
    handlebars_helper!(span: |seconds: Json| seconds.as_u64().map_or_else(|| "–".to_string(), |n| human(Duration::from_secs(n))));
    registry.register_helper("number", Box::new(number));
    registry.register_helper("word", Box::new(word));
    registry.register_helper("Word", Box::new(Word));
    registry.register_helper("span", Box::new(span));
    registry.register_helper("time", Box::new(time));
}

/// `{{time opened}}`: for people in UTC, for programs in the attribute.
fn time(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let given = helper.param(0).and_then(|param| param.value().as_str());
    match given.and_then(|text| Time::parse(text).ok()) {
        Some(time) => {
            let exact = html_escape(&time.to_string());
            out.write(&format!("<time datetime=\"{exact}\">{}</time>", html_escape(&shown(time))))?;
        }
        None => out.write("–")?,
    }
    Ok(())
}

/// "4 Oct 2021, 15:51 UTC".
pub fn shown(time: Time) -> String {
    time.timestamp().strftime("%-d %b %Y, %H:%M UTC").to_string()
}

/// "12,345".
pub fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::from(if n < 0 { "−" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// About how long: "45 s", "12 min", "3 h 20 min", "2 days".
pub fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A word of the API as people write it.
fn said(word: &str) -> String {
    if word == "sms" { "SMS".into() } else { word.replace('_', " ") }
}

pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A text in the operator's language, else in English, else in any.
pub fn text(text: &Text, locale: &str) -> String {
    match text {
        Text::Plain(text) => text.clone(),
        Text::ByLocale(texts) => {
            let base = locale.split('-').next().unwrap_or(locale);
            let found = [locale, base, "en"].iter().find_map(|tag| texts.get(*tag));
            let kin = || texts.iter().find(|(tag, _)| tag.split('-').next() == Some(base)).map(|(_, text)| text);
            found.or_else(kin).or_else(|| texts.values().next()).cloned().unwrap_or_default()
        }
    }
}

/// What each id is called; what is not registered is called by its id.
pub fn titled<'a>(ids: &[String], title: impl Fn(&str) -> Option<&'a Text>, locale: &str) -> Vec<String> {
    ids.iter().map(|id| title(id).map_or_else(|| capital(&said(id)), |title| text(title, locale))).collect()
}

/// "A, B and C".
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// The language of a tag in English; the tag where it has no name here.
pub fn language(tag: &str, names: &BTreeMap<String, String>) -> String {
    let base = tag.split('-').next().unwrap_or(tag);
    match names.get(base) {
        Some(name) if base == tag => name.clone(),
        Some(name) => format!("{name} ({tag})"),
        None => tag.to_string(),
    }
}

/// An address in a query.
pub fn encoded(path: &str) -> String {
    url::form_urlencoded::byte_serialize(path.as_bytes()).collect()
}

/// Whether a link may be followed: to a web page or nowhere.
pub fn link(url: &str) -> Value {
    let known = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    if known { Value::String(url.into()) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_times_and_spans_are_written_for_people() {
        for (n, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-12_000, "−12,000")]
        {
            assert_eq!(grouped(n), expected);
        }
        for (seconds, expected) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_600, "1 h"), (12_000, "3 h 20 min"), (200_000, "2 days")]
        {
            assert_eq!(human(Duration::from_secs(seconds)), expected);
        }
        let time = Time::parse("2021-10-04T05:51:09Z").expect("a time");
        assert_eq!(shown(time), "4 Oct 2021, 05:51 UTC");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }

    #[test]
    fn a_link_leads_to_the_web_or_nowhere() {
        assert_eq!(link("https://help.example/x"), "https://help.example/x");
        for bad in ["javascript:alert(1)", "data:text/html,x", "//evil", "x"] {
            assert_eq!(link(bad), Value::Null, "{bad}");
        }
    }
}
