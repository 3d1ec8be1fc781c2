//! What the client asks of the proxy in a comment before its statement: `/* dbproxy: replica, max_lag=2s */ SELECT ...`.
//!
//! A hint chooses among the servers that may run the statement; it proves nothing. What is not a proven read goes to the
//! primary whatever a hint says.

use std::time::Duration;

use super::lexer::comment_end;

/// The hints of one statement. Of two that contradict each other the first counts, the other is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hints<'a> {
    /// `primary`, `replica`, `server=NAME`.
    pub target: Option<HintTarget<'a>>,
    /// `max_lag=2s`: a replica that is further behind is not for this statement.
    pub max_lag: Option<Duration>,
    /// `consistency=eventual | session | global`.
    pub consistency: Option<HintConsistency>,
    /// `gtid=UUID:1-5` or `gtid='UUID:1-5,UUID:7'`: what the read must see, as it stands there, without its quotes.
    pub gtid: Option<&'a [u8]>,
    /// Words that are no hint, or none that can be followed. They change nothing, and are counted.
    pub unknown: u32,
}

/// Which server a hint asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HintTarget<'a> {
    /// `primary`
    Primary,
    /// `replica`: any.
    Replica,
    /// `server=NAME`, with the bytes of the name as they stand there.
    Server(&'a [u8]),
}

spoken! {
    /// How fresh a hint asks a read to be.
    HintConsistency {
        /// Whatever the replica has.
        Eventual => "eventual",
        /// With the session's own writes.
        Session => "session",
        /// With every write that was acknowledged before.
        Global => "global",
    }
}

impl Hints<'_> {
    /// No hint, not even an unknown one.
    pub const NONE: Hints<'static> = Hints { target: None, max_lag: None, consistency: None, gtid: None, unknown: 0 };

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Hints::NONE
    }
}

/// The hints that a statement begins with. Costs a look at the first byte where it does not begin with a comment.
#[must_use]
#[inline]
pub fn hints(sql: &[u8]) -> Hints<'_> {
    match sql.first() {
        Some(b'/' | b'#' | b'-' | b' ' | 0x09..=0x0D) => leading_comments(sql),
        _ => Hints::NONE,
    }
}

/// Hints stand in block comments before the first word; comments without our name are passed over.
fn leading_comments(sql: &[u8]) -> Hints<'_> {
    let mut hints = Hints::NONE;
    let mut rest = sql;
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            // Executable comments and optimizer hints are the server's.
            [b'/', b'*', b'!' | b'+', ..] | [b'/', b'*', b'm' | b'M', b'!', ..] => return hints,
            [b'/', b'*', inside @ ..] => {
                let Some(length) = comment_end(inside) else { return hints };
                if let Some(list) = ours(&inside[..length]) {
                    hints.take(list);
                }
                rest = &inside[length + 2..];
            }
            [b'#', ..] | [b'-', b'-', 0..=b' ' | 0x7F, ..] => {
                let Some(end) = memchr::memchr(b'\n', rest) else { return hints };
                rest = &rest[end + 1..];
            }
            [0x0B, after @ ..] => rest = after,
            _ => return hints,
        }
    }
}

/// What stands after `dbproxy:` in a comment.
fn ours(comment: &[u8]) -> Option<&[u8]> {
    let (name, list) = comment.trim_ascii().split_at_checked(NAME.len())?;
    name.eq_ignore_ascii_case(NAME).then(|| list.trim_ascii_start().strip_prefix(b":")).flatten()
}

const NAME: &[u8] = b"dbproxy";

impl<'a> Hints<'a> {
    fn take(&mut self, list: &'a [u8]) {
        let mut quote = None;
        let separates = |byte: &u8| {
            match quote {
                Some(open) if *byte == open => quote = None,
                None if matches!(byte, b'\'' | b'"') => quote = Some(*byte),
                _ => {}
            }
            *byte == b',' && quote.is_none()
        };
        for hint in list.split(separates) {
            if !self.take_one(hint.trim_ascii()) {
                self.unknown = self.unknown.saturating_add(1);
            }
        }
    }

    /// Whether it is a hint, and the first of its kind.
    fn take_one(&mut self, hint: &'a [u8]) -> bool {
        let (name, value) = match memchr::memchr(b'=', hint) {
            Some(at) => (hint[..at].trim_ascii_end(), Some(hint[at + 1..].trim_ascii_start())),
            None => (hint, None),
        };
        match (name.to_ascii_lowercase().as_slice(), value) {
            (b"primary", None) => first(&mut self.target, Some(HintTarget::Primary)),
            (b"replica", None) => first(&mut self.target, Some(HintTarget::Replica)),
            (b"server", Some(name)) => {
                let named = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
                first(&mut self.target, named.then_some(HintTarget::Server(name)))
            }
            (b"max_lag", Some(value)) => first(&mut self.max_lag, duration(value)),
            (b"consistency", Some(value)) => {
                let known = |word: &&HintConsistency| value.eq_ignore_ascii_case(word.as_str().as_bytes());
                first(&mut self.consistency, HintConsistency::ALL.iter().find(known).copied())
            }
            (b"gtid", Some(value)) => first(&mut self.gtid, Some(unquoted(value))),
            _ => false,
        }
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [quote @ (b'\'' | b'"'), inside @ .., last] if last == quote => inside,
        _ => value,
    }
}

