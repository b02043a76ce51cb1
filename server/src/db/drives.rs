//! Drives, their devices and invitations.

use crate::{
    db::now_ms,
    ids::{self, Hash, Id},
    problem::Problem,
};
use axum::http::StatusCode;
use protocol::wire;
use rusqlite::{Connection, OptionalExtension};
use serde_bytes::{ByteArray, ByteBuf};

/// Devices of one drive, also those that were revoked.
const DEVICES_PER_DRIVE: i64 = protocol::limits::DEVICES_LISTED as i64;
/// Invitations of one drive that nobody has used yet.
const INVITES_PER_DRIVE: i64 = 100;

/// A device that has shown its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) id: Id,
    /// Its drive: the row, and the id.
    pub(crate) drive: i64,
    pub(crate) drive_id: Id,
    pub(crate) revoked: bool,
}

pub(crate) fn device_by_token(
    conn: &Connection,
    token_hash: &Hash,
) -> Result<Option<Device>, Problem> {
    let sql = "SELECT device.id, drive.num, drive.id, revoked_ms IS NOT NULL FROM device \
               JOIN drive ON drive.num = device.drive WHERE token_hash = ?";
    let mut query = conn.prepare_cached(sql)?;
    let device = query.query_row([token_hash], |row| {
        Ok(Device {
            id: row.get(0)?,
            drive: row.get(1)?,
            drive_id: row.get(2)?,
            revoked: row.get(3)?,
        })
    });
    Ok(device.optional()?)
}

/// Makes the drive, its first device and its recovery invitation.
pub(crate) fn create(
    conn: &Connection,
    ask: &wire::CreateDrive,
) -> Result<wire::Membership, Problem> {
    let taken = |sql: &str, id: &Id| conn.prepare_cached(sql)?.exists([id]);
    if taken("SELECT 1 FROM drive WHERE id = ?", &ask.drive)? {
        return Err(conflict("a drive with this id is here already; make a new id"));
    }
    if taken("SELECT 1 FROM invite WHERE lookup = ?", &ask.recovery.lookup)? {
        return Err(conflict("this recovery key is in use already; make a new one"));
    }
    conn.prepare_cached(
        "INSERT INTO drive (id, label, params, head, log_from, used_bytes, depth_bound, made_ms) \
         VALUES (?, ?, ?, 0, 0, 0, 0, ?)",
    )?
    .execute((*ask.drive, &ask.label, &ask.params[..], now_ms()))?;
    let drive = conn.last_insert_rowid();
    insert_invite(conn, drive, &ask.recovery, None)?;
    enrol(conn, drive, &ask.device)
}

fn conflict(detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "invalid", detail)
}

