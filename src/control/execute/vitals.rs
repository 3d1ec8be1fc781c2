//! All that the doctor wants to know of a server.

use super::events::Runs;
use super::hand::{Hand, StepError};
use crate::control::doctor::Vitals;
use crate::control::statement::{Columns, Dialect};
use std::collections::BTreeMap;

impl Hand {
    pub(in crate::control) async fn vitals(&mut self) -> Result<Vitals, StepError> {
        let variables = self.variables("%").await?.into_iter().collect();
        let grants = self.rows("read the grants", "SHOW GRANTS").await?;
        let plugins = "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_STATUS = 'ACTIVE'";
        let plugins = self.rows("list the plugins", plugins).await?;
        let first = |row: &mysql_async::Row| Columns(row).at(0);
        let (heartbeat_ms, by_gtid, source) = self.replication_setup().await?;
        let events = match self.events().await {
            Ok(events) => events.into_iter().map(|event| (event.name, event.runs == Runs::Enabled)).collect(),
            Err(StepError::Refused { .. }) => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Vitals {
            variables,
            events,
            grants: grants.iter().filter_map(first).map(|grant| grant.to_uppercase()).collect(),
            status: self.status().await?,
            heartbeat_ms,
            by_gtid,
            source,
            plugins: plugins.iter().filter_map(first).map(|name| name.to_lowercase()).collect(),
        })
    }

    async fn replication_setup(&mut self) -> Result<(Option<u64>, Option<bool>, Option<String>), StepError> {
        let sql = match self.dialect {
            Dialect::MySql | Dialect::OldMySql => {
                "SELECT HEARTBEAT_INTERVAL AS heartbeat, AUTO_POSITION AS by_gtid, HOST AS host, PORT AS port \
                 FROM performance_schema.replication_connection_configuration WHERE HOST <> ''"
            }
            Dialect::MariaDb => "SHOW ALL SLAVES STATUS",
        };
        let rows = self.rows("read the replication's configuration", sql).await?;
        let Some(row) = rows.first().map(Columns) else { return Ok((None, None, None)) };
        let heartbeat = row.text("heartbeat").or_else(|| row.text("Slave_heartbeat_period"));
        let by_gtid = row.text("by_gtid").or_else(|| row.text("Using_Gtid"));
        let by_gtid = by_gtid.is_some_and(|how| how == "1" || how.eq_ignore_ascii_case("slave_pos"));
        let host = row.text("host").or_else(|| row.text("Master_Host")).unwrap_or_default();
        let port = row.text("port").or_else(|| row.text("Master_Port")).unwrap_or_default();
        Ok((heartbeat.and_then(|seconds| in_ms(&seconds)), Some(by_gtid), Some(format!("{host}:{port}"))))
    }
}

/// Seconds with a fraction to whole milliseconds.
fn in_ms(seconds: &str) -> Option<u64> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(whole.parse::<u64>().ok()?.checked_mul(1000)? + digits.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_read_to_the_millisecond() {
        assert_eq!(
            (in_ms("0.5"), in_ms("30.000"), in_ms("2"), in_ms("x")),
            (Some(500), Some(30_000), Some(2000), None)
        );
    }
}
