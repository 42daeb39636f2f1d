//! `loudhailer check`: everything that is configured, as the server would read it, and every template on sample incidents. Prints
//! `file:line: message`; exit status 2 if something may not leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Parser;
use serde_json::json;

use super::{Failure, show};
use crate::api::certificate::Certificate;
use crate::app;
use crate::channel::{kit, registry};
use crate::clock::Clock;
use crate::config::Config;
use crate::ingest::source::Sources;
use crate::render::{Level, check};
use crate::watch::Watchers;

#[derive(Parser)]
pub struct Args {
    /// Prints audience × occasion × locale: which words are there.
    #[arg(long)]
    matrix: bool,
    #[arg(long)]
    json: bool,
}

struct Found {
    level: Level,
    place: String,
    message: String,
}

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    let mut found = Vec::new();
    let mut counts = BTreeMap::new();
    let mut block = |place: &str, text: String| {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            found.push(Found { level: Level::Block, place: place.into(), message: line.trim().into() });
        }
    };
    if let Err(error) = Certificate::load(&config.server) {
        block("", error.to_string());
    }
    let mut plans = Vec::new();
    match app::load_plans(&config) {
        Ok(loaded) => {
            counts.insert("plans", loaded.all.len());
            plans = loaded.all;
        }
        Err(error) => block("", format!("{error:#}")),
    }
    let mut unconfirmable = Vec::new();
    match app::load_platforms(&config) {
        Ok(platforms) => {
            counts.insert("platforms", platforms.iter().count());
            platforms.iter().flat_map(|platform| kit::check(platform)).for_each(|wrong| block("channels", wrong));
            match registry::build(&config, &platforms, Arc::new(Clock::system())) {
                Ok(channels) => {
                    counts.insert("channels", channels.len());
                    unconfirmable = app::unconfirmable(&plans, channels.iter());
                }
                Err(error) => block("", error.to_string()),
            }
        }
        Err(error) => block("", format!("{error:#}")),
    }
    match app::load_formats(&config) {
        Ok(formats) => {
            counts.insert("source formats", formats.iter().count());
            match Sources::build(&config, &formats) {
                Ok(sources) => drop(counts.insert("sources", sources.iter().count())),
                Err(error) => block("", error.to_string()),
            }
        }
        Err(error) => block("", error.to_string()),
    }
    match Watchers::build(&config) {
        Ok(watchers) => drop(counts.insert("watchers", watchers.iter().count())),
        Err(error) => block("", error.to_string()),
    }
    match app::load_templates(&config) {
        Ok(templates) => {
            counts.insert("templates", templates.files().count());
            // Errors found so far come first: a matrix would hide them.
            if args.matrix && found.is_empty() {
                let matrix = check::matrix(&templates);
                if args.json {
                    let rows = matrix.rows.iter().map(|(audience, occasion, cells)| {
                        let cells: BTreeMap<_, _> = matrix.locales.iter().zip(cells).collect();
                        json!({ "audience": audience, "occasion": occasion, "files": cells })
                    });
                    return show::json(
                        &json!({ "rows": rows.collect::<Vec<_>>(), "there": matrix.there(), "missing": matrix.missing() }),
                    );
                }
                return show::line(matrix.to_string().trim_end());
            }
            for problem in check::check(&templates) {
                let place = match problem.line {
                    0 => problem.file.clone(),
                    line => format!("{}:{line}", problem.file),
                };
                found.push(Found { level: problem.level, place, message: problem.message });
            }
        }
        Err(error) => block("", format!("{error:#}")),
    }
    found.extend(unconfirmable.into_iter().map(|(in_vain, message)| Found {
        level: if in_vain { Level::Block } else { Level::Warn },
        place: String::new(),
        message,
    }));
    report(&found, &counts, args.json)
}

fn report(found: &[Found], counts: &BTreeMap<&str, usize>, json: bool) -> Result<(), Failure> {
    let blocked = found.iter().filter(|found| found.level == Level::Block).count();
    let level = |found: &Found| if found.level == Level::Block { "error" } else { "warning" };
    if json {
        let found = found.iter().map(|f| json!({ "level": level(f), "place": f.place, "message": f.message }));
        show::json(&json!({ "found": found.collect::<Vec<_>>(), "checked": counts, "errors": blocked }))?;
    } else {
        for one in found {
            let place = if one.place.is_empty() { String::new() } else { format!("{}: ", one.place) };
            let level = if one.level == Level::Warn { "warning: " } else { "" };
            show::line(&format!("{place}{level}{}", one.message))?;
        }
        let checked: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        show::line(&format!("checked {}: {blocked} errors, {} warnings", checked.join(", "), found.len() - blocked))?;
    }
    match blocked {
        0 => Ok(()),
        n => Err(Failure::Wrong(format!("{n} errors"))),
    }
}
