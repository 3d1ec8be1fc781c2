//! Transactions that run on a replica throughout, and what was asked of the next transaction.
//!
//! ```text
//!             START TRANSACTION READ ONLY, or BEGIN where that is the session's or the next transaction's access
//!  no transaction ──────────────────────────────────────────────────────► open on one replica
//!        ▲  ▲                                                              │   │   │
//!        │  └─ COMMIT, ROLLBACK ───────────────────────────────────────────┘   │   │
//!        │  └─ a statement that commits implicitly: ended there, run elsewhere ┘   │
//!        └──── the replica is lost: the next statement is told ────────────────────┘
//! ```
//! A write in it is refused by the server. What would leave state on the replica that no other backend can be given (a lock, a
//! temporary table, a procedure) is refused here, and from then on the session's read-only transactions run on the primary.

use super::backend::Leftover;
use super::not_run::read_only_refusal;
use super::{Failure, Run, Session};
use crate::route::{Reason, Route, Target};
use crate::sql::{
    Access, Effect, Facts, Hold, HoldChange, Isolation, StatementKind, Transaction, TransactionVerb, Why,
};
use crate::topology::{Flavor, ServerId, Topology};
use crate::wire::{Command, ErrPacket, Status};

/// What SET TRANSACTION asked of the next transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Characteristics {
    isolation: Option<Isolation>,
    access: Option<Access>,
}

/// The session's transactions, as far as the status flags do not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Transactions {
    /// For the next one.
    next: Option<Characteristics>,
    /// SET TRANSACTIONs so far.
    asked: u32,
    /// The replica on which a read-only transaction is open.
    pub(super) on_replica: Option<ServerId>,
    /// How that one began, as long as it can begin again on the primary without a difference.
    begun: Option<Begun>,
    /// One of them could not go on on a replica: they run on the primary.
    stay: bool,
    /// The replica was lost with a transaction on it, and the client was not told yet.
    lost: bool,
}

/// How a transaction on a replica began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Begun {
    isolation: Option<Isolation>,
    snapshot: bool,
    /// Each of its statements reads what is committed then, and there is no savepoint: it can go on elsewhere at any time.
    movable: bool,
}

/// What becomes of a statement in a transaction on a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Within {
    /// It runs there.
    Here,
    /// It ends the transaction and runs where it would without one.
    Ends,
    /// It cannot run there.
    Refused,
}

impl Characteristics {
    fn statement(self) -> String {
        let isolation = self.isolation.map(|level| match level {
            Isolation::ReadUncommitted => "ISOLATION LEVEL READ UNCOMMITTED",
            Isolation::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
            Isolation::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            Isolation::Serializable => "ISOLATION LEVEL SERIALIZABLE",
        });
        let access = self.access.map(|access| match access {
            Access::ReadOnly => "READ ONLY",
            Access::ReadWrite => "READ WRITE",
        });
        let both: Vec<_> = isolation.into_iter().chain(access).collect();
        format!("SET TRANSACTION {}", both.join(", "))
    }
}

impl Transactions {
    /// Something was asked of the next transaction, which did not come yet.
    pub(super) fn awaits_next(&self) -> bool {
        self.next.is_some()
    }

    /// SET TRANSACTIONs so far.
    pub(super) fn asked(&self) -> u32 {
        self.asked
    }

    /// COM_RESET_CONNECTION.
    pub(super) fn reset(&mut self) {
        (self.next, self.on_replica, self.begun, self.lost) = (None, None, None, false);
    }
}

impl Session {
    /// Whether a statement begins a transaction that only reads, and may do so on a replica.
    pub(super) fn begins_on_replica(&self, facts: &Facts) -> bool {
        let Some(asked) = facts.transaction.filter(|asked| asked.verb == TransactionVerb::Start) else { return false };
        let transactions = &self.state.transactions;
        let next = transactions.next.and_then(|next| next.access);
        let access = asked.access.or(next).or_else(|| self.default_access());
        // MariaDB logs a SAVEPOINT behind WITH CONSISTENT SNAPSHOT, and a server that is read-only then refuses the COMMIT (1290).
        if asked.snapshot && self.flavor == Flavor::MariaDb {
            return false;
        }
        let free = self.state.pins.is_empty() && !self.in_transaction() && self.state.status.has(Status::AUTOCOMMIT);
        access == Some(Access::ReadOnly) && free && !transactions.stay
    }

    /// What the session's variables say, else what it began with.
    fn default_access(&self) -> Option<Access> {
        let own = |name| self.state.variables.system(name);
        let Some(value) = own("transaction_read_only").or_else(|| own("tx_read_only")) else {
            let begun = ["transaction_read_only", "tx_read_only"].iter().any(|name| self.defaults.is_on(name));
            return begun.then_some(Access::ReadOnly);
        };
        let value = value?;
        let on = ["1", "'on'", "on", "true"].iter().any(|on| value.eq_ignore_ascii_case(on));
        on.then_some(Access::ReadOnly)
    }

