//! Replication between the harness's servers, in each product's own statements.

use super::template::accounts::{MONITOR, REPLICATION};
use super::{Flavor, PATIENCE, Server, wait_for};

impl Server {
    /// Makes this server replicate from another, by GTID, with a heartbeat every half second.
    pub fn replicate_from(&self, source: &Server) {
        let (user, password) = REPLICATION;
        let (host, port) = (source.host, source.port);
        self.sql(&match self.flavor {
            // A heartbeat period must be stated each time: CHANGE ... SOURCE_HOST resets it to half the net timeout.
            Flavor::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, SOURCE_USER = '{user}', \
                 SOURCE_PASSWORD = '{password}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, \
                 SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 0.5"
            ),
            Flavor::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER = '{user}', \
                 MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, \
                 MASTER_HEARTBEAT_PERIOD = 0.5"
            ),
        });
        self.sql("START REPLICA");
    }

    /// Gives the monitor's account what a failover needs. Without a trace in the binary log: to be done on each server.
    pub fn allow_failover(&self) {
        let user = MONITOR.0;
        let rights = match self.flavor {
            Flavor::MySql => {
                "REPLICATION CLIENT, PROCESS, RELOAD, REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, \
                 BACKUP_ADMIN, CLONE_ADMIN"
            }
            Flavor::MariaDb => {
                "BINLOG MONITOR, SLAVE MONITOR, PROCESS, RELOAD, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, \
                 READ_ONLY ADMIN, CONNECTION ADMIN, BINLOG ADMIN"
            }
        };
        self.sql("SET SESSION sql_log_bin = 0");
        let closed = match self.flavor {
            Flavor::MySql => self.value("SELECT @@global.super_read_only"),
            Flavor::MariaDb => "0".to_owned(),
        };
        if closed == "1" {
            self.sql("SET GLOBAL super_read_only = 0");
        }
        self.sql(&format!("GRANT {rights} ON *.* TO '{user}'@'%'"));
        self.sql(&format!("GRANT ALL ON dbproxy.* TO '{user}'@'%'"));
        if closed == "1" {
            self.sql("SET GLOBAL super_read_only = 1");
        }
        self.sql("SET SESSION sql_log_bin = 1");
    }

    /// Makes commits here wait for one replica, for ever, and waits until there is one.
    pub fn wait_for_acknowledgements(&self) {
        let word = match self.flavor {
            Flavor::MySql => "source",
            Flavor::MariaDb => "master",
        };
        self.sql(&format!("SET GLOBAL rpl_semi_sync_{word}_enabled = 1"));
        let clients = format!("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_{word}_clients'");
        wait_for("replicas that acknowledge", || {
            let rows = self.sql(&clients);
            rows.first().and_then(|row| row[1].clone()).filter(|clients| clients != "0")
        });
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
        // Whoever fences a server kills the connections there, and then we ask again.
        let outcome = wait_for("a connection that lives to the end of the wait", || match self.try_sql(&sql) {
            Err(error) if error.code == 0 => None,
            outcome => Some(outcome),
        });
        let rows = outcome.unwrap_or_else(|error| panic!("server {}: {sql}: {error}", self.id));
        assert_eq!(rows[0][0].as_deref(), Some(reached), "server {} waits for {gtid}:\n{}", self.id, self.log_tail());
    }

    /// Waits until both replication threads run.
    pub fn wait_until_replicating(&self) {
        wait_for(&format!("replication on server {}", self.id), || self.is_replicating().then_some(()));
    }

    /// Whether both replication threads run; a server that cannot be asked does not replicate.
    pub fn is_replicating(&self) -> bool {
        match self.flavor {
            Flavor::MySql => {
                let counted = self.try_sql(
                    "SELECT (SELECT COUNT(*) FROM performance_schema.replication_connection_status WHERE SERVICE_STATE = 'ON') \
                     + (SELECT COUNT(*) FROM performance_schema.replication_applier_status WHERE SERVICE_STATE = 'ON')",
                );
                counted.is_ok_and(|rows| rows[0][0].as_deref() == Some("2"))
            }
            // No table tells; of the statement's columns, Slave_IO_Running and Slave_SQL_Running are the 11th and 12th.
            Flavor::MariaDb => self.try_sql("SHOW SLAVE STATUS").is_ok_and(|rows| {
                rows.first().is_some_and(|row| {
                    let running = |column: usize| row.get(column).and_then(Option::as_deref) == Some("Yes");
                    running(10) && running(11)
                })
            }),
        }
    }
}
