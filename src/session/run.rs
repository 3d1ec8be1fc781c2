//! A command on its way: what is known of it before it is planned.

use super::Run;
use super::asked::{Asked, Hinted};
use super::pins::Leaves;
use crate::route::{Demand, Reason, Route, Target};
use crate::topology::ServerId;
use crate::wire::{Command, Expect};
use std::time::Duration;

impl Run {
    /// It runs where the session's transaction and the state of its own are, or will be: on the primary, or on the replica of
    /// a read-only transaction.
    pub(super) fn has_session_state(&self) -> bool {
        self.route.target == Target::Primary || self.route.reason == Reason::ReadOnlyTransaction
    }

    pub(super) fn new(command: Command, expect: Expect) -> Self {
        let nowhere = Route {
            server: ServerId(0),
            target: Target::Primary,
            epoch: crate::topology::Epoch(0),
            reason: Reason::Command,
            wait: false,
        };
        Self {
            route: nowhere,
            command,
            expect,
            repeatable: false,
            tunnel: matches!(command, Command::BinlogDump | Command::BinlogDumpGtid),
            acknowledged: None,
            hinted: Hinted::default(),
            rule: None,
            timeout: None,
            over_limit: false,
            ruled: Demand::default(),
            asked: Asked::default(),
            awaits: None,
            named: None,
            seen: None,
            wait_max: Duration::ZERO,
            leaving: None,
            shows: false,
            facts: None,
            pending: None,
            assigns: None,
            leaves: Leaves::default(),
            begins_on_replica: false,
            begin_first: None,
            asks_insert_id: false,
            variables_before: 0,
            charset_before: 0,
            chooses_tracking: false,
            statement: None,
            gtids: false,
            saw_gtid: false,
            warnings: 0,
            saw_error: false,
            error: None,
            saw_result: false,
            saw_more: false,
            alone: None,
            saw_eof: false,
            saw_refused: false,
            saw_cursor: false,
            saw_state_change: false,
            prepared: None,
        }
    }
}
