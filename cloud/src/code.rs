//! Codes that people copy: join codes and recovery keys. Both are a secret in Crockford's base 32
//! and a check character, in groups of five. From the secret come, under different contexts, the id
//! by which the server finds the invitation, and the key that seals the drive key in it. The server
//! never sees the secret.

use crate::keys::{DriveKey, Refused, Suite, TAG_BYTES, random};
use fs_core::{CloudError, CloudErrorKind};
use std::fmt;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of 5 bits, without the check: 120 bits, used once and not for long; and 170 bits.
const JOIN_SYMBOLS: usize = 24;
const RECOVERY_SYMBOLS: usize = 34;
const GROUP: usize = 5;

const CONTEXT_LOOKUP: &str = "meshdrive 2026-11-24 invitation lookup v1";
const CONTEXT_WRAP: &str = "meshdrive 2026-11-24 invitation wrap v1";
const SEALED_KEY_VERSION: u8 = 1;
const SALT_BYTES: usize = 24;
const HEAD_BYTES: usize = 2 + SALT_BYTES;

/// A one-time code for another device.
pub type JoinCode = Code<JOIN_SYMBOLS>;
/// The code that opens a drive when every device is lost.
pub type RecoveryKey = Code<RECOVERY_SYMBOLS>;

/// The secret of a code, as symbols of 5 bits. Shown by [`Code::reveal`] only.
#[derive(Clone)]
pub struct Code<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> fmt::Debug for Code<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(secret)")
    }
}

impl<const N: usize> Code<N> {
    pub(crate) fn generate() -> Result<Code<N>, CloudError> {
        let bytes: [u8; N] = random()?;
        // 256 is a multiple of 32: every symbol is equally likely.
        Ok(Code(Zeroizing::new(bytes.map(|byte| byte & 31))))
    }

    /// The code as people copy it.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let symbols = self.0.iter().copied().chain(std::iter::once(check(&*self.0)));
        let mut text = Zeroizing::new(String::with_capacity(N + 1 + N / GROUP));
        for (index, symbol) in symbols.enumerate() {
            if index > 0 && index % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(symbol & 31)]));
        }
        text
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &*self.0
    }

    fn from_symbols(symbols: &[u8]) -> Option<Code<N>> {
        let mut code = Zeroizing::new([0; N]);
        if symbols.len() != N {
            return None;
        }
        code.copy_from_slice(symbols);
        Some(Code(code))
    }
}

/// A code as someone typed it: which of the two it is shows in its length.
#[derive(Debug)]
pub(crate) enum Typed {
    Join(JoinCode),
    Recovery(RecoveryKey),
}

impl Typed {
    /// Reads a code, forgiving case, spaces and look-alikes.
    pub(crate) fn parse(text: &str) -> Result<Typed, CloudError> {
        let invalid = |why: String| CloudError::new(CloudErrorKind::Invalid, why);
        let mut symbols = Zeroizing::new(Vec::with_capacity(RECOVERY_SYMBOLS + 1));
        for typed in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let symbol = symbol(typed).ok_or_else(|| {
                invalid(format!("'{typed}' is in no code: there is a typing mistake near it"))
            })?;
            symbols.push(symbol);
        }
        let found = symbols.len();
        if found != JOIN_SYMBOLS + 1 && found != RECOVERY_SYMBOLS + 1 {
            return Err(invalid(format!(
                "this code has {found} characters; a join code has {}, a recovery key {}: look for \
                 what was left out or doubled",
                JOIN_SYMBOLS + 1,
                RECOVERY_SYMBOLS + 1
            )));
        }
        let sum = symbols.pop();
        if sum != Some(check(&symbols)) {
            return Err(invalid(
                "there is a typing mistake in this code: compare it character by character"
                    .to_owned(),
            ));
        }
        let join = Code::from_symbols(&symbols).map(Typed::Join);
        join.or_else(|| Code::from_symbols(&symbols).map(Typed::Recovery))
            .ok_or_else(|| invalid("not a code".to_owned()))
    }

    pub(crate) fn secret(&self) -> &[u8] {
        match self {
            Typed::Join(code) => code.secret(),
            Typed::Recovery(code) => code.secret(),
        }
    }
}

fn symbol(typed: char) -> Option<u8> {
    let upper = match typed.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|&known| char::from(known) == upper).map(|at| at as u8)
}

/// A checksum over GF(32) with the weights 2^n: it finds every single wrong character and every
/// swap of two neighbours.
fn check(symbols: &[u8]) -> u8 {
    // Starts other than with 0, so that leading zeros count. Doubled at the end, so that a swap of the
    // last character with the check shows.
    double(symbols.iter().fold(1, |sum, symbol| double(sum) ^ symbol))
}

/// Times 2 in GF(32) modulo x^5 + x^2 + 1, which is primitive.
fn double(value: u8) -> u8 {
    ((value << 1) ^ if value & 16 == 0 { 0 } else { 0b10_0101 }) & 31
}

/// By which the server finds an invitation.
pub(crate) fn lookup(secret: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::derive_key(CONTEXT_LOOKUP, secret)[..16]);
    id
}

/// Seals the drive key for whoever knows `secret`, bound to the drive and its parameters, so that a
/// server cannot hand out others.
pub(crate) fn seal_key(
    secret: &[u8],
    (drive, params): (&[u8; 16], &[u8]),
    key: &DriveKey,
    salt: [u8; SALT_BYTES],
) -> Result<Vec<u8>, Refused> {
    let suite = Suite::XChaCha20Poly1305;
    let mut out = Vec::with_capacity(HEAD_BYTES + 32 + TAG_BYTES);
    out.extend_from_slice(&[SEALED_KEY_VERSION, suite as u8]);
    out.extend_from_slice(&salt);
    out.extend_from_slice(key.bytes());
    let cipher = suite.cipher(&wrapping_key(secret, &salt))?;
    let tag = cipher.seal(0, &aad(drive, params), &mut out[HEAD_BYTES..])?;
    out.extend_from_slice(&tag);
    Ok(out)
}

pub(crate) fn open_key(
    secret: &[u8],
    (drive, params): (&[u8; 16], &[u8]),
    sealed: &[u8],
) -> Result<DriveKey, Refused> {
    let (head, rest) = sealed.split_at_checked(HEAD_BYTES).ok_or(Refused("cut off"))?;
    if head[0] != SEALED_KEY_VERSION || head[1] != Suite::XChaCha20Poly1305 as u8 {
        return Err(Refused("made by a newer Meshdrive: update this device"));
    }
    let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Refused("cut off"))?;
    let mut key = Zeroizing::new([0; 32]);
    if body.len() != key.len() {
        return Err(Refused("not a drive key"));
    }
    key.copy_from_slice(body);
    let cipher = Suite::XChaCha20Poly1305.cipher(&wrapping_key(secret, &head[2..]))?;
    cipher.open(0, &aad(drive, params), &mut *key, tag)?;
    Ok(DriveKey::from_bytes(*key))
}

fn wrapping_key(secret: &[u8], salt: &[u8]) -> Zeroizing<[u8; 32]> {
    let wrap = Zeroizing::new(blake3::derive_key(CONTEXT_WRAP, secret));
    Zeroizing::new(blake3::keyed_hash(&wrap, salt).into())
}

fn aad(drive: &[u8; 16], params: &[u8]) -> [u8; 49] {
    let mut aad = [0; 49];
    aad[0] = SEALED_KEY_VERSION;
    aad[1..17].copy_from_slice(drive);
    aad[17..].copy_from_slice(blake3::hash(params).as_bytes());
    aad
}

#[cfg(test)]
mod tests;
