//! The commands. Each has `--help`, and `--json` where it prints data; exit status 0 done, 1 failed, 2 wrong use or
//! configuration.

mod demo;
mod import;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

#[derive(Parser)]
#[command(name = "loudhailer", version, about, max_term_width = 120)]
struct Cli {
    /// The configuration file; without it the defaults.
    #[arg(long, short, global = true, env = "LOUDHAILER_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays a large outage on this machine, with catchers in place of the platforms, and keeps serving.
    Demo(demo::Args),
    /// Takes events in and sends what they call for, until it is told to stop.
    Serve,
    /// Reads subscribers from a file into the store.
    Import(import::Args),
}

/// What a command ends with when it does not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit status 1.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// Exit status 2.
    #[error("{0}")]
    Wrong(String),
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.config.as_deref(), std::env::vars()) {
        Ok(config) => config,
        Err(error) => return ended(Err(Failure::Wrong(error.to_string()))),
    };
    ended(match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve => serve::run(config),
        Command::Import(args) => import::run(config, args),
    })
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loudhailer: {failure}");
            ExitCode::from(if matches!(failure, Failure::Wrong(_)) { 2 } else { 1 })
        }
    }
}

/// The runtime of every command: many threads for the engine, whatever the HTTP workers do.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::Failed(error.into()))
}
