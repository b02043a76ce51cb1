//! Databases of schema 1 forgot what a page of a manifest names once all of it had been seen. It
//! stands in the trailers of the packs; before anything is collected it is read from there.

use super::{Drive, Upkeep};
use crate::{body::elsewhere, ids::Hash, problem::Problem};
use protocol::{
    codec::hex,
    pack::{PackEntry, read_trailer},
};
use rusqlite::{Connection, OptionalExtension};

impl Upkeep {
    /// Reads the packs that schema 2 does not know yet. `Some`: why nothing may be collected.
    pub(super) async fn backfill(&self, drive: &Drive) -> Result<Option<String>, Problem> {
        let num = drive.num;
        let find = move |conn: &Connection| {
            let sql = "SELECT num, id FROM pack WHERE drive = ? AND refs_known = 0 LIMIT 1";
            let mut query = conn.prepare_cached(sql)?;
            let row = query.query_row([num], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok(row.optional()?)
        };
        loop {
            let found: Option<(i64, Hash)> = self.db.read(find).await?;
            let Some((pack, id)) = found else { return Ok(None) };
            if drive.dry {
                return Ok(Some("packs of an older release have to be read first".to_owned()));
            }
            let (packs, drive_id) = (self.packs.clone(), drive.id);
            let read = elsewhere(move || {
                let bytes = packs.whole(&drive_id, &id).map_err(|error| error.to_string());
                Ok(bytes.and_then(|bytes| read_trailer(&bytes).map_err(|error| error.to_string())))
            });
            match read.await? {
                Ok(entries) => self.db.write(move |conn| enter(conn, num, pack, &entries)).await?,
                Err(why) => {
                    return Ok(Some(format!(
                        "no chunk is given up while it is not known what pack {} names: {why}",
                        hex(&id)
                    )));
                }
            }
        }
    }
}

fn enter(conn: &Connection, drive: i64, pack: i64, entries: &[PackEntry]) -> Result<(), Problem> {
    let mut put = conn.prepare_cached(
        "UPDATE chunk SET whole = refs IS NULL, refs = ?4 WHERE drive = ?1 AND id = ?2 AND pack = ?3",
    )?;
    for entry in entries.iter().filter(|entry| !entry.refs.is_empty()) {
        put.execute((drive, entry.id, pack, entry.refs.concat()))?;
    }
    conn.prepare_cached("UPDATE pack SET refs_known = 1 WHERE num = ?")?.execute([pack])?;
    Ok(())
}
