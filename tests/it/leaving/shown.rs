//! A message that left, as text that can be read and compared: everything that a receiver gets, with what chance makes
//! written over.

use mail_parser::{MessageParser, MimeHeaders};
use serde_json::Value;

use super::people;
use crate::harness::{Mail, Request};

/// Whose it is, and all of it.
pub fn request(request: &Request) -> Vec<(String, String)> {
    let body = String::from_utf8(request.body.clone()).expect("utf-8");
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut lines = vec![format!("{} {path}", request.method)];
    lines.extend(pairs(query).map(|pair| format!("  ? {pair}")));
    lines.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.push(String::new());
    match request.header("content-type") {
        Some(kind) if kind.starts_with("application/x-www-form-urlencoded") => {
            lines.extend(pairs(&body).map(|pair| format!("  & {pair}")));
        }
        Some(kind) if kind.contains("json") => lines.push(json(&request.json())),
        _ => lines.push(body),
    }
    let text = lines.join("\n");
    let kinds: &[&str] = match request.path.split(['/', '?']).nth(1) {
        Some("hook") => &["url"],
        Some("telegram") => &["telegram"],
        Some("slack") => &["slack"],
        Some("ntfy") => &["ntfy"],
        Some("whatsapp") => &["whatsapp"],
        _ => &["phone"],
    };
    vec![(people::whom(&text, kinds), written_over(&text))]
}

/// One parameter a line, decoded.
fn pairs(text: &str) -> impl Iterator<Item = String> {
    url::form_urlencoded::parse(text.as_bytes()).map(|(name, value)| format!("{name} = {}", broken(&value)))
}

/// A line break is a line break, and the line after it is indented.
fn broken(text: &str) -> String {
    text.replace('\n', "\n      ")
}

/// With the names in order, and a new line after each line break of a text.
pub fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("json").replace("\\n", "\\n\n      ")
}

/// The HTML part apart from the rest.
pub fn mail(mail: &Mail) -> Vec<(String, String)> {
    let parsed = MessageParser::default().parse(mail.data.as_bytes()).expect("a mail");
    let mut lines: Vec<String> = mail.to.iter().map(|to| format!("RCPT TO:<{to}>")).collect();
    lines.extend(parsed.headers_raw().map(|(name, value)| format!("{name}:{}", value.trim_end().replace('\r', ""))));
    lines.push(format!("= Subject: {}", parsed.subject().unwrap_or_default()));
    let whom = people::whom(&mail.to.join(" "), &["email"]);
    let mut html = Vec::new();
    for part in &parsed.parts {
        let Some(text) = part.text_contents() else { continue };
        let kind = part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
        lines.push(format!("\n─── {}\n", kind.unwrap_or_default()));
        let text = text.replace("\r\n", "\n");
        if part.is_text_html() {
            lines.push("(in a file of its own)".into());
            html.push((format!("{whom} in HTML"), written_over(&text)));
        } else {
            lines.push(text);
        }
    }
    html.push((whom, written_over(&lines.join("\n"))));
    html
}

/// What chance makes: tags of ids, signatures, boundaries, ports. Check codes come later, when all are known.
fn written_over(text: &str) -> String {
    let rules = [
        (r"\b(dlv|uns)_([0-9a-z_]+)_[0-9a-hjkmnp-z]{16}\b", "${1}_${2}_TAG"),
        (r"v1,[A-Za-z0-9+/]{43}=", "v1,SIGNATURE"),
        (r#"boundary="[^"]+""#, r#"boundary="BOUNDARY""#),
        (r"127\.0\.0\.1:[0-9]+", "127.0.0.1:PORT"),
    ];
    rules.iter().fold(text.to_string(), |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}
