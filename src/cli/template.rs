//! `loudhailer template`: the words that there are, and how they read on a sample incident.

use clap::{Parser, Subcommand};
use serde_json::json;

use super::{Failure, show};
use crate::app;
use crate::config::Config;
use crate::incident::Occasion;
use crate::render::message::{Format, Markup};
use crate::render::{self, Wording, sample};

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Lists the templates.
    List {
        #[arg(long)]
        json: bool,
    },
    /// Shows what a reader would see, on a sample incident.
    Preview {
        /// The folder of words: customers, press …
        audience: String,
        /// investigating acknowledged identified update restoring resolved …
        #[arg(value_parser = occasion)]
        occasion: Occasion,
        #[arg(long, default_value = "en")]
        locale: String,
        /// email sms chat push post voice webhook
        #[arg(long, value_parser = format, default_value = "email")]
        format: Format,
        /// By default one where the language is spoken.
        #[arg(long)]
        zone: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

fn occasion(text: &str) -> Result<Occasion, String> {
    text.parse()
}

fn format(text: &str) -> Result<Format, String> {
    text.parse()
}

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    let templates = app::load_templates(&config).map_err(|error| Failure::Wrong(format!("{error:#}")))?;
    match args.what {
        What::List { json } => {
            let rows = templates
                .files()
                .map(|f| [f.audience.clone(), f.occasion.to_string(), f.locale.clone(), f.path.clone()]);
            if json {
                let rows = rows.map(|[audience, occasion, locale, file]| {
                    json!({ "audience": audience, "occasion": occasion, "locale": locale, "file": file })
                });
                return show::json(&rows.collect::<Vec<_>>());
            }
            show::table(&["audience", "occasion", "locale", "file"], &rows.map(Vec::from).collect::<Vec<_>>())
        }
        What::Preview { audience, occasion, locale, format, zone, json } => {
            let stage = sample::Stage::set();
            let samples = sample::samples(occasion);
            let Some(first) = samples.first() else { return Err(Failure::Wrong(format!("no sample for {occasion}"))) };
            let wording = Wording {
                clearance: templates.clearance(&audience),
                template: audience,
                occasion,
                zone: zone.unwrap_or_else(|| sample::zone(&locale).into()),
                locale,
                format,
                markup: Markup::Plain,
            };
            let shown = render::preview(&templates, &stage.scene(first, occasion), &wording);
            let shown = shown.map_err(|error| Failure::Wrong(error.to_string()))?;
            let findings: Vec<String> = shown.findings.iter().map(|f| format!("{}: {}", f.check, f.message)).collect();
            let fallbacks: Vec<String> = shown.fallbacks.iter().map(ToString::to_string).collect();
            if json {
                return show::json(
                    &json!({ "file": shown.file, "title": shown.filled.title, "text": shown.filled.text,
                    "html": shown.filled.html, "fallbacks": fallbacks, "findings": findings }),
                );
            }
            show::line(&format!("{} · {}", shown.file, first.name))?;
            fallbacks.iter().try_for_each(|fallback| show::line(&format!("! {fallback}")))?;
            if let Some(title) = &shown.filled.title {
                show::line(&format!("\n{title}"))?;
            }
            show::line(&format!("\n{}", shown.filled.text.trim_end()))?;
            findings.iter().try_for_each(|finding| show::line(&format!("! {finding}")))
        }
    }
}
