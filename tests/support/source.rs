//! Reads the crate's own source for `tests/layering.rs` and `tests/tidy.rs`: which of it is code, which of that is test code.
//!
//! A scanner, not a parser: it knows comments, literals and braces. Everything that it leaves out becomes spaces, so that
//! line numbers stay.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

/// One file below `src/`.
#[derive(Debug)]
pub struct SourceFile {
    /// Path below `src/`, with forward slashes.
    pub path: String,
    /// Its text as it is.
    pub text: String,
}

impl SourceFile {
    /// The room it belongs to: its first folder, or its own name at the top; `lib` and `main` are no rooms.
    pub fn room(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Modules between the crate's root and this file's code.
    pub fn depth(&self) -> usize {
        let folders = self.path.matches('/').count();
        if self.path.ends_with("/mod.rs") { folders } else { folders + 1 }
    }

    /// The code that is not test code.
    pub fn production(&self) -> String {
        if self.is_test() { String::new() } else { without_tests(&code(&self.text)) }
    }

    /// How many lines are not test code; comments count, they are read too.
    pub fn production_lines(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        let bare = code(&self.text);
        let kept = without_tests(&bare);
        let test_lines = bare.lines().zip(kept.lines()).filter(|(all, kept)| all != kept).count();
        self.text.lines().count() - test_lines
    }
}

/// All files below `src/`, by path.
pub fn source_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(&root).expect("it is below").to_string_lossy().replace('\\', "/");
        SourceFile { path, text }
    };
    paths.into_iter().map(read).collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The text with comments and the insides of literals turned into spaces.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (len, keep) = match literal_or_comment(rest, out.chars().next_back()) {
            Some(len) => (len, false),
            None => (first.len_utf8(), true),
        };
        let (taken, left) = rest.split_at(len);
        out.extend(taken.chars().map(|c| if keep || c == '\n' { c } else { ' ' }));
        rest = left;
    }
    out
}

/// Length of the comment or literal that `rest` begins with.
fn literal_or_comment(rest: &str, before: Option<char>) -> Option<usize> {
    let after_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let bytes = rest.as_bytes();
    match bytes[0] {
        b'/' if bytes.get(1) == Some(&b'/') => Some(rest.find('\n').unwrap_or(rest.len())),
        b'/' if bytes.get(1) == Some(&b'*') => Some(block_comment(bytes)),
        b'"' => Some(quoted(bytes, 0)),
        b'b' | b'c' if !after_word && bytes.get(1) == Some(&b'"') => Some(quoted(bytes, 1)),
        b'b' if !after_word && bytes.get(1) == Some(&b'\'') => character(&rest[1..]).map(|len| len + 1),
        b'r' | b'b' | b'c' if !after_word => raw_string(rest),
        b'\'' => character(rest),
        _ => None,
    }
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// A string whose opening quote is at `open`.
fn quoted(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"..."`, `br#"..."#` and the like.
fn raw_string(rest: &str) -> Option<usize> {
    let start = rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let body = start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let close = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + close)
}

/// A character literal; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest[1..].char_indices();
    match chars.next()? {
        (_, '\\') => {
            chars.next()?;
            chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 2)
        }
        _ => chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 2),
    }
}

/// Code (as [`code`] gives it) with every item under `#[cfg(test)]` turned into spaces.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        let (item, after) = item.split_at(item_len(item, MARK.len()));
        out.push_str(before);
        out.extend(item.chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = after;
    }
    out + rest
}

/// Length of the item at the start of `code`: to its semicolon or the end of its braces, looking from `from` on.
pub fn item_len(code: &str, from: usize) -> usize {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (at, c) in code.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return at + 1,
            '}' => braces -= 1,
            ';' if braces == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Line number, from 1, of a byte offset.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Byte offsets where `word` stands in code as a whole word (its own ends may be punctuation).
pub fn occurrences<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (first, last) = (joins(word.chars().next()), joins(word.chars().next_back()));
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (code[..*at].chars().next_back(), code[at + word.len()..].chars().next());
        let runs_on = (first && joins(before)) || (last && joins(after));
        !runs_on
    })
}
