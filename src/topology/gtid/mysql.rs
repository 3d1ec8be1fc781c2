//! MySQL's GTID set: intervals of transaction numbers per source UUID and, since 8.3, tag.
//!
//! <https://dev.mysql.com/doc/refman/9.7/en/replication-gtids-concepts.html> ("GTID Sets", "GTID Format").

use super::GtidError;
use super::scan::Scan;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Highest transaction number: the server's numbers are signed, and the last value is its end mark.
const NUMBER_MAX: u64 = i64::MAX as u64 - 1;
/// Longest tag, in characters.
const TAG_LEN_MAX: usize = 32;

/// Intervals per (source UUID, tag).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MySqlGtidSet {
    /// No value is empty; each is sorted, without overlap, without neighbours that touch.
    sources: BTreeMap<Source, Vec<Interval>>,
}

/// Where transactions come from. Orders as the server prints.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Source {
    uuid: [u8; 16],
    /// Lower case; empty when there is none.
    tag: Box<str>,
}

/// Both ends are part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Interval {
    first: u64,
    last: u64,
}

impl MySqlGtidSet {
    /// Whether every transaction of `other` is in `self` (`GTID_SUBSET(other, self)`).
    pub fn covers(&self, other: &Self) -> bool {
        other.sources.iter().all(|(source, wanted)| {
            self.sources.get(source).is_some_and(|held| wanted.iter().all(|interval| holds(held, *interval)))
        })
    }

    /// Adds every transaction of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (source, added) in &other.sources {
            match self.sources.get_mut(source) {
                Some(held) => {
                    held.extend_from_slice(added);
                    normalize(held);
                }
                None => {
                    self.sources.insert(source.clone(), added.clone());
                }
            }
        }
    }

    /// What `executed` has from the sources in `self`, up to the last transaction of `self` from each.
    #[must_use]
    pub fn within(&self, executed: &Self) -> Self {
        let part = |(source, wanted): (&Source, &Vec<Interval>)| {
            let end = wanted.last()?.last;
            let held = executed.sources.get(source)?.iter().take_while(|interval| interval.first <= end);
            let held: Vec<_> = held.map(|interval| Interval { last: interval.last.min(end), ..*interval }).collect();
            (!held.is_empty()).then(|| (source.clone(), held))
        };
        Self { sources: self.sources.iter().filter_map(part).collect() }
    }

    /// Removes every transaction of `other` (`GTID_SUBTRACT(self, other)`).
    pub fn subtract(&mut self, other: &Self) {
        for (source, taken) in &other.sources {
            if let Some(held) = self.sources.get_mut(source) {
                *held = difference(held, taken);
            }
        }
        self.sources.retain(|_, intervals| !intervals.is_empty());
    }

    /// Keeps only what is in `other` too.
    pub fn intersect(&mut self, other: &Self) {
        let mut rest = self.clone();
        rest.subtract(other);
        self.subtract(&rest);
    }

    /// Keeps only transactions of servers whose UUID satisfies `keeps`.
    pub fn retain(&mut self, keeps: impl Fn([u8; 16]) -> bool) {
        self.sources.retain(|source, _| keeps(source.uuid));
    }

    /// Whether each side has transactions of one server that the other lacks. A replica has everything from that server
    /// up to some point, so two of its replicas cannot differ like this.
    pub fn contradicts(&self, other: &Self) -> bool {
        let uuids: BTreeSet<[u8; 16]> = self.sources.keys().map(|source| source.uuid).collect();
        uuids.into_iter().any(|uuid| {
            let (mut its, mut theirs) = (self.clone(), other.clone());
            its.retain(|wrote| wrote == uuid);
            theirs.retain(|wrote| wrote == uuid);
            !its.covers(&theirs) && !theirs.covers(&its)
        })
    }

    /// Whether a transaction is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let meets = |this: &[Interval], that: &[Interval]| {
            this.iter().any(|one| that.iter().any(|two| one.first <= two.last && two.first <= one.last))
        };
        self.sources.iter().any(|(source, held)| other.sources.get(source).is_some_and(|theirs| meets(held, theirs)))
    }

    /// Reads `gtid_owned`: `UUID:7#19:5#18UUID:3#20`, each number with its thread's, and nothing between one source and the next (9.7).
    ///
    /// # Errors
    /// As [`FromStr`].
    pub fn from_owned(text: &str) -> Result<Self, GtidError> {
        let mut plain = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(mark) = rest.find('#') {
            plain.push_str(&rest[..mark]);
            let thread = &rest[mark + 1..];
            let digits = thread.bytes().take_while(u8::is_ascii_digit).count();
            // A UUID may begin with digits, which are none of the thread's.
            let next = (0..=digits).find(|&at| thread.get(at..).is_some_and(starts_with_uuid));
            rest = &thread[next.unwrap_or(digits)..];
            if next.is_some() {
                plain.push(',');
            }
        }
        plain.push_str(rest);
        plain.parse()
    }

    /// Number of transactions.
    pub fn count(&self) -> u64 {
        let sizes = self.sources.values().flatten().map(|interval| interval.last - interval.first + 1);
        sizes.fold(0, u64::saturating_add)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}

