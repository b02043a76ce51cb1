use super::comes_back_everywhere;
use meshdrive_tests::{World, content, have, tool};
use std::fs;

/// Packed and unpacked inside the drive; the archive and what came out of it are right elsewhere.
#[test]
fn zip_and_unzip() {
    if !have("apps::zip_and_unzip", &["zip", "unzip", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::zip_and_unzip") else { return };
    let source = world.path("source/deep/er");
    fs::create_dir_all(&source).unwrap();
    for (at, size) in [0, 1, 4_096, 70_000, 2_000_000].into_iter().enumerate() {
        fs::write(source.join(format!("f{at}")), content(at as u64, size)).unwrap();
    }
    tool(
        &world.a.root(),
        "ln -s deep/er/f1 ../../source/link; chmod 750 ../../source/deep/er/f3
        (cd ../../source && zip -qry - .) > one.zip
        unzip -q one.zip -d out && diff -r --no-dereference ../../source out
        test $(stat -c %a out/deep/er/f3) = 750
        (cd out && zip -qry ../two.zip .) && unzip -tq two.zip
        zip -qd two.zip deep/er/f2 && unzip -tq two.zip
        echo new > out/new && (cd out && zip -q ../two.zip new) && unzip -tq two.zip
        unzip -qo one.zip -d out && test $(cat out/new) = new",
    );
    let b = comes_back_everywhere(&world);
    tool(
        &b.root(),
        "unzip -tq one.zip && unzip -tq two.zip && test \"$(unzip -p two.zip new)\" = new",
    );
}
