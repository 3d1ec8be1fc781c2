//! What a parser's tree has against a plain read: the second opinion.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, ObjectNamePart, Query, SetExpr, Statement, Visit, Visitor,
};

use super::Lexis;
use super::words::{self, Call};

/// The first objection to taking the statement for a plain read.
pub(super) fn of_statement(statement: &Statement, lexis: Lexis) -> Option<&'static str> {
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
        _ => found.note("another statement"),
    }
    let _ = inner.visit(&mut found);
    found.objection
}

/// Gathers what makes a tree no plain read.
struct Found {
    lexis: Lexis,
    objection: Option<&'static str>,
}

impl Found {
    fn note(&mut self, what: &'static str) {
        self.objection.get_or_insert(what);
    }

    fn look_at_body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) if select.into.is_some() => self.note("INTO"),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => self.note("a write"),
            SetExpr::SetOperation { left, right, .. } => {
                self.look_at_body(left);
                self.look_at_body(right);
            }
            _ => {}
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
                    self.note("a call of what is no harmless built-in");
                }
            }
            _ => self.note("a qualified or quoted call"),
        }
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if !query.locks.is_empty() || query.for_clause.is_some() {
            self.note("a lock");
        }
        self.look_at_body(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            // CURRENT_DATE and the like need no parentheses.
            Expr::Function(function) if !matches!(function.args, FunctionArguments::None) => {
                self.look_at_function(&function.name.0);
            }
            Expr::BinaryOp { op: BinaryOperator::Assignment, .. } => self.note("an assignment"),
            Expr::Identifier(name) if name.value.starts_with('@') && !name.value.starts_with("@@") => {
                self.note("a user variable");
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
