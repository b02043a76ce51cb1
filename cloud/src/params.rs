//! Parameters of a drive that never change: its cipher and how content is cut.

use crate::keys::{Refused, Suite};
use crate::manifest::{check_version, encode};
use minicbor::{Decode, Encode};
use protocol::limits::CHUNK_PLAIN_BYTES;

const PARAMS_VERSION: u8 = 1;
const ALGORITHM_FASTCDC_2020: u8 = 1;
const KIB: u32 = 1 << 10;

/// How content is cut into chunks. Sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Profile {
    #[n(0)]
    pub(crate) algorithm: u8,
    #[n(1)]
    pub(crate) min: u32,
    #[n(2)]
    pub(crate) avg: u32,
    #[n(3)]
    pub(crate) max: u32,
}

impl Profile {
    pub(crate) const DEFAULT: Profile = Profile {
        algorithm: ALGORITHM_FASTCDC_2020,
        min: 64 * KIB,
        avg: 256 * KIB,
        max: 1024 * KIB,
    };

    /// The chunker wants even sizes, and masks exist for averages of 4 KiB to 512 KiB here.
    fn check(&self) -> Result<(), Refused> {
        let even = [self.min, self.avg, self.max].iter().all(|size| size % 2 == 0);
        let ordered = 1024 <= self.min && self.min <= self.avg && self.avg <= self.max;
        let bounded = (4 * KIB..=512 * KIB).contains(&self.avg)
            && self.max as usize <= CHUNK_PLAIN_BYTES
            && self.algorithm == ALGORITHM_FASTCDC_2020;
        if even && ordered && bounded { Ok(()) } else { Err(Refused("impossible chunker profile")) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DriveParams {
    pub(crate) suite: Suite,
    pub(crate) profile: Profile,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Record {
    #[n(0)]
    version: u8,
    #[n(1)]
    suite: u8,
    #[n(2)]
    profile: Profile,
}

impl DriveParams {
    /// For a new drive made on this machine.
    pub(crate) fn for_new_drive() -> DriveParams {
        DriveParams { suite: Suite::best(), profile: Profile::DEFAULT }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let suite = self.suite as u8;
        encode(Record { version: PARAMS_VERSION, suite, profile: self.profile })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<DriveParams, Refused> {
        check_version(bytes, PARAMS_VERSION)?;
        let record: Record =
            minicbor::decode(bytes).map_err(|_| Refused("malformed drive parameters"))?;
        record.profile.check()?;
        Ok(DriveParams { suite: Suite::from_byte(record.suite)?, profile: record.profile })
    }
}
