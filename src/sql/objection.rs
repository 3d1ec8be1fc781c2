//! What a parser's tree has against a plain read: the second opinion.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, SetExpr, Statement, Visit,
    Visitor,
};

use super::Lexis;
use super::scan::names_the_server;
use super::server::describes_one_server;
use super::verdict::Objection;
use super::words::{self, Call};

/// The first objection to taking the statement for a plain read.
pub(super) fn of_statement(statement: &Statement, lexis: Lexis) -> Option<Objection> {
    let mut found = Found { lexis, objection: None };
    let inner = match statement {
        Statement::Explain { statement, .. } => statement,
        other => other,
    };
    match inner {
        // MariaDB's `ANALYZE SELECT` is taken for ANALYZE TABLE.
        Statement::Analyze { .. } => return None,
        Statement::Query(_)
        | Statement::ExplainTable { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowDatabases { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowCreate { .. }
        | Statement::ShowCollation { .. }
        | Statement::ShowCharset(_)
        | Statement::ShowVariable { .. } => {}
        _ => found.note(Objection::OtherStatement),
    }
    let _ = inner.visit(&mut found);
    found.objection
}

/// Gathers what makes a tree no plain read.
struct Found {
    lexis: Lexis,
    objection: Option<Objection>,
}

impl Found {
    fn note(&mut self, what: Objection) {
        self.objection.get_or_insert(what);
    }

    fn look_at_body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) if select.into.is_some() => self.note(Objection::Into),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.note(Objection::Write)
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.look_at_body(left);
                self.look_at_body(right);
            }
            _ => {}
        }
    }

    /// `@x` and `@@x` are names to the parser.
    fn look_at_variable(&mut self, names: &[Ident]) {
        let Some(first) = names.first().filter(|first| first.quote_style.is_none()) else { return };
        if !first.value.starts_with('@') {
            return;
        }
        if !first.value.starts_with("@@") {
            return self.note(Objection::UserVariable);
        }
        let name: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
        if !names_the_server(name.join(".").as_bytes()) {
            self.note(Objection::SystemVariable);
        }
    }

    /// A name of several parts or in quotes is nobody's built-in.
    fn look_at_function(&mut self, name: &[ObjectNamePart]) {
        match name {
            [ObjectNamePart::Identifier(ident)] if ident.quote_style.is_none() => {
                let harmless = !matches!(
                    words::named(&ident.value, self.lexis.flavor).call,
                    Call::Unknown | Call::UserLock | Call::ServerState | Call::SideEffect | Call::Diagnostics
                );
                if !harmless {
                    self.note(Objection::Function);
                }
            }
            _ => self.note(Objection::Function),
        }
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if !query.locks.is_empty() || query.for_clause.is_some() {
            self.note(Objection::Lock);
        }
        self.look_at_body(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let part = |part: &ObjectNamePart| part.as_ident().map(|ident| ident.value.clone()).unwrap_or_default();
        if let [schema, table] = name.0.as_slice()
            && describes_one_server(
                |own| part(schema).eq_ignore_ascii_case(own),
                |own| part(table).eq_ignore_ascii_case(own),
            )
        {
            self.note(Objection::ServerTable);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            // CURRENT_DATE and the like need no parentheses.
            Expr::Function(function) if !matches!(function.args, FunctionArguments::None) => {
                self.look_at_function(&function.name.0);
            }
            Expr::BinaryOp { op: BinaryOperator::Assignment, .. } => self.note(Objection::Assignment),
            Expr::Identifier(name) => self.look_at_variable(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.look_at_variable(names),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
