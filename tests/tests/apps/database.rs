use super::{comes_back_everywhere, crash_and_remount};
use meshdrive_tests::{World, have, tool, wait_for};
use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

#[test]
fn sqlite_with_both_journals() {
    if !have("apps::sqlite", &["sqlite3", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::sqlite") else { return };
    for mode in ["wal", "delete", "truncate", "persist"] {
        tool(
            &world.a.root(),
            &format!(
                "for round in $(seq 5); do
                    sqlite3 {mode}.db <<SQL
                        PRAGMA journal_mode = {mode};
                        CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, text TEXT);
                        CREATE INDEX IF NOT EXISTS i ON t(text);
                        BEGIN;
                        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                            INSERT INTO t(text) SELECT hex(randomblob(50)) FROM n;
                        COMMIT;
                        BEGIN; DELETE FROM t; ROLLBACK;
                        DELETE FROM t WHERE id % 7 = $round;
SQL
                done
                sqlite3 {mode}.db 'VACUUM' 'PRAGMA wal_checkpoint(TRUNCATE)' > /dev/null
                test $(sqlite3 {mode}.db 'PRAGMA integrity_check') = ok
                test $(sqlite3 {mode}.db 'SELECT count(*) > 5000 FROM t') = 1"
            ),
        );
    }
    comes_back_everywhere(&world);
    for mode in ["wal", "delete", "truncate", "persist"] {
        let check = format!("test $(sqlite3 {mode}.db 'PRAGMA integrity_check') = ok");
        tool(&world.a.root(), &check);
    }
}

/// Two processes write one database; its locks keep them apart.
#[test]
fn sqlite_from_two_processes() {
    if !have("apps::sqlite_from_two_processes", &["sqlite3", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::sqlite_from_two_processes") else { return };
    tool(
        &world.a.root(),
        "for mode in wal delete; do
            sqlite3 $mode.db \"PRAGMA journal_mode = $mode; CREATE TABLE t(who, n)\" > /dev/null
            write() { for i in $(seq 40); do
                sqlite3 -cmd '.timeout 20000' $mode.db \"INSERT INTO t VALUES('$1', $i)\"
            done; }
            write a & first=$!
            write b
            wait $first
            test \"$(sqlite3 $mode.db 'SELECT count(*), count(DISTINCT who) FROM t')\" = '80|2'
            test $(sqlite3 $mode.db 'PRAGMA integrity_check') = ok
        done",
    );
}

/// A transaction that was reported as committed is there after the daemon was killed, and the
/// database is sound.
#[test]
fn sqlite_survives_the_daemon() {
    if !have("apps::sqlite_survives_the_daemon", &["sqlite3"]) {
        return;
    }
    let Some(world) = World::mounted("apps::sqlite_survives_the_daemon") else { return };
    for mode in ["wal", "delete"] {
        for round in 0..3 {
            let said = world.path(&format!("{mode}{round}"));
            let writes: String = (0..20_000)
                .map(|n| format!("INSERT INTO t VALUES({round}, {n}); SELECT changes() * {n};\n"))
                .collect();
            let script = format!(
                "PRAGMA journal_mode = {mode}; PRAGMA synchronous = FULL;
                CREATE TABLE IF NOT EXISTS t(round, n);\n{writes}"
            );
            let input = world.path("script");
            fs::write(&input, script).unwrap();
            let mut sqlite = Command::new("sqlite3")
                .args(["-bail", &format!("{mode}.db")])
                .current_dir(world.a.root())
                .stdin(File::open(&input).unwrap())
                .stdout(File::create(&said).unwrap())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let committed = || fs::read_to_string(&said).unwrap().lines().count().checked_sub(30);
            wait_for("the database is being written", committed);
            world.a.kill();
            let _ = sqlite.kill();
            sqlite.wait().unwrap();
            world.a.mount();
            let count = fs::read_to_string(&said).unwrap().lines().skip(1).count() as i64;
            let found = tool(
                &world.a.root(),
                &format!(
                    "sqlite3 {mode}.db 'PRAGMA integrity_check' \
                     'SELECT count(*) FROM t WHERE round = {round}'"
                ),
            );
            let lines: Vec<&str> = found.out.lines().collect();
            let rows: i64 = lines[1].parse().unwrap();
            // The last line of stdout may be cut off by the buffer, so the file may say less.
            assert!(lines[0] == "ok" && rows >= count - 1, "{mode}: {lines:?}, committed {count}");
        }
    }
    crash_and_remount(&world.a);
}

/// Reads and writes through maps of the database file and of the WAL's index.
#[test]
fn sqlite_through_maps() {
    if !have("apps::sqlite_through_maps", &["sqlite3", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::sqlite_through_maps") else { return };
    for mode in ["wal", "delete"] {
        tool(
            &world.a.root(),
            &format!(
                "for round in $(seq 4); do
                    sqlite3 {mode}.db <<SQL > /dev/null
                        PRAGMA mmap_size = 268435456; PRAGMA journal_mode = {mode}; PRAGMA cache_size = 10;
                        CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, text BLOB);
                        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                            INSERT INTO t(text) SELECT randomblob(1000) FROM n;
                        UPDATE t SET text = randomblob(900) WHERE id % 5 = $round;
                        DELETE FROM t WHERE id % 11 = $round;
                        SELECT sum(length(text)) FROM t;
SQL
                done
                test \"$(sqlite3 -cmd 'PRAGMA mmap_size = 268435456' {mode}.db 'PRAGMA integrity_check' | tail -1)\" = ok
                sqlite3 {mode}.db 'SELECT count(*), sum(length(text)), hex(max(text)) FROM t' > ../../{mode}.said"
            ),
        );
    }
    let b = comes_back_everywhere(&world);
    for mode in ["wal", "delete"] {
        tool(
            &b.root(),
            &format!(
                "test $(sqlite3 {mode}.db 'PRAGMA integrity_check') = ok
                sqlite3 -cmd 'PRAGMA mmap_size = 268435456' {mode}.db \
                    'SELECT count(*), sum(length(text)), hex(max(text)) FROM t' | tail -1 | cmp - ../../{mode}.said
                sqlite3 {mode}.db 'DELETE FROM t; VACUUM' && test $(stat -c %s {mode}.db) -lt 20000"
            ),
        );
    }
}
