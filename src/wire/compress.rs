//! The compressed protocol: MySQL packets travel inside frames, each of which is compressed by itself.
//!
//! A frame has seven bytes of header: the length of what follows (3 bytes), a sequence number of the frames' own, and the
//! length before compression (3 bytes), which is 0 when the payload is stored as it is. A frame may hold a part of a packet
//! or several packets.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression.html>

use std::fmt;
use thiserror::Error;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// Bytes in front of a frame's payload.
pub const FRAME_HEADER_LEN: usize = 7;
/// Longest payload of one frame, compressed or not: lengths have three bytes.
pub const FRAME_PAYLOAD_MAX: usize = 0x00ff_ffff;
/// A shorter payload is stored (`MIN_COMPRESS_LENGTH` of the servers).
pub const COMPRESS_MIN: usize = 50;
/// Levels of zstd that a client may ask for.
pub const ZSTD_LEVELS: std::ops::RangeInclusive<u8> = 1..=22;
/// Higher levels are taken for this one: they need ten times the processor time for some per cent, on a thread that other
/// sessions share.
const ZSTD_LEVEL_MAX: u8 = 9;
/// As the servers compress for `CLIENT_COMPRESS`.
const ZLIB_LEVEL: i32 = 6;
const ZLIB_WINDOW_BITS: u8 = 15;
/// A frame holds less than 16 MiB, so no larger window is of use. Bounds a decoder's memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;
/// The decoder also knows formats from before zstd 0.8, which no client sends and few people look at.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A zstd decoder that may have made a window larger than this is not kept for the next frame.
const KEEP_WINDOW_MAX: usize = 256 * 1024;

/// An algorithm, as agreed on in a login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// `CLIENT_COMPRESS`.
    Zlib,
    /// `CLIENT_ZSTD_COMPRESSION_ALGORITHM`, with the level that the client asks for.
    Zstd(u8),
}

/// Why the frames of a peer cannot be followed any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// Neither the next number nor the 0 of a new command.
    #[error("compressed packets out of order: number {got} in place of {expected}")]
    OutOfOrder {
        /// As it came.
        got: u8,
        /// The one that was its turn.
        expected: u8,
    },
    /// The payload is not a stream of this algorithm, or it ends too early.
    #[error("a compressed packet cannot be uncompressed")]
    Corrupt,
    /// The payload, or the stream in it, is longer or shorter than its header says.
    #[error("a compressed packet does not hold the {declared} bytes that its header declares")]
    Length {
        /// By the header.
        declared: usize,
    },
    /// No memory for a decoder.
    #[error("no memory to uncompress a packet")]
    Memory,
}

/// How far a call of [`Frames::read`] got.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Bytes of the input that are used up.
    pub used: usize,
    /// Bytes of the output that are written.
    pub made: usize,
}

/// Encoders and decoders, kept between frames: making one costs more than a small frame.
#[derive(Default)]
pub struct Codecs {
    deflate: Option<Deflate>,
    inflate: Option<Inflate>,
    zstd: Option<CCtx<'static>>,
    unzstd: Option<DCtx<'static>>,
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codecs").finish_non_exhaustive()
    }
}

/// Both directions of one compressed connection.
#[derive(Debug)]
pub struct Frames {
    compression: Compression,
    /// Number of the next frame, whichever side sends it: both directions share the count, as packets do.
    next_seq: u8,
    state: State,
}

#[derive(Debug)]
enum State {
    /// So many bytes of a header are here.
    Header([u8; FRAME_HEADER_LEN], usize),
    /// So many bytes of a stored payload are still to come.
    Stored(usize),
    Compressed(Box<Unpacking>),
}

/// A compressed payload that is being read.
struct Unpacking {
    decoder: Decoder,
    /// Bytes of the payload still to come.
    packed_left: usize,
    /// Bytes still to be made of it.
    plain_left: usize,
    declared: usize,
    /// Bytes of zstd's magic number seen.
    magic: usize,
    /// The output was full: there may be more without further input.
    more: bool,
}

enum Decoder {
    Zlib(Inflate),
    Zstd(DCtx<'static>),
}

impl fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unpacking({} bytes to {})", self.packed_left, self.plain_left)
    }
}

