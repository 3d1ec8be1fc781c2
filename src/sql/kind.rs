//! What a statement is called: for rules, statistics and the firewall. Where it may run is told by [`super::Effect`].

use super::words::Key;

spoken! {
    /// A statement by its verb. EXPLAIN ANALYZE and MariaDB's ANALYZE are what they run; a WITH is what it ends in.
    Kind {
        /// SELECT, VALUES, TABLE.
        Select => "select",
        /// INSERT
        Insert => "insert",
        /// REPLACE
        Replace => "replace",
        /// UPDATE
        Update => "update",
        /// DELETE
        Delete => "delete",
        /// LOAD DATA, LOAD XML, LOAD INDEX.
        Load => "load",
        /// CALL
        Call => "call",
        /// DO
        Do => "do",
        /// HANDLER
        Handler => "handler",
        /// SHOW
        Show => "show",
        /// EXPLAIN, DESCRIBE, DESC.
        Explain => "explain",
        /// SET in all its forms.
        Set => "set",
        /// USE
        Use => "use",
        /// BEGIN, START TRANSACTION.
        Begin => "begin",
        /// COMMIT
        Commit => "commit",
        /// ROLLBACK, also to a savepoint.
        Rollback => "rollback",
        /// SAVEPOINT, RELEASE SAVEPOINT.
        Savepoint => "savepoint",
        /// XA
        Xa => "xa",
        /// LOCK, UNLOCK.
        Lock => "lock",
        /// CREATE
        Create => "create",
        /// ALTER
        Alter => "alter",
        /// DROP
        Drop => "drop",
        /// TRUNCATE
        Truncate => "truncate",
        /// RENAME
        Rename => "rename",
        /// GRANT
        Grant => "grant",
        /// REVOKE
        Revoke => "revoke",
        /// PREPARE, EXECUTE, DEALLOCATE PREPARE, DROP PREPARE.
        Prepare => "prepare",
        /// KILL
        Kill => "kill",
        /// GET DIAGNOSTICS
        Diagnostics => "diagnostics",
        /// FLUSH, RESET, CHANGE, INSTALL, ANALYZE TABLE, and whatever else is administration.
        Admin => "admin",
        /// Several statements in one packet.
        Several => "several",
        /// Not understood, or not to be seen: an executable comment, a string without end.
        Unknown => "unknown",
    }
}

/// The kind that the first word stands for.
pub(super) fn of_verb(key: Key) -> Kind {
    match key {
        Key::Select | Key::With | Key::Values | Key::Table => Kind::Select,
        Key::Insert => Kind::Insert,
        Key::Replace => Kind::Replace,
        Key::Update => Kind::Update,
        Key::Delete => Kind::Delete,
        Key::Load => Kind::Load,
        Key::Call => Kind::Call,
        Key::Do => Kind::Do,
        Key::Handler => Kind::Handler,
        Key::Show => Kind::Show,
        Key::Explain => Kind::Explain,
        Key::Set => Kind::Set,
        Key::Use => Kind::Use,
        Key::Begin | Key::Start => Kind::Begin,
        Key::Commit => Kind::Commit,
        Key::Rollback => Kind::Rollback,
        Key::Savepoint | Key::Release => Kind::Savepoint,
        Key::Xa => Kind::Xa,
        Key::Lock | Key::Unlock => Kind::Lock,
        Key::Create => Kind::Create,
        Key::Alter => Kind::Alter,
        Key::Drop => Kind::Drop,
        Key::Truncate => Kind::Truncate,
        Key::Rename => Kind::Rename,
        Key::Grant => Kind::Grant,
        Key::Revoke => Kind::Revoke,
        Key::Prepare | Key::Execute | Key::Deallocate => Kind::Prepare,
        Key::Kill => Kind::Kill,
        Key::Get => Kind::Diagnostics,
        Key::Admin | Key::Analyze | Key::Flush | Key::Backup | Key::Binlog | Key::Import => Kind::Admin,
        _ => Kind::Unknown,
    }
}
