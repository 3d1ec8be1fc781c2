//! The statements of mysqltest scripts, as far as they can be told without running them.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_MYSQL_TEST_COMMANDS.html>

use std::path::{Path, PathBuf};

/// Words that begin a command of mysqltest and no statement.
#[rustfmt::skip]
const COMMANDS: &[&str] = &[
    "append_file", "assert", "cat_file", "change_user", "character_set", "chmod", "connect", "connection", "copy_file",
    "copy_files_wildcard", "dec", "delimiter", "die", "diff_files", "dirty_close", "disable_abort_on_error",
    "disable_async_client", "disable_connect_log", "disable_info", "disable_metadata", "disable_parsing",
    "disable_ps_protocol", "disable_query_log", "disable_reconnect", "disable_result_log", "disable_rpl_parse",
    "disable_session_track_info", "disable_testcase", "disable_warnings", "disable_prepare_warnings",
    "disable_cursor_protocol", "disable_ps2_protocol", "disable_view_protocol", "disable_service_connection",
    "disable_column_names", "disconnect", "echo", "enable_abort_on_error", "enable_async_client",
    "enable_connect_log", "enable_info", "enable_metadata", "enable_parsing", "enable_ps_protocol",
    "enable_query_log", "enable_reconnect", "enable_result_log", "enable_rpl_parse", "enable_session_track_info",
    "enable_testcase", "enable_warnings", "enable_prepare_warnings", "enable_cursor_protocol",
    "enable_ps2_protocol", "enable_view_protocol", "enable_service_connection", "enable_column_names", "end",
    "error", "exec", "execw", "exec_in_background", "exit", "expr", "file_exists", "force-cpdir", "force-rmdir",
    "horizontal_results", "if", "inc", "let", "list_files", "list_files_append_file", "list_files_write_file",
    "lowercase_result", "mkdir", "move_file", "output", "partially_sorted_result", "perl", "ping",
    "query_attributes", "query_get_value", "reap", "remove_file", "remove_files_wildcard", "replace_column",
    "replace_numeric_round", "replace_regex", "replace_result", "require", "reset_connection", "result",
    "result_format", "rmdir", "save_master_pos", "send_quit", "send_shutdown", "shutdown_server", "skip",
    "skip_if_hypergraph", "sleep", "sorted_result", "source", "start_timer", "sync_slave_with_master",
    "sync_with_master", "system", "timer_stop", "vertical_results", "wait_for_slave_to_stop", "while", "write_file",
];

/// Commands whose argument is a statement.
const CARRIERS: &[&str] =
    &["eval", "evalp", "query", "query_horizontal", "query_vertical", "send", "send_eval", "explain_query"];

/// Every `.test` and `.inc` file below a directory.
pub fn scripts(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "test" || ext == "inc") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The statements of a script that the server is expected to understand, without those that hold a variable of mysqltest.
pub fn statements(script: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = Reader { rest: script, delimiter: b";".to_vec(), syntax_error: false, found: Vec::new() };
    while reader.step() {}
    reader.found
}

struct Reader<'a> {
    rest: &'a [u8],
    delimiter: Vec<u8>,
    /// The next statement is to fail as a syntax error.
    syntax_error: bool,
    found: Vec<Vec<u8>>,
}

