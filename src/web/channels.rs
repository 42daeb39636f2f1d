//! Channels: whether each works, what waits in it, how fast it may go.

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::page;
use crate::api::{Caller, channels, gate::Door};

/// What each state of health means.
const HEALTH: &[(&str, &str, &str)] = &[
    ("working", "good", "takes messages"),
    ("recovering", "wait", "is being tried again"),
    ("paused", "wait", "was stopped by a person"),
    ("compromised", "bad", "somebody else has its credentials; messages go another way, and reports are refused"),
    ("failing", "bad", "refused too often; messages go another way"),
    ("down", "bad", "an open incident affects it; messages go another way"),
];

pub async fn list(door: web::Data<Door>, caller: Caller) -> HttpResponse {
    let items: Vec<Value> = channels::all(&door).into_iter().map(shown).collect();
    page::console(&caller, "channels", "channels", json!({ "items": items }))
}

fn shown(mut channel: Value) -> Value {
    let health = channel["health"].as_str().unwrap_or_default();
    let (tone, note) =
        HEALTH.iter().find(|(word, ..)| *word == health).map_or(("still", ""), |(_, tone, note)| (tone, note));
    let waiting: i64 = channel["queue"].as_object().map_or(0, |queue| queue.values().filter_map(Value::as_i64).sum());
    // The most urgent first.
    let queue: Vec<Value> = ["critical", "high", "normal", "bulk"]
        .iter()
        .filter_map(|priority| Some((priority, channel["queue"][priority].as_i64().filter(|n| *n > 0)?)))
        .map(|(priority, count)| json!({ "priority": priority, "count": count }))
        .collect();
    let of = |key: &str| channel["limits"][key].as_array().into_iter().flatten().filter_map(Value::as_str);
    let rates: Vec<&str> = of("rate").chain(of("account_rate")).collect();
    channel["view"] = json!({ "tone": tone, "note": note, "waiting": waiting, "queue": queue,
        "moved": channel["effective_weight"].as_f64().filter(|now| Some(*now) != channel["weight"].as_f64()),
        "limit": if rates.is_empty() { "none".to_string() } else { rates.join(", ") } });
    channel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_summed_and_the_urgent_stands_first() {
        let channel = shown(
            json!({ "health": "failing", "queue": { "bulk": 5, "normal": 0, "critical": 2 }, "limits": { "rate": ["30/s", "1000/h"] } }),
        );
        let view = &channel["view"];
        assert_eq!(
            (&view["waiting"], &view["tone"], &view["limit"]),
            (&json!(7), &json!("bad"), &json!("30/s, 1000/h"))
        );
        assert_eq!(view["queue"], json!([{ "priority": "critical", "count": 2 }, { "priority": "bulk", "count": 5 }]));
    }
}
