//! Steps that take a server back which was the primary, or was away for too long.

use super::hand::{Access, Hand, StepError, literal};
use super::words::Source;
use std::time::Duration;

/// `CLONE INSTANCE` ends so when nothing supervises the server: the data is there, somebody must start it.
const RESTART_FAILED: u16 = 3707;

/// What stands between a server and replicating from the primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fitness {
    /// Nothing.
    Clean,
    /// It has transactions that the primary lacks; these.
    Errant(String),
    /// It misses transactions that the primary does not have in its binary logs any more; these.
    Purged(String),
}

impl Hand {
    /// Compares with `primary` what this server has.
    ///
    /// # Errors
    /// One of the two does not answer.
    pub async fn fitness(&mut self, primary: &mut Self) -> Result<Fitness, StepError> {
        if self.flavor() != primary.flavor() {
            return Err(StepError::Unfit("it is another product than the primary".to_owned()));
        }
        if self.is_mariadb() {
            let own = self.text("read the binary log's state", "SELECT @@global.gtid_binlog_state").await?;
            let others = primary.text("read the binary log's state", "SELECT @@global.gtid_binlog_state").await?;
            let errant = errant_in_state(&own, &others).map_err(StepError::Unfit)?;
            return Ok(if errant.is_empty() { Fitness::Clean } else { Fitness::Errant(errant) });
        }
        // The primary goes on: what this server has is read first.
        let own = literal(&self.text("read the executed GTIDs", "SELECT @@global.gtid_executed").await?);
        let errant = primary.text("compare", &format!("SELECT GTID_SUBTRACT({own}, @@global.gtid_executed)")).await?;
        if !errant.is_empty() {
            return Ok(Fitness::Errant(errant.replace('\n', "")));
        }
        let purged = primary.text("compare", &format!("SELECT GTID_SUBTRACT(@@global.gtid_purged, {own})")).await?;
        Ok(if purged.is_empty() { Fitness::Clean } else { Fitness::Purged(purged.replace('\n', "")) })
    }

    /// Makes a server whose [`fitness`](Self::fitness) is [`Fitness::Clean`] a replica of the primary at `address`.
    ///
    /// # Errors
    /// It does not do what it is told.
    pub async fn rejoin(&mut self, source: Source<'_>, acknowledges: bool) -> Result<(), StepError> {
        self.close_quietly().await?;
        // A replica that waits for acknowledgements itself would hang its own applier.
        self.wait_for_nobody().await?;
        self.still_events().await?;
        if self.is_mariadb() {
            self.stop_replication().await?;
            // What it wrote as a primary is not in its position as a replica yet.
            self.run("state its position", "SET GLOBAL gtid_slave_pos = @@global.gtid_current_pos").await?;
        }
        self.repoint(source, acknowledges).await
    }

    /// Overwrites this server with a copy of `donor` (MySQL's clone plugin on both). It restarts, or must be started, after.
    ///
    /// # Errors
    /// The plugin is not there, the account lacks `CLONE_ADMIN` here or `BACKUP_ADMIN` there, or the copy fails.
    pub async fn clone_from(&mut self, donor: &str, access: &Access, limit: Duration) -> Result<(), StepError> {
        if self.is_mariadb() {
            return Err(StepError::Unfit("MariaDB has no clone plugin: restore a backup of the primary".to_owned()));
        }
        let (host, port) = donor.rsplit_once(':').unwrap_or((donor, "3306"));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let user = literal(&access.user.name);
        let password = literal(&String::from_utf8_lossy(access.user.password.expose()));
        self.run("name the donor", &format!("SET GLOBAL clone_valid_donor_list = {}", literal(donor))).await?;
        // It takes a copy only while it takes writes from administrators; and comes up again closed for them as well.
        self.run("come up closed", "SET PERSIST super_read_only = 1").await?;
        self.run("take a copy", "SET GLOBAL super_read_only = 0, GLOBAL read_only = 1").await?;
        let sql = format!("CLONE INSTANCE FROM {user}@{}:{port} IDENTIFIED BY {password}", literal(bare));
        match self.run_within("clone", &sql, limit).await {
            // The server goes down to come up with the copy; nothing supervises it, or the connection breaks first.
            Err(error) if error.code() == Some(RESTART_FAILED) => Ok(()),
            Err(StepError::Broken { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What MariaDB's `gtid_binlog_state` of one server has that another's lacks: the last of each domain and server.
fn errant_in_state(own: &str, others: &str) -> Result<String, String> {
    let parse = |state: &str| {
        let entries = state.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(entry).collect::<Option<Vec<_>>>().ok_or_else(|| format!("unreadable gtid_binlog_state: {state}"))
    };
    let others = parse(others)?;
    let lacks =
        |own: &&(u32, u32, u64)| !others.iter().any(|other| (other.0, other.1) == (own.0, own.1) && other.2 >= own.2);
    let errant: Vec<_> = parse(own)?
        .iter()
        .filter(lacks)
        .map(|(domain, server, number)| format!("{domain}-{server}-{number}"))
        .collect();
    Ok(errant.join(","))
}

fn entry(text: &str) -> Option<(u32, u32, u64)> {
    let mut parts = text.split('-');
    let entry = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_only_one_server_logged_is_errant() {
        let errant = |own: &str, others: &str| errant_in_state(own, others).unwrap();
        assert_eq!(errant("0-1-103", "0-1-103,0-2-110"), "");
        assert_eq!(errant("0-1-105", "0-1-103,0-2-110"), "0-1-105");
        // A higher number of another server does not make it known.
        assert_eq!(errant("0-1-103,0-3-104", "0-2-110,0-1-103"), "0-3-104");
        assert_eq!(errant("", "0-2-1"), "");
        assert_eq!(errant("0-1-5,7-1-2", "0-1-9"), "7-1-2");
        assert!(errant_in_state("0-1", "").is_err());
    }
}
