//! What a session's statements left behind, as the servers reported it: typed, so that another backend can be given it.

use super::lost_values::{InsertId, TracesLost};
use super::not_run::RefusedState;
use super::pins::Pins;
use super::transaction::Transactions;
use super::variables::Variables;
use crate::route::{Consistency, Frontier};
use crate::sql::CharsetFamily;
use crate::topology::{GtidSet, ServerId};
use crate::wire::Status;
use std::sync::Arc;

/// The state that follows a session, and the state that binds it.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Status flags of the last answer of a primary.
    pub(super) status: Status,
    /// Default schema.
    pub(super) schema: Option<Vec<u8>>,
    /// Character set and collation.
    pub(super) charset: Charset,
    /// Variables that it changed.
    pub(super) variables: Variables,
    /// What follows `SET ROLE` in the last one that succeeded.
    pub(super) role: Option<Box<str>>,
    /// SET ROLEs so far.
    pub(super) roles: u32,
    /// Its transactions.
    pub(super) transactions: Transactions,
    /// COM_RESET_CONNECTIONs so far: a backend that has seen fewer is behind.
    pub(super) resets: u32,
    /// Why the session must stay on its primary backend.
    pub(super) pins: Pins,
    /// The server whose backend holds the open transaction, or what pins.
    pub(super) holder: Option<ServerId>,
    /// The server that ran the previous statement.
    pub(super) last: Option<ServerId>,
    /// The server whose warnings are those of the previous statement: to prepare one elsewhere may leave none.
    pub(super) warned: Option<ServerId>,
    /// The server that ran the last statement which `FOUND_ROWS()` is about.
    pub(super) found: Option<ServerId>,
    /// Whose connections of `last`, `warned` and `found` are gone.
    pub(super) traces_lost: TracesLost,
    /// `LAST_INSERT_ID()`.
    pub(super) insert_id: InsertId,
    /// The replica that the session reads from.
    pub(super) replica: Option<ServerId>,
    /// The server that answered its last read outside of a transaction on the primary.
    pub(super) read_at: Option<ServerId>,
    /// What it must see: its own writes, and what it saw on a replica that it left.
    pub(super) frontier: Frontier,
    /// The open transaction wrote, and its end will not tell the position.
    pub(super) unreported: bool,
    /// What a replica refused last of what the session has.
    pub(super) refused: Option<RefusedState>,
    /// `dbproxy_gtid`: what its reads must see besides.
    pub(super) named: Option<Arc<GtidSet>>,
    /// `dbproxy_consistency`, once set.
    pub(super) consistency: Option<Consistency>,
}

/// The character set of a session. The servers report names of character sets, not the collation that `SET NAMES ... COLLATE`
/// chose, so another backend can follow only after the one that ran the SET was asked.
#[derive(Clone, Debug)]
pub(super) struct Charset {
    /// Changes so far; 0 is what the client's login says.
    pub(super) version: u32,
    /// The server whose backend ran the last change.
    pub(super) home: Option<ServerId>,
    /// The last change chose what results are in, as SET NAMES does, and not the collation alone.
    pub(super) named: bool,
    /// What that server said, once asked.
    pub(super) known: Option<CharsetVariables>,
    /// The family of `character_set_client`.
    pub(super) family: CharsetFamily,
}

/// The three variables that a character set is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CharsetVariables {
    pub(super) client: String,
    pub(super) results: Option<String>,
    pub(super) collation: String,
}

impl CharsetVariables {
    /// From the answer to [`CharsetVariables::QUERY`].
    pub(super) fn from_row(row: &[Option<Vec<u8>>]) -> Option<Self> {
        let text = |value: &Option<Vec<u8>>| value.as_ref().and_then(|bytes| name(bytes));
        match row {
            [client, results, collation] => {
                Some(Self { client: text(client)?, results: text(results), collation: text(collation)? })
            }
            _ => None,
        }
    }

    /// Asks a backend for them; as bytes, whatever character set results are in.
    pub(super) const QUERY: &'static str = "SELECT CAST(@@character_set_client AS BINARY), CAST(@@character_set_results AS BINARY), \
         CAST(@@collation_connection AS BINARY)";

    /// Gives them to a backend.
    ///
    /// `named`: as [`Charset::named`]. Results are described with the collation of SET NAMES, else with their default one.
    pub(super) fn statement(&self, named: bool) -> String {
        let Self { client, collation, .. } = self;
        let results = self.results.as_deref().unwrap_or("NULL");
        if named && collation.split('_').next() == Some(results) {
            let client = if client == results { String::new() } else { format!(", character_set_client={client}") };
            return format!("SET NAMES {results} COLLATE {collation}{client}");
        }
        format!("SET character_set_client={client}, character_set_results={results}, collation_connection={collation}")
    }
}

/// A name that may stand unquoted in a statement of ours; anything else is no name of a character set.
fn name(bytes: &[u8]) -> Option<String> {
    let plain = bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if bytes.is_empty() || !plain { None } else { String::from_utf8(bytes.to_vec()).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lying_server_cannot_put_a_statement_into_the_set() {
        let row = [Some(b"utf8mb4; DROP TABLE t".to_vec()), None, Some(b"utf8mb4_bin".to_vec())];
        assert_eq!(CharsetVariables::from_row(&row), None);
    }

    #[test]
    fn the_collation_of_names_is_the_collation_of_results() {
        let known = |client: &str, results: &str, collation: &str| {
            let row = [client, results, collation].map(|name| Some(name.as_bytes().to_vec()));
            CharsetVariables::from_row(&row).expect("three plain values").statement(true)
        };
        assert_eq!(known("utf8mb4", "utf8mb4", "utf8mb4_bin"), "SET NAMES utf8mb4 COLLATE utf8mb4_bin");
        assert_eq!(known("gbk", "binary", "binary"), "SET NAMES binary COLLATE binary, character_set_client=gbk");
        assert_eq!(
            known("latin1", "latin1", "utf8mb4_bin"),
            "SET character_set_client=latin1, character_set_results=latin1, collation_connection=utf8mb4_bin"
        );
    }

    #[test]
    fn results_without_conversion_are_carried_as_null() {
        let row = [Some(b"latin1".to_vec()), None, Some(b"latin1_bin".to_vec())];
        let known = CharsetVariables::from_row(&row).expect("three plain values");
        assert_eq!(
            known.statement(false),
            "SET character_set_client=latin1, character_set_results=NULL, collation_connection=latin1_bin"
        );
    }
}
