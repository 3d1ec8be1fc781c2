//! Follows a server's answer from its packet headers and first bytes: what may pass unread, what must be looked at,
//! and when the answer is over. Rows are never decoded and never gathered.
//!
//! ```text
//!            ┌────────────── OK/EOF with MORE_RESULTS ─────────────┐
//!            ▼                                                     │
//!  Start ─ count ─► Columns ─(last)─► [ColumnsEof] ─► Rows ─ OK/EOF ─► Done
//!    ├─ OK / ERR ──────────────────────────────────────── ERR ────► Done
//!    ├─ 0xfb ─► LocalInfile ─(client's file sent)─► Start
//!    └─ prepare OK ─► Params ─► [ParamsEof] ─► Columns ─► [ColumnsEof] ─► Done
//! ```
//! The states in brackets exist only without CLIENT_DEPRECATE_EOF.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response.html>

use super::{Capabilities, HEADER_LEN, Header, MAX_PAYLOAD, Malformed, Reader, Status};

/// The shape of the answer to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// No answer at all (COM_STMT_CLOSE, COM_STMT_SEND_LONG_DATA, COM_QUIT).
    Nothing,
    /// One packet: OK, EOF, ERR, or a plain string (COM_STATISTICS).
    OnePacket,
    /// OK, ERR, or result sets (COM_QUERY, COM_STMT_EXECUTE).
    Results,
    /// The same, where a cursor was asked for: its rows come by COM_STMT_FETCH.
    ResultsOrCursor,
    /// COM_STMT_PREPARE's.
    Prepared,
    /// Rows or column definitions up to OK, EOF or ERR (COM_STMT_FETCH, COM_FIELD_LIST).
    Rows,
}

/// A packet that must be looked at before it is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// OK, also with header 0xfe where the client deprecates EOF.
    Ok(Status),
    /// EOF.
    Eof(Status),
    /// An EOF behind definitions, if it says that session state changed.
    ColumnsEof(Status),
    /// ERR.
    Err,
    /// The server asks for the client's file.
    LocalInfile,
    /// The first packet of a prepared statement.
    PrepareOk,
}

/// What one look at the bytes found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan {
    /// So many bytes from the start may be passed on as they are.
    pub pass: usize,
    /// Then comes this packet, of so many bytes with its header, whole.
    pub event: Option<(Kind, usize)>,
    /// Without an event: bytes needed from `pass` on before a further look is of use (0: everything was passed).
    pub wants: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Start,
    OnePacket,
    Prepare,
    Params { left: u16, columns: u16 },
    ParamsEof { columns: u16 },
    PreparedColumns { left: u16 },
    PreparedColumnsEof,
    Columns { left: u64 },
    ColumnsEof,
    Rows,
    Done,
}

/// A count of nine bytes, and the flag of optional metadata.
const COLUMN_COUNT_LEN_MAX: usize = 10;

/// Follows one answer.
#[derive(Clone, Debug)]
pub struct Tracker {
    state: State,
    capabilities: Capabilities,
    /// Payload bytes of the current packet still to pass.
    skip: usize,
    /// The next packet continues one of the greatest length.
    continued: bool,
    /// Sequence number behind the last header seen.
    seq: u8,
    /// The next packet must have it. Not so in front of an answer to a command of several packets, which its numbers go on from.
    in_sequence: bool,
    /// A cursor may be opened.
    cursor: bool,
    /// The rows are a procedure's OUT parameters: an OK stands behind them, though the EOF that ends them does not say so.
    out_params: bool,
    /// A prepared statement's columns are not described, and yet an EOF stands behind them.
    eofs_only: bool,
    /// A row was passed on.
    rows_passed: bool,
}

impl Tracker {
    /// Starts at the first byte of an answer, on a connection with these capabilities.
    pub fn new(expect: Expect, capabilities: Capabilities) -> Self {
        let state = match expect {
            Expect::Nothing => State::Done,
            Expect::OnePacket => State::OnePacket,
            Expect::Results | Expect::ResultsOrCursor => State::Start,
            Expect::Prepared => State::Prepare,
            Expect::Rows => State::Rows,
        };
        let cursor = expect == Expect::ResultsOrCursor;
        Self {
            state,
            capabilities,
            skip: 0,
            continued: false,
            seq: 1,
            in_sequence: false,
            cursor,
            out_params: false,
            eofs_only: false,
            rows_passed: false,
        }
    }

