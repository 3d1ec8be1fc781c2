//! Clients of a drill: some insert rows, some move money and write it down, some count. Each is a connection through the
//! proxy, as an application has it; one that breaks is made anew.

use super::check::MONEY;
use super::history::{Recorder, What};
use super::support::{Client, Cluster, Flavor, Login, Proxy, ServerError, accounts};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two statements of a client: the load is to be there all the time, and to leave the servers room.
const PACE: Duration = Duration::from_millis(4);
/// Between two counts, which cost more; and the more rows there are the more: at least so many times as long as one took.
const COUNT_PACE: Duration = Duration::from_millis(40);
const COUNT_REST: u32 = 30;
/// How long a client that locks takes its time.
const LOCKED: Duration = Duration::from_millis(700);
/// Accounts of the bank; [`MONEY`] is spread over them.
const ACCOUNTS: u64 = 10;

/// How many clients of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    pub inserting: usize,
    pub moving_money: usize,
    pub counting: usize,
    /// Insert by a prepared statement.
    pub preparing: usize,
    /// Lock an account, take their time, and move its money.
    pub locking: usize,
}

impl Default for Clients {
    fn default() -> Self {
        Self { inserting: 4, moving_money: 2, counting: 2, preparing: 0, locking: 0 }
    }
}

/// Clients at work; [`Load::stop`] ends them.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A row has no unique key but the one that the server gives: what is executed twice is there twice.
pub fn lay_out(cluster: &Cluster) {
    let primary = cluster.primary();
    let increment = match cluster.flavor {
        Flavor::MySql => "BIGINT AUTO_INCREMENT PRIMARY KEY",
        Flavor::MariaDb => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
    };
    primary.sql(&format!("CREATE TABLE app.ledger (place {increment}, id BIGINT NOT NULL, KEY (id))"));
    primary.sql("CREATE TABLE app.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL)");
    let each = MONEY / i64::try_from(ACCOUNTS).expect("a few");
    for id in 0..ACCOUNTS {
        primary.sql(&format!("INSERT INTO app.accounts VALUES ({id}, {each})"));
    }
    cluster.wait_for_replicas();
}

impl Load {
    pub fn start(proxy: &Proxy, recorder: &Recorder, clients: Clients) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sessions, rows) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
        let of_kind = |kind: Kind, count: usize| std::iter::repeat_n(kind, count);
        let kinds = of_kind(Kind::Inserts, clients.inserting)
            .chain(of_kind(Kind::MovesMoney, clients.moving_money))
            .chain(of_kind(Kind::Counts, clients.counting))
            .chain(of_kind(Kind::Prepares, clients.preparing))
            .chain(of_kind(Kind::Locks, clients.locking));
        let threads = kinds.map(|kind| {
            let one = One {
                kind,
                login: Login::new(proxy.port, accounts::APP.0, accounts::APP.1).database("app"),
                recorder: recorder.clone(),
                stop: stop.clone(),
                sessions: sessions.clone(),
                rows: rows.clone(),
            };
            std::thread::spawn(move || one.work())
        });
        Self { threads: threads.collect(), stop }
    }

    /// Lets each client finish what it is at, and waits for all.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Inserts,
    MovesMoney,
    Counts,
    Prepares,
    Locks,
}

/// One client.
struct One {
    kind: Kind,
    login: Login,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    sessions: Arc<AtomicU32>,
    rows: Arc<AtomicU64>,
}

