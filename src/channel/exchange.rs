//! What one attempt is on the wire, for a person who tries a channel: the request, the answer and the rule that read it; or the
//! conversation, where the driver has one. Headers that say who we are are covered here; any other secret is still in it, and
//! `Veil` takes it out.

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};

use super::answer::{Answer, OneOf, Rule, When};
use super::request::Built;

/// In place of what must not be shown.
pub const COVERED: &str = "***";

#[derive(Debug, Default)]
pub struct Exchange {
    pub request: Option<Sent>,
    pub answer: Option<Answered>,
    /// The place among the file's `[[answer]]` of the one that decided; `None`: none of them.
    pub rule: Option<usize>,
    /// The driver shows nothing of it.
    pub unseen: bool,
    /// Line by line, `>` ours and `<` theirs.
    pub conversation: Vec<String>,
}

#[derive(Debug)]
pub struct Sent {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    /// Those that the reading looks at.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Sent {
    /// `address_is_url`: whoever knows the path of such an address can often write there, so it is covered.
    pub fn of(built: &Built, address_is_url: bool) -> Sent {
        let request = &built.request;
        let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = match request.uri().to_string() {
            path if address_is_url && path.len() > 1 => format!("/{COVERED}"),
            path => path,
        };
        Sent {
            method: request.method().to_string(),
            url: format!("{}://{host}{path}", if built.origin.secure { "https" } else { "http" }),
            headers: request.headers().iter().map(|(name, value)| (name.to_string(), header(name, value))).collect(),
            body: body(request.body()),
        }
    }
}

impl Answered {
    pub fn of(answer: &Answer<'_>, rules: &[Rule]) -> Answered {
        let after = rules.iter().filter_map(|rule| rule.after.as_ref()?.header.as_deref());
        let asked = rules.iter().flat_map(|rule| rule.when.headers.keys()).map(String::as_str);
        let asked = asked.chain(after).map(str::to_lowercase);
        let mut names: Vec<String> = [CONTENT_TYPE, RETRY_AFTER].iter().map(ToString::to_string).chain(asked).collect();
        names.sort();
        names.dedup();
        let header = |name: String| {
            let value = answer.headers.get(&name)?;
            Some((name, String::from_utf8_lossy(value.as_bytes()).into_owned()))
        };
        Answered {
            status: answer.status,
            headers: names.into_iter().filter_map(header).collect(),
            body: answer.body.to_vec(),
        }
    }
}

fn header(name: &HeaderName, value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    if name != AUTHORIZATION && !value.is_sensitive() {
        return text.into_owned();
    }
    match ["Basic ", "Bearer "].iter().find(|scheme| text.starts_with(*scheme)) {
        Some(scheme) => format!("{scheme}{COVERED}"),
        None => COVERED.into(),
    }
}

/// It lies whole in memory, so nothing is waited for.
fn body(body: &Full<Bytes>) -> Vec<u8> {
    match body.clone().collect().now_or_never() {
        Some(Ok(body)) => body.to_bytes().to_vec(),
        _ => Vec::new(),
    }
}

/// What a rule looks at, as its file says it: `status 200, /ok = true`.
pub fn says(when: &When) -> String {
    let list = |values: &OneOf| values.each().iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let status = when.status.iter().map(|statuses| format!("status {}", list(&statuses.given)));
    let json = when.json.iter().map(|(at, values)| format!("{} = {}", at.as_str(), list(values)));
    let headers = when.headers.iter().map(|(name, values)| format!("{name} begins with {}", list(values)));
    let body = when.body.iter().map(|values| format!("body = {}", list(values)));
    let contains = when.contains.iter().map(|values| format!("body contains {}", list(values)));
    match status.chain(json).chain(headers).chain(body).chain(contains).collect::<Vec<_>>() {
        all if all.is_empty() => "any answer".into(),
        all => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_who_we_are_is_covered_and_a_rule_reads_as_its_file_has_it() {
        let mut hidden = HeaderValue::from_static("k-1");
        assert_eq!(header(&HeaderName::from_static("x-key"), &hidden), "k-1");
        hidden.set_sensitive(true);
        assert_eq!(header(&HeaderName::from_static("x-key"), &hidden), "***");
        for (given, shown) in [("Basic dTpw", "Basic ***"), ("Bearer t", "Bearer ***"), ("GenieKey t", "***")] {
            assert_eq!(header(&AUTHORIZATION, &HeaderValue::from_static(given)), shown);
        }
        let rule: Rule = toml::from_str(
            "when = { status = [\"200\", \"2xx\"], json = { \"/ok\" = true }, body = \"x\" }\nthen = \"accepted\"",
        )
        .expect("a rule");
        assert_eq!(says(&rule.when), "status \"200\" or \"2xx\", /ok = true, body = \"x\"");
        assert_eq!(says(&When::default()), "any answer");
    }
}
