//! What a template may not do is found when it loads, not when it is needed. Enters a parsed part; leaves problems: unknown
//! names, names above the audience's clearance, optional facts outside an `if`, recipient data inside a block, partials that
//! include each other, expansion past a bound.

use std::collections::{BTreeMap, BTreeSet};

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, Template, TemplateElement};
use serde_json::Value;

use super::Occasion;
use super::message::Fields;
use super::names::{self, Presence, Shape};
use super::nearest;
use crate::incident::Clearance;

/// Elements that one part may have after its partials are put in, and how deep they may lie.
const MOST_ELEMENTS: usize = 5_000;
const DEEPEST: usize = 24;

const CONDITIONS: &[&str] = &["eq", "ne", "and", "or", "not", "fits"];

/// Line and message.
pub type Found = (usize, &'static str, String);

type Known = BTreeSet<&'static str>;

pub struct Guard<'a> {
    pub clearance: Clearance,
    pub occasion: Occasion,
    /// What `{{> name}}` includes.
    pub partials: &'a BTreeMap<String, Template>,
}

struct Walk<'a> {
    guard: &'a Guard<'a>,
    found: Vec<Found>,
    elements: usize,
    /// Partials on the way here, to see a circle.
    open: Vec<&'a str>,
    /// The line of the outermost include, which is where the reader must look.
    include_line: Option<usize>,
}

impl<'a> Guard<'a> {
    pub fn check(&'a self, part: &'a str, template: &'a Template) -> Vec<Found> {
        let mut walk = Walk { guard: self, found: Vec::new(), elements: 0, open: vec![part], include_line: None };
        walk.template(template, &Known::new(), false, 0);
        walk.found
    }
}

impl<'a> Walk<'a> {
    fn report(&mut self, line: usize, check: &'static str, message: String) {
        let found = (self.include_line.unwrap_or(line), check, message);
        if !self.found.contains(&found) && self.found.len() < 50 {
            self.found.push(found);
        }
    }

    fn template(&mut self, template: &'a Template, known: &Known, in_block: bool, depth: usize) {
        if depth > DEEPEST {
            return self.report(1, "nesting", format!("blocks and partials nest deeper than {DEEPEST}"));
        }
        for (at, element) in template.elements.iter().enumerate() {
            self.elements += 1;
            let line = template.mapping.get(at).map_or(0, |mapping| mapping.0);
            if self.elements > MOST_ELEMENTS {
                return self.report(line, "nesting", format!("grows past {MOST_ELEMENTS} elements"));
            }
            match element {
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                TemplateElement::Expression(helper) => self.expression(helper, line, known, in_block),
                TemplateElement::HelperBlock(helper) => self.block(helper, line, known, depth),
                TemplateElement::PartialExpression(partial) => self.partial(partial, line, known, in_block, depth),
                TemplateElement::HtmlExpression(_) => {
                    self.report(line, "syntax", "{{{…}}} and {{&…}} are not allowed: facts are escaped".into());
                }
                _ => self.report(line, "syntax", "only if, unless, field, agree and {{> part}} may stand here".into()),
            }
        }
    }

    fn expression(&mut self, helper: &'a HelperTemplate, line: usize, known: &Known, in_block: bool) {
        let name = helper.name.as_name().unwrap_or("");
        if name == "field" {
            return self.field(helper, line, in_block);
        }
        if name == "agree" {
            let words = |word: &Parameter| matches!(word, Parameter::Literal(Value::String(_)));
            if helper.params.len() != 2 || !helper.params.iter().all(words) {
                self.report(line, "syntax", "write {{agree \"is\" \"are\"}}: for one service, and for more".into());
            }
            return;
        }
        if !helper.params.is_empty() || !helper.hash.is_empty() || !matches!(helper.name, Parameter::Path(_)) {
            let message =
                format!("{{{{{name} …}}}} is not known here; only field and agree take words, conditions stand in if");
            return self.report(line, "syntax", message);
        }
        let Some((known_name, part)) = self.named(name, line) else { return };
        match (known_name.shape, part) {
            (Shape::Time, None) => {
                let message = format!("{name} is a time: write {name}.short, {name}.when, {name}.full …");
                return self.report(line, "names", message);
            }
            (Shape::Group, _) => {
                return self.report(line, "names", format!("{name} has no words of its own, only names below it"));
            }
            _ => {}
        }
        if !self.there(known_name, known) {
            let wanted = known_name.path;
            self.report(line, "missing", format!("{wanted} may be absent: put it inside {{{{#if {wanted}}}}}"));
        }
    }

