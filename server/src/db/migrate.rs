//! Schema versions, one step each. A step is never changed after a release; a new one is added.

use super::{OpenError, now_ms};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::Path;

/// 53 bits, so that JSON readers keep every digit of an epoch.
pub(super) const EPOCH_BITS: i64 = (1 << 53) - 1;

const STEPS: &[&str] =
    &[include_str!("schema.sql"), include_str!("schema2.sql"), include_str!("schema3.sql")];

/// Brings the database to the newest schema, in one transaction.
pub(super) fn to_current(conn: &mut Connection, file: &Path) -> Result<(), OpenError> {
    let fail = |source| OpenError::Sqlite { file: file.to_owned(), source };
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let found: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
    let known = STEPS.len() as i64;
    let Some(missing) = usize::try_from(found).ok().and_then(|done| STEPS.get(done..)) else {
        return Err(OpenError::Newer { file: file.to_owned(), found, known });
    };
    for step in missing {
        tx.execute_batch(step).map_err(fail)?;
    }
    if found == 0 {
        found_store(&tx, file)?;
    }
    super::lives::at_start(&tx, file).map_err(fail)?;
    tx.pragma_update(None, "user_version", known).map_err(fail)?;
    tx.commit().map_err(fail)
}

fn found_store(tx: &Transaction<'_>, file: &Path) -> Result<(), OpenError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(OpenError::Random)?;
    let epoch = i64::from_le_bytes(random) & EPOCH_BITS;
    let sql = "INSERT INTO store (only, epoch, made_ms, age) VALUES (1, ?1, ?2, ?2)";
    let life = "INSERT INTO life (num, epoch, began_ms) VALUES (1, ?1, ?2)";
    [sql, life]
        .into_iter()
        .try_for_each(|sql| tx.execute(sql, (epoch, now_ms())).map(drop))
        .map_err(|source| OpenError::Sqlite { file: file.to_owned(), source })
}
