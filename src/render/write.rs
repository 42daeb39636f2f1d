//! One message: parts rendered, put into the layout of the format, written in the platform's markup, cut at the fields.

use std::cell::OnceCell;

use handlebars::Handlebars;
use handlebars::template::Template;
use serde_json::{Map, Value};

use super::clean::{self, field_number, one_line};
use super::message::{Escape, Format, Markup, Message, Segment};
use super::registry::{Escaping, Met, meet, registry};
use super::templates::{File, Templates};
use super::view::{BRIEF, FULL, View};
use super::{RenderError, Rendered, Scene, Wording, markdown, sms, webhook};
use crate::incident::Mode;

/// Segments that one SMS may take; what is longer is cut.
const MOST_SEGMENTS: usize = 6;

/// The words of a scene as a wording wants them. The same set, scene and wording give the same message.
pub fn render(templates: &Templates, scene: &Scene<'_>, wording: &Wording) -> Result<Rendered, RenderError> {
    let Some((file, fallbacks)) = templates.find(&wording.template, wording.occasion, &wording.locale) else {
        return Err(RenderError::NoTemplate {
            audience: wording.template.clone(),
            occasion: wording.occasion,
            locale: wording.locale.clone(),
        });
    };
    let view = View::new(scene, wording, templates.locale(&file.locale));
    let writer = Writer {
        templates,
        file,
        view,
        wording,
        fields: Met::default(),
        plain: OnceCell::new(),
        marked: OnceCell::new(),
        brief: OnceCell::new(),
        full: OnceCell::new(),
    };
    let message = writer.message().map_err(|message| RenderError::Failed { file: file.path.clone(), message })?;
    Ok(Rendered { message, file: file.path.clone(), fallbacks })
}

pub(super) struct Writer<'a> {
    templates: &'a Templates,
    file: &'a File,
    pub(super) view: View<'a>,
    pub(super) wording: &'a Wording,
    fields: Met,
    /// The parts of the file, for plain text and for Markdown; the names, with few components and with all.
    plain: OnceCell<Handlebars<'static>>,
    marked: OnceCell<Handlebars<'static>>,
    brief: OnceCell<Value>,
    full: OnceCell<Value>,
}

