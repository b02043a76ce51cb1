//! Brings the tables up to the version of this program.

use rusqlite::Connection;

/// Every step ever made, oldest first. A step that was released is never edited: its checksum is
/// in the databases that ran it.
const STEPS: [&str; 2] = [include_str!("sql/001_tables.sql"), include_str!("sql/002_blind.sql")];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("made by a newer version of the program (tables {found}, known {known}); update it")]
    Newer { found: usize, known: usize },
    #[error("table step {0} is not the one this program knows; use the program that made it")]
    Changed(usize),
    #[error("the database of another program; choose another state directory")]
    Foreign,
}

/// Runs the steps that are missing, each in one transaction with its checksum.
pub(crate) fn run(conn: &Connection) -> Result<(), Error> {
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > STEPS.len() {
        return Err(Error::Newer { found, known: STEPS.len() });
    }
    for (number, step) in STEPS.iter().enumerate() {
        let checksum = blake3::hash(step.as_bytes()).to_hex();
        if number < found {
            check(conn, number, &checksum)?;
        } else {
            apply(conn, number, step, &checksum)?;
        }
    }
    Ok(())
}

fn check(conn: &Connection, number: usize, checksum: &str) -> Result<(), Error> {
    let query = "SELECT checksum FROM migration WHERE number = ?1";
    let known: String = conn.query_row(query, [number as i64], |row| row.get(0))?;
    if known == checksum { Ok(()) } else { Err(Error::Changed(number + 1)) }
}

fn apply(conn: &Connection, number: usize, step: &str, checksum: &str) -> Result<(), Error> {
    let transaction = conn.unchecked_transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration
         (number INTEGER PRIMARY KEY, checksum TEXT NOT NULL) STRICT;",
    )?;
    transaction.execute_batch(step)?;
    let insert = "INSERT INTO migration (number, checksum) VALUES (?1, ?2)";
    transaction.execute(insert, (number as i64, checksum))?;
    transaction.pragma_update(None, "user_version", number as i64 + 1)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_runs_once_and_is_remembered() {
        let conn = Connection::open_in_memory().unwrap();
        run(&conn).unwrap();
        run(&conn).unwrap();
        let rows: i64 = conn.query_row("SELECT count(*) FROM migration", [], |r| r.get(0)).unwrap();
        assert_eq!(rows, STEPS.len() as i64);
    }

    #[test]
    fn tables_of_a_newer_program_are_refused() {
        let conn = Connection::open_in_memory().unwrap();
        run(&conn).unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(run(&conn), Err(Error::Newer { found: 99, .. })));
    }

    #[test]
    fn a_step_that_was_edited_is_refused() {
        let conn = Connection::open_in_memory().unwrap();
        run(&conn).unwrap();
        conn.execute("UPDATE migration SET checksum = 'other'", []).unwrap();
        assert!(matches!(run(&conn), Err(Error::Changed(1))));
    }

    /// Released steps never change: editing one must fail here before it fails at a user.
    #[test]
    fn released_steps_are_as_they_were() {
        let checksums: Vec<String> =
            STEPS.iter().map(|step| blake3::hash(step.as_bytes()).to_hex().to_string()).collect();
        let released = [
            "8ce9d890c2c24fc8145a2a9d3be13c02fec70b86bd03e9c51500b6006ce34421",
            "ecbe4a04e63465c3cb46ecd0a9b2032dcf1e4f0b6055299b56b8f2f0a0c170c5",
        ];
        assert_eq!(checksums, released);
    }
}