/// Puts it in its place if it could be read and the place is free.
fn first<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let free = place.is_none();
    if free && value.is_some() {
        *place = value;
        return true;
    }
    false
}

/// `200ms`, `2s`, `1m`, `1h`.
fn duration(text: &[u8]) -> Option<Duration> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let count: u32 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    let count = u64::from(count);
    match text[digits..].to_ascii_lowercase().as_slice() {
        b"ms" => Some(Duration::from_millis(count)),
        b"s" => Some(Duration::from_secs(count)),
        b"m" => Some(Duration::from_secs(count * 60)),
        b"h" => Some(Duration::from_secs(count * 3600)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gtid_set_stands_in_quotes_where_it_has_commas() {
        let gtid = |sql: &'static str| {
            let hints = hints(sql.as_bytes());
            (hints.gtid.map(|gtid| std::str::from_utf8(gtid).unwrap()), hints.unknown)
        };
        assert_eq!(gtid("/* dbproxy: gtid=0-1-7, replica */ SELECT 1"), (Some("0-1-7"), 0));
        assert_eq!(gtid("/* dbproxy: replica, gtid = '0-1-7,1-1-3' */ SELECT 1"), (Some("0-1-7,1-1-3"), 0));
        assert_eq!(gtid("/* dbproxy: gtid=\"0-1-7,1-1-3\" */ SELECT 1"), (Some("0-1-7,1-1-3"), 0));
        assert_eq!(gtid("/* dbproxy: gtid='0-1-7,replica */ SELECT 1"), (Some("'0-1-7,replica"), 0), "and is no GTID");
    }

    #[test]
    fn hints_stand_in_a_comment_before_the_statement() {
        let target = |sql: &'static str| hints(sql.as_bytes()).target;
        assert_eq!(target("/* dbproxy: primary */ SELECT 1"), Some(HintTarget::Primary));
        assert_eq!(target("/*dbproxy:replica*/SELECT 1"), Some(HintTarget::Replica));
        assert_eq!(target(" \n/* DBPROXY : Replica */ SELECT 1"), Some(HintTarget::Replica));
        assert_eq!(target("/* dbproxy: server=db2:3306 */ SELECT 1"), Some(HintTarget::Server(b"db2:3306")));
        assert_eq!(target("/* app */ -- line\n# line\n/* dbproxy: primary */ SELECT 1"), Some(HintTarget::Primary));
        assert_eq!(target("\x0B/* dbproxy: primary */ SELECT 1"), Some(HintTarget::Primary));
    }

    #[test]
    fn several_hints_are_told_apart_and_unknown_ones_are_counted() {
        let seen = hints(b"/* dbproxy: replica, max_lag = 2s, fast, consistency=global, server= */ SELECT 1");
        assert_eq!(
            seen,
            Hints {
                target: Some(HintTarget::Replica),
                max_lag: Some(Duration::from_secs(2)),
                consistency: Some(HintConsistency::Global),
                gtid: None,
                unknown: 2,
            }
        );
    }

    #[test]
    fn of_two_that_contradict_each_other_the_first_counts() {
        let seen = hints(b"/* dbproxy: primary, replica */ /* dbproxy: max_lag=1s, max_lag=2s */ SELECT 1");
        assert_eq!((seen.target, seen.max_lag), (Some(HintTarget::Primary), Some(Duration::from_secs(1))));
        assert_eq!(seen.unknown, 2);
    }

    #[test]
    fn what_is_no_leading_comment_of_ours_is_no_hint() {
        for sql in [
            "SELECT /* dbproxy: primary */ 1",
            "SELECT 1 /* dbproxy: primary */",
            "/* dbproxyx: primary */ SELECT 1",
            "/* the dbproxy: primary */ SELECT 1",
            "/*! dbproxy: primary */ SELECT 1",
            "/*M! dbproxy: primary */ SELECT 1",
            "/*+ dbproxy: primary */ SELECT 1",
            "-- dbproxy: primary\nSELECT 1",
            "--x /* dbproxy: primary */ SELECT 1",
            "/* dbproxy: primary",
            "/* dbproxy primary */ SELECT 1",
            "/*",
            "/",
            "",
        ] {
            assert!(hints(sql.as_bytes()).is_empty(), "{sql}: {:?}", hints(sql.as_bytes()));
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [("200ms", Some(200)), ("2s", Some(2000)), ("1M", Some(60_000)), ("1h", Some(3_600_000))]
        {
            assert_eq!(duration(text.as_bytes()), millis.map(Duration::from_millis), "{text}");
        }
        for text in ["", "s", "2", "-2s", "2.5s", "99999999999s", "2 s", "2d"] {
            assert_eq!(duration(text.as_bytes()), None, "{text}");
        }
    }
}
