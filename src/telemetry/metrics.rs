//! All that is counted, in one owned value.

use super::catalogue as m;
use super::compressed::{Compressed, CompressedBytes};
use super::export::{self, Registrar};
use super::failover::FailoverMetrics;
use super::labels::{Fault, Label, Labels, Refusal};
use super::meter::{Buckets, Meter, Shard};
use super::parser::{ParserMetrics, ParserOutcome};
use super::pins::Pins;
use super::rate::Rate;
use super::refusals::Refusals;
use super::rules::RuleHits;
use crate::admission::Admission;
use crate::route::Target;
use crate::topology::{Health, Role, ServerId, Topology};
use ::metrics::{Counter, Gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Most shards: beyond this, sessions that count at the same moment seldom share one.
const SHARDS_MOST: usize = 16;
const ROLES: [(Role, &str); 3] = [(Role::Primary, "primary"), (Role::Replica, "replica"), (Role::Unknown, "unknown")];

/// All that dbproxy counts.
pub struct Metrics {
    labels: Labels,
    started: Instant,
    failover: FailoverMetrics,
    accepted: Counter,
    panicked: Counter,
    stalled: Counter,
    failed: Box<[Counter]>,
    refused: Box<[Counter]>,
    hints: [Counter; 3],
    parser: ParserMetrics,
    pins: Pins,
    compressed: CompressedBytes,
    waits: [Counter; 2],
    rules: RuleHits,
    refusals: Refusals,
    reloads_applied: Counter,
    reloads_refused: Counter,
    servers: Box<[ServerMetrics]>,
    nowhere: ServerMetrics,
    shards: Box<[Arc<Shard>]>,
    next_shard: AtomicUsize,
    rate: Mutex<Rate>,
    shown: Shown,
    handle: PrometheusHandle,
}

/// What is counted of one server.
pub struct ServerMetrics {
    opened: Counter,
    errors: Box<[Counter]>,
    positions: [Counter; 3],
    watched: Gauge,
    abandoned: Counter,
}

/// What came of a question about a server's position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PositionAsked {
    /// Reads go on.
    Reached,
    /// Nothing that is waited for is reached.
    NotYet,
    /// No answer.
    Failed,
}

/// Series that are only set when somebody looks.
struct Shown {
    uptime: Gauge,
    clients: Gauge,
    held: Gauge,
    bytes_in: Counter,
    bytes_out: Counter,
    /// By target, then command.
    decisions: Vec<(Target, usize, Counter)>,
    queries: Vec<(ServerId, Target, usize, Counter)>,
    epoch: Gauge,
    servers: Vec<ShownServer>,
}

struct ShownServer {
    running: Gauge,
    connections: Gauge,
    up: Gauge,
    roles: Vec<(Role, Gauge)>,
    lag: Gauge,
}

