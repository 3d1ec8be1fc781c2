//! Replication between the harness's servers, in each product's own statements.

use super::template::accounts::REPLICATION;
use super::{Flavor, PATIENCE, Server, wait_for};

impl Server {
    /// Makes this server replicate from another, by GTID, with a heartbeat every half second.
    pub fn replicate_from(&self, source: &Server) {
        let (user, password) = REPLICATION;
        let port = source.port;
        self.sql(&match self.flavor {
            // A heartbeat period must be stated each time: CHANGE ... SOURCE_HOST resets it to half the net timeout.
            Flavor::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = '{user}', \
                 SOURCE_PASSWORD = '{password}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, \
                 SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 0.5"
            ),
            Flavor::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = '{user}', \
                 MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, \
                 MASTER_HEARTBEAT_PERIOD = 0.5"
            ),
        });
        self.sql("START REPLICA");
    }

    /// Stops applying what is received: the server falls behind and goes on receiving.
    pub fn pause_applier(&self) {
        self.sql("STOP REPLICA SQL_THREAD");
    }

    /// Goes on applying.
    pub fn resume_applier(&self) {
        self.sql("START REPLICA SQL_THREAD");
    }

    /// The transactions that this server has (MySQL `gtid_executed`, MariaDB `gtid_current_pos`).
    pub fn gtid_executed(&self) -> String {
        match self.flavor {
            Flavor::MySql => self.value("SELECT @@global.gtid_executed").replace('\n', ""),
            Flavor::MariaDb => self.value("SELECT @@global.gtid_current_pos"),
        }
    }

    /// Waits until this server has applied these transactions.
    pub fn wait_for_gtid(&self, gtid: &str) {
        let seconds = PATIENCE.as_secs();
        let (sql, reached) = match self.flavor {
            Flavor::MySql => (format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtid}', {seconds})"), "0"),
            Flavor::MariaDb => (format!("SELECT MASTER_GTID_WAIT('{gtid}', {seconds})"), "0"),
        };
        assert_eq!(self.value(&sql), reached, "server {} waits for {gtid}:\n{}", self.id, self.log_tail());
    }

    /// Waits until both replication threads run.
    pub fn wait_until_replicating(&self) {
        wait_for(&format!("replication on server {}", self.id), || self.is_replicating().then_some(()));
    }

    /// Whether both replication threads run.
    pub fn is_replicating(&self) -> bool {
        match self.flavor {
            Flavor::MySql => {
                self.value(
                    "SELECT (SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE SERVICE_STATE = 'ON') \
                     + (SELECT COUNT(*) FROM performance_schema.replication_applier_status WHERE SERVICE_STATE = 'ON')",
                ) == "2"
            }
            // No table tells; of the statement's columns, Slave_IO_Running and Slave_SQL_Running are the 11th and 12th.
            Flavor::MariaDb => self.sql("SHOW SLAVE STATUS").first().is_some_and(|row| {
                let running = |column: usize| row.get(column).and_then(Option::as_deref) == Some("Yes");
                running(10) && running(11)
            }),
        }
    }
}
