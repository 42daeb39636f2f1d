//! Plans as files. Enter: the plans that ship or those of the operator's directory, as TOML. Leave: plans by name, or the place
//! and the line of what is wrong in one; a key that no plan has is refused with the nearest that one has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rust_embed::Embed;

use super::Plan;

#[derive(Embed)]
#[folder = "plans/"]
struct Shipped;

#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct BadPlan {
    pub place: String,
    pub message: String,
}

/// The plans that ship, or those of the operator's directory in the place of all of them.
pub fn load(directory: Option<&Path>) -> Result<Vec<Plan>, BadPlan> {
    let mut texts: BTreeMap<String, (String, String)> = BTreeMap::new();
    match directory {
        None => {
            for path in Shipped::iter().filter(|path| path.ends_with(".toml")) {
                let Some(file) = Shipped::get(&path) else { continue };
                let text = String::from_utf8_lossy(&file.data).into_owned();
                texts.insert(path.trim_end_matches(".toml").into(), (format!("plans/{path}"), text));
            }
        }
        Some(directory) => {
            let bad =
                |error: std::io::Error| BadPlan { place: directory.display().to_string(), message: error.to_string() };
            for entry in std::fs::read_dir(directory).map_err(bad)? {
                let path = entry.map_err(bad)?.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    texts.insert(name, (path.display().to_string(), std::fs::read_to_string(&path).map_err(bad)?));
                }
            }
        }
    }
    texts.into_iter().map(|(name, (place, text))| parse(&name, &place, &text)).collect()
}

pub fn parse(name: &str, place: &str, text: &str) -> Result<Plan, BadPlan> {
    let mut plan: Plan = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        BadPlan { place: format!("{place}:{line}"), message: crate::config::nearest(error.message()) }
    })?;
    plan.name = name.into();
    let mut names = BTreeSet::new();
    for step in &plan.steps {
        if !names.insert(&step.name) {
            return Err(BadPlan { place: place.into(), message: format!("two steps are named {:?}", step.name) });
        }
        if step.routes.is_empty() {
            return Err(BadPlan { place: place.into(), message: format!("step {:?} has no routes", step.name) });
        }
        if let Some(span) = step.confirm_within {
            let wrong =
                |why| BadPlan { place: place.into(), message: format!("step {:?}: confirm_within: {why}", step.name) };
            if step.routes.len() < 2 {
                return Err(wrong("there is no next route; write two or more in routes"));
            }
            if span.0.is_zero() {
                return Err(wrong("nobody confirms within no time"));
            }
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_refused_with_its_line_and_the_nearest_name() {
        let error = parse(
            "p",
            "p.toml",
            "title = \"x\"\n[[step]]\nname = \"a\"\naudiense = \"b\"\nroutes = [\"sms\"]\npriority = \"high\"\n",
        )
        .expect_err("refused");
        assert_eq!(error.to_string(), "p.toml:4: unknown key \"audiense\"; did you mean \"audience\"?");
    }

    #[test]
    fn a_confirmation_needs_a_time_and_a_next_route() {
        let step = |rest: &str| {
            let text =
                format!("title = \"x\"\n[[step]]\nname = \"a\"\naudience = \"b\"\npriority = \"high\"\n{rest}\n");
            parse("p", "p.toml", &text).map_err(|error| error.to_string())
        };
        let plan = step("routes = [\"sms\", \"voice\"]\nconfirm_within = \"90s\"").expect("a plan");
        assert_eq!(plan.steps[0].confirm_within.map(|span| span.0.as_secs()), Some(90));
        let error = step("routes = [\"sms+voice\"]\nconfirm_within = \"90s\"").expect_err("refused");
        assert!(error.starts_with("p.toml: step \"a\": confirm_within: there is no next route"), "{error}");
        let error = step("routes = [\"sms\", \"voice\"]\nconfirm_within = \"0s\"").expect_err("refused");
        assert!(error.contains("within no time"), "{error}");
        let error = step("routes = [\"sms\", \"voice\"]\nconfirm_within = \"soon\"").expect_err("refused");
        assert!(error.starts_with("p.toml:7: ") && error.contains("not a span of time"), "{error}");
    }
}
