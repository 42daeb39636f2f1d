//! What the broker reaches of what a bare loop does on the same machine in the same minutes. Broker, loop and sink are processes
//! of their own: broker and loop on one core, the sink on the other. Legs alternate A B B A; the result is the median of the
//! ratios of neighbours. A leg is void, and all of it fails, unless the sink saw each id once and every signature was right.
//!
//!     cargo bench --bench ratios -- [--json] [--only NAME]... [--recipients N] [--rounds N] [--many N]

mod broker;
mod loops;
mod process;
mod route;
mod sink;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};

use self::broker::{By, Place};
use self::loops::Task;
use self::process::{MEASURED, OTHER, Process};
use self::route::Posting;
use self::sink::Sink;

pub const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[derive(Parser)]
struct Args {
    /// Prints the results as one JSON document.
    #[arg(long)]
    json: bool,
    /// webhook, mail, ingest or size; by default all.
    #[arg(long)]
    only: Vec<String>,
    /// Messages, or events, a leg.
    #[arg(long, default_value_t = 100_000)]
    recipients: u64,
    /// Times A B B A.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The large audience of `size`.
    #[arg(long, default_value_t = 1_000_000)]
    many: u64,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One side, once.
#[derive(Debug, Clone, Copy)]
pub struct Leg {
    pub seconds: f64,
    /// Of the measured process, user and system.
    pub cpu: f64,
    pub count: u64,
}

impl Leg {
    fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    fn cpu_micros(&self) -> f64 {
        self.cpu * 1e6 / self.count as f64
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, name, input] = &arguments[..]
        && role == "role"
    {
        return play(name, input);
    }
    let args = Args::parse();
    let all: [(&str, Measure); 4] = [("webhook", webhook), ("mail", mail), ("ingest", ingest), ("size", size)];
    if let Some(unknown) = args.only.iter().find(|only| all.iter().all(|(name, _)| name != only)) {
        bail!("--only {unknown}: there are webhook, mail, ingest and size");
    }
    let mut results = serde_json::Map::new();
    for (name, measure) in all.iter().filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|o| o == name)) {
        let result = measure(&args).with_context(|| format!("{name} is void"))?;
        if !args.json {
            println!("{name}\n{}", serde_json::to_string_pretty(&result)?);
        }
        results.insert(name.to_string(), result);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    Ok(())
}

type Measure = fn(&Args) -> anyhow::Result<Value>;

fn play(name: &str, input: &str) -> anyhow::Result<()> {
    if name == "route" {
        return actix_web::rt::System::new().block_on(route::serve());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match name {
            "sink" => sink::run().await,
            "webhook" => loops::hooks(serde_json::from_str(input)?).await,
            "mail" => loops::mails(serde_json::from_str(input)?).await,
            "post" => route::post(serde_json::from_str(input)?).await,
            _ => bail!("there is no role {name:?}"),
        }
    })
}

