//! A template file into its parts. What would make the parser overflow the stack is refused before it sees the text: the
//! process could not catch that.

use std::collections::BTreeMap;

use handlebars::TemplateError;
use handlebars::template::{Parameter, Template, TemplateElement};
use serde_json::Value;

use super::clean::is_private;
use super::guard::Found;
use super::nearest;

pub const LARGEST_FILE: usize = 64 * 1024;
const DEEPEST_BLOCK: usize = 12;
const MOST_ELSE: usize = 100;
const MOST_BRACKETS: usize = 16;

/// The parts a file may have, and those it must have.
pub const PARTS: &[&str] = &["headline", "short", "body", "chat", "post", "push", "voice"];
pub const NEEDED: &[&str] = &["headline", "short", "body"];

/// Text to template, within bounds.
pub fn parse(text: &str) -> Result<Template, Found> {
    scan(text)?;
    Template::compile(text).map_err(|error| (line_of(&error), "syntax", error.reason().to_string()))
}

fn line_of(error: &TemplateError) -> usize {
    error.pos().map_or(1, |(line, _)| line)
}

fn scan(text: &str) -> Result<(), Found> {
    if text.len() > LARGEST_FILE {
        return Err((1, "size", format!("{} bytes; a template has at most {LARGEST_FILE}", text.len())));
    }
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_private(*c)) {
        return Err((line_at(text, at), "syntax", format!("U+{:04X} is a private-use character", c as u32)));
    }
    let (mut depth, mut elses) = (0usize, 0usize);
    for (at, _) in text.match_indices("{{") {
        let nesting = |message: String| Err((line_at(text, at), "nesting", message));
        let tag = &text[at + 2..];
        if tag.starts_with("{{") {
            return nesting("{{{{ raw blocks }}}} are not allowed".into());
        }
        let inside = tag.trim_start_matches(|c: char| c.is_whitespace() || c == '~');
        match inside.as_bytes().first() {
            Some(b'#') => depth += 1,
            Some(b'/') => depth = depth.saturating_sub(1),
            Some(b'^') => elses += 1,
            _ if inside.starts_with("else") => elses += 1,
            _ => {}
        }
        // Comments hold any signs.
        let end = inside.find("}}").unwrap_or(inside.len());
        let brackets = inside[..end].bytes().filter(|b| matches!(b, b'(' | b'[' | b'{')).count();
        if !inside.starts_with('!') && brackets > MOST_BRACKETS {
            return nesting(format!("more than {MOST_BRACKETS} brackets in one tag"));
        }
        if depth > DEEPEST_BLOCK {
            return nesting(format!("blocks nest deeper than {DEEPEST_BLOCK}"));
        }
        if elses > MOST_ELSE {
            return nesting(format!("more than {MOST_ELSE} times else"));
        }
    }
    Ok(())
}

pub fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
}

/// The inline partials of a file by name, each with its line.
pub fn parts(text: &str) -> Result<BTreeMap<String, (usize, Template)>, Vec<Found>> {
    let whole = parse(text).map_err(|found| vec![found])?;
    let (mut parts, mut found) = (BTreeMap::new(), Vec::new());
    for (at, element) in whole.elements.iter().enumerate() {
        let line = whole.mapping.get(at).map_or(0, |mapping| mapping.0);
        match element {
            TemplateElement::Comment(_) => {}
            TemplateElement::RawString(words) if words.trim().is_empty() => {}
            TemplateElement::DecoratorBlock(block) if block.name.as_name() == Some("inline") => {
                let [Parameter::Literal(Value::String(name))] = &block.params[..] else {
                    found.push((line, "parts", "write {{#*inline \"body\"}}".into()));
                    continue;
                };
                if !PARTS.contains(&name.as_str()) {
                    let hint = nearest(name, PARTS.iter().map(|p| p.to_string())).map_or_else(
                        || format!("; there are {}", PARTS.join(" ")),
                        |near| format!("; did you mean {near:?}?"),
                    );
                    found.push((line, "parts", format!("there is no part {name:?}{hint}")));
                } else if parts.insert(name.clone(), (line, block.template.clone().unwrap_or_default())).is_some() {
                    found.push((line, "parts", format!("{name} is said twice")));
                }
            }
            _ => found.push((line, "parts", "words stand only in {{#*inline \"…\"}} parts".into())),
        }
    }
    for needed in NEEDED.iter().filter(|needed| !parts.contains_key(**needed)) {
        found.push((1, "parts", format!("has no part {needed}")));
    }
    if found.is_empty() { Ok(parts) } else { Err(found) }
}
