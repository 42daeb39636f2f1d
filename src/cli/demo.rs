//! `loudhailer demo`: the whole thing in one process. The broker on an embedded store, catchers beside it, 2,000 subscribers
//! imported over HTTP, and the outage of 2021-10-04 in fast motion. It then keeps serving, so that all can be looked at and own
//! words be sent, until Ctrl-C.

mod catcher;
mod client;
mod expect;
mod people;
mod play;
mod report;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::Method;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::catcher::{Basket, Catchers};
use self::client::Client;
use self::play::{Scenes, Stage};
use self::report::{Tally, samples};
use super::{Failure, runtime, show};
use crate::api::token_hash;
use crate::app::App;
use crate::clock::{Clock, Time};
use crate::config::Config;
use crate::store::TokenRow;
use crate::telemetry;

/// All must be over by then.
const LONGEST: Duration = Duration::from_secs(90);

/// The token of the person at the desk. It opens nothing but this demo, on this machine, while it runs.
const TOKEN: &str = "demo";

const BROKER: &str = include_str!("demo/broker.toml");
const PLAN: &str = include_str!("demo/plan.toml");

/// Where the demo is found, where these ports are free.
const PORT: u16 = 8080;
const CATCHERS: [u16; 3] = [2525, 8025, 13013];

#[derive(Parser)]
pub struct Args {
    /// Ends when the outage is over, instead of serving on.
    #[arg(long)]
    exit: bool,
    /// Prints the numbers as JSON, and nothing else.
    #[arg(long)]
    json: bool,
    /// The broker's port; by default 8080, or any other where that is taken.
    #[arg(long)]
    port: Option<u16>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let log = crate::config::Log { format: "text".into(), filter: "error".into() };
    telemetry::init(&log).map_err(Failure::Wrong)?;
    runtime()?.block_on(demo(args)).map_err(Failure::Failed)
}

async fn demo(args: &Args) -> anyhow::Result<()> {
    let began = Instant::now();
    let folder = tempfile::Builder::new().prefix("loudhailer-demo-").tempdir().context("a temporary folder")?;
    let catching = CancellationToken::new();
    let catchers = Catchers::start(if args.exit { [0; 3] } else { CATCHERS }, catching.clone()).await?;
    let clock = Arc::new(Clock::scenes(Time::parse(play::BEGAN)?));
    let config = config(args, folder.path(), &catchers)?;
    let built = App::build(config, clock.clone()).await?;
    let app = built.app.clone();
    let address = app.config.server.listen;
    let person = TokenRow { name: "Demo".into(), person: true, scopes: vec!["admin".into()] };
    app.store.access().add_token(token_hash(TOKEN), person, clock.calendar()).await?;
    let broker = tokio::spawn(built.run_until_stopped());
    let client = Client::new(address, TOKEN);
    let performed = tokio::select! {
        performed = tokio::time::timeout(LONGEST, perform(args, &client, &clock, &catchers)) =>
            performed.unwrap_or_else(|_| Err(anyhow::anyhow!("it was not over after {} s", LONGEST.as_secs()))),
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    if performed.is_ok() && !args.json {
        say(&format!("\nAll of it in {:.1} s.", began.elapsed().as_secs_f64()))?;
    }
    if performed.is_ok() && !args.exit {
        if !args.json {
            announce(address, &catchers)?;
        }
        tokio::select! {
            () = present(&clock) => {}
            () = interrupted() => {}
        }
    }
    app.stop.cancel();
    broker.await.context("the broker")??;
    catching.cancel();
    performed
}

fn config(args: &Args, folder: &Path, catchers: &Catchers) -> anyhow::Result<Config> {
    let plans = folder.join("plans");
    std::fs::create_dir(&plans)
        .and_then(|()| std::fs::write(plans.join("demo.toml"), PLAN))
        .context("the demo's plan")?;
    let mut text = BROKER.replace("{folder}", &folder.display().to_string());
    for (name, at) in [("{smtp}", catchers.smtp), ("{http}", catchers.http), ("{sms}", catchers.sms)] {
        text = text.replace(name, &at.to_string());
    }
    let mut config = Config::from_toml(&text, "the demo's configuration", std::iter::empty())?;
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let port = match args.port {
        Some(port) => port,
        None if args.exit || !free(PORT) => 0,
        None => PORT,
    };
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], port));
    Ok(config)
}

