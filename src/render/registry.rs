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
    registry.register_helper("agree", Box::new(agree));
    let fields = fields.clone();
    registry.register_helper(
        "field",
        Box::new(move |helper: &Helper, _: &Handlebars, _: &Context, _: &mut RenderContext, out: &mut dyn Output| {
            field(&fields, helper, out)
        }),
    );
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
        let text = text(helper, 0);
        let most = helper.param(1).and_then(|param| param.value().as_u64()).unwrap_or(0);
        let count = sms::count(text);
        // One letter outside the alphabet would cut the whole SMS to less than half.
        let written = !self.gsm7 || count.alphabet == Alphabet::Gsm7;
        Ok(ScopedJson::Derived((!text.is_empty() && count.units as u64 <= most && written).into()))
    }
}

/// `{{services}} {{agree "is" "are"}} down`: the first where exactly one component is affected.
fn agree(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    context: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let at = if context.data()["one"] == true { 0 } else { 1 };
    Ok(out.write(text(helper, at))?)
}

/// `{{field "name" "default"}}`.
fn field(fields: &Met, helper: &Helper<'_>, out: &mut dyn Output) -> HelperResult {
    let known = Fields::NAMES.contains(&text(helper, 0));
    let sign = known.then(|| meet(fields, text(helper, 0), text(helper, 1))).flatten();
    let sign = sign.ok_or_else(|| RenderErrorReason::Other(format!("no field is called {:?}", text(helper, 0))))?;
    Ok(out.write(sign.encode_utf8(&mut [0; 4]))?)
}

fn text<'a>(helper: &'a Helper<'_>, at: usize) -> &'a str {
    helper.param(at).and_then(|param| param.value().as_str()).unwrap_or("")
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
