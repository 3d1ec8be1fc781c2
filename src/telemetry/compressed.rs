//! Bytes of the compressed protocol: what it costs on the network, and what it would cost without.

use super::catalogue::COMPRESSED;
use super::export::Registrar;
use ::metrics::Counter;

/// Bytes of one connection under the compressed protocol.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Compressed {
    /// Read from the network, frame headers included.
    pub packed_in: usize,
    /// What they held.
    pub plain_in: usize,
    /// Written to the network, frame headers included.
    pub packed_out: usize,
    /// What they hold.
    pub plain_out: usize,
}

/// The sums over all connections.
pub(super) struct CompressedBytes([Counter; 4]);

impl CompressedBytes {
    pub fn new(series: &Registrar) -> Self {
        Self(
            [["in", "compressed"], ["in", "uncompressed"], ["out", "compressed"], ["out", "uncompressed"]]
                .map(|labels| series.counter(&COMPRESSED, &labels)),
        )
    }

    pub fn add(&self, bytes: Compressed) {
        let Compressed { packed_in, plain_in, packed_out, plain_out } = bytes;
        for (counter, n) in self.0.iter().zip([packed_in, plain_in, packed_out, plain_out]) {
            counter.increment(n as u64);
        }
    }
}
