//! What a statement takes hold of and what it lets go, by name: asked only of a statement that holds something, or of one
//! that follows such a statement.
//!
//! A name is compared byte for byte, so that one written in another way lets nothing go. What could be held in a way that is
//! not seen here is taken without a name, and no name lets it go.

use super::cursor::Cursor;
use super::lexer::Kind;
use super::words::{Call, Key};
use super::{Effect, Hold, Lexis, classify};

/// One change of what a session holds, if the statement succeeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HoldChange {
    /// It holds this from now on. Without a name only [`HoldChange::ReleaseAll`] lets it go.
    Take(Hold, Option<Box<[u8]>>),
    /// It holds this no longer.
    Release(Hold, Box<[u8]>),
    /// It holds nothing of the kind any longer.
    ReleaseAll(Hold),
    /// What it holds of the kind may go by other names now.
    Rename(Hold),
    /// A text was prepared by this name.
    Prepare {
        /// Its name.
        name: Box<[u8]>,
        /// It is known, and executing it leaves nothing behind.
        harmless: bool,
    },
    /// The text prepared by this name was executed, also when it failed.
    Execute(Box<[u8]>),
}

use HoldChange::{Execute, Prepare, Release, ReleaseAll, Rename, Take};

/// The changes; none if the statement is not one that changes holds, or more than one.
#[must_use]
pub fn hold_changes(sql: &[u8], lexis: Lexis) -> Vec<HoldChange> {
    let mut reader = Cursor::new(sql, lexis);
    let first = reader.advance();
    let changes = match first.key() {
        Key::Create => reader.create(),
        Key::Drop => reader.drop(),
        Key::Alter | Key::Rename => reader.rename(first.key() == Key::Rename),
        Key::Lock => reader.lock(),
        Key::Unlock => reader.unlock(),
        Key::Flush => reader.flush(),
        Key::Backup => reader.backup(),
        Key::Xa => reader.xa(),
        Key::Handler => reader.handler(),
        Key::Prepare => reader.prepare(),
        Key::Deallocate => reader.deallocate(),
        Key::Execute => reader.execute(),
        Key::Select | Key::Do => reader.user_locks(),
        _ => None,
    };
    // What is hidden in the rest has no name.
    let hidden = reader.calls_a_lock();
    let mut changes = if reader.at_end() { changes.unwrap_or_default() } else { Vec::new() };
    if hidden {
        changes.push(Take(Hold::UserLock, None));
    }
    changes
}

/// Whether all that a statement does with user variables is to read them.
#[must_use]
pub fn only_reads_user_variables(sql: &[u8], lexis: Lexis) -> bool {
    let mut reader = Cursor::new(sql, lexis);
    let mut before = reader.advance();
    let known = before.kind == Kind::Open
        || matches!(
            before.key(),
            Key::Select | Key::With | Key::Values | Key::Table | Key::Insert | Key::Replace | Key::Update | Key::Delete
        );
    while reader.token.kind != Kind::End {
        let assigned = reader.token.kind == Kind::Assign
            || (reader.token.kind == Kind::UserVariable && before.key() == Key::Into)
            || reader.token.kind == Kind::Semicolon;
        if assigned {
            return reader.at_end() && known && reader.token.kind == Kind::End;
        }
        before = reader.token;
        reader.advance();
    }
    known && reader.lexer.hazard.is_none()
}

const TABLES: &[u8] = b"tables";

