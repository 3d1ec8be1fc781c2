//! A cursor over a GTID text; every read names what it wanted.

use super::{GTID_TEXT_LEN_MAX, GtidError};

pub(super) struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, GtidError> {
        if text.len() > GTID_TEXT_LEN_MAX {
            Err(GtidError::TooLong(text.len()))
        } else {
            Ok(Self { text: text.as_bytes(), at: 0 })
        }
    }

    /// The next byte that is no white space; `None` at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Steps over `byte`, if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Steps over `byte`, which must be next.
    pub(super) fn demand(&mut self, byte: u8, expected: &'static str) -> Result<(), GtidError> {
        if self.take(byte) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// The bytes from here on that `is_part` accepts.
    pub(super) fn take_while(&mut self, is_part: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|&byte| !is_part(byte)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// A decimal number of at most `max`.
    pub(super) fn number(&mut self, max: u64, expected: &'static str) -> Result<u64, GtidError> {
        self.peek();
        let error = self.expected(expected);
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.is_empty() {
            return Err(error);
        }
        digits
            .iter()
            .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
            .filter(|&value| value <= max)
            .ok_or(error)
    }

    pub(super) const fn expected(&self, expected: &'static str) -> GtidError {
        GtidError::Expected { expected, offset: self.at }
    }
}
