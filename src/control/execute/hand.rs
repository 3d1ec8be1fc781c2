//! A login to one server, to change something there.

use crate::config::{BackendTls, User};
use crate::control::failure;
use crate::control::login::log_in;
use crate::control::statement::{Columns, Dialect, LookError};
use crate::control::status::{self, Ear};
use crate::failover::Status;
use crate::topology::{Failure, Flavor};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row, ServerError};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::time::timeout;

/// How long a login that was kept may take to show that it still works.
const PING: Duration = Duration::from_millis(300);

/// Who acts, and how it logs in.
#[derive(Clone)]
pub struct Access {
    /// The account: the monitor's.
    pub user: User,
    /// TLS to the servers.
    pub tls: BackendTls,
    /// How long connecting may take, and a statement that has no limit of its own.
    pub step_timeout: Duration,
}

/// Why a step was not done. No secret is in it: statements are told by their first words.
#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
pub enum StepError {
    /// Nobody let us in.
    #[error("{0}")]
    Login(Failure),
    /// The server did not answer in time; what was asked may or may not be done.
    #[error("{doing}: no answer within {} ms", .within.as_millis())]
    Timeout {
        /// What was asked.
        doing: &'static str,
        /// The limit.
        within: Duration,
    },
    /// What was received is not all applied within the limit; the applier goes on, so asking again is right.
    #[error("what was received is not applied within {} ms", .within.as_millis())]
    NotApplied {
        /// The limit.
        within: Duration,
    },
    /// The server refused.
    #[error("{doing}: error {code}: {message}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// The server's error number.
        code: u16,
        /// Its text.
        message: String,
    },
    /// The connection broke; what was asked may or may not be done.
    #[error("{doing}: {cause}")]
    Broken {
        /// What was asked.
        doing: &'static str,
        /// The driver's text.
        cause: String,
    },
    /// The server is not as it was when the step was decided.
    #[error("{0}")]
    Changed(String),
    /// The server is not what the step needs.
    #[error("{0}")]
    Unfit(String),
}

impl StepError {
    /// The server's error number, if it gave one.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Login(_)
            | Self::Timeout { .. }
            | Self::NotApplied { .. }
            | Self::Broken { .. }
            | Self::Changed(_)
            | Self::Unfit(_) => None,
        }
    }
}

/// A login that stays as long as it works.
pub struct Hand {
    address: Arc<str>,
    limit: Duration,
    conn: Conn,
    pub(super) dialect: Dialect,
}

impl Hand {
    /// Logs in. Literals are read as this room writes them, whatever the server's `sql_mode`.
    pub async fn log_in(address: &Arc<str>, access: &Access) -> Result<Self, StepError> {
        let limit = access.step_timeout;
        let conn = match timeout(limit, log_in(address, &access.user, &access.tls)).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => return Err(StepError::Login(failure::of_driver(&error))),
            Err(_elapsed) => return Err(StepError::Login(Failure::Timeout)),
        };
        let mut hand = Self { address: address.clone(), limit, conn, dialect: Dialect::MySql };
        let version = hand.text("version", "SELECT @@version").await?;
        hand.dialect = Dialect::of(version.as_bytes());
        // A lock that is not to be had must not hold a step for longer than the step may take.
        hand.run("session", "SET SESSION sql_mode = '', SESSION lock_wait_timeout = 1").await?;
        Ok(hand)
    }

    /// Whether a login that was kept still works.
    pub(super) async fn works(&mut self) -> bool {
        self.run_within("is it there", "SELECT 1", PING).await.is_ok()
    }

    /// What a failover must know of it.
    pub(super) async fn status(&mut self) -> Result<Status, StepError> {
        let mut ear = Ear::default();
        match timeout(self.limit, status::ask(&mut self.conn, self.dialect, &mut ear)).await {
            Ok(Ok(told)) => Ok(told.status),
            Ok(Err(LookError::Driver(error))) => {
                Err(StepError::Broken { doing: "read its state", cause: error.to_string() })
            }
            Ok(Err(error)) => Err(StepError::Unfit(error.to_string())),
            Err(_elapsed) => Err(StepError::Timeout { doing: "read its state", within: self.limit }),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.dialect == Dialect::MariaDb
    }

    pub(super) fn flavor(&self) -> Flavor {
        self.dialect.flavor()
    }

    /// Runs a statement, or several in one round trip.
    pub(super) async fn run(&mut self, doing: &'static str, sql: &str) -> Result<(), StepError> {
        self.run_within(doing, sql, self.limit).await
    }

    pub(super) async fn run_within(
        &mut self,
        doing: &'static str,
        sql: &str,
        within: Duration,
    ) -> Result<(), StepError> {
        answer(doing, within, self.conn.query_drop(sql)).await
    }

    pub(super) async fn rows(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>, StepError> {
        let limit = self.limit;
        answer(doing, limit, self.conn.query(sql)).await
    }

    /// The first column of the first row, as text; NULL and no row are empty.
    pub(super) async fn text(&mut self, doing: &'static str, sql: &str) -> Result<String, StepError> {
        let limit = self.limit;
        self.text_within(doing, sql, limit).await
    }

    pub(super) async fn text_within(
        &mut self,
        doing: &'static str,
        sql: &str,
        within: Duration,
    ) -> Result<String, StepError> {
        let row: Option<Row> = answer(doing, within, self.conn.query_first(sql)).await?;
        Ok(row.and_then(|row| Columns(&row).at(0)).unwrap_or_default())
    }

    /// The names and values of the global variables that match, as the server has them.
    pub(super) async fn variables(&mut self, like: &str) -> Result<Vec<(String, String)>, StepError> {
        let rows = self.rows("variables", &format!("SHOW GLOBAL VARIABLES LIKE '{like}'")).await?;
        let pair = |row: &Row| Some((Columns(row).at(0)?.to_lowercase(), Columns(row).at(1).unwrap_or_default()));
        Ok(rows.iter().filter_map(pair).collect())
    }
}

async fn answer<T>(
    doing: &'static str,
    within: Duration,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, StepError> {
    match timeout(within, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Error::Server(ServerError { code, message, .. }))) => Err(StepError::Refused { doing, code, message }),
        Ok(Err(error)) => Err(StepError::Broken { doing, cause: error.to_string() }),
        Err(_elapsed) => Err(StepError::Timeout { doing, within }),
    }
}

/// A string literal, for a session whose `sql_mode` is empty.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for letter in text.chars() {
        if letter == '\'' || letter == '\\' {
            literal.push('\\');
        }
        literal.push(letter);
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("plain"), "'plain'");
        assert_eq!(literal(r"it's \ 'x"), r"'it\'s \\ \'x'");
    }
}
