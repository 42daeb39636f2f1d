//! What pages show of a broadcast beside what the API says of it: how many of how many, the bar, what each count means. Pure.

use serde_json::{Value, json};

use super::words::human;

/// The ends a recipient can come to, in the order in which they are shown; whether one is shown that counts nobody; what it means.
const COUNTS: &[(&str, bool, &str)] = &[
    ("told", true, "a platform took the message"),
    ("open", true, "still to be told"),
    ("unknown", true, "may have been told; no answer came"),
    ("unreachable", true, "no way to them worked"),
    ("skipped", true, "not meant by this broadcast"),
    ("superseded", false, "a newer broadcast tells them"),
    ("cancelled", false, "stopped before they were told"),
    ("expired", false, "the deadline came first"),
];

/// The width of the bar.
const BAR: f64 = 1000.0;

/// Adds `view` to a broadcast as the API shows it.
pub fn add(document: &mut Value) {
    let count = |name: &str| document["counts"][name].as_i64().unwrap_or(0);
    let open = count("open") + count("unread");
    let of = |name: &str| if name == "open" { open } else { count(name) };
    let meant = (count("selected") + count("unread") - count("skipped")).max(0);
    let ended = (meant - open).max(0);
    let state = document["state"].as_str().unwrap_or_default();
    let live = matches!(state, "held" | "running" | "paused");
    // Cut, so that 100 means all.
    let percent = if meant > 0 { ended * 100 / meant } else { i64::from(!live) * 100 };
    let counts: Vec<Value> = COUNTS
        .iter()
        .filter(|(name, always, _)| of(name) > 0 || *always && (live || *name != "open"))
        .map(|(name, _, note)| json!({ "name": name, "count": of(name), "note": note }))
        .collect();
    let told = count("told");
    let lost = count("unknown") + count("unreachable");
    let given_up = count("superseded") + count("cancelled") + count("expired");
    let parts =
        [("told", told), ("unknown", count("unknown")), ("unreachable", count("unreachable")), ("ended", given_up)];
    let mut from = 0.0;
    let bar: Vec<Value> = parts
        .iter()
        .filter(|(_, n)| *n > 0 && meant > 0)
        .map(|(name, n)| {
            let width = *n as f64 / meant as f64 * BAR;
            from += width;
            json!({ "name": name, "from": round(from - width), "width": round(width) })
        })
        .collect();
    let rate = document["rate"].as_f64().filter(|rate| state == "running" && *rate >= 0.05).map(|rate| match rate {
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => super::words::grouped(rate.round() as i64),
    });
    let left = document["seconds_left"].as_u64().filter(|_| state == "running");
    let left = left.map(|seconds| human(std::time::Duration::from_secs(seconds)));
    document["view"] = json!({
        "told": told, "meant": meant, "percent": percent, "counts": counts, "bar": bar, "lost": lost, "live": live,
        "running": state == "running", "rate": rate, "left": left, "tone": tone(state),
    });
}

fn round(n: f64) -> f64 {
    (n * 10.0).round() / 10.0
}

/// What colour a broadcast's state has; its word always stands beside it.
fn tone(state: &str) -> &'static str {
    match state {
        "running" => "busy",
        "held" | "paused" => "wait",
        "done" => "good",
        "expired" => "bad",
        _ => "still",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewed(state: &str, counts: Value) -> Value {
        let mut document = json!({ "state": state, "counts": counts, "rate": 12.34, "seconds_left": 75 });
        add(&mut document);
        document["view"].take()
    }

    #[test]
    fn the_percentage_is_of_those_who_are_meant_and_a_hundred_means_all() {
        let view = viewed("running", json!({ "selected": 900, "unread": 101, "skipped": 1, "told": 899, "open": 0 }));
        assert_eq!((&view["meant"], &view["told"], &view["percent"]), (&json!(1000), &json!(899), &json!(89)));
        let almost = viewed("running", json!({ "selected": 1000, "told": 999, "open": 1 }));
        assert_eq!(almost["percent"], 99);
        let nobody = viewed("done", json!({ "selected": 5, "skipped": 5 }));
        assert_eq!((&nobody["meant"], &nobody["percent"]), (&json!(0), &json!(100)));
    }

    #[test]
    fn the_bar_is_no_longer_than_its_whole_and_shows_what_was_lost() {
        let view = viewed("done", json!({ "selected": 10, "told": 7, "unknown": 1, "unreachable": 2 }));
        let ends: Vec<f64> = view["bar"]
            .as_array()
            .expect("bar")
            .iter()
            .map(|p| p["from"].as_f64().unwrap_or(0.0) + p["width"].as_f64().unwrap_or(0.0))
            .collect();
        assert_eq!(ends, [700.0, 800.0, 1000.0]);
        assert_eq!(view["lost"], 3);
    }

    #[test]
    fn rate_and_time_left_are_shown_only_while_it_runs() {
        let counts = || json!({ "selected": 10, "told": 1, "open": 9 });
        assert_eq!(
            (&viewed("running", counts())["rate"], &viewed("running", counts())["left"]),
            (&json!("12"), &json!("1 min"))
        );
        assert_eq!(
            (&viewed("paused", counts())["rate"], &viewed("paused", counts())["left"]),
            (&Value::Null, &Value::Null)
        );
    }
}
