//! Content-defined cutting: FastCDC (2020) with a gear table that is secret to the drive.

use crate::params::Profile;
use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};
use std::borrow::Cow;

/// Cuts runs of bytes at places that depend on the bytes around them only.
pub(crate) struct Chunker {
    profile: Profile,
    masks: (u64, u64),
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
}

impl Chunker {
    pub(crate) fn new(profile: Profile, seed: u64) -> Chunker {
        let (gear, gear_shifted) = get_gear_with_seed(seed);
        let masks = select_masks(profile.avg as usize, Normalization::Level1);
        Chunker { profile, masks, gear, gear_shifted }
    }

    /// Largest chunk in bytes: what [`Chunker::cut`] must see to find the next cut.
    pub(crate) fn max(&self) -> usize {
        self.profile.max as usize
    }

    /// Length of the chunk at the start of `bytes`, which must hold at least [`Chunker::max`] bytes
    /// or all that is left of the run.
    pub(crate) fn cut(&self, bytes: &[u8]) -> usize {
        let (strict, loose) = self.masks;
        let (_, len) = cut_gear(
            bytes,
            self.profile.min as usize,
            self.profile.avg as usize,
            self.profile.max as usize,
            strict,
            loose,
            strict << 1,
            loose << 1,
            &self.gear,
            &self.gear_shifted,
        );
        len
    }
}
