//! The one-time code that lets somebody create a drive on this store.

use crate::{ids, problem::Problem};
use tokio::sync::watch;

/// Letters and digits that are not taken for one another (Crockford's base 32).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 5;
const GROUP_LETTERS: usize = 4;

/// The code that is good now. A new one takes its place when it has been used; it lives in memory
/// only, so a restart makes a new one, too.
#[derive(Debug)]
pub(crate) struct SetupCode {
    code: watch::Sender<String>,
}

impl SetupCode {
    pub(crate) fn generate() -> Result<SetupCode, Problem> {
        Ok(SetupCode { code: watch::Sender::new(fresh()?) })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<String> {
        self.code.subscribe()
    }

    /// Uses the code up. False: `given` is not the code.
    pub(crate) fn take(&self, given: &str) -> Result<bool, Problem> {
        let next = fresh()?;
        let given = plain(given);
        // Hashes, so that the time of the comparison says nothing about the code.
        let hash = |code: &str| blake3::hash(code.as_bytes());
        Ok(self.code.send_if_modified(|code| {
            let right = hash(&plain(code)) == hash(&given);
            if right {
                *code = next;
            }
            right
        }))
    }
}

/// 100 random bits as five groups of four letters.
fn fresh() -> Result<String, Problem> {
    let bytes: [u8; GROUPS * GROUP_LETTERS] = ids::random()?;
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte % 32)]);
    let groups: Vec<String> =
        bytes.chunks(GROUP_LETTERS).map(|group| group.iter().map(letter).collect()).collect();
    Ok(groups.join("-"))
}

/// The code as it is compared: people may leave out dashes, and need not shout.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect::<String>().to_uppercase()
}
