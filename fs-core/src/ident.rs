//! Identities made on the device, from the time and a seeded generator.

use crate::{NodeId, Now, RequestId};

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, good enough for identities and jitter.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then random bits.
    fn uuid(&mut self, now: Now) -> [u8; 16] {
        let millis = u64::try_from(now.wall.0 / 1_000_000).unwrap_or(0);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6..14].copy_from_slice(&self.next().to_be_bytes());
        bytes[14..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        bytes
    }

    pub(crate) fn node_id(&mut self, now: Now) -> NodeId {
        NodeId(self.uuid(now))
    }

    pub(crate) fn request_id(&mut self, now: Now) -> RequestId {
        RequestId(self.uuid(now))
    }
}
