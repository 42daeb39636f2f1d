//! How handlebars is set up: strict, with the escaping of the format and the helpers that templates may use.

use std::sync::{Arc, Mutex};

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
    ScopedJson,
};

use super::clean::{self, clean, one_line};
use super::message::{Escape, Fields, escape_into};
use super::sms::{self, Alphabet};

#[derive(Debug, Clone, Copy)]
pub enum Escaping {
    Plain,
    Markdown,
    Html,
}

/// Fields met so far, each with its default; each stands in the text as one private-use character.
pub type Met = Arc<Mutex<Vec<(String, String)>>>;

/// `gsm7`: whether the language's SMS are to stay in GSM-7.
pub fn registry(escaping: Escaping, gsm7: bool, fields: &Met) -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    let escape: fn(&str) -> String = match escaping {
        Escaping::Plain => one_line,
        Escaping::Markdown => clean::markdown,
        Escaping::Html => |text| {
            let mut out = String::with_capacity(text.len());
            escape_into(text, Escape::Html, &mut out);
            out
        },
    };
    registry.register_escape_fn(escape);
    registry.register_helper("fits", Box::new(Fits { gsm7 }));
    registry.register_helper("field", Box::new(Field(fields.clone())));
    registry.register_helper("agree", Box::new(Agree));
    registry
}

/// `(fits action 45)`: it is there and takes at most 45 units of an SMS, in the alphabet that the rest is in.
struct Fits {
    gsm7: bool,
}

impl HelperDef for Fits {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let text = helper.param(0).and_then(|param| param.value().as_str()).unwrap_or("");
        let most = helper.param(1).and_then(|param| param.value().as_u64()).unwrap_or(0);
        let count = sms::count(text);
        // One letter outside the alphabet would cut the whole SMS to less than half.
        let written = !self.gsm7 || count.alphabet == Alphabet::Gsm7;
        Ok(ScopedJson::Derived((!text.is_empty() && count.units as u64 <= most && written).into()))
    }
}

/// `{{services}} {{agree "is" "are"}} down`: the first where exactly one component is affected.
struct Agree;

impl HelperDef for Agree {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let at = if context.data()["one"] == true { 0 } else { 1 };
        Ok(out.write(helper.param(at).and_then(|param| param.value().as_str()).unwrap_or(""))?)
    }
}

/// `{{field "name" "default"}}`.
struct Field(Met);

impl HelperDef for Field {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let text = |at: usize| helper.param(at).and_then(|param| param.value().as_str()).unwrap_or("");
        let known = Fields::NAMES.contains(&text(0));
        let sign = known.then(|| meet(&self.0, text(0), text(1))).flatten();
        let sign = sign.ok_or_else(|| RenderErrorReason::Other(format!("no field is called {:?}", text(0))))?;
        Ok(out.write(sign.encode_utf8(&mut [0; 4]))?)
    }
}

/// The character that stands for a field.
pub fn meet(fields: &Met, name: &str, default: &str) -> Option<char> {
    let mut met = fields.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let field = (name.to_string(), one_line(&clean(default)));
    let number = met.iter().position(|known| *known == field).unwrap_or_else(|| {
        met.push(field);
        met.len() - 1
    });
    clean::sentinel(number)
}
