//! `loudhailer bench`: what this installation can do, end to end. The broker with the operator's own settings and words, over a
//! store of its own beside the configured one, tells people who exist nowhere but in it, by webhooks and by mails that go to sinks
//! in this very process. No configured channel is used, so nobody is told.

mod chart;
pub mod cpu;
mod measure;
mod place;
mod report;
pub mod sink;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;

use self::measure::Bench;
use self::place::Place;
use self::report::Report;
use self::watch::Sinks;
use super::client::{Client, Server};
use super::{Failure, runtime, show};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry;

#[derive(Parser)]
pub struct Args {
    /// People told by webhook, and then by mail.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    recipients: u64,
    /// Prints the numbers as JSON.
    #[arg(long)]
    json: bool,
    /// Draws rate and latency over time into a page of its own.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

pub fn run(config: Config, args: &Args) -> Result<(), Failure> {
    let log = crate::config::Log { format: "text".into(), filter: "error".into() };
    telemetry::init(&log).map_err(Failure::Wrong)?;
    let beside = App::store_path(&config).map_err(|error| Failure::Wrong(format!("{error:#}")))?;
    let report = runtime()?.block_on(bench(config, &beside, args))?;
    if let Some(path) = &args.report {
        std::fs::write(path, report.page()).with_context(|| path.display().to_string())?;
    }
    match args.json {
        true => show::json(&report.numbers()),
        false => show::line(&report.table()),
    }
}

async fn bench(config: Config, beside: &std::path::Path, args: &Args) -> Result<Report, Failure> {
    let sinks = Sinks::start()?;
    let place = Place::beside(beside)?;
    let config = place.configure(config, &sinks)?;
    let settings = report::Settings::of(&config, args.recipients);
    let built = App::build(config, Arc::new(Clock::system())).await?;
    let app = built.app.clone();
    let client = Client::new(
        &Server { server: Some(format!("http://{}", app.config.server.listen)), token: None, ca_file: None },
        &app.config,
    )?;
    let broker = tokio::spawn(built.run_until_stopped());
    let bench = Bench { client: &client, sinks: &sinks, key: &app.key, recipients: args.recipients, tell: !args.json };
    let measured = tokio::select! {
        measured = bench.run() => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted").into()),
    };
    app.stop.cancel();
    broker.await.context("the broker")??;
    Ok(Report { settings, legs: measured? })
}