/// Adds a device and makes its token.
fn enrol(conn: &Connection, drive: i64, label: &str) -> Result<wire::Membership, Problem> {
    let count: i64 = conn
        .prepare_cached("SELECT count(*) FROM device WHERE drive = ?")?
        .query_row([drive], |row| row.get(0))?;
    if count >= DEVICES_PER_DRIVE {
        return Err(conflict(&format!("a drive may have {DEVICES_PER_DRIVE} devices at most")));
    }
    let device: Id = ids::random()?;
    let token = protocol::codec::hex(&ids::random::<32>()?);
    conn.prepare_cached(
        "INSERT INTO device (id, drive, label, token_hash, made_ms) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute((device, drive, label, token_hash(&token), now_ms()))?;
    let mut query = conn.prepare_cached("SELECT id, label, params FROM drive WHERE num = ?")?;
    Ok(query.query_row([drive], |row| {
        Ok(wire::Membership {
            drive: ByteArray::new(row.get(0)?),
            label: row.get(1)?,
            device: ByteArray::new(device),
            token,
            params: ByteBuf::from(row.get::<_, Vec<u8>>(2)?),
            sealed_key: None,
        })
    })?)
}

/// How a token is stored.
pub(crate) fn token_hash(token: &str) -> Hash {
    *blake3::hash(token.as_bytes()).as_bytes()
}

/// Adds an invitation that is good until `expires_ms`.
pub(crate) fn invite(
    conn: &Connection,
    drive: i64,
    invite: &wire::Invite,
    expires_ms: i64,
) -> Result<(), Problem> {
    conn.prepare_cached("DELETE FROM invite WHERE drive = ? AND expires_ms <= ?")?
        .execute((drive, now_ms()))?;
    let count: i64 = conn
        .prepare_cached("SELECT count(*) FROM invite WHERE drive = ?")?
        .query_row([drive], |row| row.get(0))?;
    if count >= INVITES_PER_DRIVE {
        return Err(conflict("too many join codes wait to be used; let some expire"));
    }
    if conn.prepare_cached("SELECT 1 FROM invite WHERE lookup = ?")?.exists([&*invite.lookup])? {
        return Err(conflict("this join code is in use already; make a new one"));
    }
    insert_invite(conn, drive, invite, Some(expires_ms))
}

fn insert_invite(
    conn: &Connection,
    drive: i64,
    invite: &wire::Invite,
    expires_ms: Option<i64>,
) -> Result<(), Problem> {
    conn.prepare_cached(
        "INSERT INTO invite (lookup, drive, sealed_key, expires_ms) VALUES (?, ?, ?, ?)",
    )?
    .execute((*invite.lookup, drive, &invite.sealed_key[..], expires_ms))?;
    Ok(())
}

/// Uses an invitation. `None`: there is none (any more).
pub(crate) fn join(
    conn: &Connection,
    ask: &wire::Join,
) -> Result<Option<wire::Membership>, Problem> {
    let mut query =
        conn.prepare_cached("SELECT drive, sealed_key, expires_ms FROM invite WHERE lookup = ?")?;
    let found: Option<(i64, Vec<u8>, Option<i64>)> = query
        .query_row([&*ask.lookup], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((drive, sealed_key, expires_ms)) = found else { return Ok(None) };
    if expires_ms.is_some() {
        conn.prepare_cached("DELETE FROM invite WHERE lookup = ?")?.execute([&*ask.lookup])?;
    }
    if expires_ms.is_some_and(|expires| expires <= now_ms()) {
        return Ok(None);
    }
    let membership = enrol(conn, drive, &ask.device)?;
    Ok(Some(wire::Membership { sealed_key: Some(ByteBuf::from(sealed_key)), ..membership }))
}

/// What a drive says of itself.
pub(crate) fn describe(
    conn: &Connection,
    drive: i64,
    quota_bytes: Option<u64>,
) -> Result<wire::Drive, Problem> {
    let mut query = conn.prepare_cached(
        "SELECT id, label, head, used_bytes, (SELECT epoch FROM store) FROM drive WHERE num = ?",
    )?;
    Ok(query.query_row([drive], |row| {
        Ok(wire::Drive {
            drive: ByteArray::new(row.get(0)?),
            label: row.get(1)?,
            epoch: row.get::<_, i64>(4)?.cast_unsigned(),
            head: row.get::<_, i64>(2)?.cast_unsigned(),
            used_bytes: row.get::<_, i64>(3)?.cast_unsigned(),
            quota_bytes,
            common: None,
        })
    })?)
}

/// Refuses what would bring a drive above its quota, and else counts `bytes` as used.
pub(crate) fn charge(
    conn: &Connection,
    drive: i64,
    bytes: u64,
    quota_bytes: Option<u64>,
) -> Result<(), Problem> {
    let used: i64 = conn
        .prepare_cached("SELECT used_bytes FROM drive WHERE num = ?")?
        .query_row([drive], |row| row.get(0))?;
    let total = used.cast_unsigned().saturating_add(bytes);
    if let Some(quota) = quota_bytes
        && total > quota
    {
        return Err(Problem::quota(format!(
            "the drive would hold {total} bytes, its quota is {quota}: make room or ask its \
             operator for more"
        )));
    }
    conn.prepare_cached("UPDATE drive SET used_bytes = ? WHERE num = ?")?
        .execute((super::to_sql(total), drive))?;
    Ok(())
}

/// Counts `bytes` as free again.
pub(crate) fn discharge(conn: &Connection, drive: i64, bytes: u64) -> Result<(), Problem> {
    if bytes > 0 {
        conn.prepare_cached("UPDATE drive SET used_bytes = max(0, used_bytes - ?) WHERE num = ?")?
            .execute((super::to_sql(bytes), drive))?;
    }
    Ok(())
}
