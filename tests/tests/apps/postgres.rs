use super::comes_back_everywhere;
use meshdrive_tests::{Device, World, skip, tool};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A user without rights on any machine (nobody of Debian): the server refuses root.
const USER: u32 = 65_534;

/// Where Debian keeps the programs of the server, of the newest release that is installed.
fn programs() -> Option<PathBuf> {
    let releases = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = releases.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").exists()).max()
}

/// Runs `script` in the folder `pg` of the device's drive, as an ordinary user. When this is root: in
/// a mount namespace in which the drive is bound to a place that the user may reach.
fn run(device: &Device, programs: &Path, script: &str) -> String {
    // Sockets have short paths, and both folders must be open to the user.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    let (place, file) = (dir.path().join("m"), dir.path().join("script"));
    fs::create_dir(&place).unwrap();
    let text = format!(
        "set -euo pipefail
        export LC_ALL=C PATH={}:$PATH PGHOST={} PGUSER=me PGDATABASE=postgres
        fail() {{ cat log 2> /dev/null; pg_ctl -D data -m immediate stop > /dev/null 2>&1 || true; }}
        trap fail ERR
        {script}",
        programs.display(),
        dir.path().display(),
    );
    fs::write(&file, text).unwrap();
    let said = if is_root() {
        tool(
            dir.path(),
            &format!(
                "mkdir -p {root}/pg && chown {USER}:{USER} {root}/pg && chmod 755 {root}
                unshare --mount --propagation private bash -euc '
                    mount --bind {root} {place} && cd {place}/pg
                    exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all bash {file}'",
                root = device.root().display(),
                place = place.display(),
                file = file.display(),
            ),
        )
    } else {
        tool(&device.root(), &format!("mkdir -p pg && cd pg && bash {}", file.display()))
    };
    said.out
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A cluster is made, filled, cut off in the middle of transactions, recovered and stopped; then it
/// runs on another device.
#[test]
fn postgresql() {
    let test = "apps::postgresql";
    let Some(programs) = programs() else {
        return skip(test, "PostgreSQL's server is missing (apt-get install postgresql)");
    };
    let needs: &[&str] = if is_root() { &["unshare", "setpriv", "bash"] } else { &["bash"] };
    if !meshdrive_tests::have(test, needs) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    let said = run(
        &world.a,
        &programs,
        "initdb -D data -A trust -U me -k > init.log 2>&1
        printf \"listen_addresses = ''\\nunix_socket_directories = '$PGHOST'\\nmax_wal_size = 40MB\\n\" >> data/postgresql.conf
        pg_ctl -D data -w -l log start > /dev/null
        pgbench -i -s 1 -q > bench.log 2>&1
        pgbench -n -c 2 -t 100 > bench.log 2>&1
        test $(psql -Atc 'SELECT count(*) FROM pgbench_history') = 200
        psql -qc 'CREATE TABLE said(n int)'
        pgbench -n -c 2 -T 60 > /dev/null 2>&1 & bench=$!
        for n in $(seq 50); do psql -qc \"INSERT INTO said VALUES ($n)\"; done
        pg_ctl -D data -w -m immediate stop > /dev/null
        wait $bench || true
        pg_ctl -D data -w -l log start > /dev/null
        test $(psql -Atc 'SELECT count(*) FROM said') = 50
        psql -qc 'VACUUM FULL' -c CHECKPOINT
        psql -Atc 'SELECT (SELECT sum(bbalance) FROM pgbench_branches) = sum(delta) FROM pgbench_history'
        pg_ctl -D data -w -m fast stop > /dev/null
        pg_checksums -D data --check > bench.log 2>&1
        pg_controldata data | grep state",
    );
    assert_eq!(said.lines().next(), Some("t"), "{said}");
    assert!(said.contains("shut down"), "{said}");
    let b = comes_back_everywhere(&world);
    let said = run(
        &b,
        &programs,
        "sed -i \"s:^unix_socket_directories = .*:unix_socket_directories = '$PGHOST':\" data/postgresql.conf
        pg_checksums -D data --check > bench.log 2>&1
        pg_ctl -D data -w -l log start > /dev/null
        pgbench -n -c 2 -t 50 > bench.log 2>&1
        psql -Atc 'SELECT (SELECT sum(bbalance) FROM pgbench_branches) = sum(delta) FROM pgbench_history'
        pg_ctl -D data -w -m fast stop > /dev/null",
    );
    assert_eq!(said.trim(), "t");
}
