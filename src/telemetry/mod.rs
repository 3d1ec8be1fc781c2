//! What dbproxy tells of itself: the metrics, the names of log fields, the log's set-up.
//!
//! [`Metrics`] is owned and handed around: there is no global recorder, and no look-up by name on the path of a query. Labels
//! are closed enums, fixed words, or configured names; every series exists from the start, so that a zero can be seen. Only
//! errors of servers are counted by number, as they are first seen.
//! Imports `config` (what to log), `route` (the reasons) and `topology` (what to show of it).

pub mod fields;

mod catalogue;
mod compressed;
mod export;
mod failover;
mod labels;
mod log;
mod meter;
mod metrics;
mod parser;
mod pins;
mod rate;
mod refusals;
mod rules;

pub use catalogue::{METRICS, Metric, Type};
pub use compressed::Compressed;
pub use failover::{FailoverMetrics, problem_word};
pub use labels::{Fault, LABELS, Label, Labels, Refusal, command_label};
pub use log::{LogError, LogHandle};
pub use meter::{BOUNDS_NS, Meter, Query};
pub use metrics::{Metrics, PositionAsked, ServerMetrics};
pub use parser::ParserOutcome;
pub use refusals::Refusals;
pub use rules::RuleHits;
