//! A proven read may write after all, by a view that calls a function. `read_only` does not keep an account from it that has SUPER,
//! CONNECTION_ADMIN or READ ONLY ADMIN: the replica would have a transaction that its primary does not have. So the backend's own
//! transactions are made read-only, once for each connection, where the server has no `super_read_only`; both products apply
//! that to single statements too.
//! <https://dev.mysql.com/doc/refman/8.4/en/set-transaction.html>, <https://mariadb.com/docs/server/reference/sql-statements/transactions/set-transaction>

use super::backend::{Backend, Prelude};
use super::{Run, Session};
use crate::route::{Reason, Target};
use crate::sql::{Effect, TransactionVerb};
use crate::topology::{Flavor, Topology};

impl Session {
    /// The command that makes a replica's backend read-only, if the run could write there.
    pub(super) fn access_statement(
        &self,
        run: &Run,
        backend: &Backend,
        topology: &Topology,
    ) -> Option<(Prelude, &'static str)> {
        let reads = run.facts.is_some_and(|facts| facts.effect == Effect::Read)
            && run.route.target == Target::Replica
            && run.route.reason != Reason::ReadOnlyTransaction;
        let guarded = || topology.server(backend.server).is_some_and(|server| server.super_read_only);
        (reads && !backend.read_only && !guarded()).then_some((Prelude::ReadOnly, "SET SESSION TRANSACTION READ ONLY"))
    }

    fn access_variable(&self) -> &'static str {
        match self.flavor {
            Flavor::MySql => "transaction_read_only",
            Flavor::MariaDb => "tx_read_only",
        }
    }

    /// Gives a backend the server's own access mode; what the session chose is given to it behind that.
    pub(super) fn own_access(&self) -> &'static str {
        match self.flavor {
            Flavor::MySql => "SET @@SESSION.transaction_read_only=DEFAULT",
            Flavor::MariaDb => "SET @@SESSION.tx_read_only=DEFAULT",
        }
    }

    /// The session's variables were given to the backend: its own access mode, if it chose one, is among them.
    pub(super) fn variables_given(&self, backend: &mut Backend) {
        backend.read_only &= self.state.variables.system(self.access_variable()).is_none();
    }
}

impl Run {
    /// Whether it may have changed the access mode of its backend's transactions.
    pub(super) fn may_set_access(&self) -> bool {
        self.facts.is_none_or(|facts| match facts.effect {
            Effect::Read | Effect::Diagnostics | Effect::Write => false,
            Effect::Transaction => facts.transaction.is_none_or(|asked| asked.verb == TransactionVerb::SetSession),
            Effect::SessionState | Effect::Admin | Effect::Kill | Effect::Unknown => true,
        })
    }
}