/// Imports the people, plays the outage, counts.
async fn perform(args: &Args, client: &Client, clock: &Arc<Clock>, catchers: &Catchers) -> anyhow::Result<()> {
    let basket = &catchers.basket;
    let file = people::csv(&format!("http://{}/hooks", catchers.http));
    import(client, &file).await?;
    hand_over_secrets(client, basket).await?;
    let scenes = Scenes::read()?;
    let down = scenes.whatsapp_down();
    let expected = expect::count(&file, &down)?;
    let bars = match args.json {
        true => MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
        false => MultiProgress::new(),
    };
    if !args.json {
        say("2021-10-04: 2,000 people of six audiences, five languages; WhatsApp is down")?;
    }
    let (played, tried_while_down) = scenes.play(&Stage { client, clock, basket, bars: &bars }).await?;
    let tally = Tally::of(client, &played, &file).await?;
    let numbers = tally.numbers(&expected, basket.distinct(), basket.duplicates(), tried_while_down);
    let stated = people::UNREACHABLE * down.iter().filter(|down| **down).count();
    if args.json {
        say(&serde_json::to_string_pretty(&numbers)?)?;
    } else {
        let (accepted, expected, nobody) = (numbers.accepted, numbers.expected, people::UNREACHABLE);
        say(&format!(
            "\n{}\n{accepted} of {expected} messages accepted. {nobody} people have no way that works.",
            tally.table()
        ))?;
        let confirmed = played.get(4).context("the scene in which the cause is confirmed")?;
        say(&samples(client, confirmed).await?)?;
    }
    tally.odd().iter().for_each(|odd| eprintln!("{odd}"));
    let complaints = basket.complaints();
    ensure!(complaints.is_empty(), "the catchers complain: {}", complaints.join("; "));
    numbers.judge(stated as u64).map_err(anyhow::Error::msg)
}

async fn import(client: &Client, file: &str) -> anyhow::Result<()> {
    let path = "/v1/subscribers:import?verified=true";
    let report = client.ask(Method::POST, path, "text/csv", file.as_bytes().to_vec()).await?;
    ensure!(report["created"] == people::PEOPLE && report["bad"] == 0, "the import went wrong: {report}");
    Ok(())
}

/// Each webhook gets a secret by the API, and its receiver learns it.
async fn hand_over_secrets(client: &Client, basket: &Basket) -> anyhow::Result<()> {
    let mut places = Vec::new();
    for audience in ["businesses", "public"] {
        for subscriber in client.all(&format!("/v1/subscribers?audience={audience}")).await? {
            for address in subscriber["addresses"].as_array().into_iter().flatten().filter(|a| a["kind"] == "url") {
                places.push((subscriber["id"].clone(), address.clone()));
            }
        }
    }
    let hand_over = |(id, address): (Value, Value)| async move {
        let id = id.as_str().unwrap_or_default();
        let path = format!("/v1/subscribers/{id}/addresses/{}:rotate", address["place"]);
        let secret = client.post(&path, &json!({})).await?;
        let url = address["address"].as_str().unwrap_or_default();
        let path = url.find("/hooks/").map_or("", |at| &url[at..]);
        basket.trust(path, secret["secret"].as_str().unwrap_or_default())
    };
    stream::iter(places).map(hand_over).buffer_unordered(16).try_collect().await
}

fn announce(broker: SocketAddr, catchers: &Catchers) -> anyhow::Result<()> {
    say(&format!(
        r#"Look at it:
  console   http://{broker}/console   (token: {TOKEN})
  messages  http://{http}/messages   as they were caught; ?contains=WORDS ?limit=N
Send your own words, and see them arrive:
  curl -sS http://{broker}/v1/events -H 'Authorization: Bearer {TOKEN}' -H 'Content-Type: application/json' -d '{{
    "source": "me", "id": "1", "incident": "mine", "at": "'$(date -u +%FT%TZ)'", "status": "investigating",
    "severity": "major", "title": "Orders fail", "components": ["orders"],
    "summary": "These are my own words: our shop takes no orders." }}'
  curl -sS 'http://{http}/messages?contains=my+own+words&wait=60&limit=3'
Ctrl-C ends it and leaves nothing behind."#,
        http = catchers.http
    ))
}

/// A reader that has gone away, such as `head`, ends nothing.
fn say(text: &str) -> anyhow::Result<()> {
    show::line(text).map_err(|failure| anyhow::anyhow!("{failure}"))
}

/// The outage is history: from here on the demo's calendar is today's.
async fn present(clock: &Clock) {
    loop {
        clock.set_calendar(Time(jiff::Timestamp::now().as_millisecond()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
