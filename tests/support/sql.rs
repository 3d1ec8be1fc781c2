//! A small blocking SQL client, on `mysql_async`: one connection, text results.

use super::{PATIENCE, background};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, SslOpts, Value};
use std::fmt;
use std::path::PathBuf;

/// Rows as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Where to log in, and as whom.
#[derive(Clone, Debug)]
pub struct Login {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// A socket to use instead of the port: it reaches a server in another network namespace.
    pub socket: Option<PathBuf>,
    /// Account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Schema to begin in.
    pub database: Option<String>,
    /// TLS, verified against this certificate authority; `None` is plain text.
    pub tls_ca: Option<PathBuf>,
}

impl Login {
    /// A plain-text login without a schema.
    pub fn new(port: u16, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        Self { port, socket: None, user, password, database: None, tls_ca: None }
    }

    /// The same with a schema to begin in.
    pub fn database(mut self, database: &str) -> Self {
        self.database = Some(database.to_owned());
        self
    }

    /// For a client that is not [`Client`].
    pub fn opts(&self) -> Opts {
        let tls = self.tls_ca.clone().map(|ca| SslOpts::default().with_root_certs(vec![ca.into()]));
        // With these two given, the client asks the server nothing of its own after the login.
        let quiet = OptsBuilder::default().max_allowed_packet(Some(64 << 20)).wait_timeout(Some(28_800));
        quiet
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some(&self.user))
            .pass(Some(&self.password))
            .db_name(self.database.as_ref())
            .ssl_opts(tls)
            .socket(self.socket.as_ref().map(|socket| socket.display().to_string()))
            .prefer_socket(false)
            .into()
    }
}

/// What a server answered instead of a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerError {
    /// The server's error number; 0 when the connection failed and no server said anything.
    pub code: u16,
    /// SQLSTATE; empty when no server said anything.
    pub state: String,
    /// The text.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.state, self.message)
    }
}

impl From<mysql_async::Error> for ServerError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(said) => Self { code: said.code, state: said.state, message: said.message },
            other => Self { code: 0, state: String::new(), message: other.to_string() },
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// `None` once a statement ran out of time: its connection was given up.
    conn: Option<Conn>,
}

impl Client {
    /// Logs in.
    pub fn connect(login: &Login) -> Result<Self, ServerError> {
        let opts = login.opts();
        let conn = background::block_on(async move {
            match tokio::time::timeout(PATIENCE, Conn::new(opts)).await {
                Ok(result) => result.map_err(ServerError::from),
                Err(_) => Err(lost("no login")),
            }
        })?;
        Ok(Self { conn: Some(conn) })
    }

    /// The rows of a statement's first result set.
    pub fn try_query(&mut self, sql: &str) -> Result<Rows, ServerError> {
        let mut conn = self.conn.take().ok_or_else(|| lost("given up earlier"))?;
        let statement = sql.to_owned();
        let (conn, outcome) = background::block_on(async move {
            match tokio::time::timeout(PATIENCE, run(&mut conn, statement)).await {
                Ok(outcome) => (Some(conn), outcome.map_err(ServerError::from)),
                Err(_) => (None, Err(lost("no answer"))),
            }
        });
        self.conn = conn;
        outcome
    }

    /// Runs a statement by the protocol of prepared statements, with one number for its one parameter. It stays prepared.
    pub fn try_execute(&mut self, sql: &str, number: u64) -> Result<(), ServerError> {
        let mut conn = self.conn.take().ok_or_else(|| lost("given up earlier"))?;
        let statement = sql.to_owned();
        let (conn, outcome) = background::block_on(async move {
            match tokio::time::timeout(PATIENCE, conn.exec_drop(statement, (number,))).await {
                Ok(outcome) => (Some(conn), outcome.map_err(ServerError::from)),
                Err(_) => (None, Err(lost("no answer"))),
            }
        });
        self.conn = conn;
        outcome
    }

    /// The rows of a statement that must succeed.
    pub fn query(&mut self, sql: &str) -> Rows {
        self.try_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The first cell of a statement that must succeed with a row; NULL reads `NULL`.
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.query(sql);
        let cell = rows.first().and_then(|row| row.first()).unwrap_or_else(|| panic!("{sql}: no row"));
        cell.clone().unwrap_or_else(|| "NULL".to_owned())
    }

    /// The connection's id as greeted.
    pub fn connection_id(&self) -> u32 {
        self.conn.as_ref().expect("an open connection").id()
    }
}

fn lost(what: &str) -> ServerError {
    ServerError { code: 0, state: String::new(), message: what.to_owned() }
}

async fn run(conn: &mut Conn, sql: String) -> Result<Rows, mysql_async::Error> {
    let mut result = conn.query_iter(sql).await?;
    let rows: Vec<Row> = result.collect().await?;
    result.drop_result().await?;
    Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}
