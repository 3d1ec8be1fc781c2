//! `/metrics`: counters and gauges by the metrics crate's Prometheus recorder (not installed anywhere), histograms by hand.
//!
//! The recorder's own histograms keep every sample until somebody scrapes, so the latencies are counted in fixed buckets
//! (`meter`) and written in the exposition format here:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use super::catalogue::{METRICS, Metric, QUERY_SECONDS, Type};
use super::meter::{BOUNDS_NS, Buckets};
use ::metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::fmt::Write;

const METADATA: Metadata<'static> = Metadata::new("dbproxy", Level::INFO, None);

/// Hands out series; dropped when all are made.
pub(super) struct Registrar(PrometheusRecorder);

impl Registrar {
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in METRICS {
            match metric.kind {
                Type::Counter => recorder.describe_counter(metric.name.into(), None, metric.help.into()),
                Type::Gauge => recorder.describe_gauge(metric.name.into(), None, metric.help.into()),
                Type::Histogram => {}
            }
        }
        Self(recorder)
    }

    pub fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.0.register_counter(&key(metric, values), &METADATA)
    }

    pub fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.0.register_gauge(&key(metric, values), &METADATA)
    }

    pub fn handle(&self) -> PrometheusHandle {
        self.0.handle()
    }
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    let labels: Vec<_> =
        metric.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(metric.name, labels)
}

/// Writes the latency histogram's head.
pub(super) fn latency_head(out: &mut String) {
    let Metric { name, help, .. } = QUERY_SECONDS;
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
}

/// Writes one latency histogram. The words of labels need no escapes.
pub(super) fn latency(out: &mut String, role: &str, command: &str, buckets: &Buckets) {
    let name = QUERY_SECONDS.name;
    let mut total = 0;
    for (n, count) in buckets.counts.iter().enumerate() {
        total += count;
        let _ = write!(out, "{name}_bucket{{role=\"{role}\",command=\"{command}\",le=\"");
        let _ = match BOUNDS_NS.get(n) {
            Some(bound) => write!(out, "{}", seconds(*bound)),
            None => write!(out, "+Inf"),
        };
        let _ = writeln!(out, "\"}} {total}");
    }
    let labels = format!("{{role=\"{role}\",command=\"{command}\"}}");
    let _ = writeln!(out, "{name}_sum{labels} {}\n{name}_count{labels} {total}", seconds(buckets.sum_ns));
}

#[allow(clippy::cast_precision_loss)] // 52 bits of nanoseconds are 52 days exactly, and more nearly.
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
