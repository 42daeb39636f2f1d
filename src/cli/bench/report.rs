//! What a run gave: numbers for programs, a table for people, and a page that draws rate and latency over time.

use serde_json::{Map, Value, json};

use super::chart::{Chart, Points};
use super::measure::{Arrival, percentile, took};
use super::watch::SLICE;
use crate::config::Config;

/// What of the installation the numbers belong to.
pub struct Settings {
    recipients: u64,
    lane: usize,
    page: usize,
    attempt_room: usize,
    workers: usize,
    cores: usize,
}

impl Settings {
    pub fn of(config: &Config, recipients: u64) -> Settings {
        Settings {
            recipients,
            lane: config.engine.lane,
            page: config.engine.page,
            attempt_room: config.engine.attempt_room,
            workers: config.server.workers,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn line(&self) -> String {
        let Settings { recipients, lane, page, attempt_room, workers, cores } = self;
        format!(
            "{recipients} people, {cores} cores; engine.lane {lane}, engine.page {page}, engine.attempt_room {attempt_room}, \
             server.workers {workers}"
        )
    }
}

/// Everyone told by one way.
pub struct Leg {
    pub name: &'static str,
    pub messages: u64,
    /// From the event to the last of the many.
    pub seconds: f64,
    /// Seconds of processor time, without the sinks'; `None` where the system doesn't say.
    pub cpu: Option<f64>,
    pub slices: Vec<u64>,
    pub urgent: Vec<Arrival>,
    /// How long each urgent event took to be taken, in seconds.
    pub taken: Vec<f64>,
}

impl Leg {
    fn numbers(&self, recipients: u64) -> Value {
        let urgent = |share| round(percentile(took(&self.urgent), share), 2);
        let taken = |share| round(percentile(self.taken.iter().copied(), share), 2);
        json!({
            "recipients": recipients,
            "messages": self.messages,
            "seconds": round(self.seconds, 3),
            "per_s": (recipients as f64 / self.seconds).round() as u64,
            "cpu_us": self.cpu.map(|cpu| round(cpu * 1e6 / self.messages as f64, 1)),
            "urgent_events": self.taken.len(),
            "urgent_p50_ms": urgent(0.5),
            "urgent_p99_ms": urgent(0.99),
            "taken_p50_ms": taken(0.5),
            "taken_p99_ms": taken(0.99),
        })
    }
}

fn round(value: f64, digits: i32) -> f64 {
    (value * 10f64.powi(digits)).round() / 10f64.powi(digits)
}

pub struct Report {
    pub settings: Settings,
    pub legs: Vec<Leg>,
}

/// The columns of the table, by their names in the JSON.
const COLUMNS: [(&str, &str); 7] = [
    ("per_s", "a second"),
    ("seconds", "seconds"),
    ("cpu_us", "CPU µs each"),
    ("urgent_p50_ms", "urgent p50 ms"),
    ("urgent_p99_ms", "urgent p99 ms"),
    ("taken_p50_ms", "event p50 ms"),
    ("taken_p99_ms", "event p99 ms"),
];

const MEANING: &str = "Urgent: from beginning the request to the arrival of a critical message, by the same channel and meanwhile. \
Event: from beginning the request to its answer, when it is on disk. The sinks are in the same process and share its cores.";

impl Report {
    pub fn numbers(&self) -> Value {
        let mut numbers = Map::new();
        numbers.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        numbers.insert("cores".into(), json!(self.settings.cores));
        for leg in &self.legs {
            numbers.insert(leg.name.into(), leg.numbers(self.settings.recipients));
        }
        Value::Object(numbers)
    }

    fn cells(&self, leg: &Leg) -> Vec<String> {
        let numbers = leg.numbers(self.settings.recipients);
        COLUMNS.iter().map(|(name, _)| super::super::show::cell(&numbers[*name])).collect()
    }

    pub fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["by"].into_iter().chain(COLUMNS.map(|(_, title)| title)));
        for leg in &self.legs {
            table.add_row([leg.name.to_string()].into_iter().chain(self.cells(leg)));
        }
        format!("{}\n{table}\n{MEANING}", self.settings.line())
    }

