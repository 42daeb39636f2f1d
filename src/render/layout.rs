//! Layouts: `templates/layouts/<format>.hbs` puts the parts of a template into a format. That of the mail is MJML, made into
//! HTML once for a set; the others are Markdown, or plain where the format is one line.

use std::collections::BTreeMap;

use handlebars::template::{Template, TemplateElement};

use super::guard::Found;
use super::{nearest, parse};

/// What a layout may name.
pub const NAMES: &[&str] = &[
    "headline",
    "short",
    "body",
    "body_html",
    "chat",
    "post",
    "push",
    "voice",
    "lang",
    "sender",
    "status_page",
    "status_url",
    "code",
    "check",
    "genuine",
    "manage",
];

/// The layouts there must be.
const NEEDED: &[&str] = &["email", "email-text", "sms", "chat", "push", "post", "voice"];

#[derive(Default)]
pub struct Layouts(BTreeMap<String, Template>);

impl Layouts {
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), Found> {
        if !NEEDED.contains(&name) {
            let hint =
                nearest(name, NEEDED.iter().map(|n| n.to_string())).map(|near| format!("; did you mean {near}?"));
            return Err((0, "layout", format!("there is no format {name}{}", hint.unwrap_or_default())));
        }
        check(&parse::parse(text)?)?;
        let template = match name {
            "email" => parse::parse(&html(text)?)?,
            _ => parse::parse(text)?,
        };
        self.0.insert(name.into(), template);
        Ok(())
    }

    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        NEEDED.iter().copied().filter(|name| !self.0.contains_key(*name))
    }

    pub fn get(&self, name: &str) -> Option<&Template> {
        self.0.get(name)
    }
}

fn html(mjml: &str) -> Result<String, Found> {
    let parsed = mrml::parse(mjml).map_err(|error| (1, "layout", error.to_string()))?;
    let options = mrml::prelude::render::RenderOptions::default();
    parsed.element.render(&options).map_err(|error| (1, "layout", error.to_string()))
}

/// Layouts name only what they are given; every name is always there.
fn check(template: &Template) -> Result<(), Found> {
    for (at, element) in template.elements.iter().enumerate() {
        let line = template.mapping.get(at).map_or(0, |mapping| mapping.0);
        match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
            TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                let name = helper.name.as_name().unwrap_or("");
                if name != "field" && (!NAMES.contains(&name) || !helper.params.is_empty()) {
                    let hint = nearest(name, NAMES.iter().map(|n| n.to_string()))
                        .map(|near| format!("; did you mean {near}?"));
                    return Err((line, "names", format!("a layout has no {name}{}", hint.unwrap_or_default())));
                }
            }
            _ => return Err((line, "syntax", "a layout has names and fields only".into())),
        }
    }
    Ok(())
}
