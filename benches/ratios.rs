//! What the broker reaches of what the machine can do. Broker, bare loop and sink are processes of their own: broker and loop on
//! one core, the sink on the other. Legs alternate there and back; a ratio is the median over the ratios of neighbours. A result is
//! void, and all of it fails, unless the sink saw each id once, every signature was right, and the broker recorded as many.
//!
//!     cargo bench --bench ratios -- [--json] [--only NAME]... [--recipients N] [--rounds N]
//!
//! docs/PERFORMANCE.md says what each figure means.

mod broker;
mod compare;
mod expand;
mod fan_out;
mod flat;
mod import;
mod ingest;
mod lives;
mod loops;
mod nodes;
mod people;
mod place;
mod post;
mod postfix;
mod postgres;
mod process;
mod prompt;
mod requests;
mod sink;
mod stop;
mod texts;
mod urgent;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc; // as the binary

pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[derive(Parser)]
pub struct Args {
    /// Prints the results as one flat JSON object.
    #[arg(long)]
    json: bool,
    /// webhook, email, press, ingest, urgent, store, expand, idle, stop, drivers, flat, import or nodes; by default all but the last three.
    #[arg(long)]
    only: Vec<String>,
    /// Messages, or events, a leg; the few of `flat`.
    #[arg(long, default_value_t = 100_000)]
    recipients: u64,
    /// Times there and back.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Deliveries that wait in `urgent`, `idle` and `stop`, lives in `store`, rows of `import`.
    #[arg(long, default_value_t = 1_000_000)]
    waiting: u64,
    /// Members that `expand` decides.
    #[arg(long, default_value_t = 500_000)]
    expanded: u64,
    /// The many of `flat`.
    #[arg(long, default_value_t = 10_000_000)]
    many: u64,
    /// Critical events of `urgent`.
    #[arg(long, default_value_t = 500)]
    events: u64,
    /// Of `stop` and of `nodes`.
    #[arg(long, default_value_t = 20)]
    stops: u64,
    /// Seconds of the open loop of `ingest`.
    #[arg(long, default_value_t = 30)]
    paced: u64,
    /// Seconds that `idle` watches.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a measure gives: its figures, and beside them what they were made of.
pub struct Measured {
    pub figures: Vec<(&'static str, f64)>,
    pub raw: Value,
}

type Measure = fn(&Args) -> anyhow::Result<Measured>;

/// Each with whether it is part of the whole.
const MEASURES: [(&str, bool, Measure); 13] = [
    ("webhook", true, fan_out::webhook),
    ("email", true, fan_out::email),
    ("press", true, fan_out::press),
    ("ingest", true, ingest::ingest),
    ("urgent", true, urgent::urgent),
    ("store", true, lives::store),
    ("expand", true, expand::expand),
    ("idle", true, flat::idle),
    ("stop", true, stop::stop),
    ("drivers", true, requests::drivers),
    ("flat", false, flat::flat),
    ("import", false, import::import),
    ("nodes", false, nodes::nodes),
];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, name, input] = &arguments[..]
        && role == "role"
    {
        return play(name, input);
    }
    let args = Args::parse();
    if let Some(unknown) = args.only.iter().find(|only| MEASURES.iter().all(|(name, ..)| name != only)) {
        bail!("--only {unknown}: there are {}", MEASURES.map(|(name, ..)| name).join(" "));
    }
    ensure!(args.recipients >= 1000, "--recipients: at least 1000");
    let mut results = serde_json::Map::new();
    let wanted = |name: &str, whole: bool| match args.only.is_empty() {
        true => whole,
        false => args.only.iter().any(|only| only == name),
    };
    for (name, _, measure) in MEASURES.iter().filter(|(name, whole, _)| wanted(name, *whole)) {
        let Measured { figures, raw } = measure(&args).with_context(|| format!("{name} is void"))?;
        if !args.json {
            figures.iter().for_each(|(figure, value)| println!("{figure:24} {value}"));
            println!("{raw:#}\n");
        }
        results.extend(figures.into_iter().map(|(figure, value)| (figure.to_string(), json!(value))));
        results.insert(format!("{name}_raw"), raw);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    Ok(())
}

/// A role of this binary, as a process of its own.
fn play(name: &str, input: &str) -> anyhow::Result<()> {
    match name {
        // As the binary's own commands run.
        "platforms" => return requests::platforms(),
        "requests" => return requests::requests(&serde_json::from_str(input)?),
        "prompt" | "expand" | "lives" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            return runtime.block_on(async {
                match name {
                    "prompt" => prompt::serve(serde_json::from_str(input)?).await,
                    "expand" => expand::run(serde_json::from_str(input)?).await,
                    _ => lives::run(serde_json::from_str(input)?).await,
                }
            });
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match name {
            "sink" => sink::run().await,
            "webhook" => loops::hooks(serde_json::from_str(input)?).await,
            "mail" => loops::mails(serde_json::from_str(input)?).await,
            "centre" => texts::centre().await,
            "texts" => texts::texts(serde_json::from_str(input)?).await,
            "post" => post::post(serde_json::from_str(input)?).await,
            _ => bail!("there is no role {name:?}"),
        }
    })
}