    /// The name behind a path, if there is one and this audience may read it.
    fn named<'p>(&mut self, path: &'p str, line: usize) -> Option<(&'static names::Name, Option<&'p str>)> {
        let clearance = self.guard.clearance;
        match names::find(path) {
            Some((name, _)) if name.clearance > clearance => {
                let message = format!("{path} is {}, above this audience's clearance, {clearance}", name.clearance);
                self.report(line, "clearance", message);
                None
            }
            Some(found) => Some(found),
            None => {
                let hint = names::nearest(path, clearance).map(|near| format!("; did you mean {near}?"));
                self.report(line, "names", format!("nothing is called {path}{}", hint.unwrap_or_default()));
                None
            }
        }
    }

    fn there(&self, name: &names::Name, known: &Known) -> bool {
        match name.presence {
            Presence::Always => true,
            Presence::Optional => known.contains(name.path),
            Presence::In(occasions) => known.contains(name.path) || occasions.contains(&self.guard.occasion),
            Presence::With(group) => {
                known.contains(name.path) || names::find(group).is_some_and(|(group, _)| self.there(group, known))
            }
        }
    }

    fn field(&mut self, helper: &HelperTemplate, line: usize, in_block: bool) {
        if in_block {
            let message =
                "a recipient's field may not stand inside if, unless, each or with: words are the same for all";
            return self.report(line, "fields", message.into());
        }
        let [Parameter::Literal(Value::String(name)), Parameter::Literal(Value::String(_))] = &helper.params[..] else {
            return self.report(line, "fields", "write {{field \"name\" \"what stands there without one\"}}".into());
        };
        if !Fields::NAMES.contains(&name.as_str()) {
            let hint = nearest(name, Fields::NAMES.iter().map(|n| n.to_string())).map_or_else(
                || format!("; there are {}", Fields::NAMES.join(", ")),
                |near| format!("; did you mean {near:?}?"),
            );
            self.report(line, "fields", format!("no field is called {name:?}{hint}"));
        }
    }

    fn block(&mut self, helper: &'a HelperTemplate, line: usize, known: &Known, depth: usize) {
        let name = helper.name.as_name().unwrap_or("");
        let (mut then, mut other) = match (name, &helper.params[..]) {
            ("if" | "unless", [condition]) if helper.hash.is_empty() => self.condition(condition, line, 0),
            ("if" | "unless", _) => {
                self.report(line, "syntax", format!("{name} takes one condition"));
                (Known::new(), Known::new())
            }
            _ => {
                self.report(line, "syntax", format!("there is no block {name}, only if and unless"));
                (Known::new(), Known::new())
            }
        };
        if name == "unless" {
            std::mem::swap(&mut then, &mut other);
        }
        for (template, learned) in [(&helper.template, then), (&helper.inverse, other)] {
            if let Some(template) = template {
                self.template(template, &known.union(&learned).copied().collect(), true, depth + 1);
            }
        }
    }

    /// What is known to be there where the condition holds, and where it does not.
    fn condition(&mut self, condition: &'a Parameter, line: usize, depth: usize) -> (Known, Known) {
        let nothing = (Known::new(), Known::new());
        if depth > 8 {
            self.report(line, "nesting", "conditions nest deeper than 8".into());
            return nothing;
        }
        match condition {
            Parameter::Path(_) => match self.named(condition.as_name().unwrap_or(""), line) {
                Some((name, _)) => (with_group(name), Known::new()),
                None => nothing,
            },
            Parameter::Subexpression(sub) => {
                let TemplateElement::Expression(helper) = sub.as_element() else { return nothing };
                let operator = helper.name.as_name().unwrap_or("");
                match (operator, &helper.params[..]) {
                    ("not", [inner]) => {
                        let (then, other) = self.condition(inner, line, depth + 1);
                        (other, then)
                    }
                    ("and" | "or", [first, second]) => {
                        let a = self.condition(first, line, depth + 1);
                        let b = self.condition(second, line, depth + 1);
                        let both = |x: &Known, y: &Known| x.union(y).copied().collect();
                        let common = |x: &Known, y: &Known| x.intersection(y).copied().collect();
                        match operator {
                            "and" => (both(&a.0, &b.0), common(&a.1, &b.1)),
                            _ => (common(&a.0, &b.0), both(&a.1, &b.1)),
                        }
                    }
                    ("eq" | "ne", [path @ Parameter::Path(_), Parameter::Literal(Value::String(word))]) => {
                        let Some((name, _)) = self.named(path.as_name().unwrap_or(""), line) else { return nothing };
                        self.comparable(name, word, line);
                        match operator {
                            "eq" => (with_group(name), Known::new()),
                            _ => (Known::new(), with_group(name)),
                        }
                    }
                    ("fits", [path @ Parameter::Path(_), Parameter::Literal(Value::Number(_))]) => {
                        let Some((name, _)) = self.named(path.as_name().unwrap_or(""), line) else { return nothing };
                        (with_group(name), Known::new())
                    }
                    _ => {
                        let message = format!(
                            "({operator} …) is no condition; there are {}, (eq name \"word\"), (fits name 45)",
                            CONDITIONS.join(" ")
                        );
                        self.report(line, "syntax", message);
                        nothing
                    }
                }
            }
            _ => {
                self.report(line, "syntax", "a condition is a name or (eq name \"word\")".into());
                nothing
            }
        }
    }

    fn comparable(&mut self, name: &names::Name, word: &str, line: usize) {
        let Shape::Word(words) = name.shape else { return };
        if !words.contains(&word) {
            let hint = nearest(word, words.iter().map(|w| w.to_string())).map_or_else(
                || format!("; it is one of {}", words.join(" ")),
                |near| format!("; did you mean {near:?}?"),
            );
            self.report(line, "names", format!("{} is never {word:?}{hint}", name.path));
        }
    }

    fn partial(&mut self, partial: &'a DecoratorTemplate, line: usize, known: &Known, in_block: bool, depth: usize) {
        let name = match &partial.name {
            Parameter::Name(name) => name.as_str(),
            _ => "",
        };
        if !partial.params.is_empty() || !partial.hash.is_empty() || name.is_empty() {
            return self.report(line, "partials", "a partial is included by its name alone: {{> name}}".into());
        }
        if self.open.contains(&name) {
            let way = format!("{} > {name}", self.open.join(" > "));
            return self.report(line, "partials", format!("partials include each other: {way}"));
        }
        let Some((name, template)) = self.guard.partials.get_key_value(name) else {
            let hint = nearest(name, self.guard.partials.keys().cloned()).map(|near| format!("; did you mean {near}?"));
            return self.report(line, "partials", format!("there is no partial {name}{}", hint.unwrap_or_default()));
        };
        self.open.push(name);
        let outer = self.include_line;
        self.include_line = Some(outer.unwrap_or(line));
        self.template(template, known, in_block, depth + 1);
        self.include_line = outer;
        self.open.pop();
    }
}

/// A name below a group is there only with the group.
fn with_group(name: &names::Name) -> Known {
    let mut known = Known::from([name.path]);
    if let Some((group, _)) = name.path.split_once('.') {
        known.extend(names::find(group).map(|(group, _)| group.path));
    }
    known
}
