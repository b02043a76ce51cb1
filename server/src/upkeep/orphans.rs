//! Files among the packs that no row speaks of: left by a crash between a file and its row.

use super::{Drive, ROWS_PER_JOB, Upkeep, explain::Report};
use crate::{body::elsewhere, ids::Hash, packs::Packs, problem::Problem};
use protocol::codec::hex;
use rusqlite::Connection;
use std::sync::Arc;

impl Upkeep {
    /// Removes them. A pack that has a file but no row yet, since it is just arriving, may be among
    /// them; whoever enters it finds that its file is gone, and it is sent again.
    pub(super) async fn clear_strays(
        &self,
        drive: &Drive,
        report: &mut Report,
    ) -> Result<(), Problem> {
        for (id, bytes) in self.strays(drive.num, drive.id).await? {
            report.done.strays.add(bytes);
            report.item(|| format!("file {}", hex(&id)), "the database does not know it", bytes);
            if !drive.dry {
                let (packs, drive) = (Arc::clone(&self.packs), drive.clone());
                self.db.write(move |conn| clear(conn, &packs, &drive, &id)).await?;
            }
        }
        Ok(())
    }

    /// Files without a row, and their bytes.
    pub(super) async fn strays(
        &self,
        drive: i64,
        id: crate::ids::Id,
    ) -> Result<Vec<(Hash, u64)>, Problem> {
        let packs = Arc::clone(&self.packs);
        let files = elsewhere(move || {
            packs.list(&id).map_err(|error| Problem::internal("the folder of packs", &error))
        })
        .await?;
        let mut strays = Vec::new();
        for part in files.chunks(ROWS_PER_JOB) {
            let part = part.to_vec();
            strays.extend(self.db.read(move |conn| without_row(conn, drive, part)).await?);
        }
        Ok(strays)
    }
}

fn without_row(
    conn: &Connection,
    drive: i64,
    files: Vec<(Hash, u64)>,
) -> Result<Vec<(Hash, u64)>, Problem> {
    let mut query = conn.prepare_cached("SELECT 1 FROM pack WHERE drive = ? AND id = ?")?;
    let mut strays = Vec::new();
    for (id, bytes) in files {
        if !query.exists((drive, id))? {
            strays.push((id, bytes));
        }
    }
    Ok(strays)
}

fn clear(conn: &Connection, packs: &Packs, drive: &Drive, id: &Hash) -> Result<(), Problem> {
    let known = conn
        .prepare_cached("SELECT 1 FROM pack WHERE drive = ? AND id = ?")?
        .exists((drive.num, id))?;
    if known {
        return Ok(());
    }
    packs.remove(&drive.id, id).map_err(|error| Problem::internal("removing a stray file", &error))
}