impl Metrics {
    /// Makes every series. `servers` are the addresses in the order of their ids; `workers` is how many threads count.
    pub fn new(cluster: &str, servers: &[Arc<str>], labels: Labels, workers: usize, now: Instant) -> Self {
        let series = Registrar::new();
        series.gauge(&m::INFO, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        let shards = workers.clamp(1, SHARDS_MOST).next_power_of_two();
        Self {
            labels,
            started: now,
            failover: FailoverMetrics::new(&series),
            failed: Fault::WORDS.iter().map(|word| series.counter(&m::FAILED, &[word])).collect(),
            accepted: series.counter(&m::ACCEPTED, &[]),
            panicked: series.counter(&m::PANICKED, &[]),
            stalled: series.counter(&m::STALLED, &[]),
            refused: Refusal::WORDS.iter().map(|word| series.counter(&m::REFUSED, &[word])).collect(),
            hints: ["obeyed", "ignored", "unknown"].map(|word| series.counter(&m::HINTS, &[word])),
            parser: ParserMetrics::new(&series),
            pins: Pins::new(&series),
            compressed: CompressedBytes::new(&series),
            waits: ["reached", "given_up"].map(|word| series.counter(&m::WAITS, &[word])),
            rules: RuleHits::default(),
            refusals: Refusals::new(servers),
            reloads_applied: series.counter(&m::RELOADS, &["applied"]),
            reloads_refused: series.counter(&m::RELOADS, &["refused"]),
            servers: servers.iter().map(|server| ServerMetrics::new(&series, server)).collect(),
            nowhere: ServerMetrics::nowhere(),
            shards: (0..shards).map(|_| Arc::new(Shard::new(servers.len(), &labels))).collect(),
            next_shard: AtomicUsize::new(0),
            rate: Mutex::default(),
            shown: Shown::new(&series, cluster, servers, &labels),
            handle: series.handle(),
        }
    }

    /// A handle for a new session to count with.
    pub fn meter(&self) -> Meter {
        let shard = self.next_shard.fetch_add(1, Relaxed) & (self.shards.len() - 1);
        Meter::new(self.shards[shard].clone())
    }

    /// What is counted of one server. An id that is out of range counts where nobody looks.
    pub fn server(&self, id: ServerId) -> &ServerMetrics {
        self.servers.get(usize::from(id.0)).unwrap_or(&self.nowhere)
    }

    /// A statement could not be run, or not to its end; the client was told.
    pub fn statement_failed(&self, fault: Fault) {
        self.failed[fault.index()].increment(1);
    }

    /// Bytes of a client under the compressed protocol.
    pub fn compressed(&self, bytes: Compressed) {
        self.compressed.add(bytes);
    }

    /// What is counted of failovers.
    pub fn failover(&self) -> &FailoverMetrics {
        &self.failover
    }

    /// A client logged in.
    pub fn client_accepted(&self) {
        self.accepted.increment(1);
    }

    /// So many sessions ended by a panic.
    pub fn sessions_panicked(&self, count: usize) {
        if count > 0 {
            self.panicked.increment(count as u64);
        }
    }

    /// A client was closed because it neither read nor sent what it had to.
    pub fn client_stalled(&self) {
        self.stalled.increment(1);
    }

    /// A client was refused.
    pub fn client_refused(&self, refusal: Refusal) {
        self.refused[refusal.index()].increment(1);
    }

    /// A statement had so many hints that were obeyed, ignored, unknown.
    pub fn hinted(&self, counts: [u32; 3]) {
        for (counter, count) in self.hints.iter().zip(counts) {
            if count > 0 {
                counter.increment(u64::from(count));
            }
        }
    }

    /// The parser was asked about a proven read, or was not.
    pub fn parser(&self, outcome: ParserOutcome) {
        self.parser.count(outcome);
    }

    /// A session holds this from now on.
    pub fn pinned(&self, word: &str) {
        self.pins.began(word);
    }

    /// A read waited on a replica, and got there or not.
    pub fn waited(&self, reached: bool) {
        self.waits[usize::from(!reached)].increment(1);
    }

    /// The rules that are counted.
    pub fn rules(&self) -> &RuleHits {
        &self.rules
    }

    /// The errors of replicas that were not passed on.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The configuration was reloaded.
    pub fn reload_applied(&self) {
        self.reloads_applied.increment(1);
    }

    /// The configuration had faults, and stays what it was.
    pub fn reload_refused(&self) {
        self.reloads_refused.increment(1);
    }

    /// All commands that a server answered.
    pub fn queries(&self, server: ServerId) -> u64 {
        self.shards.iter().map(|shard| shard.queries_of(server)).sum()
    }

    /// Decisions for a role and a reason (its place in [`Labels::reasons`]).
    pub fn decisions(&self, target: Target, reason: usize) -> u64 {
        self.shards.iter().map(|shard| shard.decisions(target, reason)).sum()
    }

    /// The words that commands and reasons are counted under.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Bytes read from clients and written to them.
    pub fn bytes(&self) -> (u64, u64) {
        let add = |(a, b): (u64, u64), (c, d): (u64, u64)| (a + c, b + d);
        self.shards.iter().map(|shard| shard.bytes()).fold((0, 0), add)
    }

    /// Samples the total of commands for [`Metrics::qps`]; to be called once a second.
    pub fn tick(&self, now: Instant) {
        let total = (0..self.servers.len()).map(|n| self.queries(server_id(n))).sum();
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).sample(now, total);
    }