    /// The same for the answer to a command of one packet: its first has sequence number 1.
    #[must_use]
    pub fn in_sequence(self) -> Self {
        Self { in_sequence: true, ..self }
    }

    /// Whether the answer is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done && self.skip == 0 && !self.continued
    }

    /// Whether a row, or its beginning, was among what may be passed on.
    pub fn has_passed_rows(&self) -> bool {
        self.rows_passed
    }

    /// Looks at the next bytes of the answer; `bytes` starts where the last look's `pass` and event ended.
    ///
    /// # Errors
    /// When the bytes cannot be an answer: the connection is then of no further use.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, Malformed> {
        let mut pass = 0;
        loop {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() - pass);
                self.skip -= n;
                pass += n;
                if self.skip > 0 {
                    return Ok(Scan { pass, event: None, wants: 0 });
                }
            }
            let rest = &bytes[pass..];
            if self.is_done() {
                return if rest.is_empty() {
                    Ok(Scan { pass, event: None, wants: 0 })
                } else {
                    Err(Malformed::Trailing("answer"))
                };
            }
            let Some(header) = Header::peek(rest) else {
                let wants = if rest.is_empty() { 0 } else { HEADER_LEN };
                return Ok(Scan { pass, event: None, wants });
            };
            if self.in_sequence && header.seq != self.seq {
                return Err(Malformed::Invalid("sequence number"));
            }
            if self.continued {
                self.pass_packet(header);
                pass += HEADER_LEN;
                continue;
            }
            // What stands behind this packet must not be taken for its own.
            let payload = &rest[HEADER_LEN..rest.len().min(HEADER_LEN + header.len)];
            self.plausible(header, payload)?;
            let wants = HEADER_LEN + self.bytes_needed(header, payload);
            if rest.len() < wants {
                return Ok(Scan { pass, event: None, wants });
            }
            match self.step(header, payload)? {
                Some(kind) => {
                    (self.seq, self.in_sequence) = (header.seq.wrapping_add(1), true);
                    return Ok(Scan { pass, event: Some((kind, HEADER_LEN + header.len)), wants: 0 });
                }
                None => {
                    self.pass_packet(header);
                    pass += HEADER_LEN;
                }
            }
        }
    }

    /// The client's file was sent (its empty packet too): the server's answer goes on.
    pub fn local_infile_sent(&mut self) {
        self.in_sequence = false;
        self.state = State::Start;
    }

    /// Sequence number that the next packet of the answer has; `None` inside a packet.
    pub fn next_seq(&self) -> Option<u8> {
        (self.skip == 0 && !self.continued).then_some(self.seq)
    }

    fn pass_packet(&mut self, header: Header) {
        (self.seq, self.in_sequence) = (header.seq.wrapping_add(1), true);
        self.skip = header.len;
        self.continued = header.len == MAX_PAYLOAD;
    }

    fn deprecates_eof(&self) -> bool {
        self.capabilities.has(Capabilities::DEPRECATE_EOF)
    }

    /// What cannot be an answer is told by its first byte, and not waited for to its end.
    fn plausible(&self, header: Header, payload: &[u8]) -> Result<(), Malformed> {
        let Some(&first) = payload.first() else { return Ok(()) };
        match self.state {
            // A definition starts with its catalog, which is "def" in `character_set_results`: 3 bytes long, 6 in UCS-2 and UTF-16,
            // 12 in UTF-32. An error may stand in its place.
            State::Columns { .. } | State::Params { .. } | State::PreparedColumns { .. }
                if !matches!(first, 3 | 6 | 12 | 0xff) =>
            {
                Err(Malformed::Invalid("column definition"))
            }
            State::Start if !matches!(first, 0x00 | 0xfb | 0xff) && header.len > COLUMN_COUNT_LEN_MAX => {
                Err(Malformed::Invalid("column count"))
            }
            _ => Ok(()),
        }
    }

    /// Payload bytes that must be there before `step` can judge this packet.
    fn bytes_needed(&self, header: Header, payload: &[u8]) -> usize {
        let Some(&first) = payload.first() else { return header.len.min(1) };
        let whole = match self.state {
            State::Start | State::Prepare | State::OnePacket => true,
            State::ColumnsEof | State::ParamsEof { .. } | State::PreparedColumnsEof => true,
            State::Rows => self.ends_rows(header, first),
            // No definition starts with 0xff: it is an error in its place.
            State::Params { .. } | State::PreparedColumns { .. } | State::Columns { .. } => first == 0xff,
            State::Done => false,
        };
        // A plain string as the single packet (statistics) may be long, but is never longer than a packet.
        if whole { header.len } else { 1 }
    }

    fn ends_rows(&self, header: Header, first: u8) -> bool {
        match first {
            0xff => true,
            0xfe if self.deprecates_eof() => header.len < MAX_PAYLOAD,
            0xfe => header.len < 9,
            _ => false,
        }
    }

    fn step(&mut self, header: Header, payload: &[u8]) -> Result<Option<Kind>, Malformed> {
        match self.state {
            State::Params { .. } | State::PreparedColumns { .. } | State::Columns { .. }
                if payload.first() == Some(&0xff) =>
            {
                Ok(self.err(payload))
            }
            State::Start => self.start(payload),
            State::OnePacket => self.one_packet(payload),
            State::Prepare => self.prepare(payload),
            State::Params { left, columns } => {
                self.state = match left.saturating_sub(1) {
                    0 if self.deprecates_eof() => Self::prepared_columns(columns),
                    0 => State::ParamsEof { columns },
                    left => State::Params { left, columns },
                };
                Ok(None)
            }
            State::ParamsEof { .. } if self.eofs_only => {
                self.state = State::PreparedColumnsEof;
                Ok(eof_of_definitions(payload))
            }
            State::ParamsEof { columns } => {
                self.state = Self::prepared_columns(columns);
                Ok(eof_of_definitions(payload))
            }
            State::PreparedColumns { left } => {
                self.state = match left.saturating_sub(1) {
                    0 if self.deprecates_eof() => State::Done,
                    0 => State::PreparedColumnsEof,
                    left => State::PreparedColumns { left },
                };
                Ok(None)
            }
            State::PreparedColumnsEof => {
                self.state = State::Done;
                Ok(eof_of_definitions(payload))
            }
            State::Columns { left } => {
                self.state = self.columns(left.saturating_sub(1));
                Ok(None)
            }
            State::ColumnsEof => self.columns_eof(payload),
            State::Rows => self.rows(header, payload),
            State::Done => Err(Malformed::Trailing("answer")),
        }
    }

    fn start(&mut self, payload: &[u8]) -> Result<Option<Kind>, Malformed> {
        match payload.first() {
            None => Err(Malformed::Truncated("first packet of an answer")),
            Some(0x00) => self.ok(payload),
            Some(0xff) => Ok(self.err(payload)),
            Some(0xfb) => Ok(Some(Kind::LocalInfile)),
            Some(_) => {
                let mut reader = Reader::new(payload);
                let count = reader.lenenc_int("column count")?;
                let optional = Capabilities::OPTIONAL_RESULTSET_METADATA | Capabilities::MARIADB_CACHE_METADATA;
                let optional = self.capabilities.0 & optional.0 != 0;
                let skipped = optional && !reader.is_empty() && reader.u8("metadata flag")? == 0;
                self.state = self.columns(if skipped { 0 } else { count });
                Ok(None)
            }
        }
    }

    fn columns(&self, left: u64) -> State {
        match left {
            0 if self.deprecates_eof() => State::Rows,
            0 => State::ColumnsEof,
            left => State::Columns { left },
        }
    }

    /// The EOF behind the column definitions: with an open cursor the answer ends here. MariaDB also sets the flag for a cursor
    /// that a routine opened inside; rows follow then.
    fn columns_eof(&mut self, payload: &[u8]) -> Result<Option<Kind>, Malformed> {
        if payload.first() == Some(&0xff) {
            return Ok(self.err(payload));
        }
        let status = eof_status(payload)?;
        if self.cursor && status.opens_cursor() {
            return self.end_of_result(Kind::Eof(status), status);
        }
        self.out_params = status.has(Status::PS_OUT_PARAMS) && status.has(Status::MORE_RESULTS_EXISTS);
        self.state = State::Rows;
        Ok(eof_of_definitions(payload))
    }

    fn rows(&mut self, header: Header, payload: &[u8]) -> Result<Option<Kind>, Malformed> {
        match payload.first() {
            Some(&first) if self.ends_rows(header, first) => match first {
                0xff => Ok(self.err(payload)),
                _ if self.deprecates_eof() => self.ok(payload),
                _ => {
                    let status = eof_status(payload)?;
                    let told = self.end_of_result(Kind::Eof(status), status);
                    if std::mem::take(&mut self.out_params) {
                        self.state = State::Start;
                    }
                    told
                }
            },
            _ => {
                self.rows_passed = true;
                Ok(None)
            }
        }
    }

    fn ok(&mut self, payload: &[u8]) -> Result<Option<Kind>, Malformed> {
        let status = ok_status(payload)?;
        self.end_of_result(Kind::Ok(status), status)
    }

    fn end_of_result(&mut self, kind: Kind, status: Status) -> Result<Option<Kind>, Malformed> {
        self.state = if status.has(Status::MORE_RESULTS_EXISTS) { State::Start } else { State::Done };
        Ok(Some(kind))
    }

    /// MariaDB's progress reports are ERR packets with number 65535 and end nothing.
    fn err(&mut self, payload: &[u8]) -> Option<Kind> {
        let progress =
            self.capabilities.has(Capabilities::MARIADB_PROGRESS) && payload.get(1..3) == Some(&[0xff, 0xff]);
        if progress {
            return None;
        }
        self.state = State::Done;
        Some(Kind::Err)
    }

    fn one_packet(&mut self, payload: &[u8]) -> Result<Option<Kind>, Malformed> {
        match payload.first() {
            Some(0x00) => self.ok(payload),
            Some(0xff) => Ok(self.err(payload)),
            Some(0xfe) if payload.len() < 9 && !self.deprecates_eof() => {
                let status = eof_status(payload)?;
                self.end_of_result(Kind::Eof(status), status)
            }
            Some(0xfe) => self.ok(payload),
            _ => {
                self.state = State::Done;
                Ok(None)
            }
        }
    }

    fn prepare(&mut self, payload: &[u8]) -> Result<Option<Kind>, Malformed> {
        if payload.first() == Some(&0xff) {
            return Ok(self.err(payload));
        }
        let ok = super::PrepareOk::decode(payload)?;
        let (params, columns) = (ok.params, ok.columns);
        self.state = match (ok.metadata_follows, self.deprecates_eof()) {
            (true, _) if params > 0 => State::Params { left: params, columns },
            (true, _) => Self::prepared_columns(columns),
            (false, true) => State::Done,
            // Definitions are left out, the EOFs behind them are not.
            (false, false) if params > 0 => State::ParamsEof { columns: 0 },
            (false, false) if columns > 0 => State::PreparedColumnsEof,
            (false, false) => State::Done,
        };
        self.eofs_only = !ok.metadata_follows && columns > 0;
        Ok(Some(Kind::PrepareOk))
    }

    fn prepared_columns(columns: u16) -> State {
        if columns > 0 { State::PreparedColumns { left: columns } } else { State::Done }
    }
}

