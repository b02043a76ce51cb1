//! The drive key and what is derived from it, and the two ciphers.

use aes_gcm_siv::Aes256GcmSiv;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use fs_core::{CloudError, CloudErrorKind, Name, NodeId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use std::fmt;
use zeroize::Zeroizing;

/// The hash that names a chunk: keyed, so that it tells the server nothing about the bytes.
pub(crate) type ChunkId = [u8; 32];

/// Bytes of an authentication tag, the same for both suites.
pub(crate) const TAG_BYTES: usize = 16;

// Contexts of BLAKE3's key derivation. Changing one changes every drive: never edit, only add.
const CONTEXT_CHUNK_ID: &str = "meshdrive 2026-11-24 chunk id v1";
const CONTEXT_PAGE_ID: &str = "meshdrive 2026-11-24 manifest page id v1";
const CONTEXT_CHUNK: &str = "meshdrive 2026-11-24 chunk seal v1";
const CONTEXT_NAME: &str = "meshdrive 2026-11-24 name key v1";
const CONTEXT_RECORD: &str = "meshdrive 2026-11-24 record seal v1";
const CONTEXT_GEAR: &str = "meshdrive 2026-11-24 chunker seed v1";

/// Something sealed that could not be opened, or opened to something impossible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) &'static str);

impl From<protocol::pack::FormatError> for Refused {
    fn from(error: protocol::pack::FormatError) -> Refused {
        Refused(error.why)
    }
}

/// The cipher of a drive, chosen when it is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suite {
    /// Fast on every processor.
    XChaCha20Poly1305 = 1,
    /// About three times faster where the processor has AES instructions; RFC 8452. Drives are not
    /// made with it any more.
    Aes256GcmSiv = 2,
    /// Twice as fast again there; NIST SP 800-38D. A nonce that came twice under one key would give
    /// the key's bytes away, but every key here is derived with a fresh salt and counts its nonces.
    Aes256Gcm = 3,
}

impl Suite {
    pub(crate) fn from_byte(byte: u8) -> Result<Suite, Refused> {
        match byte {
            1 => Ok(Suite::XChaCha20Poly1305),
            2 => Ok(Suite::Aes256GcmSiv),
            3 => Ok(Suite::Aes256Gcm),
            _ => Err(Refused("unknown cipher suite")),
        }
    }

    /// The suite that is fastest on this processor.
    pub(crate) fn best() -> Suite {
        #[cfg(target_arch = "x86_64")]
        let aes = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let aes = false;
        if aes { Suite::Aes256Gcm } else { Suite::XChaCha20Poly1305 }
    }

    /// A cipher under a key that seals one thing only, so that the nonce may be a small counter.
    pub(crate) fn cipher(self, key: &[u8; 32]) -> Result<Cipher, Refused> {
        Ok(match self {
            Suite::XChaCha20Poly1305 => Cipher::XChaCha(XChaCha20Poly1305::new(key.into())),
            Suite::Aes256GcmSiv => Cipher::AesSiv(Box::new(Aes256GcmSiv::new(key.into()))),
            Suite::Aes256Gcm => {
                let key = UnboundKey::new(&AES_256_GCM, key);
                let key = key.map_err(|_| Refused("the key has a wrong length"))?;
                Cipher::AesGcm(Box::new(LessSafeKey::new(key)))
            }
        })
    }
}

/// A keyed cipher. The nonce is a counter: every key is derived for one record or chunk.
pub(crate) enum Cipher {
    XChaCha(XChaCha20Poly1305),
    AesSiv(Box<Aes256GcmSiv>),
    AesGcm(Box<LessSafeKey>),
}

impl Cipher {
    /// Encrypts `buffer` in place and returns its tag.
    pub(crate) fn seal(
        &self,
        counter: u16,
        aad: &[u8],
        buffer: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], Refused> {
        const TOO_LONG: Refused = Refused("too long to seal");
        let tag = match self {
            Cipher::AesGcm(cipher) => {
                let nonce = Nonce::assume_unique_for_key(nonce(counter));
                let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
                let tag = tag.map_err(|_| TOO_LONG)?;
                return tag.as_ref().try_into().map_err(|_| TOO_LONG);
            }
            Cipher::XChaCha(cipher) => {
                cipher.encrypt_inout_detached(&nonce::<24>(counter).into(), aad, buffer.into())
            }
            Cipher::AesSiv(cipher) => {
                cipher.encrypt_inout_detached(&nonce::<12>(counter).into(), aad, buffer.into())
            }
        };
        tag.map(Into::into).map_err(|_| TOO_LONG)
    }

