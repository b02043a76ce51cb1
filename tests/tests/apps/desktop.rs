//! What desktops do with a folder.

use super::comes_back_everywhere;
use meshdrive_tests::{World, content, have, tool, wait_until};
use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

/// The bin of file managers: the file goes to a folder of the drive's own and can be put back.
#[test]
fn trash() {
    if !have("apps::trash", &["gio", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::trash") else { return };
    fs::write(world.a.path("text"), content(1, 100_000)).unwrap();
    world.a.sync();
    tool(
        &world.a.root(),
        "mkdir -p folder/deep && echo 1 > folder/deep/f && cp text ../../text
        gio trash text && gio trash folder && test ! -e text && test ! -e folder
        bin=.Trash-$(id -u); test $(ls $bin/files | wc -l) = 2 && test $(ls $bin/info | wc -l) = 2
        grep -q '^Path=text$' $bin/info/text.trashinfo && cmp $bin/files/text ../../text
        echo again > text && gio trash text && test $(ls $bin/files | wc -l) = 3
        mv $bin/files/text . && rm $bin/info/text.trashinfo && cmp text ../../text
        mv $bin/files/folder . && rm -r $bin && test $(cat folder/deep/f) = 1",
    );
    let b = comes_back_everywhere(&world);
    tool(&b.root(), "cmp text ../../text && gio trash text && test ! -e text");
}

/// A program that watches a folder hears of everything that programs of this device do in it.
#[test]
fn inotifywait() {
    if !have("apps::inotifywait", &["inotifywait", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::inotifywait") else { return };
    fs::create_dir(world.a.path("watched")).unwrap();
    let (heard, said) = (world.path("heard"), world.path("said"));
    let mut watching = Command::new("inotifywait")
        .args(["--monitor", "--format", "%e %w%f"])
        .args(
            ["create", "modify", "close_write", "attrib", "move", "delete"]
                .map(|e| format!("--event={e}")),
        )
        .arg("watched")
        .current_dir(world.a.root())
        .stdin(Stdio::null())
        .stdout(File::create(&heard).unwrap())
        .stderr(File::create(&said).unwrap())
        .spawn()
        .unwrap();
    wait_until("it watches", || fs::read_to_string(&said).unwrap().contains("established"));
    tool(
        &world.a.path("watched"),
        "echo a > x; mkdir d; mv x y; echo b >> y; chmod 600 y; ln -s y l; rm y; rmdir d; echo c > ../w; mv ../w w",
    );
    const EVENTS: &[&str] = &[
        "CREATE watched/x",
        "MODIFY watched/x",
        "CLOSE_WRITE,CLOSE watched/x",
        "CREATE,ISDIR watched/d",
        "MOVED_FROM watched/x",
        "MOVED_TO watched/y",
        "MODIFY watched/y",
        "ATTRIB watched/y",
        "CREATE watched/l",
        "DELETE watched/y",
        "DELETE,ISDIR watched/d",
        "MOVED_TO watched/w",
    ];
    let ends = || fs::read_to_string(&heard).unwrap().contains("MOVED_TO watched/w\n");
    wait_until("the last event is heard", ends);
    watching.kill().unwrap();
    watching.wait().unwrap();
    let text = fs::read_to_string(&heard).unwrap();
    let mut lines = text.lines();
    for event in EVENTS {
        assert!(
            lines.any(|line| line == *event),
            "`{event}` is missing or not in its place:\n{text}"
        );
    }
}

/// A viewer looks into every picture of a folder, an editor changes all of them in place.
#[test]
fn pictures() {
    if !have("apps::pictures", &["mogrify", "identify", "montage", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::pictures") else { return };
    tool(
        &world.a.root(),
        "mkdir pictures && cd pictures
        for i in $(seq 10 39); do { printf 'P6 160 120 255\\n'; head -c 57600 /dev/urandom; } > $i.ppm; done
        mogrify -format png *.ppm && mogrify -quality 60 -format jpg *.ppm && rm *.ppm
        test $(identify *.png *.jpg | grep -c 160x120) = 60
        mogrify -resize 50% *.png && test $(identify -format '%wx%h\\n' *.png | grep -c 80x60) = 30",
    );
    let b = comes_back_everywhere(&world);
    b.unmount();
    b.mount();
    tool(
        &b.path("pictures"),
        "identify *.png *.jpg > ../../said && test $(grep -c 80x60 ../../said) = 30 && test $(wc -l < ../../said) = 60
        montage *.jpg -geometry 32x24 -tile 10x3 ../../sheet.png && test $(identify -format %w ../../sheet.png) = 320",
    );
    if have("apps::pictures (feh)", &["feh"]) {
        tool(&b.path("pictures"), "test $(feh --list . | grep -cE '(png|jpe?g)$') = 60");
    }
}
