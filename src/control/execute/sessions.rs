//! Steps about who uses a primary: what would keep it from being closed, and what dbproxy's own clients have open there.

use super::hand::{Hand, StepError};
use crate::admission::Admission;
use crate::conn::{Registry, SessionRow};
use crate::control::statement::Columns;
use crate::failover::Stall;
use crate::topology::ServerId;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Time between two looks at the sessions.
const GAP: Duration = Duration::from_millis(5);

/// What a primary is busy with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Busy {
    /// Age of the oldest open transaction of somebody who did not come by dbproxy.
    pub oldest: Duration,
    /// What would hold up `read_only`.
    pub locked: Option<String>,
}

impl Hand {
    /// What a write that hangs here waits for.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn what_writes_wait_for(&mut self) -> Result<Stall, StepError> {
        // MySQL and MariaDB do not fail a write to a full disk: they wait until there is room.
        let full = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for disk space%'";
        match self.text("look for a full disk", full).await {
            Ok(waiting) if waiting == "0" => {}
            // There is not even room for the list.
            Ok(_) | Err(StepError::Refused { code: 1021 | 1114, .. }) => return Ok(Stall::DiskFull),
            Err(error) => return Err(error),
        }
        if self.status().await?.semi_sync.waiting > 0 {
            return Ok(Stall::Ackers);
        }
        let locks = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for %lock%' \
                     OR STATE LIKE 'Waiting for table%'";
        let locked = self.text("look for locks", locks).await?;
        Ok(if locked == "0" { Stall::Unknown } else { Stall::Lock })
    }

    /// What would keep this primary from being closed in a moment. `own` are dbproxy's sessions there, which it drains itself.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn busy(&mut self, own: &[u64]) -> Result<Busy, StepError> {
        let transactions = "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) \
                            FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id NOT IN (0, CONNECTION_ID())";
        let mut oldest = 0;
        for row in &self.rows("list the transactions", transactions).await? {
            let number = |place| Columns(row).at(place).and_then(|text| text.parse::<u64>().ok());
            let theirs = number(0).is_some_and(|id| !own.contains(&id));
            // A second of clock skew between the two functions must not look like an eternity.
            let age = number(1).unwrap_or(0);
            if theirs && age < 365 * 24 * 3600 {
                oldest = oldest.max(age);
            }
        }
        let busy = "SELECT ID, LEFT(COALESCE(INFO, ''), 64), COALESCE(STATE, '') FROM information_schema.PROCESSLIST \
                    WHERE ID <> CONNECTION_ID() AND (STATE LIKE 'Waiting for global read lock%' \
                    OR STATE LIKE 'Waiting for backup lock%' OR STATE LIKE 'Waiting for commit lock%' \
                    OR INFO LIKE 'ALTER TABLE%' OR INFO LIKE 'OPTIMIZE TABLE%' OR INFO LIKE 'FLUSH TABLES WITH READ LOCK%')";
        let rows = self.rows("list the locks", busy).await?;
        let locked = rows.first().map(|row| {
            let text = |place| Columns(row).at(place).unwrap_or_default();
            format!("connection {}: {} ({})", text(0), text(1), text(2))
        });
        Ok(Busy { oldest: Duration::from_secs(oldest), locked })
    }
}

/// Server ids that dbproxy's own clients have at a server.
pub(super) fn own_connections(registry: &Registry, server: ServerId) -> Vec<u64> {
    let at = |row: &SessionRow| row.backends.iter().find(|(at, _)| *at == server).map(|(_, id)| u64::from(*id));
    registry.list().iter().filter_map(at).collect()
}

/// Whether a session has a transaction open at a server.
fn holds(row: &SessionRow, server: ServerId) -> bool {
    row.in_transaction && row.backends.iter().any(|(at, _)| *at == server)
}

/// Waits until no session of dbproxy's has anything open at a server; how many have at the end of the limit.
pub(super) async fn drain_sessions(
    registry: &Registry,
    admission: &Admission,
    server: ServerId,
    limit: Duration,
) -> Result<(), usize> {
    let deadline = Instant::now() + limit;
    loop {
        // What was sent before the gate closed is on its way, too.
        let running = admission.in_flight(server);
        let open = registry.list().iter().filter(|row| holds(row, server)).count();
        let left = open.max(running as usize);
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(left);
        }
        sleep(GAP).await;
    }
}

/// Ends the sessions of dbproxy's that have something open at a server.
pub(super) fn end_sessions(registry: &Registry, server: ServerId) -> usize {
    let holding: Vec<_> = registry.list().into_iter().filter(|row| holds(row, server)).collect();
    holding.iter().filter_map(|row| registry.find(row.id)).map(|session| session.end()).count()
}