    /// Commands per second over the last seconds, up to five.
    pub fn qps(&self) -> f64 {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).per_second()
    }

    /// When counting began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// All series in Prometheus's text format.
    pub fn render(&self, topology: &Topology, admission: &Admission, now: Instant) -> String {
        self.show(admission, now);
        self.show_topology(topology);
        let mut out = self.handle.render();
        self.rules.render(&mut out);
        self.refusals.render(&mut out);
        export::latency_head(&mut out);
        for target in [Target::Primary, Target::Replica] {
            for (n, command) in self.labels.commands.iter().enumerate() {
                let mut buckets = Buckets::default();
                for shard in &self.shards {
                    shard.add_latency(target, n, &mut buckets);
                }
                export::latency(&mut out, target.word(), command, &buckets);
            }
        }
        out
    }

    fn show(&self, admission: &Admission, now: Instant) {
        self.shown.uptime.set(now.saturating_duration_since(self.started).as_secs_f64());
        self.shown.clients.set(f64::from(admission.clients()));
        self.shown.held.set(f64::from(admission.held()));
        let (bytes_in, bytes_out) = self.bytes();
        self.shown.bytes_in.absolute(bytes_in);
        self.shown.bytes_out.absolute(bytes_out);
        for (target, reason, counter) in &self.shown.decisions {
            counter.absolute(self.decisions(*target, *reason));
        }
        for (server, target, command, counter) in &self.shown.queries {
            counter.absolute(self.shards.iter().map(|shard| shard.queries(*server, *target, *command)).sum());
        }
        for (id, shown) in self.shown.servers.iter().enumerate() {
            let load = admission.load(server_id(id));
            shown.running.set(f64::from(load.outstanding));
            shown.connections.set(f64::from(load.connections));
        }
    }

    #[allow(clippy::cast_precision_loss)] // Epochs and lags stay far below 2^52.
    fn show_topology(&self, topology: &Topology) {
        self.shown.epoch.set(topology.epoch.0 as f64);
        for (server, shown) in topology.servers.iter().zip(&self.shown.servers) {
            shown.up.set(if server.health == Health::Up { 1.0 } else { 0.0 });
            shown.lag.set(server.lag_ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0));
            for (role, gauge) in &shown.roles {
                gauge.set(if *role == server.role { 1.0 } else { 0.0 });
            }
        }
    }
}

impl ServerMetrics {
    fn new(series: &Registrar, server: &str) -> Self {
        Self {
            opened: series.counter(&m::OPENED, &[server]),
            errors: Fault::WORDS.iter().map(|fault| series.counter(&m::ERRORS, &[server, fault])).collect(),
            positions: ["reached", "not_yet", "failed"].map(|word| series.counter(&m::POSITIONS, &[server, word])),
            watched: series.gauge(&m::WATCHED, &[server]),
            abandoned: series.counter(&m::ABANDONED, &[server]),
        }
    }

    fn nowhere() -> Self {
        Self {
            opened: Counter::noop(),
            errors: Fault::WORDS.iter().map(|_| Counter::noop()).collect(),
            positions: [(); 3].map(|()| Counter::noop()),
            watched: Gauge::noop(),
            abandoned: Counter::noop(),
        }
    }

    /// A connection was opened.
    pub fn opened(&self) {
        self.opened.increment(1);
    }

    /// It was asked for its position on behalf of reads that wait: some need not wait any more, none, or it did not answer.
    pub fn position_asked(&self, outcome: PositionAsked) {
        self.positions[outcome as usize].increment(1);
    }

    /// A statement that was given up there was ended, or could not be.
    pub fn abandoned(&self) {
        self.abandoned.increment(1);
    }

    /// Whether the connection stands on which that is asked.
    pub fn watched(&self, stands: bool) {
        self.watched.set(f64::from(u8::from(stands)));
    }

    /// A connection could not be opened, or broke.
    pub fn error(&self, fault: Fault) {
        self.errors[fault.index()].increment(1);
    }
}

