//! The ranges by name.

use super::Range;

const fn range(least: u64, default: u64, most: u64) -> Range {
    Range { least, default, most }
}

const HOUR_MS: u64 = 3_600_000;

pub const BACKLOG: Range = range(1, 4096, 65_535);
pub const MONITOR_INTERVAL_MS: Range = range(10, 250, 60_000);
pub const MONITOR_TIMEOUT_MS: Range = range(10, 1_000, 60_000);
pub const DOWN_AFTER_MS: Range = range(0, 1_000, 60_000);
pub const CONNECT_TIMEOUT_MS: Range = range(10, 3_000, 60_000);
pub const MAX_CLIENTS: Range = range(1, 10_000, 1_000_000);
pub const MAX_CONNECTIONS: Range = range(1, 10_000, 1_000_000);
pub const MAX_PREPARED: Range = range(1, 16_382, 1_048_576);
pub const MAX_HELD: Range = range(0, 10_000, 1_000_000);
pub const MAX_HELD_BYTES: Range = range(0, 67_108_864, 4_294_967_296);
pub const STATEMENT_BUFFER: Range = range(1_024, 1_048_576, 67_108_864);
pub const LOGIN_TIMEOUT_MS: Range = range(100, 10_000, 300_000);
pub const IDLE_TIMEOUT_MS: Range = range(1_000, 8 * HOUR_MS, 8_760 * HOUR_MS);
pub const CLIENT_STALL_TIMEOUT_MS: Range = range(100, 60_000, 24 * HOUR_MS);
pub const DRAIN_TIMEOUT_MS: Range = range(0, 30_000, HOUR_MS);
pub const WORKER_THREADS: Range = range(0, 0, 512);
pub const LAG_LIMIT_MS: Range = range(0, 10_000, 24 * HOUR_MS);
pub const GTID_WAIT_MS: Range = range(0, 100, 60_000);
pub const WRITE_WAIT_MS: Range = range(0, 10_000, 600_000);
pub const WAIT_FOR: Range = range(1, 1, 63);
pub const WAIT_FOR_LEAST: Range = range(1, 63, 63);
pub const LOSS_LIMIT_MS: Range = range(0, 1_000, HOUR_MS);
pub const REFUSED_MS: Range = range(100, 500, 60_000);
pub const HUNG_MS: Range = range(500, 1_500, 60_000);
pub const DEAF_MS: Range = range(200, 1_500, 60_000);
pub const HEARTBEAT_MS: Range = range(100, 500, 30_000);
pub const STEP_TIMEOUT_MS: Range = range(100, 1_500, 60_000);
pub const DRAIN_LIMIT_MS: Range = range(100, 60_000, 24 * HOUR_MS);
pub const SWITCHOVER_DRAIN_MS: Range = range(0, 5_000, HOUR_MS);
pub const CATCH_UP_MS: Range = range(100, 3_000, HOUR_MS);
pub const PAUSE_BETWEEN_MS: Range = range(0, 60_000, 24 * HOUR_MS);
pub const MOST_PER_HOUR: Range = range(1, 3, 1_000);
pub const WRITE_STALLED_MS: Range = range(1_000, 10_000, HOUR_MS);
pub const LOOP_LAG_LIMIT_MS: Range = range(50, 250, 10_000);
pub const HOOK_TIMEOUT_MS: Range = range(100, 10_000, 600_000);
pub const WARM_UP_MS: Range = range(0, 30_000, HOUR_MS);
pub const RULE_MAX_LAG_MS: Range = range(0, 1_000, 24 * HOUR_MS);
pub const RULE_TIMEOUT_MS: Range = range(1, 30_000, 24 * HOUR_MS);
pub const WEIGHT: Range = range(0, crate::route::WEIGHT_USUAL as u64, 10_000);
