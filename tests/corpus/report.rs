//! What was seen of a suite.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dbproxy::sql::{Effect, Facts, Lexis, StatementKind, Verdict, Why, classify};

#[derive(Default)]
pub struct Report {
    /// Tell also what stood in the way of each proof, which takes time.
    thorough: bool,
    statements: usize,
    /// Statements that are SELECT, WITH ... SELECT, VALUES or TABLE.
    selects: usize,
    /// Of these, what no proxy could send to a replica: they lock, leave something, or ask one server about itself.
    no_reads: usize,
    proven: usize,
    reasons: BTreeMap<&'static str, (usize, Vec<String>)>,
    culprits: BTreeMap<String, usize>,
    kinds: BTreeMap<&'static str, (usize, usize)>,
    /// Proven reads that were parsed, and those of them that the parser refused.
    judged: usize,
    refused: Vec<String>,
    pub disagreements: Vec<String>,
}

impl Report {
    pub fn new(thorough: bool) -> Self {
        Self { thorough, ..Self::default() }
    }

    pub fn classified(&mut self, sql: &str, facts: &Facts, lexis: Lexis) {
        self.statements += 1;
        if facts.kind != StatementKind::Select || facts.effect == Effect::Write {
            return;
        }
        self.selects += 1;
        if facts.effect == Effect::Read {
            self.proven += 1;
            return;
        }
        if matches!(
            facts.why,
            Why::LockingRead
                | Why::SelectInto
                | Why::UserVariable
                | Why::SideEffectFunction
                | Why::Diagnostics
                | Why::SystemVariable
                | Why::ServerState
        ) {
            self.no_reads += 1;
        }
        let (count, examples) = self.reasons.entry(facts.why.as_str()).or_default();
        *count += 1;
        if examples.len() < 8 && sql.len() < 160 && *count % 97 == 1 {
            examples.push(sql.replace('\n', " "));
        }
        if self.thorough && matches!(facts.why, Why::UnknownFunction | Why::SystemVariable | Why::ServerState) {
            *self.culprits.entry(culprit(sql, lexis)).or_default() += 1;
        }
    }

    pub fn parsed(&mut self, kind: StatementKind, known: bool) {
        let (all, parsed) = self.kinds.entry(kind.as_str()).or_default();
        *all += 1;
        *parsed += usize::from(known);
    }

    /// What the parser said to a proven read.
    pub fn judged(&mut self, sql: &str, verdict: Verdict) {
        self.judged += 1;
        match verdict {
            Verdict::Agrees => {}
            Verdict::Objects(objection) => self.disagreement(sql, objection.as_str()),
            Verdict::Refuses(refusal) => self.refused.push(format!("{}: {}", refusal.as_str(), sql.replace('\n', " "))),
        }
    }

    /// Proven reads that the parser takes the proof of, since it does not know them.
    pub fn refused_share(&self) -> f64 {
        self.refused.len() as f64 / self.judged.max(1) as f64
    }

    pub fn disagreement(&mut self, sql: &str, objection: &str) {
        self.disagreements.push(format!("{objection}: {sql:?}"));
    }

    /// Proven reads among the SELECTs that only read data.
    pub fn read_share(&self) -> f64 {
        self.proven as f64 / (self.selects - self.no_reads).max(1) as f64
    }

    pub fn text(&self, name: &str) -> String {
        let mut text = format!(
            "{name}: {} statements, {} SELECTs, of which {} lock, leave something or ask a server about itself; {} proven reads: {:.1} % of all \
             SELECTs, {:.1} % of the others\n",
            self.statements,
            self.selects,
            self.no_reads,
            self.proven,
            100.0 * self.proven as f64 / self.selects.max(1) as f64,
            100.0 * self.read_share()
        );
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (why, (count, examples)) in reasons {
            writeln!(text, "  {count:6} {why}").expect("a string");
            for example in examples {
                writeln!(text, "           {example}").expect("a string");
            }
        }
        let mut culprits: Vec<_> = self.culprits.iter().collect();
        culprits.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        writeln!(text, "  what stood in the way:").expect("a string");
        for (culprit, count) in culprits.into_iter().take(150) {
            writeln!(text, "  {count:6} {culprit}").expect("a string");
        }
        writeln!(text, "  refused by the parser: {} of {} proven reads", self.refused.len(), self.judged)
            .expect("a string");
        for refused in self.refused.iter().take(if self.thorough { 2000 } else { 10 }) {
            writeln!(text, "           {refused}").expect("a string");
        }
        writeln!(text, "  tables found by the parser:").expect("a string");
        for (kind, (all, parsed)) in &self.kinds {
            writeln!(text, "  {parsed:6} of {all:6} {kind}").expect("a string");
        }
        text
    }
}

/// The call, variable or table that keeps a read from being proven: the shortest head of the statement with the same verdict
/// ends in it.
fn culprit(sql: &str, lexis: Lexis) -> String {
    let verdict = classify(sql.as_bytes(), lexis).why;
    let ends = sql.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let Some(end) = ends.into_iter().find(|&end| classify(&sql.as_bytes()[..end], lexis).why == verdict) else {
        return "?".to_owned();
    };
    let head = &sql[..end];
    // A variable goes on after the head that gave it away.
    let tail: String = sql[end..].chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '.').collect();
    let named = |c: char| c.is_alphanumeric() || "_.@`".contains(c);
    let called = head.trim_end_matches(['(', ' ', '\n', '\t']);
    let start = called.char_indices().rfind(|(_, c)| !named(*c)).map_or(0, |(at, c)| at + c.len_utf8());
    let word = format!("{}{tail}", &head[start..]);
    format!("{} {}", verdict.as_str(), word.trim().to_lowercase().replace(['\n', ' '], ""))
}