impl Shown {
    fn new(series: &Registrar, cluster: &str, servers: &[Arc<str>], labels: &Labels) -> Self {
        let mut decisions = Vec::new();
        let mut queries = Vec::new();
        for target in [Target::Primary, Target::Replica] {
            for (n, reason) in labels.reasons.iter().enumerate() {
                decisions.push((target, n, series.counter(&m::DECISIONS, &[target.word(), reason])));
            }
            for (id, server) in servers.iter().enumerate() {
                for (n, command) in labels.commands.iter().enumerate() {
                    let counter = series.counter(&m::QUERIES, &[server, target.word(), command]);
                    queries.push((server_id(id), target, n, counter));
                }
            }
        }
        Self {
            uptime: series.gauge(&m::UPTIME, &[]),
            clients: series.gauge(&m::CLIENTS, &[]),
            held: series.gauge(&m::HELD, &[]),
            bytes_in: series.counter(&m::BYTES, &["in"]),
            bytes_out: series.counter(&m::BYTES, &["out"]),
            decisions,
            queries,
            epoch: series.gauge(&m::EPOCH, &[cluster]),
            servers: servers.iter().map(|server| ShownServer::new(series, server)).collect(),
        }
    }
}

impl ShownServer {
    fn new(series: &Registrar, server: &str) -> Self {
        let lag = series.gauge(&m::SERVER_LAG, &[server]);
        lag.set(f64::NAN);
        Self {
            running: series.gauge(&m::RUNNING, &[server]),
            connections: series.gauge(&m::CONNECTIONS, &[server]),
            up: series.gauge(&m::SERVER_UP, &[server]),
            roles: ROLES.iter().map(|(role, word)| (*role, series.gauge(&m::SERVER_ROLE, &[server, word]))).collect(),
            lag,
        }
    }
}