/// An EOF behind definitions is of interest only if it says that session state changed.
fn eof_of_definitions(payload: &[u8]) -> Option<Kind> {
    let status = eof_status(payload).ok()?;
    status.has(Status::SESSION_STATE_CHANGED).then_some(Kind::ColumnsEof(status))
}

fn eof_status(payload: &[u8]) -> Result<Status, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.u8("EOF header")? != 0xfe {
        return Err(Malformed::Invalid("EOF header"));
    }
    reader.u16_le("EOF warnings")?;
    Ok(Status(reader.u16_le("EOF status flags")?))
}

fn ok_status(payload: &[u8]) -> Result<Status, Malformed> {
    let mut reader = Reader::new(payload);
    reader.u8("OK header")?;
    reader.lenenc_int("OK affected rows")?;
    reader.lenenc_int("OK last insert id")?;
    Ok(Status(reader.u16_le("OK status flags")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;
    use proptest::prelude::*;

    const OLD: Capabilities = Capabilities::PROTOCOL_41;
    const NEW: Capabilities = Capabilities(Capabilities::PROTOCOL_41.0 | Capabilities::DEPRECATE_EOF.0);
    const MORE: u16 = 0x0008;

    fn ok(header: u8, status: u16) -> Vec<u8> {
        let [low, high] = status.to_le_bytes();
        vec![header, 0, 0, low, high, 0, 0]
    }

    fn eof(status: u16) -> Vec<u8> {
        let [low, high] = status.to_le_bytes();
        vec![0xfe, 0, 0, low, high]
    }

    fn stream(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut seq = 1;
        for payload in payloads {
            seq = frame(&mut out, seq, payload);
        }
        out
    }

    /// Scans in steps of `step` bytes; returns the events' kinds and how many bytes were used until the answer was over.
    fn run(expect: Expect, capabilities: Capabilities, bytes: &[u8], step: usize) -> (Vec<Kind>, usize) {
        let mut tracker = Tracker::new(expect, capabilities);
        let (mut kinds, mut used, mut seen) = (Vec::new(), 0, 0);
        while !tracker.is_done() {
            let scan = tracker.scan(&bytes[used..seen]).expect("a proper answer");
            used += scan.pass;
            match scan.event {
                Some((kind, len)) => {
                    kinds.push(kind);
                    used += len;
                }
                None if tracker.is_done() => {}
                None => {
                    assert!(seen < bytes.len(), "the answer should be over");
                    seen = (seen + step).min(bytes.len());
                }
            }
        }
        (kinds, used)
    }

    fn column() -> Vec<u8> {
        b"\x03def\x00\x00\x00\x01a\x00\x0c\x3f\x00\x01\x00\x00\x00\x03\x81\x00\x00\x00\x00".to_vec()
    }

    #[test]
    fn a_result_set_ends_at_its_second_eof() {
        let bytes = stream(&[vec![1], column(), eof(2), b"\x011".to_vec(), b"\x012".to_vec(), eof(2)]);
        assert_eq!(run(Expect::Results, OLD, &bytes, 3), (vec![Kind::Eof(Status(2))], bytes.len()));
    }

    #[test]
    fn an_eof_behind_definitions_is_shown_if_it_says_that_state_changed() {
        let changed = Kind::ColumnsEof(Status(0x4002));
        let bytes = stream(&[vec![1], column(), eof(0x4002), b"\x011".to_vec(), eof(2)]);
        assert_eq!(run(Expect::Results, OLD, &bytes, 3), (vec![changed, Kind::Eof(Status(2))], bytes.len()));
        let first = vec![0, 7, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        let bytes = stream(&[first, column(), eof(0x4002), column(), eof(0x4002)]);
        assert_eq!(run(Expect::Prepared, OLD, &bytes, 3), (vec![Kind::PrepareOk, changed, changed], bytes.len()));
    }

    #[test]
    fn definitions_may_be_in_any_character_set_of_results() {
        for catalog in [&b"\x03def"[..], b"\x06\0d\0e\0f", b"\x06d\0e\0f\0", b"\x0c\0\0\0d\0\0\0e\0\0\0f"] {
            let bytes = stream(&[vec![1], [catalog, &column()[4..]].concat(), eof(2), b"\x011".to_vec(), eof(2)]);
            assert_eq!(run(Expect::Results, OLD, &bytes, 3), (vec![Kind::Eof(Status(2))], bytes.len()));
        }
    }

    /// As MySQL 9.7 answers under `resultset_metadata = NONE`.
    #[test]
    fn a_prepared_statement_without_metadata_has_its_eofs_all_the_same() {
        let capabilities = OLD | Capabilities::OPTIONAL_RESULTSET_METADATA;
        let prepare_ok = |columns, params| vec![0, 1, 0, 0, 0, columns, 0, params, 0, 0, 0, 0, 0];
        for (columns, params, eofs) in [(3, 1, 2), (3, 0, 1), (0, 2, 1), (0, 0, 0)] {
            let mut payloads = vec![prepare_ok(columns, params)];
            payloads.extend(vec![eof(2); eofs]);
            let bytes = stream(&payloads);
            let (_, used) = run(Expect::Prepared, capabilities, &bytes, 1);
            assert_eq!(used, bytes.len(), "{columns} columns, {params} parameters");
            let (_, used) = run(Expect::Prepared, capabilities | NEW, &bytes, 1);
            assert_eq!(used, stream(&payloads[..1]).len());
        }
    }

    #[test]
    fn an_error_in_place_of_a_column_definition_ends_the_answer() {
        for step in [1, 1000] {
            let bytes = stream(&[vec![2], column(), b"\xff\x28\x04#42000no".to_vec()]);
            assert_eq!(run(Expect::Results, OLD, &bytes, step), (vec![Kind::Err], bytes.len()));
        }
    }

    #[test]
    fn what_stands_behind_an_empty_packet_is_not_its_own() {
        let bytes = stream(&[vec![2], Vec::new(), column()]);
        let mut tracker = Tracker::new(Expect::Results, OLD);
        assert_eq!(tracker.scan(&bytes), Ok(Scan { pass: bytes.len(), event: None, wants: 0 }));
    }

    #[test]
    fn with_eof_deprecated_a_result_set_ends_at_ok() {
        let bytes = stream(&[vec![1], column(), b"\x011".to_vec(), ok(0xfe, 2)]);
        assert_eq!(run(Expect::Results, NEW, &bytes, 3), (vec![Kind::Ok(Status(2))], bytes.len()));
    }

    #[test]
    fn a_row_that_starts_with_0xfe_is_no_end() {
        let mut row = vec![0xfe, 0, 0, 0, 1, 0, 0, 0, 0];
        row.resize(MAX_PAYLOAD + 100, b'x');
        for (capabilities, end) in [(NEW, ok(0xfe, 2)), (OLD, eof(2))] {
            let mut packets = vec![vec![1], column()];
            if capabilities == OLD {
                packets.push(eof(2));
            }
            packets.extend([row.clone(), end]);
            let bytes = stream(&packets);
            assert_eq!(run(Expect::Results, capabilities, &bytes, 65536).1, bytes.len());
        }
    }

    #[test]
    fn a_row_of_exactly_one_packet_is_followed_by_an_empty_one_that_is_no_row() {
        let mut row = vec![0xfd, 0xfb, 0xff, 0xff];
        row.resize(MAX_PAYLOAD, 0xff);
        let bytes = stream(&[vec![1], column(), row, ok(0xfe, 2)]);
        assert_eq!(run(Expect::Results, NEW, &bytes, 1 << 20), (vec![Kind::Ok(Status(2))], bytes.len()));
    }

    #[test]
    fn further_results_follow_while_the_flag_says_so() {
        let bytes = stream(&[ok(0, MORE), vec![1], column(), b"\x011".to_vec(), ok(0xfe, MORE), ok(0, 2)]);
        let (kinds, used) = run(Expect::Results, NEW, &bytes, 4);
        assert_eq!((kinds.len(), used), (3, bytes.len()));
    }

    #[test]
    fn an_ok_follows_out_parameters_though_their_eof_does_not_say_so() {
        let row = b"\x00\x00\x03foo".to_vec();
        let called = [vec![1], column(), eof(0x100a), row, eof(2), ok(0, 2)];
        let bytes = stream(&called);
        for expect in [Expect::Results, Expect::ResultsOrCursor] {
            let kinds = vec![Kind::Eof(Status(2)), Kind::Ok(Status(2))];
            assert_eq!(run(expect, OLD, &bytes, 4), (kinds, bytes.len()), "{expect:?}");
        }
    }

    #[test]
    fn an_error_in_the_middle_of_rows_ends_the_answer() {
        let bytes = stream(&[vec![1], column(), b"\x011".to_vec(), b"\xff\x25\x05#70100stop".to_vec()]);
        assert_eq!(run(Expect::Results, NEW, &bytes, 5), (vec![Kind::Err], bytes.len()));
    }

    #[test]
    fn a_cursor_that_a_routine_opened_inside_ends_nothing() {
        let row = b"\x011".to_vec();
        let ok = vec![0, 0, 0, 2, 0, 0, 0];
        let called = stream(&[vec![1], column(), eof(0x4a), row.clone(), eof(0x4a), ok]);
        for expect in [Expect::Results, Expect::ResultsOrCursor] {
            assert_eq!(run(expect, OLD, &called, 5).1, called.len(), "{expect:?}");
        }
        let selected = stream(&[vec![1], column(), eof(0x42), row, eof(0x42)]);
        assert_eq!(run(Expect::Results, OLD, &selected, 5).1, selected.len());
    }

    #[test]
    fn an_open_cursor_ends_the_answer_behind_the_columns() {
        let bytes = stream(&[vec![1], column(), eof(0x42)]);
        assert_eq!(run(Expect::ResultsOrCursor, OLD, &bytes, 2), (vec![Kind::Eof(Status(0x42))], bytes.len()));
    }

    #[test]
    fn a_prepared_statement_ends_behind_its_last_definition() {
        let first = vec![0, 7, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0];
        let bytes = stream(&[first.clone(), column(), column(), eof(2), column(), eof(2)]);
        assert_eq!(run(Expect::Prepared, OLD, &bytes, 3), (vec![Kind::PrepareOk], bytes.len()));
        let bytes = stream(&[first, column(), column(), column()]);
        assert_eq!(run(Expect::Prepared, NEW, &bytes, 3), (vec![Kind::PrepareOk], bytes.len()));
        let bytes = stream(&[vec![0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]);
        assert_eq!(run(Expect::Prepared, NEW, &bytes, 3).1, bytes.len());
    }

    #[test]
    fn a_progress_report_is_passed_and_ends_nothing() {
        let capabilities = NEW | Capabilities::MARIADB_PROGRESS;
        let bytes = stream(&[b"\xff\xff\xff\x01\x01\x01\x00\x00\x00\x03abc".to_vec(), ok(0, 2)]);
        assert_eq!(run(Expect::Results, capabilities, &bytes, 3), (vec![Kind::Ok(Status(2))], bytes.len()));
    }

    #[test]
    fn the_servers_wish_for_a_file_stops_the_answer_until_it_was_sent() {
        let mut tracker = Tracker::new(Expect::Results, NEW);
        let bytes = stream(&[b"\xfbfile".to_vec()]);
        assert_eq!(tracker.scan(&bytes).expect("legal").event, Some((Kind::LocalInfile, 9)));
        tracker.local_infile_sent();
        let answer = stream(&[ok(0, 2)]);
        assert_eq!(tracker.scan(&answer).expect("legal").event, Some((Kind::Ok(Status(2)), 11)));
        assert!(tracker.is_done());
    }

    #[test]
    fn a_packet_out_of_sequence_is_the_servers_fault() {
        let mut bytes = stream(&[vec![1], column(), b"\x011".to_vec(), ok(0xfe, 2)]);
        let second = HEADER_LEN + 1;
        bytes[second + 3] = 7;
        let wrong = Err(Malformed::Invalid("sequence number"));
        assert_eq!(Tracker::new(Expect::Results, NEW).scan(&bytes), wrong);
        let mut first = stream(&[ok(0, 2)]);
        first[3] = 2;
        assert_eq!(Tracker::new(Expect::OnePacket, NEW).in_sequence().scan(&first), wrong);
        assert!(Tracker::new(Expect::OnePacket, NEW).scan(&first).is_ok());
    }

    #[test]
    fn bytes_behind_the_end_are_the_servers_fault() {
        let mut tracker = Tracker::new(Expect::OnePacket, NEW);
        let mut bytes = stream(&[ok(0, 2)]);
        tracker.scan(&bytes).expect("legal");
        bytes.drain(..);
        assert_eq!(tracker.scan(b"more"), Err(Malformed::Trailing("answer")));
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_makes_no_difference(rows in 0..40usize, step in 1..200usize, old: bool) {
            let capabilities = if old { OLD } else { NEW };
            let mut packets = vec![vec![2], column(), column()];
            if old { packets.push(eof(2)); }
            packets.extend((0..rows).map(|n| [1, b'x', 0xfb, b'y'].repeat(n % 7 + 1)));
            packets.push(if old { eof(2) } else { ok(0xfe, 2) });
            let bytes = stream(&packets);
            prop_assert_eq!(run(Expect::Results, capabilities, &bytes, step), run(Expect::Results, capabilities, &bytes, bytes.len()));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, expect in 0..4u8, flags: u64) {
            let expect = [Expect::OnePacket, Expect::ResultsOrCursor, Expect::Prepared, Expect::Rows][usize::from(expect)];
            let mut tracker = Tracker::new(expect, Capabilities(flags));
            let mut at = 0;
            while let Ok(Scan { pass, event: Some((_, len)), .. }) = tracker.scan(&bytes[at..]) {
                at += pass + len;
            }
        }
    }
}