impl One {
    fn work(self) {
        while !self.stop.load(Ordering::Relaxed) {
            let session = self.sessions.fetch_add(1, Ordering::Relaxed);
            match Client::connect(&self.login) {
                Ok(client) => self.session(session, client),
                Err(error) => {
                    self.recorder.record(What::Unserved { session, error: format!("login: {}", kind_of(&error)) });
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }

    /// Until the connection breaks, or the end.
    fn session(&self, session: u32, mut client: Client) {
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let result = match self.kind {
                Kind::Inserts => self.write(session, |id| {
                    let insert = format!("INSERT INTO ledger (id) VALUES ({id})");
                    client.try_query(&insert).map(drop).map_err(|error| (is_refused(&error), error))
                }),
                Kind::MovesMoney => self.write(session, |id| move_money(&mut client, id, Duration::ZERO)),
                Kind::Locks => self.write(session, |id| move_money(&mut client, id, LOCKED)),
                Kind::Prepares => self.write(session, |id| {
                    let result = client.try_execute("INSERT INTO ledger (id) VALUES (?)", id);
                    result.map_err(|error| (is_refused(&error), error))
                }),
                Kind::Counts => self.count(session, &mut client),
            };
            match result {
                // Nobody said anything: the connection is gone.
                Err(error) if error.code == 0 => return,
                // What is left of a transaction.
                Err(_) if client.try_query("ROLLBACK").is_err_and(|error| error.code == 0) => return,
                _ => std::thread::sleep(match self.kind {
                    Kind::Counts => COUNT_PACE.max(began.elapsed() * COUNT_REST),
                    Kind::Inserts | Kind::MovesMoney | Kind::Prepares | Kind::Locks => PACE,
                }),
            }
        }
    }

    /// Writes one row by `write`, which says with an error whether the row is surely not there.
    fn write(
        &self,
        session: u32,
        write: impl FnOnce(u64) -> Result<(), (bool, ServerError)>,
    ) -> Result<(), ServerError> {
        let id = self.rows.fetch_add(1, Ordering::Relaxed);
        self.recorder.record(What::Attempted { session, id });
        match write(id) {
            Ok(()) => {
                self.recorder.record(What::Acknowledged { session, id });
                Ok(())
            }
            Err((refused, error)) => {
                self.recorder.record(What::Failed { session, id, refused, error: kind_of(&error) });
                Err(error)
            }
        }
    }

    fn count(&self, session: u32, client: &mut Client) -> Result<(), ServerError> {
        // One statement, so that both are of the same moment.
        let result = client.try_query("SELECT COUNT(*), (SELECT SUM(balance) FROM accounts), @@server_id FROM ledger");
        let rows = result.inspect_err(|error| {
            self.recorder.record(What::Unserved { session, error: format!("read: {}", kind_of(error)) });
        })?;
        let cell = |column: usize| rows[0][column].as_deref().expect("a number");
        let (rows, money) = (cell(0).parse().expect("a count"), cell(1).parse().expect("a sum"));
        let server = cell(2).parse().expect("a server's number");
        self.recorder.record(What::Counted { session, server, rows, money });
        Ok(())
    }
}

/// Moves money and writes the row, in one transaction. Until COMMIT is sent, an error means that nothing happened.
/// A transaction that takes its time locks first, and waits then.
fn move_money(client: &mut Client, id: u64, takes: Duration) -> Result<(), (bool, ServerError)> {
    let (one, other) = (id % ACCOUNTS, (id / ACCOUNTS) % ACCOUNTS);
    // The lower one first, so that no two wait for each other; from an account to itself changes nothing, which is fine.
    let (lower, higher) = (one.min(other), one.max(other));
    let sign = if id.is_multiple_of(2) { 1 } else { -1 };
    if !takes.is_zero() {
        let lock = format!("SELECT balance FROM accounts WHERE id = {lower} FOR UPDATE");
        for statement in ["BEGIN", &lock] {
            client.try_query(statement).map_err(|error| (true, error))?;
        }
        std::thread::sleep(takes);
    }
    for statement in [
        // Not BEGIN, which would end the transaction that holds the lock.
        if takes.is_zero() { "BEGIN".to_owned() } else { "DO 0".to_owned() },
        format!("UPDATE accounts SET balance = balance - {sign} WHERE id = {lower}"),
        format!("UPDATE accounts SET balance = balance + {sign} WHERE id = {higher}"),
        format!("INSERT INTO ledger (id) VALUES ({id})"),
    ] {
        client.try_query(&statement).map_err(|error| (true, error))?;
    }
    client.try_query("COMMIT").map(drop).map_err(|error| (is_refused(&error), error))
}

/// Whether the error says that the statement did not happen: read-only, a lock, a deadlock, nobody who takes writes.
fn is_refused(error: &ServerError) -> bool {
    matches!(error.code, 1040 | 1205 | 1213 | 1290 | 1792 | 1836)
}

/// An error without what differs each time.
fn kind_of(error: &ServerError) -> String {
    let mut kind = String::new();
    for c in error.message.chars() {
        if !c.is_ascii_digit() {
            kind.push(c);
        } else if !kind.ends_with('#') {
            kind.push('#');
        }
    }
    format!("{} {kind}", error.code)
}