    /// One file that needs nothing else: no script, no font, no picture from anywhere.
    pub fn page(&self) -> String {
        let head: String = COLUMNS.iter().map(|(_, title)| format!("<th scope=\"col\">{title}</th>")).collect();
        let row = |leg: &Leg| {
            let cells: String = self.cells(leg).iter().map(|cell| format!("<td>{cell}</td>")).collect();
            format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", leg.name)
        };
        let rows: String = self.legs.iter().map(row).collect();
        let charts: String = self.legs.iter().map(charts).collect();
        let (settings, version) = (self.settings.line(), env!("CARGO_PKG_VERSION"));
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>loudhailer bench</title>\n<style>{STYLE}</style>\n<main>\n<h1>loudhailer bench</h1>\n\
             <p>Loudhailer {version}, {date}. {settings}.</p>\n<div class=\"wide\"><table><thead><tr><th scope=\"col\">by</th>{head}</tr></thead>\
             <tbody>{rows}</tbody></table></div>\n<p>{MEANING}</p>\n{charts}</main>\n</html>\n"
        )
    }
}

fn charts(leg: &Leg) -> String {
    let slice = SLICE.as_secs_f64();
    let rate = leg.slices.iter().enumerate().map(|(n, count)| ((n as f64 + 0.5) * slice, *count as f64 / slice));
    let latency = leg.urgent.iter().map(|arrival| (arrival.asked, arrival.took * 1e3));
    let rate = Chart { title: "Messages a second", unit: "/s", points: Points::Area(rate.collect()) };
    let latency = Chart {
        title: "Urgent: from the request to the arrival, by when it was asked for",
        unit: " ms",
        points: Points::Dots(latency.collect()),
    };
    let end = leg.slices.len() as f64 * slice;
    let end = leg.urgent.iter().map(|arrival| arrival.asked).fold(end, f64::max);
    format!("<h2>By {}</h2>\n{}{}", leg.name, rate.svg(end), latency.svg(end))
}

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #f5f7f8; --paper: #fff; --ink: #14212b; --mute: #51626f; --line: #d7dfe4; --mark: #0f5f80;
  font: 100%/1.5 system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f171d; --paper: #18232b; --ink: #e8eef2; --mute: #a3b3bf; --line: #2c3a45;
  --mark: #74c3e3; } }
body { margin: 0; background: var(--ground); color: var(--ink); }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } p { color: var(--mute); margin: .5rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; background: var(--paper); font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .75rem; border: 1px solid var(--line); text-align: right; } th { font-weight: 600; text-align: left; white-space: nowrap; }
figure { margin: 0 0 1rem; padding: .75rem; background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; }
figcaption { font-weight: 600; margin-bottom: .25rem; } svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--mute); font-size: 12px; } svg .grid { stroke: var(--line); } svg .area { fill: var(--mark); fill-opacity: .25;
  stroke: var(--mark); stroke-width: 1.5; } svg .dot { fill: var(--mark); fill-opacity: .6; }
";

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let urgent = (0..20).map(|n| Arrival { asked: f64::from(n) * 0.1, took: 0.004 }).collect();
        let leg = Leg {
            name: "webhook",
            messages: 1200,
            seconds: 2.0,
            cpu: Some(0.06),
            slices: vec![50; 20],
            urgent,
            taken: vec![0.002; 20],
        };
        let settings = Settings { recipients: 1000, lane: 1, page: 2, attempt_room: 3, workers: 4, cores: 5 };
        Report { settings, legs: vec![leg] }
    }

    #[test]
    fn the_numbers_are_those_of_the_run() {
        let numbers = report().numbers();
        let webhook = &numbers["webhook"];
        assert_eq!((&webhook["per_s"], &webhook["cpu_us"]), (&json!(500), &json!(50.0)));
        assert_eq!((&webhook["urgent_p50_ms"], &webhook["taken_p99_ms"]), (&json!(4.0), &json!(2.0)));
        assert_eq!((&webhook["messages"], &numbers["cores"]), (&json!(1200), &json!(5)));
        assert!(report().table().contains("500"), "{}", report().table());
    }

    #[test]
    fn the_page_draws_every_slice_and_every_urgent_message_and_fetches_nothing() {
        let page = report().page();
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches("class=\"dot\"").count(), 20);
        assert!(page.contains("class=\"area\"") && page.contains("Messages a second"));
        assert!(!page.contains("http") && !page.contains("<script"), "{page}");
    }
}
