//! The commands. Each has `--help`, and `--json` where it prints data; exit status 0 done, 1 failed, 2 wrong use or
//! configuration, 75 try again (`channel report` alone).

mod backup;
pub mod bench;
mod brake;
mod channel;
mod check;
mod client;
mod demo;
mod explain;
mod export;
mod import;
mod restore;
mod send;
mod serve;
mod show;
mod signals;
mod source;
mod status;
mod template;
mod token;
mod watchers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use self::client::{Client, Server};
use crate::app::App;
use crate::config::Config;
use crate::store::Store;

#[derive(Parser)]
#[command(name = "loudhailer", version, about, max_term_width = 120)]
struct Cli {
    /// The configuration file; without it the defaults.
    #[arg(long, short, global = true, env = "LOUDHAILER_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
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
    /// Prints subscribers as import reads them, or an incident as an alert of CAP 1.2.
    Export(export::Args),
    /// Sends by hand: shows whom it reaches and the words, then asks.
    Send(send::Args),
    /// What is open, and how far each broadcast is.
    Status(status::Args),
    /// Ends a broadcast, or all: no attempt begins any more.
    Stop(brake::Stop),
    /// Holds a broadcast back where it is.
    Pause(brake::One),
    /// Lets a paused broadcast go on.
    Resume(brake::One),
    /// Lets a held broadcast go, as its approval.
    Release(brake::One),
    /// What others see: their reports within the window.
    Signals(signals::List),
    /// What is watched: its health, and what it says.
    Watchers(watchers::Args),
    /// What signals proposed is an incident: its plans tell whom they are for.
    Confirm(signals::Settle),
    /// What signals proposed is none: it ends, and nobody is told.
    Dismiss(signals::Dismiss),
    /// Channels: a file to start from, one tried for real, their health, and their brake.
    Channel(channel::Args),
    /// Sources: foreign webhooks that come in, and what comes of a document.
    Source(source::Args),
    /// Why somebody was told by a broadcast, or not.
    Explain(explain::Args),
    /// Checks configuration, plans, channels and templates.
    Check(check::Args),
    /// Templates, and how they read.
    Template(template::Args),
    /// Who may ask the server for what.
    Token(token::Args),
    /// Measures what this installation can do, with sinks of its own: nobody is told.
    Bench(bench::Args),
    /// Writes the whole store into one file, also beside a running server.
    Backup(backup::Backup),
    /// Puts a backup in the store's place.
    Restore(restore::Restore),
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
    /// Exit status 75, EX_TEMPFAIL of sysexits: a mail server tries again.
    #[error("{0:#}")]
    Later(anyhow::Error),
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.config.as_deref(), std::env::vars()) {
        Ok(config) => config,
        Err(error) if matches!(&cli.command, Command::Channel(args) if args.reports()) => {
            return ended(Err(Failure::Later(error.into())));
        }
        Err(error) => return ended(Err(Failure::Wrong(error.to_string()))),
    };
    ended(match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve => serve::run(config),
        Command::Import(args) => import::run(config, &cli.server, args),
        Command::Export(args) => export::run(config, args),
        Command::Send(args) => remote(&config, &cli.server, |client| send::run(client, args)),
        Command::Status(args) => remote(&config, &cli.server, |client| status::run(client, args)),
        Command::Stop(args) => remote(&config, &cli.server, |client| brake::stop(client, args)),
        Command::Pause(args) => remote(&config, &cli.server, |client| brake::change(client, args, "pause")),
        Command::Resume(args) => remote(&config, &cli.server, |client| brake::change(client, args, "resume")),
        Command::Release(args) => remote(&config, &cli.server, |client| brake::change(client, args, "release")),
        Command::Signals(args) => remote(&config, &cli.server, |client| signals::list(client, args)),
        Command::Watchers(args) => watchers::run(&config, &cli.server, args),
        Command::Confirm(args) => remote(&config, &cli.server, |client| signals::confirm(client, args)),
        Command::Dismiss(args) => remote(&config, &cli.server, |client| signals::dismiss(client, args)),
        Command::Channel(args) => channel::run(config, &cli.server, args),
        Command::Source(args) => source::run(config, &cli.server, args),
        Command::Explain(args) => explain::run(config, args),
        Command::Check(args) => check::run(config, args),
        Command::Template(args) => template::run(config, args),
        Command::Token(args) => token::run(config, args),
        Command::Bench(args) => bench::run(config, &args),
        Command::Backup(args) => backup::backup(config, args),
        Command::Restore(args) => restore::restore(config, args),
    })
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loudhailer: {failure}");
            ExitCode::from(match failure {
                Failure::Failed(_) => 1,
                Failure::Wrong(_) => 2,
                Failure::Later(_) => 75,
            })
        }
    }
}

/// A command that asks the running server.
fn remote<F: Future<Output = Result<(), Failure>>>(
    config: &Config,
    server: &Server,
    run: impl FnOnce(Client) -> F,
) -> Result<(), Failure> {
    let client = Client::new(server, config)?;
    runtime()?.block_on(run(client))
}

/// The store, beside the server that may be running on it: for commands that send nothing.
async fn store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    App::visit_store(config).await.map_err(Failure::Failed)
}

/// The runtime of every command: many threads for the engine, whatever the HTTP workers do.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::Failed(error.into()))
}