    /// Decrypts `buffer` in place if `tag` proves that it is what was sealed at this place.
    pub(crate) fn open(
        &self,
        counter: u16,
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Refused> {
        const WRONG: Refused = Refused("the seal does not match: changed, or from another place");
        let opened = match self {
            Cipher::AesGcm(cipher) => {
                let (nonce, aad) = (Nonce::assume_unique_for_key(nonce(counter)), Aad::from(aad));
                let tag = Tag::from(*tag);
                let opened = cipher.open_in_place_separate_tag(nonce, aad, tag, buffer, 0..);
                return opened.map(drop).map_err(|_| WRONG);
            }
            Cipher::XChaCha(cipher) => {
                let nonce = nonce::<24>(counter).into();
                cipher.decrypt_inout_detached(&nonce, aad, buffer.into(), tag.into())
            }
            Cipher::AesSiv(cipher) => {
                let nonce = nonce::<12>(counter).into();
                cipher.decrypt_inout_detached(&nonce, aad, buffer.into(), tag.into())
            }
        };
        opened.map_err(|_| WRONG)
    }
}

fn nonce<const N: usize>(counter: u16) -> [u8; N] {
    let mut nonce = [0; N];
    nonce[..2].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// The one secret of a drive: 32 random bytes. Whoever has it can read everything.
#[derive(Clone)]
pub struct DriveKey(Zeroizing<[u8; 32]>);

impl DriveKey {
    pub(crate) fn generate() -> Result<DriveKey, CloudError> {
        Ok(DriveKey::from_bytes(random()?))
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> DriveKey {
        DriveKey(Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DriveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DriveKey(secret)")
    }
}

/// What is derived from the drive key.
pub(crate) struct Keys {
    chunk_id: Zeroizing<[u8; 32]>,
    page_id: Zeroizing<[u8; 32]>,
    chunk: Zeroizing<[u8; 32]>,
    name: Zeroizing<[u8; 32]>,
    record: Zeroizing<[u8; 32]>,
    gear: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub(crate) fn derive(drive: &DriveKey) -> Keys {
        let key = |context| Zeroizing::new(blake3::derive_key(context, drive.bytes()));
        Keys {
            chunk_id: key(CONTEXT_CHUNK_ID),
            page_id: key(CONTEXT_PAGE_ID),
            chunk: key(CONTEXT_CHUNK),
            name: key(CONTEXT_NAME),
            record: key(CONTEXT_RECORD),
            gear: key(CONTEXT_GEAR),
        }
    }

    /// The id of a chunk of file content.
    pub(crate) fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        blake3::keyed_hash(&self.chunk_id, plain).into()
    }

    /// The id of a manifest page. Another key than for content: the two can never be mistaken.
    pub(crate) fn page_id(&self, plain: &[u8]) -> ChunkId {
        blake3::keyed_hash(&self.page_id, plain).into()
    }

    /// The key that seals one upload of one chunk.
    pub(crate) fn chunk_key(
        &self,
        suite: Suite,
        id: &ChunkId,
        salt: &[u8; 16],
    ) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(&self.chunk);
        hasher.update(&[suite as u8]).update(id).update(salt);
        Zeroizing::new(hasher.finalize().into())
    }

    /// The key that seals one record.
    pub(crate) fn record_key(&self, suite: Suite, salt: &[u8; 24]) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(&self.record);
        hasher.update(&[suite as u8]).update(salt);
        Zeroizing::new(hasher.finalize().into())
    }

    /// What the server compares to keep names unique in a directory, without knowing them.
    pub(crate) fn name_key(&self, parent: NodeId, name: &Name) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.name);
        hasher.update(&parent.0).update(name.as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        key
    }

    /// The seed of the chunker: where cuts fall must not fingerprint well-known files.
    pub(crate) fn gear_seed(&self) -> u64 {
        let mut seed = [0; 8];
        seed.copy_from_slice(&self.gear[..8]);
        // Seed 0 would mean the public table.
        u64::from_le_bytes(seed).max(1)
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CloudError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        let text = format!("the system gave no random bytes ({error}); nothing was sent");
        CloudError::new(CloudErrorKind::Local, text)
    })?;
    Ok(bytes)
}