impl Frames {
    /// A connection whose login has just ended.
    pub const fn new(compression: Compression) -> Self {
        Self { compression, next_seq: 0, state: State::Header([0; FRAME_HEADER_LEN], 0) }
    }

    /// Number of the next frame.
    pub const fn next_seq(&self) -> u8 {
        self.next_seq
    }

    /// A client's side sets the number: to 0 where a command begins, and to that of an answer to a command sent ahead.
    pub const fn set_next_seq(&mut self, seq: u8) {
        self.next_seq = seq;
    }

    /// Whether [`Self::read`] may make something without further input.
    pub fn has_more(&self) -> bool {
        matches!(&self.state, State::Compressed(unpacking) if unpacking.more)
    }

    /// Reads frames from `input`, in pieces of any size, and writes what they hold to `output`. Stops at the end of a frame
    /// that held anything: the number of the next frame to send depends on how far the peer was read.
    ///
    /// # Errors
    /// The peer broke the protocol; the connection cannot be used any more.
    pub fn read(&mut self, input: &[u8], output: &mut [u8], codecs: &mut Codecs) -> Result<Progress, FrameError> {
        let mut progress = Progress::default();
        loop {
            let (input, output) = (&input[progress.used..], &mut output[progress.made..]);
            let step = match &mut self.state {
                State::Header(header, have) => {
                    let used = input.len().min(FRAME_HEADER_LEN - *have);
                    header[*have..*have + used].copy_from_slice(&input[..used]);
                    *have += used;
                    progress.used += used;
                    if *have < FRAME_HEADER_LEN {
                        return Ok(progress);
                    }
                    let header = *header;
                    self.state = self.begin(header, codecs)?;
                    continue;
                }
                State::Stored(left) => {
                    let n = input.len().min(output.len()).min(*left);
                    output[..n].copy_from_slice(&input[..n]);
                    *left -= n;
                    (Progress { used: n, made: n }, *left == 0)
                }
                State::Compressed(unpacking) => unpacking.read(input, output)?,
            };
            let (Progress { used, made }, over) = step;
            progress.used += used;
            progress.made += made;
            if over {
                self.end(codecs);
            }
            if progress.made > 0 && over || !over && used == 0 && made == 0 {
                return Ok(progress);
            }
        }
    }

    /// Judges a header.
    fn begin(&mut self, header: [u8; FRAME_HEADER_LEN], codecs: &mut Codecs) -> Result<State, FrameError> {
        let [a, b, c, seq, d, e, f] = header;
        let (packed, declared) = (length([a, b, c]), length([d, e, f]));
        if seq != self.next_seq && seq != 0 {
            return Err(FrameError::OutOfOrder { got: seq, expected: self.next_seq });
        }
        self.next_seq = seq.wrapping_add(1);
        if declared == 0 {
            return Ok(State::Stored(packed));
        }
        let decoder = codecs.decoder(self.compression).ok_or(FrameError::Memory)?;
        Ok(State::Compressed(Box::new(Unpacking {
            decoder,
            packed_left: packed,
            plain_left: declared,
            declared,
            magic: 0,
            more: packed == 0,
        })))
    }

    /// A frame is over: its decoder goes back.
    fn end(&mut self, codecs: &mut Codecs) {
        let state = std::mem::replace(&mut self.state, State::Header([0; FRAME_HEADER_LEN], 0));
        if let State::Compressed(unpacking) = state {
            match unpacking.decoder {
                Decoder::Zlib(inflate) => codecs.inflate = Some(inflate),
                Decoder::Zstd(unzstd) if unpacking.declared <= KEEP_WINDOW_MAX => codecs.unzstd = Some(unzstd),
                Decoder::Zstd(_) => {}
            }
        }
    }

