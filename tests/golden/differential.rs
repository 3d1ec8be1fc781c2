//! A second opinion: what the lexer proves to be a plain read is given to sqlparser, and its tree must agree.
//!
//! The tree is more permissive than the servers and does not know all of their grammar, so only one direction is a
//! failure: proven by the lexer, and unsafe by the tree. The parser's tree is recursive and its drop is not guarded, so it
//! lives and dies on a thread with a large stack, and its input is bounded.

use dbproxy::sql::{Effect, Lexis, STACK_BYTES, classify, objection_to};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::table::{Case, Table};

const MUTATIONS: usize = 20_000;

/// Statements that the lexer proves and the tree objects to.
fn disagreements(statements: Vec<(Lexis, String)>) -> (usize, Vec<String>) {
    let work = move || {
        let mut proven = 0;
        let mut wrong = Vec::new();
        for (lexis, sql) in statements {
            if classify(sql.as_bytes(), lexis).effect != Effect::Read {
                continue;
            }
            proven += 1;
            if let Some(objection) = objection_to(&sql, lexis).filter(|_| !is_explained(&sql)) {
                wrong.push(format!("{:?}: {sql:?}: {}", lexis.flavor, objection.as_str()));
            }
        }
        (proven, wrong)
    };
    std::thread::Builder::new().stack_size(4 * STACK_BYTES).spawn(work).expect("a thread").join().expect("no panic")
}

/// A row of the golden table says what the parser objects to: FOR BROWSE is no clause of these servers.
fn is_explained(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("for browse")
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