fn server_id(n: usize) -> ServerId {
    ServerId(u16::try_from(n).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::meter::Query;
    use super::*;
    use crate::topology::{Epoch, Writes};
    use std::time::Duration;

    const LABELS: Labels = Labels { commands: &["query", "other"], reasons: &["plain_read", "write", "other"] };

    fn metrics() -> Metrics {
        Metrics::new("main", &["a:1".into(), "b:2".into()], LABELS, 4, Instant::now())
    }

    fn render(metrics: &Metrics) -> String {
        render_with(metrics, &Admission::new(2))
    }

    fn render_with(metrics: &Metrics, admission: &Admission) -> String {
        let nobody = Writes::Nobody(String::new());
        let topology =
            Topology { cluster: "main".into(), epoch: Epoch(7), writes: nobody, draining: None, servers: Vec::new() };
        metrics.render(&topology, admission, Instant::now())
    }

    fn query(server: u16, target: Target, command: usize, micros: u64) -> Query {
        Query { server: ServerId(server), target, command, reason: 1, elapsed: Duration::from_micros(micros) }
    }

    #[track_caller]
    fn shows(text: &str, line: &str) {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }

    #[test]
    fn every_series_is_there_with_zero_before_anything_happens() {
        let text = render(&metrics());
        shows(&text, "dbproxy_proxy_queries_total{server=\"b:2\",role=\"replica\",command=\"other\"} 0");
        shows(&text, "dbproxy_route_decisions_total{role=\"primary\",reason=\"plain_read\"} 0");
        shows(&text, "dbproxy_proxy_clients_refused_total{reason=\"too_many_clients\"} 0");
        shows(&text, "dbproxy_conn_backend_errors_total{server=\"a:1\",fault=\"backend\"} 0");
        shows(&text, "dbproxy_proxy_query_seconds_count{role=\"replica\",command=\"query\"} 0");
        shows(&text, "dbproxy_topology_server_role{server=\"a:1\",role=\"primary\"} 0");
        shows(&text, "dbproxy_config_reloads_total{outcome=\"refused\"} 0");
        shows(&text, "dbproxy_topology_epoch{cluster=\"main\"} 7");
        shows(&text, "dbproxy_topology_server_lag_seconds{server=\"a:1\"} NaN");
    }

    #[test]
    fn queries_of_all_sessions_are_summed() {
        let metrics = metrics();
        for n in 0..100 {
            metrics.meter().query(query(n % 2, Target::Replica, 0, 60));
        }
        metrics.meter().query(query(1, Target::Primary, 1, 3_000_000));
        let text = render(&metrics);
        shows(&text, "dbproxy_proxy_queries_total{server=\"a:1\",role=\"replica\",command=\"query\"} 50");
        shows(&text, "dbproxy_proxy_queries_total{server=\"b:2\",role=\"primary\",command=\"other\"} 1");
        shows(&text, "dbproxy_route_decisions_total{role=\"replica\",reason=\"write\"} 100");
        shows(&text, "dbproxy_proxy_query_seconds_bucket{role=\"replica\",command=\"query\",le=\"0.00005\"} 0");
        shows(&text, "dbproxy_proxy_query_seconds_bucket{role=\"replica\",command=\"query\",le=\"0.0001\"} 100");
        shows(&text, "dbproxy_proxy_query_seconds_bucket{role=\"primary\",command=\"other\",le=\"2.5\"} 0");
        shows(&text, "dbproxy_proxy_query_seconds_bucket{role=\"primary\",command=\"other\",le=\"+Inf\"} 1");
        shows(&text, "dbproxy_proxy_query_seconds_sum{role=\"replica\",command=\"query\"} 0.006");
        assert_eq!((metrics.queries(ServerId(0)), metrics.queries(ServerId(1))), (50, 51));
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_all_to_the_last() {
        let metrics = metrics();
        metrics.meter().query(query(0, Target::Primary, 0, 50));
        metrics.meter().query(query(0, Target::Primary, 0, 11_000_000));
        let text = render(&metrics);
        shows(&text, "dbproxy_proxy_query_seconds_bucket{role=\"primary\",command=\"query\",le=\"0.00005\"} 1");
        shows(&text, "dbproxy_proxy_query_seconds_bucket{role=\"primary\",command=\"query\",le=\"10\"} 1");
        shows(&text, "dbproxy_proxy_query_seconds_bucket{role=\"primary\",command=\"query\",le=\"+Inf\"} 2");
    }

    #[test]
    fn places_out_of_range_count_as_the_last_word() {
        let metrics = metrics();
        let far = Query { reason: 99, ..query(0, Target::Replica, 99, 1) };
        metrics.meter().query(far);
        metrics.server(ServerId(9)).opened();
        let text = render(&metrics);
        shows(&text, "dbproxy_proxy_queries_total{server=\"a:1\",role=\"replica\",command=\"other\"} 1");
        shows(&text, "dbproxy_route_decisions_total{role=\"replica\",reason=\"other\"} 1");
    }

    #[test]
    fn the_rate_is_that_of_all_servers() {
        let metrics = metrics();
        let start = Instant::now();
        metrics.tick(start);
        for n in 0..10 {
            metrics.meter().query(query(n % 2, Target::Primary, 0, 1));
        }
        metrics.tick(start + Duration::from_secs(2));
        assert!((metrics.qps() - 5.0).abs() < 1e-9);
    }

    #[test]
    fn gauges_follow_what_they_count() {
        let metrics = metrics();
        let admission = Arc::new(Admission::new(2));
        let _client = admission.client(10);
        drop(admission.client(10));
        let _connection = admission.connection(ServerId(1), 10);
        let _commands = [(); 3].map(|()| admission.command(ServerId(0)));
        metrics.client_refused(Refusal::Tls);
        metrics.server(ServerId(1)).opened();
        metrics.server(ServerId(1)).error(Fault::Backend);
        metrics.meter().bytes_out(11);
        let text = render_with(&metrics, &admission);
        shows(&text, "dbproxy_proxy_clients 1");
        shows(&text, "dbproxy_proxy_clients_refused_total{reason=\"tls\"} 1");
        shows(&text, "dbproxy_conn_backend_connections{server=\"b:2\"} 1");
        shows(&text, "dbproxy_conn_backend_errors_total{server=\"b:2\",fault=\"backend\"} 1");
        shows(&text, "dbproxy_proxy_queries_running{server=\"a:1\"} 3");
        shows(&text, "dbproxy_proxy_client_bytes_total{direction=\"out\"} 11");
    }
}
