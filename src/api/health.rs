//! `/healthz`: the process lives. `/readyz`: it can take events and send. `/metrics`: what it does, for Prometheus.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::channels;
use super::gate::Door;
use super::problem::Problem;
use crate::dispatch::breaker::State;
use crate::plan::Priority;
use crate::telemetry;

pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// 503 names what is not ready. Kafka away keeps HTTP working: it is named, and not ready.
pub async fn ready(door: web::Data<Door>) -> HttpResponse {
    let readiness = door.app.readiness().await;
    let ready = readiness.ready();
    let document = json!({
        "ready": ready, "store": if readiness.store { "ok" } else { "failed" }, "stopping": readiness.stopping,
        "kafka": match readiness.kafka { None => "not configured", Some(true) => "connected", Some(false) => "away" },
    });
    match ready {
        true => HttpResponse::Ok().json(document),
        false => HttpResponse::ServiceUnavailable().json(document),
    }
}

pub async fn metrics(door: web::Data<Door>) -> Result<HttpResponse, Problem> {
    let app = &door.app;
    let now = app.clock.monotonic();
    let weights = app.engine.weights();
    for lane in app.engine.lanes.values() {
        let name = lane.settings.name.clone();
        for (rank, waiting) in lane.waiting().iter().enumerate() {
            let priority = Priority::from_rank(rank as u8).word();
            metrics::gauge!("loudhailer_lane_waiting", "channel" => name.clone(), "priority" => priority)
                .set(*waiting as f64);
        }
        metrics::gauge!("loudhailer_lane_on_wire", "channel" => name.clone()).set(lane.on_wire() as f64);
        let open = u8::from(lane.breaker(now).0 != State::Closed);
        metrics::gauge!("loudhailer_breaker_open", "channel" => name.clone()).set(f64::from(open));
        let lessons = lane.lessons(now);
        let per_second = lessons.learned.map_or(0.0, |limit| f64::from(limit.count) / limit.window.as_secs_f64());
        metrics::gauge!("loudhailer_learned_limit_per_second", "channel" => name.clone()).set(per_second);
        metrics::gauge!("loudhailer_learned_limit_hosts", "channel" => name.clone()).set(lessons.hosts as f64);
        let slow_start = f64::from(lessons.slow_start.unwrap_or_default());
        metrics::gauge!("loudhailer_slow_start_per_second", "channel" => name.clone()).set(slow_start);
        let working = u8::from(channels::health(lane, now) == "working");
        metrics::gauge!("loudhailer_channel_working", "channel" => name.clone()).set(f64::from(working));
        let compromised = u8::from(lane.compromised().is_some());
        metrics::gauge!("loudhailer_channel_compromised", "channel" => name.clone()).set(f64::from(compromised));
        let weight = weights.get(&lane.settings.id).copied().unwrap_or_default();
        metrics::gauge!("loudhailer_channel_weight", "channel" => name).set(f64::from(weight) / 1000.0);
    }
    for priority in Priority::ALL {
        let oldest = app.store.oldest_due(*priority).await?;
        let waited = oldest.map_or(0.0, |due| app.clock.steady().since(due).as_secs_f64());
        metrics::gauge!("loudhailer_oldest_waiting_seconds", "priority" => priority.word()).set(waited);
    }
    if let Some(certificate) = &app.certificate {
        let expires = certificate.expires().0 as f64 / 1000.0;
        metrics::gauge!("loudhailer_certificate_expires_at_seconds").set(expires);
    }
    if let Some(kafka) = &app.kafka {
        metrics::gauge!("loudhailer_kafka_ready").set(f64::from(u8::from(kafka.ready())));
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::metrics().render()))
}
