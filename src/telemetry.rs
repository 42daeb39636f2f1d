//! Logs and metrics. A log line reads well alone and carries fields; addresses are masked, secrets never stand in one.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config;

/// Starts logging to standard error. Once a process; a second call keeps the first.
pub fn init(log: &config::Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| format!("log.filter: {:?}: {error}", log.filter))?;
    // Whatever is wrong with the log, such as a full disk: to say so on standard error would panic whoever logs.
    let to = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let done = match log.format.as_str() {
        "json" => to.json().try_init(),
        "text" => to.with_target(false).try_init(),
        other => return Err(format!("log.format: {other:?} is none of text json")),
    };
    drop(done);
    metrics();
    Ok(())
}

/// From a millisecond to a quarter of an hour.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// The recorder of all metrics, made at first use; its `render` is what `/metrics` shows.
pub fn metrics() -> &'static PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let recorder = match builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS) {
            Ok(builder) => builder.build_recorder(),
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        let handle = recorder.handle();
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Adds up what the histograms have been given, every few seconds for ever: until then they keep each value, and nobody may
/// ever ask for the metrics.
pub async fn sum_up() {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        metrics().run_upkeep();
    }
}

/// An address as it may stand in a log: enough to tell two apart by eye, not enough to write to.
pub fn masked(address: &str) -> String {
    let start: String = address.chars().take(2).collect();
    let end: String = address.chars().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
    if address.chars().count() <= 6 { "…".into() } else { format!("{start}…{end}") }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_masked_address_can_not_be_written_to() {
        assert_eq!(masked("alex@example.org"), "al…rg");
        assert_eq!(masked("+4912"), "…");
    }
}