    /// Where a command runs while a transaction is open on a replica; `None` if none is, or the statement ends it.
    pub(super) fn within_transaction(
        &mut self,
        facts: Option<&Facts>,
        run: &mut Run,
        topology: &Topology,
    ) -> Option<Inside> {
        let server = self.state.transactions.on_replica?;
        match facts.map_or(Within::Here, |facts| judge(facts, run)) {
            Within::Here => Some(Inside::Run(Route {
                server,
                target: Target::Replica,
                epoch: topology.epoch,
                reason: Reason::ReadOnlyTransaction,
                wait: false,
            })),
            Within::Ends => {
                self.end_on_replica(server);
                None
            }
            Within::Refused => {
                let begun = self.state.transactions.begun;
                self.state.transactions.stay = true;
                self.end_on_replica(server);
                match begun {
                    Some(begun) => {
                        run.begin_first = Some(self.begin_again(begun));
                        None
                    }
                    None => Some(Inside::Fail(Failure::NotOnReplica)),
                }
            }
        }
    }

    /// Nothing was read yet, so that the transaction may as well begin on the primary.
    fn begin_again(&mut self, begun: Begun) -> &'static str {
        if begun.isolation.is_some() {
            let transactions = &mut self.state.transactions;
            transactions.next = Some(Characteristics { isolation: begun.isolation, access: None });
            transactions.asked = transactions.asked.wrapping_add(1);
        }
        if begun.snapshot {
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
        } else {
            "START TRANSACTION READ ONLY"
        }
    }

    fn end_on_replica(&mut self, server: ServerId) {
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == server) {
            backend.leftover = Some(Leftover::Transaction);
        }
        self.forget_transaction();
    }

    /// No transaction is open any more.
    pub(super) fn forget_transaction(&mut self) {
        self.state.transactions.on_replica = None;
        self.state.holder = None;
        self.state.status.0 &= !(Status::IN_TRANS.0 | Status::IN_TRANS_READONLY.0);
    }

    /// SET TRANSACTION succeeded.
    pub(super) fn asked_of_next(&mut self, run: &Run, asked: Transaction) {
        let transactions = &mut self.state.transactions;
        let next = transactions.next.get_or_insert_default();
        next.isolation = asked.isolation.or(next.isolation);
        next.access = asked.access.or(next.access);
        transactions.asked = transactions.asked.wrapping_add(1);
        let version = transactions.asked;
        if let Some(backend) = self.backends.iter_mut().find(|backend| backend.server == run.route.server) {
            backend.asked = version;
        }
    }

    /// The statement that gives a backend what was asked of the next transaction, if the run needs it there.
    pub(super) fn next_transaction(&self, run: &Run, asked: u32) -> Option<String> {
        let next = self.state.transactions.next?;
        let needed = run.route.target == Target::Primary || run.begins_on_replica;
        (needed && asked != self.state.transactions.asked).then(|| next.statement())
    }

    /// The answer of a run on the backend with the session's transaction is over. What was asked of the next transaction is
    /// used up by it; where it was asked and is not used, it must be taken back.
    pub(super) fn transaction_moved(&mut self, run: &Run) {
        let server = run.route.server;
        let open = self.in_transaction() && run.route.target == Target::Replica;
        self.state.transactions.on_replica = open.then_some(server);
        let asked = run.facts.and_then(|facts| facts.transaction);
        self.state.transactions.begun = self.begun_now(run).filter(|_| open);
        let verb = asked.map(|asked| asked.verb);
        let ended = !run.saw_error && matches!(verb, Some(TransactionVerb::Commit | TransactionVerb::Rollback));
        if self.state.transactions.next.is_none() || !(self.in_transaction() || ended || run.saw_gtid) {
            return;
        }
        self.state.transactions.next = None;
        let asked = self.state.transactions.asked;
        for backend in self.backends.iter_mut().filter(|backend| backend.server != server && backend.asked == asked) {
            backend.leftover = Some(Leftover::Characteristics);
        }
    }

    /// How the transaction on the replica began, if after this run it can still begin again on the primary.
    fn begun_now(&self, run: &Run) -> Option<Begun> {
        let asked = run.facts.and_then(|facts| facts.transaction);
        if let Some(asked) = asked.filter(|_| run.begins_on_replica) {
            let isolation = self.state.transactions.next.and_then(|next| next.isolation);
            let each = matches!(isolation, Some(Isolation::ReadCommitted | Isolation::ReadUncommitted));
            let movable = each || (isolation.is_none() && self.reads_what_is_committed());
            return Some(Begun { isolation, snapshot: asked.snapshot, movable });
        }
        let begun = self.state.transactions.begun?;
        let sets = run.facts.is_none_or(|facts| facts.effect == Effect::SessionState);
        let reads_nothing = sets || run.command == Command::StmtPrepare;
        let marks = run.facts.is_some_and(|facts| facts.kind == StatementKind::Savepoint) || asked.is_some();
        (reads_nothing || (begun.movable && !marks)).then_some(begun)
    }

    /// Whether the session has set READ COMMITTED or READ UNCOMMITTED.
    fn reads_what_is_committed(&self) -> bool {
        let own = |name| self.state.variables.system(name);
        let level = own("transaction_isolation").or_else(|| own("tx_isolation")).flatten();
        let level = level.map(|level| level.trim_matches('\'').to_ascii_uppercase());
        level.is_some_and(|level| level == "READ-COMMITTED" || level == "READ-UNCOMMITTED")
    }

    /// The replica was lost with a transaction on it: the session goes on, and the client is told so once.
    pub(super) fn lost_on_replica(&mut self, server: ServerId) -> bool {
        let lost = self.state.transactions.on_replica == Some(server);
        if lost {
            self.forget_transaction();
            self.state.transactions.lost = true;
        }
        lost
    }

    /// What a client must be told before anything else: its read-only transaction is gone.
    pub fn take_lost_transaction(&mut self) -> Option<Failure> {
        std::mem::take(&mut self.state.transactions.lost).then_some(Failure::ReadOnlyTransactionLost)
    }

    /// A replica refuses every write because it is read-only. In a read-only transaction a client expects to be told of that.
    pub(super) fn refused_in_transaction(&self, run: &Run, payload: &[u8]) -> Option<Vec<u8>> {
        if self.state.transactions.on_replica != Some(run.route.server) {
            return None;
        }
        read_only_refusal(payload)?;
        let dot = if self.flavor == Flavor::MySql { "." } else { "" };
        let message = format!("Cannot execute statement in a READ ONLY transaction{dot}");
        let mut shown = Vec::new();
        ErrPacket::new(1792, *b"25006", message).encode(&mut shown);
        Some(shown)
    }
}

