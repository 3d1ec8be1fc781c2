//! A second opinion: what the lexer proves to be a plain read is given to sqlparser, and its tree must agree.
//!
//! The tree is more permissive than the servers and does not know all of their grammar, so only one direction is a
//! failure: proven by the lexer, and unsafe by the tree. The parser's tree is recursive and its drop is not guarded, so it
//! lives and dies on a thread with a large stack, and its input is bounded.

use std::ops::ControlFlow;

use dbproxy::sql::{Effect, Facts, Lexis, classify};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sqlparser::ast::{BinaryOperator, Expr, ObjectNamePart, Query, SetExpr, Statement, Visit, Visitor};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use crate::table::{Case, Table};

const STACK: usize = 256 << 20;
const LENGTH_MAX: usize = 16 << 10;
const MUTATIONS: usize = 20_000;

/// Gathers what makes a tree no plain read.
struct Unsafe {
    lexis: Lexis,
    found: Option<String>,
}

impl Unsafe {
    fn note(&mut self, what: impl Into<String>) {
        self.found.get_or_insert(what.into());
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

    /// A name of several parts or in quotes is nobody's built-in; of a bare one the lexer is asked alone.
    fn look_at_function(&mut self, name: &[ObjectNamePart]) {
        let bare = match name {
            [ObjectNamePart::Identifier(ident)] if ident.quote_style.is_none() => &ident.value,
            _ => return self.note("a qualified or quoted call"),
        };
        let is_read = |sql: String| classify(sql.as_bytes(), self.lexis).effect == Effect::Read;
        if !is_read(format!("SELECT {bare}(1)")) && !is_read(format!("SELECT * FROM {bare}(1)")) {
            self.note(format!("a call of {bare}"));
        }
    }
}

impl Visitor for Unsafe {
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
            Expr::Function(function) if !matches!(function.args, sqlparser::ast::FunctionArguments::None) => {
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

/// What the tree says against a plain read; nothing if it has nothing to say, or does not parse.
fn objection(sql: &str, lexis: Lexis) -> Option<String> {
    let statements =
        Parser::new(&MySqlDialect {}).with_recursion_limit(50).try_with_sql(sql).ok()?.parse_statements().ok()?;
    let [statement] = statements.as_slice() else { return Some(format!("{} statements", statements.len())) };
    let mut found = Unsafe { lexis, found: None };
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
        other => found.note(format!("a statement {other:.30}")),
    }
    let _ = inner.visit(&mut found);
    found.found
}

/// Statements that the lexer proves and the tree objects to.
fn disagreements(statements: Vec<(Lexis, String)>) -> (usize, Vec<String>) {
    let work = move || {
        let mut proven = 0;
        let mut wrong = Vec::new();
        for (lexis, sql) in statements {
            let Facts { effect, .. } = classify(sql.as_bytes(), lexis);
            if effect != Effect::Read || sql.len() > LENGTH_MAX {
                continue;
            }
            proven += 1;
            if let Some(objection) = objection(&sql, lexis) {
                wrong.push(format!("{:?}: {sql:?}: {objection}", lexis.flavor));
            }
        }
        (proven, wrong)
    };
    std::thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread").join().expect("no panic")
}

/// Rows in UTF-8 under the default sql_mode, which is all that the parser can be given.
fn rows() -> Vec<(Lexis, String)> {
    let cases = Table::all().into_iter().flat_map(|table| table.cases);
    let rows = cases.filter(Case::is_plain_text).flat_map(|case| {
        let sql = String::from_utf8(case.bytes()).expect("UTF-8");
        case.facts().into_iter().map(|(lexis, _)| (lexis, sql.clone())).collect::<Vec<_>>()
    });
    rows.collect()
}

#[test]
fn the_tree_has_nothing_against_a_golden_read() {
    let (proven, wrong) = disagreements(rows());
    assert!(proven > 100, "only {proven} reads were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cuts a statement into pieces that are moved about.
fn pieces(sql: &str) -> Vec<&str> {
    sql.split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '@').collect()
}

#[test]
fn the_tree_has_nothing_against_a_mutated_row_that_is_still_a_read() {
    let rows = rows();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let any = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<[prop::sample::Index; 4]>());
    let mut mutated = Vec::new();
    for _ in 0..MUTATIONS {
        let (one, other, cuts) = any.new_tree(&mut runner).expect("an index").current();
        let (lexis, base) = &rows[one.index(rows.len())];
        let (base, donor) = (pieces(base), pieces(&rows[other.index(rows.len())].1));
        let [from, to] = sorted(cuts[0].index(base.len() + 1), cuts[1].index(base.len() + 1));
        let [take, until] = sorted(cuts[2].index(donor.len() + 1), cuts[3].index(donor.len() + 1));
        let sql = [&base[..from], &donor[take..until.min(take + 6)], &base[to.min(from + 2)..]].concat().concat();
        mutated.push((*lexis, sql));
    }
    let (proven, wrong) = disagreements(mutated);
    assert!(proven > 1000, "only {proven} reads were compared");
    assert!(wrong.is_empty(), "{} of {proven}:\n{}", wrong.len(), wrong.join("\n"));
}

fn sorted(a: usize, b: usize) -> [usize; 2] {
    [a.min(b), a.max(b)]
}