impl Cursor<'_> {
    /// Walks to the end, or to a second statement; whether a lock is taken on the way.
    fn calls_a_lock(&mut self) -> bool {
        let mut before = self.token;
        let mut calls = false;
        while !matches!(self.token.kind, Kind::End | Kind::Semicolon) {
            calls |= self.token.kind == Kind::Open && before.call() == Call::UserLock;
            before = self.token;
            self.advance();
        }
        calls
    }

    /// `[schema.]table`: the schema, a NUL, the table. Steps over it.
    fn table(&mut self) -> Option<Box<[u8]>> {
        let first = self.name()?;
        if self.advance().kind != Kind::Dot {
            return Some([b"\0", first].concat().into());
        }
        self.advance();
        let second = self.name()?;
        self.advance();
        Some([first, b"\0", second].concat().into())
    }

    fn create(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        if self.skip("or") {
            self.skip("replace");
        }
        if !self.skip("temporary") {
            return None;
        }
        if !self.skip("table") {
            return Some(vec![Take(Hold::TemporaryTable, None)]);
        }
        if self.skip("if") {
            self.skip("not");
            self.skip("exists");
        }
        let name = self.table();
        // The rest is looked at for locks: step over the first token only.
        Some(vec![Take(Hold::TemporaryTable, name)])
    }

    fn drop(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        if self.skip("prepare") {
            return self.deallocated();
        }
        self.skip("temporary");
        if !self.skip("table") && !self.skip("tables") {
            return None;
        }
        if self.skip("if") {
            self.skip("exists");
        }
        let mut dropped = Vec::new();
        loop {
            dropped.push(Release(Hold::TemporaryTable, self.table()?));
            if self.token.kind != Kind::Comma {
                return Some(dropped);
            }
            self.advance();
        }
    }

    fn rename(&mut self, mut renames: bool) -> Option<Vec<HoldChange>> {
        while self.token.kind != Kind::End {
            renames |= self.is("rename");
            self.advance();
        }
        renames.then(|| vec![Rename(Hold::TemporaryTable)])
    }

    fn lock(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        let what: &[u8] = if self.is("instance") { b"instance" } else { TABLES };
        Some(vec![Take(Hold::TableLock, Some(what.into()))])
    }

    /// `FLUSH TABLES ... WITH READ LOCK` and `FLUSH TABLES ... FOR EXPORT`.
    fn flush(&mut self) -> Option<Vec<HoldChange>> {
        let mut locks = false;
        while !matches!(self.advance().kind, Kind::End | Kind::Semicolon) {
            locks |= self.token.key() == Key::Lock || self.is("export");
        }
        locks.then(|| vec![Take(Hold::TableLock, Some(TABLES.into()))])
    }

    fn unlock(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        let what: &[u8] = match () {
            () if self.skip("instance") => b"instance",
            () if self.skip("tables") || self.skip("table") => TABLES,
            () => return None,
        };
        Some(vec![Release(Hold::TableLock, what.into())])
    }

    /// `BACKUP STAGE name`, `BACKUP LOCK table`, `BACKUP UNLOCK`.
    fn backup(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        Some(vec![match () {
            () if self.skip("unlock") => Release(Hold::TableLock, b"backup"[..].into()),
            () if self.skip("lock") => Take(Hold::TableLock, Some(b"backup"[..].into())),
            () if self.skip("stage") && self.is("end") => {
                self.advance();
                Release(Hold::TableLock, b"stage"[..].into())
            }
            () => Take(Hold::TableLock, Some(b"stage"[..].into())),
        }])
    }

    fn xa(&mut self) -> Option<Vec<HoldChange>> {
        let verb = self.advance();
        let ends = matches!(verb.key(), Key::Commit | Key::Rollback);
        if self.is("recover") {
            return None;
        }
        self.advance();
        // `gtrid [, bqual [, format]]`, as it is written.
        let from = self.token.start;
        let mut to = from;
        while matches!(self.token.kind, Kind::Text | Kind::Number | Kind::Comma) || self.is("x") || self.is("b") {
            to = self.token.end;
            self.advance();
        }
        let xid = self.lexer.between(from, to).to_vec().into_boxed_slice();
        let understood = !xid.is_empty();
        while self.token.kind == Kind::Word {
            self.advance();
        }
        match (ends, understood) {
            (true, true) => Some(vec![Release(Hold::Xa, xid)]),
            (true, false) => None,
            (false, _) => Some(vec![Take(Hold::Xa, understood.then_some(xid))]),
        }
    }

    /// `HANDLER table OPEN [[AS] name]`, `HANDLER name READ ...`, `HANDLER name CLOSE`.
    fn handler(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        let table = self.table()?;
        let bare = |table: &[u8]| -> Box<[u8]> { table.rsplit(|byte| *byte == 0).next().unwrap_or_default().into() };
        if self.skip("close") {
            return Some(vec![Release(Hold::Handler, bare(&table))]);
        }
        if !self.skip("open") {
            // To read needs what OPEN took.
            return Some(vec![Take(Hold::Handler, Some(bare(&table)))]);
        }
        self.skip("as");
        let name = self.name().map_or_else(|| bare(&table), Into::into);
        if self.token.is_name() {
            self.advance();
        }
        Some(vec![Take(Hold::Handler, Some(name))])
    }

    /// `PREPARE name FROM 'text'`; a text in a variable is not known.
    fn prepare(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        let name = self.name()?.to_ascii_lowercase().into_boxed_slice();
        self.advance();
        if !self.skip("from") {
            return None;
        }
        let text = match (self.token.kind, self.lexer.text(&self.token)) {
            (Kind::Text, [quote, text @ .., _]) if !text.contains(&b'\\') && !text.contains(quote) => Some(text),
            _ => None,
        };
        self.advance();
        let harmless = text.is_some_and(|text| {
            let facts = classify(text, self.lexis);
            facts.hold.is_none()
                && !matches!(facts.effect, Effect::Unknown | Effect::SessionState | Effect::Transaction)
        });
        while !matches!(self.token.kind, Kind::End | Kind::Semicolon) {
            self.advance();
        }
        Some(vec![Prepare { name, harmless }])
    }

    fn deallocate(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        if self.skip("prepare") { self.deallocated() } else { None }
    }

    fn deallocated(&mut self) -> Option<Vec<HoldChange>> {
        let name = self.name()?.to_ascii_lowercase().into_boxed_slice();
        self.advance();
        Some(vec![Release(Hold::TextPrepared, name)])
    }

    fn execute(&mut self) -> Option<Vec<HoldChange>> {
        self.advance();
        let name = self.name()?.to_ascii_lowercase();
        // `EXECUTE IMMEDIATE 'text'`
        let immediate = !matches!(self.advance().kind, Kind::End | Kind::Semicolon) && !self.is("using");
        let name = if immediate { Vec::new() } else { name };
        while !matches!(self.token.kind, Kind::End | Kind::Semicolon) {
            self.advance();
        }
        Some(vec![Execute(name.into())])
    }

    /// `SELECT` or `DO` of calls that take and release user locks, each done once: nothing else in it.
    fn user_locks(&mut self) -> Option<Vec<HoldChange>> {
        let start = *self;
        let changes = self.user_lock_calls();
        if changes.is_none() {
            *self = start;
        }
        changes
    }

    fn user_lock_calls(&mut self) -> Option<Vec<HoldChange>> {
        let mut changes = Vec::new();
        loop {
            let function = self.advance();
            if self.advance().kind != Kind::Open {
                return None;
            }
            let argument = self.advance();
            let literal = match (argument.kind, self.lexer.text(&argument)) {
                (Kind::Text, [_, inner @ .., _]) => Some(inner.into()),
                _ => None,
            };
            changes.push(match literal {
                Some(name) if self.lexer.is_word(&function, "release_lock") => Release(Hold::UserLock, name),
                None if self.lexer.is_word(&function, "release_all_locks") => ReleaseAll(Hold::UserLock),
                name if function.call() == Call::UserLock => Take(Hold::UserLock, name),
                _ => return None,
            });
            while !matches!(self.token.kind, Kind::Close | Kind::End | Kind::Open) {
                self.advance();
            }
            if self.token.kind != Kind::Close {
                return None;
            }
            self.advance();
            if self.skip("as") || self.token.is_name() {
                self.advance();
            }
            match self.token.kind {
                Kind::Comma => {}
                Kind::End | Kind::Semicolon => return Some(changes),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CharsetFamily, Flavor};
    use super::*;

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    fn shown(sql: &str) -> String {
        let text = |name: &[u8]| String::from_utf8_lossy(name).replace('\0', "/");
        let each = hold_changes(sql.as_bytes(), LEXIS).into_iter().map(|change| match change {
            Take(hold, name) => format!("+{} {}", hold.as_str(), name.map_or("?".to_owned(), |name| text(&name))),
            Release(hold, name) => format!("-{} {}", hold.as_str(), text(&name)),
            ReleaseAll(hold) => format!("-{}", hold.as_str()),
            Rename(hold) => format!("~{}", hold.as_str()),
            Prepare { name, harmless } => format!("prepare {} {harmless}", text(&name)),
            Execute(name) => format!("execute {}", text(&name)),
        });
        each.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_taken_and_let_go_has_a_name() {
        for (sql, wanted) in [
            ("CREATE TEMPORARY TABLE t (a INT)", "+temporary_table /t"),
            ("create or replace temporary table if not exists `s`.`t` as select 1", "+temporary_table s/t"),
            ("CREATE TEMPORARY SEQUENCE s", "+temporary_table ?"),
            ("CREATE TABLE t (a INT)", ""),
            ("DROP TEMPORARY TABLE IF EXISTS t, s.u", "-temporary_table /t; -temporary_table s/u"),
            ("DROP TABLE t;", "-temporary_table /t"),
            ("DROP VIEW t", ""),
            ("ALTER TABLE t RENAME TO u", "~temporary_table"),
            ("ALTER TABLE t ADD b INT", ""),
            ("LOCK TABLES t READ", "+table_lock tables"),
            ("LOCK INSTANCE FOR BACKUP", "+table_lock instance"),
            ("FLUSH TABLES WITH READ LOCK", "+table_lock tables"),
            ("FLUSH TABLES t FOR EXPORT", "+table_lock tables"),
            ("FLUSH LOGS", ""),
            ("UNLOCK TABLES", "-table_lock tables"),
            ("UNLOCK INSTANCE", "-table_lock instance"),
            ("BACKUP STAGE START", "+table_lock stage"),
            ("BACKUP STAGE END", "-table_lock stage"),
            ("XA START 'a', 'b', 1", "+xa 'a', 'b', 1"),
            ("XA PREPARE 'a'", "+xa 'a'"),
            ("XA COMMIT 'a' ONE PHASE", "-xa 'a'"),
            ("XA ROLLBACK 'a'", "-xa 'a'"),
            ("XA RECOVER", ""),
            ("HANDLER s.t OPEN", "+handler t"),
            ("HANDLER t OPEN AS h", "+handler h"),
            ("HANDLER h READ FIRST", "+handler h"),
            ("HANDLER h CLOSE", "-handler h"),
            ("PREPARE p FROM 'SELECT 1'", "prepare p true"),
            ("PREPARE P FROM 'SET @x = 1'", "prepare p false"),
            ("PREPARE p FROM 'CREATE TEMPORARY TABLE t (a INT)'", "prepare p false"),
            ("PREPARE p FROM @text", "prepare p false"),
            ("EXECUTE p USING @a, @b", "execute p"),
            ("EXECUTE IMMEDIATE 'SELECT 1'", "execute "),
            ("DEALLOCATE PREPARE p", "-text_prepared p"),
            ("DROP PREPARE p", "-text_prepared p"),
        ] {
            assert_eq!(shown(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn a_user_lock_has_a_name_only_where_it_is_taken_once_for_sure() {
        for (sql, wanted) in [
            ("SELECT GET_LOCK('a', 10)", "+user_lock a"),
            ("DO GET_LOCK('a', 1), RELEASE_LOCK('b')", "+user_lock a; -user_lock b"),
            ("SELECT RELEASE_LOCK('a') AS done", "-user_lock a"),
            ("SELECT RELEASE_ALL_LOCKS()", "-user_lock"),
            ("SELECT GET_LOCK(@name, 10)", "+user_lock ?"),
            ("SELECT GET_LOCK('a', 10) FROM t", "+user_lock ?"),
            ("SELECT 1 + GET_LOCK('a', 10)", "+user_lock ?"),
            ("SELECT RELEASE_LOCK('a') FROM t WHERE 0", ""),
            ("SELECT IF(0, RELEASE_LOCK('a'), 1)", ""),
            ("SELECT RELEASE_LOCK('a') WHERE 0", ""),
            ("SELECT GET_LOCK(CONCAT('a', GET_LOCK('b', 1)), 1)", "+user_lock ?"),
            ("CREATE TEMPORARY TABLE t SELECT GET_LOCK('a', 1)", "+temporary_table /t; +user_lock ?"),
            ("INSERT INTO t SELECT GET_LOCK('a', 1)", "+user_lock ?"),
        ] {
            assert_eq!(shown(sql), wanted, "{sql}");
        }
    }

    #[test]
    fn several_statements_and_broken_ones_let_nothing_go() {
        for sql in ["DROP TABLE t; SELECT 1", "UNLOCK TABLES /*!1*/", "DROP TABLE 'x"] {
            assert_eq!(shown(sql), "", "{sql}");
        }
    }

    #[test]
    fn a_user_variable_is_read_or_assigned() {
        for (sql, reads) in [
            ("SELECT @a, b FROM t WHERE c = @d", true),
            ("INSERT INTO t VALUES (@a)", true),
            ("UPDATE t SET a = @b LIMIT 1", true),
            ("(SELECT @a)", true),
            ("SELECT @a := 1", false),
            ("SELECT 1 INTO @a", false),
            ("SELECT 1, 2 INTO @a, @b", false),
            ("LOAD DATA INFILE 'x' INTO TABLE t (@a)", false),
            ("CALL p(@a)", false),
            ("GET DIAGNOSTICS @a = NUMBER", false),
            ("SELECT @a; SELECT 1 INTO @a", false),
            ("SELECT @a /*!1*/", false),
        ] {
            assert_eq!(only_reads_user_variables(sql.as_bytes(), LEXIS), reads, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(sql: Vec<u8>, word in 0_usize..8) {
            let words = ["CREATE TEMPORARY TABLE ", "DROP TABLE ", "XA START ", "HANDLER ", "PREPARE ", "SELECT ", "", "EXECUTE "];
            let sql = [words[word].as_bytes(), &sql].concat();
            let _ = hold_changes(&sql, LEXIS);
            let _ = only_reads_user_variables(&sql, LEXIS);
        }
    }
}
