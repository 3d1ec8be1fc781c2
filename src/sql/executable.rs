//! Executable comments, `/*! */` and `/*M! */`: whether a server runs what is inside depends on its product and version, so
//! such a statement has several readings. What all of them have in common is known.

use super::lexer::{Kind, Lexer, comment_end};
use super::several::{self, Several};
use super::{Effect, Lexis, Why, classify_one};

/// Most executable comments of a statement whose readings are looked at; each doubles them.
const COMMENTS_MAX: usize = 3;

/// What the statement is, whichever of its executable comments are run; `None` if one reading may leave something with its
/// session.
pub(super) fn every_reading(sql: &[u8], lexis: Lexis) -> Option<Several> {
    readings(sql, lexis, COMMENTS_MAX)
}

fn readings(sql: &[u8], lexis: Lexis, comments: usize) -> Option<Several> {
    let facts = classify_one(sql, lexis);
    if facts.why != Why::ExecutableComment {
        let known = matches!(facts.effect, Effect::Write | Effect::Transaction | Effect::Admin);
        let nothing = facts.hold.is_none() && !facts.sets_charset;
        return several::only_reads(&facts).or((known && nothing).then_some(Several::Write));
    }
    let comment = first(sql, lexis).filter(|_| comments > 0)?;
    let [run, skipped] =
        [comment.inside, &[]].map(|inside| [comment.before, b" ", inside, b" ", comment.behind].concat());
    let (run, skipped) = (readings(&run, lexis, comments - 1)?, readings(&skipped, lexis, comments - 1)?);
    Some(if run == Several::Read { skipped } else { run })
}

/// An executable comment and what is around it.
struct Comment<'a> {
    before: &'a [u8],
    inside: &'a [u8],
    behind: &'a [u8],
}

/// The first one, if it ends where it does for every server.
fn first(sql: &[u8], lexis: Lexis) -> Option<Comment<'_>> {
    let start = memchr::memmem::find_iter(sql, b"/*").find(|at| {
        let opens = matches!(sql[at + 2..], [b'!', ..] | [b'm' | b'M', b'!', ..]);
        opens && ends_between_tokens(&sql[..*at], lexis)
    })?;
    let mark = if sql[start + 2] == b'!' { 3 } else { 4 };
    let rest = &sql[start + mark..];
    let length = comment_end(rest)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let inside = rest.get(digits..length)?;
    // Strings and comments inside could hide the end; so could a version of another length.
    let plain = inside.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'..=b'\r') && !b"'\"`\\#/;".contains(byte));
    let understood = matches!(digits, 0 | 5 | 6) && plain && memchr::memmem::find(inside, b"--").is_none();
    understood.then_some(Comment { before: &sql[..start], inside, behind: &rest[length + 2..] })
}

/// Whether what follows these bytes is within no string and no comment.
fn ends_between_tokens(sql: &[u8], lexis: Lexis) -> bool {
    // A line comment would swallow the word.
    let probe = [sql, b" probe"].concat();
    let mut lexer = Lexer::new(&probe, lexis);
    let mut last = lexer.next();
    loop {
        let token = lexer.next();
        if token.kind == Kind::End {
            return lexer.hazard.is_none() && lexer.is_word(&last, "probe") && last.end == probe.len();
        }
        last = token;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CharsetFamily, Flavor};
    use super::*;

    const LEXIS: Lexis =
        Lexis { charset: CharsetFamily::Utf8, no_backslash_escapes: false, ansi_quotes: false, flavor: Flavor::MySql };

    #[test]
    fn what_every_reading_leaves_alone_leaves_nothing() {
        for sql in [
            "SELECT /*!40001 SQL_NO_CACHE */ * FROM t",
            "INSERT /*! IGNORE */ INTO t VALUES ('/*! x */')",
            "CREATE TABLE t (a INT) /*!50100 PARTITION BY HASH (a) */",
            "START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */",
            "SELECT /*!50000 a, */ /*M!100100 b, */ c FROM t",
            "/* x */ SELECT 1 /*! + 1 */ -- /*! x",
            "SELECT 1 # /*! x */\n /*!50000 */",
        ] {
            let all = every_reading(sql.as_bytes(), LEXIS);
            let reads = sql.contains("SELECT");
            assert_eq!(all, Some(if reads { Several::Read } else { Several::Write }), "{sql}");
        }
    }

    #[test]
    fn one_reading_that_may_leave_something_spoils_all() {
        for sql in [
            "/*!40101 SET NAMES utf8 */",
            "/*!50003 CALL p() */",
            "SELECT /*!50000 f(1), */ 1",
            "SELECT /*! @a := */ 1",
            "CREATE /*!32302 TEMPORARY */ TABLE t (a INT)",
            "SELECT 1 /*! ; SET @x = 1 */",
            "SELECT 1; /*! SELECT 2 */",
            "SELECT /*!1 */ 1",
            "SELECT /*!400010 1, */ /*! 2 */ /*! , 3 */ /*! , 4 */",
            "SELECT /*! '*/ 1, @x := '*/' */",
            "SELECT /*! 1 /* 2 */ */",
            "SELECT 1 /*! -- */ , @x := 2",
            "SELECT 1 /*! 2",
            "SELECT /*!50000 GET_LOCK(a, 1) */ FROM t",
        ] {
            assert_eq!(every_reading(sql.as_bytes(), LEXIS), None, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(before: Vec<u8>, inside: Vec<u8>, behind: Vec<u8>) {
            let _ = every_reading(&[&before[..], b"/*!", &inside, b"*/", &behind].concat(), LEXIS);
        }
    }
}
