//! Keeps functions and files short: 70 lines a function, 500 lines a file, test code left out.
//!
//! A longer one may stand in [`EXCEPTIONS`] with its length. The list may only shrink: the test fails as well when an
//! entry is longer than what it names, or names nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "support/source.rs"]
mod source;

use source::{SourceFile, item_len, line_of, occurrences, source_files};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;

/// `("room/file.rs", lines)` or `("room/file.rs function", lines)`.
const EXCEPTIONS: &[(&str, usize)] = &[];

#[test]
fn functions_and_files_are_short() {
    let measured: Vec<_> = source_files().iter().flat_map(measure).collect();
    assert!(measured.len() > 20, "only {} measured: the scanner is blind", measured.len());
    let complaints = judge(&measured, EXCEPTIONS);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// A file, or a function in one, and its length.
#[derive(Debug, PartialEq, Eq)]
struct Measured {
    name: String,
    line: usize,
    lines: usize,
    limit: usize,
}

fn measure(file: &SourceFile) -> Vec<Measured> {
    let mut all =
        vec![Measured { name: file.path.clone(), line: 1, lines: file.production_lines(), limit: FILE_LINES_MAX }];
    let code = file.production();
    for at in occurrences(&code, "fn") {
        let name: String =
            code[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // `fn(u8)` is a type.
        if name.is_empty() {
            continue;
        }
        let body = &code[at..at + item_len(&code[at..], 0)];
        let (name, line) = (format!("{} {name}", file.path), line_of(&code, at));
        all.push(Measured { name, line, lines: body.lines().count(), limit: FUNCTION_LINES_MAX });
    }
    all
}

fn judge(measured: &[Measured], exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for one in measured {
        let allowed = exceptions.iter().find(|(name, _)| *name == one.name).map_or(one.limit, |(_, lines)| *lines);
        if one.lines > allowed {
            complaints.push(format!("src/{}: {} lines (line {}), allowed {allowed}", one.name, one.lines, one.line));
        }
    }
    for (name, lines) in exceptions {
        match measured.iter().filter(|one| one.name == *name).map(|one| (one.lines, one.limit)).max() {
            None => complaints.push(format!("{name} is excepted, and there is no such thing")),
            Some((now, limit)) if now <= limit => complaints.push(format!("{name} needs no exception any more")),
            Some((now, _)) if now < *lines => complaints.push(format!("{name} is down to {now}: lower its exception")),
            Some(_) => {}
        }
    }
    complaints
}

fn file(text: String) -> SourceFile {
    SourceFile { path: "room/file.rs".to_owned(), text }
}

/// A function of exactly that many lines.
fn function(name: &str, lines: usize) -> String {
    format!("fn {name}() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
}

fn complaints(text: String, exceptions: &[(&str, usize)]) -> Vec<String> {
    judge(&measure(&file(text)), exceptions)
}

#[test]
fn a_function_of_70_lines_passes_and_one_of_71_does_not() {
    assert_eq!(complaints(function("short", 70), &[]), Vec::<String>::new());
    assert_eq!(complaints(function("long", 71), &[]), ["src/room/file.rs long: 71 lines (line 1), allowed 70"]);
}

#[test]
fn a_file_of_500_lines_passes_and_one_of_501_does_not() {
    assert_eq!(complaints("// reason\n".repeat(500), &[]), Vec::<String>::new());
    assert_eq!(complaints("// reason\n".repeat(501), &[]).len(), 1);
}

#[test]
fn test_code_has_no_limit() {
    let tests = format!("fn code() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", function("long", 600));
    assert_eq!(complaints(tests, &[]), Vec::<String>::new());
}

#[test]
fn code_after_tests_counts_again() {
    let text = format!("#[cfg(test)]\nmod tests {{\n    fn short() {{}}\n}}\n{}", function("long", 71));
    assert_eq!(complaints(text, &[]), ["src/room/file.rs long: 71 lines (line 5), allowed 70"]);
}

#[test]
fn braces_in_literals_and_comments_do_not_end_a_function() {
    let body = "    // }\n    let text = (\"}\", '}', r#\"\"}\"#, b'}', '\\'', /* } */ 'a');\n    fn lifetime<'a>(_: &'a str) {}\n";
    let text = format!("fn long() {{\n{body}{}}}\n", "    step();\n".repeat(70));
    assert_eq!(complaints(text, &[]), ["src/room/file.rs long: 75 lines (line 1), allowed 70"]);
}

#[test]
fn an_exception_allows_exactly_its_length() {
    let text = || function("long", 80);
    assert_eq!(complaints(text(), &[("room/file.rs long", 80)]), Vec::<String>::new());
    assert_eq!(complaints(text(), &[("room/file.rs long", 79)]).len(), 1);
    assert_eq!(
        complaints(text(), &[("room/file.rs long", 81)]),
        ["room/file.rs long is down to 80: lower its exception"]
    );
}

#[test]
fn an_exception_without_need_is_refused() {
    let needless = complaints(function("short", 10), &[("room/file.rs short", 80), ("room/gone.rs", 600)]);
    assert_eq!(
        needless,
        ["room/file.rs short needs no exception any more", "room/gone.rs is excepted, and there is no such thing"]
    );
}