/// What becomes of a statement in a transaction on a replica.
fn judge(facts: &Facts, run: &Run) -> Within {
    if run.asks_insert_id {
        return Within::Refused;
    }
    match facts.hold {
        None => {}
        // A SET that other backends can be given.
        Some(_) if run.assigns.as_ref().is_some_and(|assigns| super::follow::all_carried(assigns)) => {
            return Within::Here;
        }
        Some(Hold::UserVariable) if run.leaves.only_reads_user_variables() => {}
        // Refused by the server for want of a right to write, before anything of it is run.
        Some(Hold::UserVariable | Hold::Routine) if facts.effect == Effect::Write && facts.why == Why::Write => {}
        Some(Hold::SessionVariable | Hold::NextTransaction) if facts.transaction.is_some() => {}
        Some(hold) => return judge_hold(hold, facts, run),
    }
    match (facts.effect, facts.why) {
        (Effect::Read | Effect::Diagnostics | Effect::SessionState, _) => Within::Here,
        (Effect::Transaction, _) if facts.transaction.is_some_and(|asked| asked.verb == TransactionVerb::Start) => {
            Within::Ends
        }
        (Effect::Transaction, _) => Within::Here,
        (Effect::Write, Why::Ddl) => Within::Ends,
        (Effect::Write, _) => Within::Here,
        // Nothing is locked or open there.
        (Effect::Admin, Why::Admin) if matches!(facts.kind, StatementKind::Lock | StatementKind::Handler) => {
            Within::Here
        }
        (Effect::Admin, Why::Admin) if matches!(facts.kind, StatementKind::Grant | StatementKind::Revoke) => {
            Within::Ends
        }
        (Effect::Admin, Why::Call) => Within::Here,
        (Effect::Admin, Why::SelectInto | Why::Admin | Why::ExecutableComment) => Within::Refused,
        (Effect::Admin, _) => Within::Here,
        // To the lexer it is a read that leaves nothing behind, and in a READ ONLY transaction the server refuses writes.
        (Effect::Unknown, Why::ParserObjects | Why::ParserRefuses) => Within::Here,
        (Effect::Kill | Effect::Unknown, _) => Within::Refused,
    }
}

/// The same of a statement that would leave something behind, by what its server says of it in such a transaction.
fn judge_hold(hold: Hold, facts: &Facts, run: &Run) -> Within {
    let all = |test: fn(&HoldChange) -> bool| !run.leaves.changes().is_empty() && run.leaves.changes().iter().all(test);
    match hold {
        // 1792: the table is not made, and what it would be made from is not run.
        Hold::TemporaryTable if facts.kind == StatementKind::Create => Within::Here,
        // 1400: there is a transaction.
        Hold::Xa => Within::Here,
        // It holds none there.
        Hold::UserLock if all(|change| matches!(change, HoldChange::Release(..) | HoldChange::ReleaseAll(_))) => {
            Within::Here
        }
        // 1243: no text is prepared there.
        Hold::TextPrepared
            if all(|change| match change {
                HoldChange::Execute(name) => !name.is_empty(),
                change => matches!(change, HoldChange::Release(..)),
            }) =>
        {
            Within::Here
        }
        // It commits implicitly.
        Hold::TableLock if facts.kind == StatementKind::Lock && all(locks_tables) => Within::Ends,
        _ => Within::Refused,
    }
}

/// Not the instance.
fn locks_tables(change: &HoldChange) -> bool {
    matches!(change, HoldChange::Take(Hold::TableLock, Some(what)) if **what == *b"tables")
}

/// What a command in a transaction on a replica comes to.
pub(super) enum Inside {
    /// It runs there.
    Run(Route),
    /// It is answered with this.
    Fail(Failure),
}