/// What is in the sorted intervals `held` and in none of the sorted intervals `taken`. One pass over both.
fn difference(held: &[Interval], taken: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::with_capacity(held.len());
    let mut taken = taken.iter().copied().peekable();
    for &Interval { mut first, last } in held {
        while taken.next_if(|interval| interval.last < first).is_some() {}
        // An interval of `taken` may extend into the next of `held`, so the last one is only peeked at.
        while let Some(cut) = taken.peek().copied().filter(|cut| cut.first <= last && first <= last) {
            if cut.first > first {
                left.push(Interval { first, last: cut.first - 1 });
            }
            first = cut.last + 1;
            if cut.last <= last {
                taken.next();
            }
        }
        if first <= last {
            left.push(Interval { first, last });
        }
    }
    left
}

/// Whether one of the sorted intervals `held` contains `wanted`.
fn holds(held: &[Interval], wanted: Interval) -> bool {
    let after = held.partition_point(|interval| interval.first <= wanted.first);
    after.checked_sub(1).and_then(|index| held.get(index)).is_some_and(|interval| interval.last >= wanted.last)
}

/// Sorts, and joins intervals that overlap or touch.
fn normalize(intervals: &mut Vec<Interval>) {
    intervals.sort();
    intervals.dedup_by(|next, kept| {
        let joined = next.first <= kept.last.saturating_add(1);
        if joined {
            kept.last = kept.last.max(next.last);
        }
        joined
    });
}

impl FromStr for MySqlGtidSet {
    type Err = GtidError;

    /// Parses `UUID:1-3:5:tag:1,UUID:…` in any case, with blanks and line ends between its parts, as servers print it.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let mut scan = Scan::new(text)?;
        let mut sources: BTreeMap<Source, Vec<Interval>> = BTreeMap::new();
        while scan.peek().is_some() {
            // The server also accepts commas with nothing between them.
            if !scan.take(b',') {
                source_intervals(&mut scan, &mut sources)?;
            }
        }
        sources.values_mut().for_each(normalize);
        Ok(Self { sources })
    }
}

/// One `UUID:[tag:]interval…` up to its comma or the end.
fn source_intervals(scan: &mut Scan<'_>, sources: &mut BTreeMap<Source, Vec<Interval>>) -> Result<(), GtidError> {
    let uuid = uuid(scan)?;
    let mut source = Source { uuid, tag: "".into() };
    scan.demand(b':', "':'")?;
    loop {
        if scan.peek().is_some_and(starts_tag) {
            source.tag = tag(scan)?;
            scan.demand(b':', "':'")?;
        }
        let interval = interval(scan)?;
        match sources.get_mut(&source) {
            Some(held) => held.push(interval),
            None => {
                sources.insert(source.clone(), vec![interval]);
            }
        }
        match scan.peek() {
            None | Some(b',') => return Ok(()),
            Some(_) => scan.demand(b':', "':' or ',' or the end")?,
        }
    }
}

/// `8-4-4-4-12` hexadecimal digits.
pub(super) fn uuid(scan: &mut Scan<'_>) -> Result<[u8; 16], GtidError> {
    const EXPECTED: &str = "a UUID";
    scan.peek();
    let error = scan.expected(EXPECTED);
    let text = scan.take_while(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if text.len() != 36 {
        return Err(error);
    }
    let mut uuid = [0; 16];
    let mut digits = 0;
    for (index, &byte) in text.iter().enumerate() {
        let dash_is_due = matches!(index, 8 | 13 | 18 | 23);
        match (byte, hex_digit(byte)) {
            (b'-', _) if dash_is_due => {}
            (_, Some(digit)) if !dash_is_due => {
                uuid[digits / 2] = uuid[digits / 2] << 4 | digit;
                digits += 1;
            }
            _ => return Err(error),
        }
    }
    Ok(uuid)
}

fn starts_with_uuid(text: &str) -> bool {
    let uuid = text.as_bytes().get(..37).unwrap_or_default();
    let is_due = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        36 => *byte == b':',
        _ => byte.is_ascii_hexdigit(),
    };
    !uuid.is_empty() && uuid.iter().enumerate().all(is_due)
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

const fn starts_tag(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// A letter or `_`, then letters, digits and `_`; the case does not matter.
fn tag(scan: &mut Scan<'_>) -> Result<Box<str>, GtidError> {
    let error = scan.expected("a tag of at most 32 characters");
    let text = scan.take_while(|byte| starts_tag(byte) || byte.is_ascii_digit());
    if text.len() > TAG_LEN_MAX {
        return Err(error);
    }
    Ok(text.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect::<String>().into())
}

/// `n` or `n-m`.
fn interval(scan: &mut Scan<'_>) -> Result<Interval, GtidError> {
    const EXPECTED: &str = "a transaction number";
    scan.peek();
    let error = scan.expected(EXPECTED);
    let first = scan.number(NUMBER_MAX, EXPECTED)?;
    let last = if scan.take(b'-') { scan.number(NUMBER_MAX, EXPECTED)? } else { first };
    if first == 0 || last < first { Err(error) } else { Ok(Interval { first, last }) }
}

impl fmt::Display for MySqlGtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written: Option<[u8; 16]> = None;
        for (source, intervals) in &self.sources {
            if written != Some(source.uuid) {
                f.write_str(if written.is_some() { "," } else { "" })?;
                write_uuid(f, source.uuid)?;
                written = Some(source.uuid);
            }
            if !source.tag.is_empty() {
                write!(f, ":{}", source.tag)?;
            }
            for interval in intervals {
                write!(f, ":{}", interval.first)?;
                if interval.last > interval.first {
                    write!(f, "-{}", interval.last)?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: [u8; 16]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        f.write_str(if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" })?;
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