impl Reader<'_> {
    fn step(&mut self) -> bool {
        let blank =
            self.rest.iter().take_while(|byte| byte.is_ascii_whitespace() || matches!(byte, b'{' | b'}')).count();
        self.rest = &self.rest[blank..];
        match self.rest {
            [] => return false,
            [b'#', ..] => drop(self.line()),
            [b'-', b'-', ..] => {
                let line = self.line();
                self.command(line[2..].trim_ascii());
            }
            _ => {
                let word = first_word(self.rest);
                if word == "if" || word == "while" {
                    self.condition();
                } else {
                    let text = self.until_delimiter();
                    self.text(text.trim_ascii());
                }
            }
        }
        true
    }

    fn line(&mut self) -> Vec<u8> {
        let length = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |end| end + 1);
        let (line, rest) = self.rest.split_at(length);
        self.rest = rest;
        line.to_vec()
    }

    /// `if (...)` and `while (...)` end at their `{`, which may be on a line of its own.
    fn condition(&mut self) {
        let open = memchr::memchr(b'{', self.rest).map_or(self.rest.len(), |at| at + 1);
        self.rest = &self.rest[open..];
    }

    /// To the delimiter outside of quotes and comments, as mysqltest reads it.
    fn until_delimiter(&mut self) -> Vec<u8> {
        let mut quote = None;
        let mut at = 0;
        while at < self.rest.len() {
            let here = &self.rest[at..];
            match (quote, here[0]) {
                (Some(_), b'\\') => at += 1,
                (Some(open), byte) if byte == open => quote = None,
                (Some(_), _) => {}
                (None, _) if here.starts_with(&self.delimiter) => break,
                (None, byte @ (b'\'' | b'"' | b'`')) => quote = Some(byte),
                (None, b'#') => at += memchr::memchr(b'\n', here).unwrap_or(here.len() - 1),
                (None, _) => {}
            }
            at += 1;
        }
        let at = at.min(self.rest.len());
        let (text, rest) = self.rest.split_at(at);
        self.rest = rest.get(self.delimiter.len()..).unwrap_or_default();
        text.to_vec()
    }

    /// A line after `--`, or a command with a delimiter.
    fn command(&mut self, text: &[u8]) {
        let word = first_word(text);
        let argument = text[word.len()..].trim_ascii();
        match word.as_str() {
            "delimiter" if !argument.is_empty() => self.delimiter = argument.to_vec(),
            "error" => {
                let argument = argument.to_ascii_uppercase();
                let named = |name: &[u8]| memchr::memmem::find(&argument, name).is_some();
                self.syntax_error = named(b"PARSE_ERROR") || named(b"SYNTAX") || named(b"1064") || named(b"1149");
            }
            "perl" | "write_file" | "append_file" => {
                let last = argument.rsplit(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
                let file = word != "perl" && argument.len() == last.len();
                let end = if last.is_empty() || file { b"EOF".to_vec() } else { last.to_vec() };
                while !self.rest.is_empty() && self.line().trim_ascii().trim_ascii_end() != end {}
            }
            _ if CARRIERS.contains(&word.as_str()) => self.statement(argument),
            _ => {}
        }
    }

    fn text(&mut self, text: &[u8]) {
        let word = first_word(text);
        if CARRIERS.contains(&word.as_str()) || COMMANDS.contains(&word.as_str()) {
            return self.command(text);
        }
        self.statement(text);
    }

    fn statement(&mut self, sql: &[u8]) {
        let wrong = std::mem::take(&mut self.syntax_error);
        if !sql.is_empty() && !wrong && !sql.contains(&b'$') {
            self.found.push(sql.to_vec());
        }
    }
}

fn first_word(text: &[u8]) -> String {
    let word = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    word.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

#[test]
fn statements_are_told_from_commands() {
    let script =
        b"# comment\n--disable_warnings\nlet $x= 1;\nCREATE TABLE t (a INT);\n--error ER_PARSE_ERROR\nSELECT FROM;\n\
        SELECT ';' /* it */,\n  \"a;b\" FROM t; SELECT 2;\nif ($x)\n{\n  SELECT 3;\n}\nperl;\nprint 'SELECT 9;';\nEOF\n\
        delimiter |;\nCREATE PROCEDURE p() BEGIN SELECT 4; END|\ndelimiter ;|\neval SELECT $x;\nsend SELECT 5;\nreap;\n\
        --echo SELECT 6;\nwhile ($x) { SELECT 7; dec $x; }\n";
    let seen: Vec<String> =
        statements(script).into_iter().map(|sql| String::from_utf8_lossy(&sql).into_owned()).collect();
    assert_eq!(
        seen,
        [
            "CREATE TABLE t (a INT)",
            "SELECT ';' /* it */,\n  \"a;b\" FROM t",
            "SELECT 2",
            "SELECT 3",
            "CREATE PROCEDURE p() BEGIN SELECT 4; END",
            "SELECT 5",
            "SELECT 7",
        ]
    );
}