impl Writer<'_> {
    fn message(&self) -> Result<Message, String> {
        let Wording { format, markup, .. } = *self.wording;
        let (title, text, html) = match format {
            Format::Email => {
                let body = self.part("body")?;
                let text = markdown::convert(
                    &self.layout("email-text", &[("body", &body)], Escaping::Markdown)?,
                    Markup::Plain,
                );
                let html = self.layout("email", &[("body_html", &markdown::mail(&body))], Escaping::Html)?;
                (
                    Some(self.line("headline")?),
                    self.labelled(text, Markup::Plain, "\n\n"),
                    Some(self.labelled_html(html)),
                )
            }
            Format::Sms => (None, self.sms()?, None),
            Format::Push => {
                let push = self.line(self.first_of("push", "short"))?;
                let text = one_line(&self.layout("push", &[("push", &push)], Escaping::Plain)?);
                (Some(self.line("headline")?), self.labelled(text, Markup::Plain, " "), None)
            }
            Format::Voice => {
                let voice = match self.first_of("voice", "body") {
                    "voice" => self.line("voice")?,
                    body => one_line(&markdown::convert(&self.part(body)?, Markup::Plain)),
                };
                let text = one_line(&self.layout("voice", &[("voice", &voice)], Escaping::Plain)?);
                (None, self.labelled(text, Markup::Plain, " "), None)
            }
            Format::Chat => (None, self.blocks("chat", markup)?, None),
            Format::Post => (Some(self.line("headline")?), self.blocks("post", markup)?, None),
            Format::Webhook => (None, webhook::text(self)?, None),
            // From all that everyone was told, which no template sees.
            Format::Cap => return Err("an alert is written when its broadcast is released".into()),
        };
        let (title_escape, text_escape) = match format {
            Format::Email => (Escape::Header, Escape::None),
            Format::Webhook | Format::Cap => (Escape::None, Escape::Json),
            Format::Sms | Format::Push | Format::Voice => (Escape::Header, Escape::None),
            Format::Chat | Format::Post => (Escape::Header, markdown::escape_of(markup)),
        };
        let title = title.map(|title| self.labelled(title, Markup::Plain, " "));
        Ok(Message {
            format,
            markup,
            locale: self.view.locale.tag.clone(),
            title: title.map(|title| self.cut(&title, title_escape)),
            text: self.cut(&text, text_escape),
            html: html.map(|html| self.cut(&html, Escape::Html)),
            status: (format == Format::Post).then(|| self.view.status().into()),
        })
    }

    pub(super) fn sms(&self) -> Result<String, String> {
        let short = self.line("short")?;
        let text = one_line(&self.layout("sms", &[("short", &short)], Escaping::Plain)?);
        let text = sms::simplify(&self.labelled(text, Markup::Plain, " ")).into_owned();
        // A field's value is not known yet: such a text is left as long as it is.
        Ok(if text.chars().any(clean::is_private) { text } else { sms::shorten(&text, MOST_SEGMENTS).into_owned() })
    }

    /// A format of paragraphs: the part of its name, else the body.
    fn blocks(&self, name: &'static str, markup: Markup) -> Result<String, String> {
        let part = self.part(self.first_of(name, "body"))?;
        let text = self.layout(name, &[(name, &part)], Escaping::Markdown)?;
        Ok(self.labelled(markdown::convert(&text, markup), markup, "\n\n"))
    }

    fn first_of(&self, wanted: &'static str, otherwise: &'static str) -> &'static str {
        if self.file.parts.contains_key(wanted) { wanted } else { otherwise }
    }

    /// A part that is one line of plain text.
    pub(super) fn line(&self, name: &str) -> Result<String, String> {
        let parts = self.plain.get_or_init(|| self.parts(Escaping::Plain));
        let values = self.brief.get_or_init(|| self.view.values(BRIEF));
        parts.render(name, values).map(|text| one_line(&text)).map_err(|error| described(&error))
    }

    /// A part in Markdown.
    pub(super) fn part(&self, name: &str) -> Result<String, String> {
        let parts = self.marked.get_or_init(|| self.parts(Escaping::Markdown));
        parts.render(name, self.values()).map_err(|error| described(&error))
    }

    /// The names with their values.
    pub(super) fn values(&self) -> &Value {
        self.full.get_or_init(|| self.view.values(FULL))
    }

    fn parts(&self, escaping: Escaping) -> Handlebars<'static> {
        let mut registry = self.registry(escaping);
        for (name, template) in self.templates.partials_of(&self.file.parts, &self.file.locale) {
            registry.register_template(&name, template);
        }
        registry
    }

    fn registry(&self, escaping: Escaping) -> Handlebars<'static> {
        registry(escaping, self.view.locale.gsm7, &self.fields)
    }

    fn layout(&self, name: &str, parts: &[(&str, &str)], escaping: Escaping) -> Result<String, String> {
        let template = self.templates.layouts.get(name).ok_or_else(|| format!("there is no layout {name}"))?;
        let mut values = Map::new();
        let mut put = |name: &str, value: String| {
            values.insert(name.into(), Value::String(value));
        };
        let locale = self.view.locale;
        let page = self.view.status_page();
        put("genuine", self.view.genuine());
        put("sender", self.view.sender());
        put("headline", self.line("headline")?);
        put("lang", locale.tag.clone());
        put("status_url", format!("https://{page}"));
        put("status_page", page);
        put("code", self.view.scene.code.into());
        put("check", self.view.check());
        put("manage", locale.words.manage.clone());
        for (name, text) in parts {
            put(name, text.to_string());
        }
        let mut registry = self.registry(escaping);
        registry.register_template("layout", Template::clone(template));
        registry.render("layout", &values).map_err(|error| format!("layout {name}: {}", described(&error)))
    }

    /// A drill says so first and last.
    pub(super) fn labelled(&self, text: String, markup: Markup, between: &str) -> String {
        if self.view.scene.mode == Mode::Real {
            return text;
        }
        let mut label = String::new();
        super::message::escape_into(&self.view.locale.words.exercise, markdown::escape_of(markup), &mut label);
        match between {
            " " => format!("{label}. {text} {label}"),
            _ => format!("{label}{between}{text}{between}{label}"),
        }
    }

    fn labelled_html(&self, html: String) -> String {
        if self.view.scene.mode == Mode::Real {
            return html;
        }
        let mut label = String::new();
        super::message::escape_into(&self.view.locale.words.exercise, Escape::Html, &mut label);
        let label = format!("<p style=\"font: bold 20px Arial, sans-serif; text-align: center\">{label}</p>");
        let first = html.find("<body").and_then(|at| html[at..].find('>').map(|end| at + end + 1)).unwrap_or(0);
        let last = html.rfind("</body>").unwrap_or(html.len());
        format!("{}{label}{}{label}{}", &html[..first], &html[first..last.max(first)], &html[last.max(first)..])
    }

    /// Words and, where a private-use character stands, the field that it stands for.
    fn cut(&self, text: &str, escape: Escape) -> Vec<Segment> {
        let met = self.fields.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (mut segments, mut words) = (Vec::new(), String::new());
        for c in text.chars() {
            let Some((name, default)) = field_number(c).and_then(|number| met.get(number)) else {
                words.push(c);
                continue;
            };
            if !words.is_empty() {
                segments.push(Segment::Words(std::mem::take(&mut words)));
            }
            segments.push(Segment::Field { name: name.clone(), default: default.clone(), escape });
        }
        if !words.is_empty() {
            segments.push(Segment::Words(words));
        }
        segments
    }

    /// A field where the renderer itself wants one.
    pub(super) fn field(&self, name: &str, default: &str) -> Result<String, String> {
        meet(&self.fields, name, default).map(String::from).ok_or_else(|| "too many fields".into())
    }
}

fn described(error: &handlebars::RenderError) -> String {
    let place = match (error.template_name.as_deref(), error.line_no) {
        (Some(part), Some(line)) => format!("part {part}, line {line}: "),
        _ => String::new(),
    };
    format!("{place}{}", error.reason())
}
