//! The log: text or JSON lines on standard error, with a level that can be changed while running.

use crate::config::{Log, LogFormat, LogLevel};
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Why the log could not be set up, or its level not be changed.
#[derive(Debug, Error)]
pub enum LogError {
    /// Another subscriber is there.
    #[error("the log was set up before: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The subscriber is gone.
    #[error("the log is gone: {0}")]
    Gone(#[from] reload::Error),
}

/// Changes the level of the log that was set up.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<Targets, Registry>);

impl LogHandle {
    /// Sets the log up for the whole process; once.
    ///
    /// # Errors
    /// Another subscriber was installed before.
    pub fn install(log: Log) -> Result<Self, LogError> {
        let (filter, handle) = reload::Layer::new(targets(log.level));
        let registry = tracing_subscriber::registry().with(filter);
        match log.format {
            LogFormat::Text => {
                registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(false)).try_init()?;
            }
            LogFormat::Json => {
                let json = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
                registry.with(json.with_writer(std::io::stderr)).try_init()?;
            }
        }
        Ok(Self(handle))
    }

    /// Changes the level.
    ///
    /// # Errors
    /// The subscriber is gone.
    pub fn set_level(&self, level: LogLevel) -> Result<(), LogError> {
        Ok(self.0.reload(targets(level))?)
    }
}

/// Libraries are held to warnings: at finer levels some log the statements that they send.
fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The filter's levels rise with verbosity.
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("dbproxy", level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn libraries_never_log_below_warnings() {
        for level in [LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            assert!(targets(level).would_enable("dbproxy::proxy", &Level::INFO));
            assert!(!targets(level).would_enable("mysql_async", &Level::INFO));
            assert!(targets(level).would_enable("mysql_async", &Level::WARN));
        }
        assert!(!targets(LogLevel::Error).would_enable("mysql_async", &Level::WARN));
        assert!(!targets(LogLevel::Warn).would_enable("dbproxy", &Level::INFO));
    }
}
