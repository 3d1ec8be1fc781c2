//! What the planner said, in lines: without times, which are the model's.

use dbproxy::failover::{CandidateReport, Effect, State};
use std::fmt::Write as _;

/// The word that an enum's value has in a report.
pub fn word(value: &impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for letter in format!("{value:?}").chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

/// Lines, none twice in a row.
#[derive(Default)]
pub struct Told {
    lines: Vec<String>,
    problem: String,
    candidates: Vec<CandidateReport>,
}

impl Told {
    /// What came of one step of the story.
    pub fn note(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Journal(record) => {
                    let Some(report) = record.report else { continue };
                    if self.candidates != report.candidates && !report.candidates.is_empty() {
                        for candidate in &report.candidates {
                            self.candidate(candidate);
                        }
                        self.line(report.decision.clone());
                    }
                    self.candidates = report.candidates;
                }
                Effect::Notify(notice) => self.line(format!("{}: {}", word(&notice.kind), notice.text)),
                Effect::Answer { result: Ok(text), .. } => self.line(format!("answer: yes, {text}")),
                Effect::Answer { result: Err(text), .. } => self.line(format!("answer: no, {text}")),
                Effect::Publish(_) | Effect::Execute(_) | Effect::Look(_) => {}
            }
        }
    }

    pub fn problem(&mut self, state: &State) {
        let problem = word(&state.problem());
        if problem != self.problem {
            self.problem.clone_from(&problem);
            self.line(format!("problem {problem}"));
        }
    }

    fn candidate(&mut self, candidate: &CandidateReport) {
        let against = match candidate.against.as_slice() {
            [] => "nothing".to_owned(),
            against => against.join("; "),
        };
        self.line(format!("against server {}: {against}", candidate.server.0));
    }

    pub fn line(&mut self, line: String) {
        // The notice of a problem says the problem's advice, which is no decision.
        if line.starts_with("problem:") {
            return;
        }
        let line = without_times(&line);
        if self.lines.last() != Some(&line) {
            self.lines.push(line);
        }
    }

    pub fn text(&self) -> String {
        self.lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }
}

/// `after 128 ms` depends on the model's network: `after some ms`.
fn without_times(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_time = |index: usize| {
        words.get(index + 1).is_some_and(|next| next.trim_end_matches([';', ',', ':', ')']) == "ms")
            && words[index].chars().all(|c| c.is_ascii_digit())
    };
    let words: Vec<&str> =
        words.iter().enumerate().map(|(index, word)| if is_time(index) { "some" } else { word }).collect();
    words.join(" ")
}