    /// Appends `payload`, of [`FRAME_PAYLOAD_MAX`] bytes at most, as one frame.
    pub fn write(&mut self, payload: &[u8], out: &mut Vec<u8>, codecs: &mut Codecs) {
        let payload = &payload[..payload.len().min(FRAME_PAYLOAD_MAX)];
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER_LEN]);
        let body = start + FRAME_HEADER_LEN;
        let mut declared = 0;
        if payload.len() >= COMPRESS_MIN {
            // Room for less than there is: what does not get shorter is stored.
            out.resize(body + payload.len() - 1, 0);
            match codecs.compress(self.compression, payload, &mut out[body..]) {
                Some(len) => {
                    out.truncate(body + len);
                    declared = payload.len();
                }
                None => out.truncate(body),
            }
        }
        if declared == 0 {
            out.extend_from_slice(payload);
        }
        let [a, b, c] = length_bytes(out.len() - body);
        let [d, e, f] = length_bytes(declared);
        out[start..body].copy_from_slice(&[a, b, c, self.next_seq, d, e, f]);
        self.next_seq = self.next_seq.wrapping_add(1);
    }
}

impl Unpacking {
    /// Makes what it can; whether the frame is over.
    fn read(&mut self, input: &[u8], output: &mut [u8]) -> Result<(Progress, bool), FrameError> {
        let input = &input[..input.len().min(self.packed_left)];
        if input.is_empty() && !self.more || output.is_empty() {
            return Ok((Progress::default(), false));
        }
        let mut probe = [0];
        // Whatever comes beyond the declared length is too much.
        let room = if self.plain_left > 0 { output.len().min(self.plain_left) } else { 0 };
        let target = if room > 0 { &mut output[..room] } else { &mut probe[..] };
        let (used, made, ended) = self.decode(input, target)?;
        self.packed_left -= used;
        self.more = made == target.len() || self.packed_left == 0;
        if made > self.plain_left {
            return Err(FrameError::Length { declared: self.declared });
        }
        self.plain_left -= made;
        if ended {
            let exact = self.packed_left == 0 && self.plain_left == 0;
            return if exact {
                Ok((Progress { used, made }, true))
            } else {
                Err(FrameError::Length { declared: self.declared })
            };
        }
        if self.packed_left == 0 && used == 0 && made == 0 {
            return Err(FrameError::Corrupt);
        }
        Ok((Progress { used, made }, false))
    }

    /// One call of the decoder: bytes used and made, and whether the stream is over.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool), FrameError> {
        match &mut self.decoder {
            Decoder::Zlib(inflate) => {
                let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
                let status =
                    inflate.decompress(input, output, InflateFlush::NoFlush).map_err(|_| FrameError::Corrupt)?;
                let used = usize::try_from(inflate.total_in() - before_in).map_err(|_| FrameError::Corrupt)?;
                let made = usize::try_from(inflate.total_out() - before_out).map_err(|_| FrameError::Corrupt)?;
                Ok((used, made, status == Status::StreamEnd))
            }
            Decoder::Zstd(unzstd) => {
                let magic = &ZSTD_MAGIC[self.magic..];
                let seen = magic.len().min(input.len());
                if input[..seen] != magic[..seen] {
                    return Err(FrameError::Corrupt);
                }
                self.magic += seen;
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(output);
                let left = unzstd.decompress_stream(&mut output, &mut input).map_err(|_| FrameError::Corrupt)?;
                Ok((input.pos(), output.pos(), left == 0))
            }
        }
    }
}

impl Codecs {
    fn decoder(&mut self, compression: Compression) -> Option<Decoder> {
        Some(match compression {
            Compression::Zlib => Decoder::Zlib(match self.inflate.take() {
                Some(mut inflate) => {
                    inflate.reset(true);
                    inflate
                }
                None => Inflate::new(true, ZLIB_WINDOW_BITS),
            }),
            Compression::Zstd(_) => {
                let mut unzstd = self.unzstd.take().or_else(DCtx::try_create)?;
                unzstd.reset(ResetDirective::SessionOnly).ok()?;
                unzstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
                Decoder::Zstd(unzstd)
            }
        })
    }

    /// Compresses into `out`: how long it is then. `None`: it does not get that short.
    fn compress(&mut self, compression: Compression, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        match compression {
            Compression::Zlib => {
                let deflate = self.deflate.get_or_insert_with(|| Deflate::new(ZLIB_LEVEL, true, ZLIB_WINDOW_BITS));
                deflate.reset();
                match deflate.compress(payload, out, DeflateFlush::Finish) {
                    Ok(Status::StreamEnd) => usize::try_from(deflate.total_out()).ok(),
                    Ok(Status::Ok | Status::BufError) | Err(_) => None,
                }
            }
            Compression::Zstd(level) => {
                if self.zstd.is_none() {
                    self.zstd = CCtx::try_create();
                }
                let zstd = self.zstd.as_mut()?;
                zstd.set_parameter(CParameter::CompressionLevel(i32::from(level.min(ZSTD_LEVEL_MAX)))).ok()?;
                zstd.compress2(out, payload).ok()
            }
        }
    }
}

