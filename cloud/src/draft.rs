//! Staged content between `stage` and `commit`: what it says survives a crash of this device.

use crate::keys::{ChunkId, Refused};
use crate::manifest::{check_version, encode};
use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use protocol::wire;

const DRAFT_VERSION: u8 = 1;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct DraftRecord {
    #[n(0)]
    version: u8,
    #[n(1)]
    head: ByteVec,
    #[n(2)]
    body: ByteVec,
    #[n(3)]
    refs: Vec<ByteArray<32>>,
}

impl DraftRecord {
    pub(crate) fn new(head: Vec<u8>, body: Vec<u8>, refs: Vec<ChunkId>) -> DraftRecord {
        DraftRecord {
            version: DRAFT_VERSION,
            head: head.into(),
            body: body.into(),
            refs: refs.into_iter().map(Into::into).collect(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<DraftRecord, Refused> {
        check_version(bytes, DRAFT_VERSION)?;
        minicbor::decode(bytes).map_err(|_| Refused("malformed draft"))
    }

    pub(crate) fn into_wire(self) -> wire::Content {
        wire::Content {
            head: Vec::from(self.head).into(),
            body: Vec::from(self.body).into(),
            refs: self.refs.into_iter().map(|id| wire::Hash::new(id.into())).collect(),
        }
    }
}
