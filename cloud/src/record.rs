//! Small sealed records: names, attributes, heads and bodies. Each is bound to its drive, its node
//! and its field (a name also to its parent), so a record that a server moved elsewhere is refused.
//!
//! ```text
//! record = version:u8 suite:u8 salt:[24] ciphertext tag:[16]
//! ```

use crate::keys::{Keys, Refused, Suite, TAG_BYTES, random};
use fs_core::{CloudError, CloudErrorKind, Name, NodeId};

const RECORD_VERSION: u8 = 1;
const SALT_BYTES: usize = 24;
const HEAD_BYTES: usize = 2 + SALT_BYTES;
/// Names are padded to a multiple of this, so that their length tells little.
const NAME_PAD_BYTES: usize = 16;

/// What a record is, with the place it is bound to beside its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    Name { parent: NodeId },
    Attrs,
    Head,
    Body,
}

impl Field {
    fn number(self) -> u8 {
        match self {
            Field::Name { .. } => 1,
            Field::Attrs => 2,
            Field::Head => 3,
            Field::Body => 4,
        }
    }
}

/// Seals and opens the records of one drive.
pub(crate) struct Sealer {
    pub(crate) keys: Keys,
    pub(crate) suite: Suite,
    pub(crate) drive: [u8; 16],
}

impl Sealer {
    /// Seals `plain` as `field` of `node`.
    pub(crate) fn seal(
        &self,
        node: NodeId,
        field: Field,
        plain: &[u8],
    ) -> Result<Vec<u8>, CloudError> {
        self.seal_salted(node, field, plain, random()?).map_err(|refused| {
            CloudError::new(CloudErrorKind::Invalid, format!("sealing a record: {refused}"))
        })
    }

    pub(crate) fn seal_salted(
        &self,
        node: NodeId,
        field: Field,
        plain: &[u8],
        salt: [u8; SALT_BYTES],
    ) -> Result<Vec<u8>, Refused> {
        let mut out = Vec::with_capacity(HEAD_BYTES + plain.len() + TAG_BYTES);
        out.extend_from_slice(&[RECORD_VERSION, self.suite as u8]);
        out.extend_from_slice(&salt);
        out.extend_from_slice(plain);
        let cipher = self.suite.cipher(&self.keys.record_key(self.suite, &salt))?;
        let aad = self.aad(self.suite, node, field);
        let tag = cipher.seal(0, &aad, &mut out[HEAD_BYTES..])?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens a record that must be `field` of `node`.
    pub(crate) fn open(
        &self,
        node: NodeId,
        field: Field,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Refused> {
        let (head, rest) = sealed.split_at_checked(HEAD_BYTES).ok_or(Refused("cut off"))?;
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Refused("cut off"))?;
        if head[0] != RECORD_VERSION {
            return Err(Refused("made by a newer Meshdrive: update this device"));
        }
        let suite = Suite::from_byte(head[1])?;
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&head[2..]);
        let cipher = suite.cipher(&self.keys.record_key(suite, &salt))?;
        let mut plain = body.to_vec();
        cipher.open(0, &self.aad(suite, node, field), &mut plain, tag)?;
        Ok(plain)
    }

    pub(crate) fn seal_name(
        &self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
    ) -> Result<Vec<u8>, CloudError> {
        self.seal(node, Field::Name { parent }, &pad_name(name))
    }

    /// Opens a name and checks that it is a legal one.
    pub(crate) fn open_name(
        &self,
        node: NodeId,
        parent: NodeId,
        sealed: &[u8],
    ) -> Result<Name, Refused> {
        let plain = self.open(node, Field::Name { parent }, sealed)?;
        let len = *plain.first().ok_or(Refused("empty name"))? as usize;
        let name = plain.get(1..=len).ok_or(Refused("cut off"))?;
        Name::new(name).map_err(|_| Refused("illegal name"))
    }

    fn aad(&self, suite: Suite, node: NodeId, field: Field) -> [u8; 51] {
        let mut aad = [0; 51];
        aad[0] = RECORD_VERSION;
        aad[1] = suite as u8;
        aad[2] = field.number();
        aad[3..19].copy_from_slice(&self.drive);
        aad[19..35].copy_from_slice(&node.0);
        if let Field::Name { parent } = field {
            aad[35..].copy_from_slice(&parent.0);
        }
        aad
    }
}

/// Length, name, zeros up to a multiple of [`NAME_PAD_BYTES`].
pub(crate) fn pad_name(name: &Name) -> Vec<u8> {
    let bytes = name.as_bytes();
    let mut plain = Vec::with_capacity((bytes.len() + 1).next_multiple_of(NAME_PAD_BYTES));
    // Names have at most 255 bytes (`fs_core::NAME_MAX`).
    plain.push(bytes.len() as u8);
    plain.extend_from_slice(bytes);
    plain.resize(plain.len().next_multiple_of(NAME_PAD_BYTES), 0);
    plain
}