fn length(bytes: [u8; 3]) -> usize {
    let [a, b, c] = bytes;
    u32::from_le_bytes([a, b, c, 0]) as usize
}

fn length_bytes(length: usize) -> [u8; 3] {
    let [a, b, c, _] = (length.min(FRAME_PAYLOAD_MAX) as u32).to_le_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Compression; 2] = [Compression::Zlib, Compression::Zstd(3)];

    fn framed(compression: Compression, payloads: &[&[u8]]) -> Vec<u8> {
        let (mut frames, mut out) = (Frames::new(compression), Vec::new());
        for payload in payloads {
            frames.write(payload, &mut out, &mut Codecs::default());
        }
        out
    }

    /// Reads all of `bytes`, handed over in pieces of `input`, into pieces of `output` bytes.
    fn read_all(compression: Compression, bytes: &[u8], input: usize, output: usize) -> Result<Vec<u8>, FrameError> {
        let (mut frames, mut codecs) = (Frames::new(compression), Codecs::default());
        let (mut plain, mut buffer) = (Vec::new(), vec![0; output]);
        for piece in bytes.chunks(input) {
            let mut at = 0;
            while at < piece.len() || frames.has_more() {
                let Progress { used, made } = frames.read(&piece[at..], &mut buffer, &mut codecs)?;
                at += used;
                plain.extend_from_slice(&buffer[..made]);
            }
        }
        Ok(plain)
    }

    fn header(packed: usize, seq: u8, declared: usize) -> Vec<u8> {
        let mut header = length_bytes(packed).to_vec();
        header.push(seq);
        header.extend_from_slice(&length_bytes(declared));
        header
    }

    #[test]
    fn the_manuals_examples_are_read() {
        let select =
            b"\x22\0\0\0\x32\0\0\x78\x9c\xd3\x63\x60\x60\x60\x2e\x4e\xcd\x49\x4d\x2e\x51\x50\x32\x30\x34\x32\x36\x31\
            \x35\x33\xb7\xb0\xc4\xcd\x52\x02\0\x0c\xd1\x0a\x6c";
        let plain = read_all(Compression::Zlib, select, 100, 100).unwrap();
        assert_eq!(plain, b"\x2e\0\0\0\x03select \"012345678901234567890123456789012345\"");
        let stored = b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03SELECT 1";
        assert_eq!(read_all(Compression::Zlib, stored, 3, 2).unwrap(), b"\x09\0\0\0\x03SELECT 1");
    }

    #[test]
    fn what_is_short_or_does_not_get_shorter_is_stored() {
        for compression in BOTH {
            let noise: Vec<u8> = (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            for (payload, stored) in [(&b"a".repeat(49)[..], true), (&b"a".repeat(50)[..], false), (&noise, true)] {
                let bytes = framed(compression, &[payload]);
                assert_eq!(bytes[4..7] == [0; 3], stored, "{compression:?}, {} bytes", payload.len());
            }
        }
    }

    #[test]
    fn frames_are_numbered_across_both_directions_and_a_command_begins_with_0() {
        let mut codecs = Codecs::default();
        let mut frames = Frames::new(Compression::Zlib);
        let read = |frames: &mut Frames, seq: u8| {
            let mut bytes = header(1, seq, 0);
            bytes.push(b'x');
            frames.read(&bytes, &mut [0; 8], &mut Codecs::default()).map(|progress| progress.made)
        };
        assert_eq!(read(&mut frames, 0), Ok(1));
        assert_eq!(read(&mut frames, 1), Ok(1));
        let mut out = Vec::new();
        frames.write(b"answer", &mut out, &mut codecs);
        frames.write(b"more", &mut out, &mut codecs);
        assert_eq!((out[3], out[FRAME_HEADER_LEN + 6 + 3]), (2, 3));
        // The client's file, behind the request for it; and then a new command.
        assert_eq!(read(&mut frames, 4), Ok(1));
        assert_eq!(read(&mut frames, 0), Ok(1));
        assert_eq!(frames.next_seq(), 1);
        assert_eq!(read(&mut frames, 3), Err(FrameError::OutOfOrder { got: 3, expected: 1 }));
    }

    #[test]
    fn no_frame_is_read_ahead_of_one_that_held_something() {
        let bytes = framed(Compression::Zlib, &[b"one", b"two"]);
        let mut frames = Frames::new(Compression::Zlib);
        let progress = frames.read(&bytes, &mut [0; 100], &mut Codecs::default()).unwrap();
        assert_eq!(progress, Progress { used: FRAME_HEADER_LEN + 3, made: 3 });
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_refused() {
        for compression in BOTH {
            let honest = framed(compression, &[&b"a".repeat(100)]);
            let packed = honest.len() - FRAME_HEADER_LEN;
            for declared in [1, 99, 101, FRAME_PAYLOAD_MAX] {
                let bytes = [header(packed, 0, declared), honest[FRAME_HEADER_LEN..].to_vec()].concat();
                assert_eq!(
                    read_all(compression, &bytes, 10, 30),
                    Err(FrameError::Length { declared }),
                    "{compression:?}, {declared}"
                );
            }
            // Bytes behind the stream, or a stream that is cut off.
            let tail = [header(packed + 1, 0, 100), honest[FRAME_HEADER_LEN..].to_vec(), b"x".to_vec()].concat();
            assert_eq!(read_all(compression, &tail, 10, 30), Err(FrameError::Length { declared: 100 }));
            let cut = [header(packed - 1, 0, 100), honest[FRAME_HEADER_LEN..honest.len() - 1].to_vec()].concat();
            assert_eq!(read_all(compression, &cut, 10, 30), Err(FrameError::Corrupt), "{compression:?}");
            assert_eq!(read_all(compression, &header(0, 0, 100), 10, 30), Err(FrameError::Corrupt));
            let noise = [header(60, 0, 100), vec![0xa5; 60]].concat();
            assert_eq!(read_all(compression, &noise, 10, 30), Err(FrameError::Corrupt));
        }
    }

    #[test]
    fn a_bomb_is_read_in_pieces_and_a_large_window_is_given_back() {
        for compression in BOTH {
            let zeros = vec![0; FRAME_PAYLOAD_MAX];
            let bomb = framed(compression, &[&zeros]);
            assert!(bomb.len() < 20_000, "{} bytes", bomb.len());
            assert!(read_all(compression, &bomb, 1000, 65536).unwrap() == zeros);
            let (mut frames, mut codecs) = (Frames::new(compression), Codecs::default());
            let (mut at, mut made) = (0, 0);
            while made < zeros.len() || frames.has_more() {
                let progress = frames.read(&bomb[at..], &mut [0; 65536], &mut codecs).unwrap();
                (at, made) = (at + progress.used, made + progress.made);
            }
            assert!(codecs.unzstd.is_none());
        }
    }

    #[test]
    fn formats_from_before_zstd_0_8_are_refused() {
        let old = [header(20, 0, 100), vec![0x27, 0xb5, 0x2f, 0xfd], vec![0; 16]].concat();
        assert_eq!(read_all(Compression::Zstd(3), &old, 2, 30), Err(FrameError::Corrupt));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_pieces_of_any_size(
            payloads in prop::collection::vec(prop::collection::vec(0..4u8, 0..400), 0..8),
            zstd: bool, input in 1..500usize, output in 1..500usize,
        ) {
            let compression = BOTH[usize::from(zstd)];
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let bytes = framed(compression, &slices);
            prop_assert_eq!(read_all(compression, &bytes, input, output), Ok(payloads.concat()));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, packed in 0..200usize, declared in 0..300usize, zstd: bool) {
            let compression = BOTH[usize::from(zstd)];
            let _ = read_all(compression, &bytes, 7, 5);
            let _ = read_all(compression, &[header(packed, 0, declared), bytes].concat(), 7, 5);
        }
    }
}