/// A B B A, round after round: the broker's leg and the loop's.
fn alternate(
    rounds: usize,
    mut broker: impl FnMut() -> anyhow::Result<Leg>,
    mut bare: impl FnMut() -> anyhow::Result<Leg>,
) -> anyhow::Result<Value> {
    let mut pairs = Vec::new();
    for _ in 0..rounds.max(1) {
        let first = broker()?;
        pairs.push((first, bare()?));
        let second = bare()?;
        pairs.push((broker()?, second));
    }
    let of = |value: &dyn Fn(&(Leg, Leg)) -> f64| median(pairs.iter().map(value).collect());
    let round = |value: f64, digits: i32| (value * 10f64.powi(digits)).round() / 10f64.powi(digits);
    let ratios: Vec<f64> = pairs.iter().map(|(broker, bare)| round(broker.rate() / bare.rate(), 3)).collect();
    Ok(json!({
        "ratio": round(median(ratios.clone()), 3), "ratios": ratios,
        "cpu_ratio": round(of(&|(broker, bare)| bare.cpu_micros() / broker.cpu_micros()), 3),
        "broker": {
            "per_second": of(&|pair| pair.0.rate()).round(),
            "cpu_micros": round(of(&|pair| pair.0.cpu_micros()), 2),
        },
        "bare": {
            "per_second": of(&|pair| pair.1.rate()).round(),
            "cpu_micros": round(of(&|pair| pair.1.cpu_micros()), 2),
        },
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn webhook(args: &Args) -> anyhow::Result<Value> {
    fan_out(args, By::Webhook)
}

fn mail(args: &Args) -> anyhow::Result<Value> {
    fan_out(args, By::Mail)
}

fn fan_out(args: &Args, by: By) -> anyhow::Result<Value> {
    let count = args.recipients;
    ensure!(count >= 1000, "--recipients: at least 1000");
    let sink = Sink::start()?;
    let place = Place::new(&sink)?;
    place.import(&broker::people(by, count, &sink), count)?;
    let mut broker = place.serve()?;
    // What the loop sends is what the broker sent, under ids of its own.
    let sample = std::cell::RefCell::new(Value::Null);
    let checked = || {
        let caught = sink.caught()?;
        ensure!(caught.seen == count && caught.distinct == count && caught.forged == 0, "the sink has {caught:?}");
        anyhow::Ok(())
    };
    let told = || {
        let leg = broker.tell(&sink, count)?;
        checked()?;
        *sample.borrow_mut() = sink.sample()?;
        Ok(leg)
    };
    let bare = || {
        sink.reset()?;
        let text = |name: &str| sample.borrow()[name].as_str().unwrap_or_default().to_string();
        let (name, places, connections) = match by {
            By::Webhook => ("webhook", sink.hooks.clone(), broker::HOOKS),
            By::Mail => ("mail", vec![sink.mail.clone()], broker::MAILS),
        };
        let task = Task { places, connections, count, id: text("id"), content: text("content") };
        let ended = Process::role(MEASURED, name, &json!(task))?.json()?;
        checked()?;
        leg(&ended, count)
    };
    let mut result = alternate(args.rounds, told, bare)?;
    result["bytes"] = json!(sample.borrow()["content"].as_str().map_or(0, str::len));
    Ok(result)
}

fn leg(ended: &Value, count: u64) -> anyhow::Result<Leg> {
    let number = |name: &str| ended[name].as_f64().with_context(|| format!("{name} in {ended}"));
    Ok(Leg { seconds: number("seconds")?, cpu: number("cpu")?, count })
}

fn ingest(args: &Args) -> anyhow::Result<Value> {
    let count = args.recipients;
    let sink = Sink::start()?;
    let post = |server: &Process, host: &str| {
        let before = server.cpu()?;
        let posting = Posting { host: host.into(), connections: 64, count, incidents: 1000 };
        let mut ended = Process::role(OTHER, "post", &json!(posting))?.json()?;
        ensure!(ended["accepted"] == count, "accepted {}", ended["accepted"]);
        ended["cpu"] = json!(server.cpu()? - before);
        leg(&ended, count)
    };
    let broker = || {
        let place = Place::new(&sink)?;
        let broker = place.serve()?;
        post(&broker.process, &broker.host)
    };
    let bare = || {
        let mut route = Process::role(MEASURED, "route", &json!({}))?;
        let host: String = serde_json::from_value(route.json()?)?;
        post(&route, &host)
    };
    alternate(args.rounds, broker, bare)
}

/// Time and memory for few and for many: of the import, and of the broker process that tells them.
fn size(args: &Args) -> anyhow::Result<Value> {
    let few = args.many / 100;
    let mut rows = Vec::new();
    for count in [few, args.many] {
        let sink = Sink::start()?;
        let place = Place::new(&sink)?;
        let (seconds, peak) = place.import(&broker::people(By::Webhook, count, &sink), count)?;
        let mut broker = place.serve()?;
        let told = broker.tell(&sink, count)?;
        let caught = sink.caught()?;
        ensure!(caught.seen == count && caught.forged == 0, "the sink has {caught:?}");
        rows.push((count, seconds, peak, told, broker.process.peak().context("the broker lives")?));
    }
    let shown: Vec<Value> = rows
        .iter()
        .map(|(count, seconds, peak, told, broker)| {
            json!({ "recipients": count, "import_seconds": seconds, "import_peak_mib": peak,
                "told_per_second": told.rate().round(), "broker_peak_mib": broker })
        })
        .collect();
    Ok(json!({
        "runs": shown,
        "import_peak_ratio": rows[1].2 / rows[0].2,
        "broker_peak_ratio": rows[1].4 / rows[0].4,
    }))
}
