//! Programs that read parts of large files: only those parts cross the line.

use meshdrive_tests::{Device, Line, Proxy, World, content, have, tool};
use std::fs;

/// A device that has no content yet, and the line that it sees the store through.
fn cold(world: &World) -> (Device, Proxy) {
    world.a.sync();
    let proxy = Proxy::start(world.server.address(), Line::FAST);
    let b = world.join_at("b", &proxy.url());
    b.mount();
    b.knows_the_tree();
    (b, proxy)
}

/// The index of a zip file is at its end, the members are anywhere.
#[test]
fn one_member_of_a_large_archive() {
    let test = "apps::one_member_of_a_large_archive";
    if !have(test, &["python3"]) {
        return;
    }
    let Some(world) = World::mounted(test) else { return };
    const MEMBER: usize = 1_000_000;
    for number in 0..64 {
        fs::write(world.path(&format!("m{number}")), content(number, MEMBER)).unwrap();
    }
    tool(&world.a.root(), "cd ../.. && python3 -m zipfile -c a/m/large.zip m?*");
    let (b, proxy) = cold(&world);
    let before = proxy.traffic().down;
    let read = "
import zipfile
with zipfile.ZipFile('large.zip') as z:
    assert len(z.namelist()) == 64
    for name in ('m40', 'm7'):
        assert z.read(name) == open('../../' + name, 'rb').read()
";
    fs::write(world.path("read.py"), read).unwrap();
    tool(&b.root(), "python3 ../../read.py");
    let fetched = proxy.traffic().down - before;
    // Two members, the index and what is read ahead of them, of 64 MB.
    assert!(fetched < 20_000_000, "{fetched} bytes were fetched");
}

/// A film whose index is at its end: its length, and one picture from the middle.
#[test]
fn ffmpeg() {
    if !have("apps::ffmpeg", &["ffmpeg", "ffprobe", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::ffmpeg") else { return };
    tool(
        &world.a.root(),
        "ffmpeg -nostdin -v error -f lavfi -i testsrc2=size=640x360:rate=25:duration=160 -c:v mpeg4 -b:v 3M -g 25 film.mp4
        ffmpeg -nostdin -v error -ss 100 -i film.mp4 -frames:v 1 ../../picture.ppm
        ffmpeg -nostdin -v error -i film.mp4 -c copy -movflags +faststart begin.mp4",
    );
    let size = fs::metadata(world.a.path("film.mp4")).unwrap().len();
    let (b, proxy) = cold(&world);
    let before = proxy.traffic().down;
    tool(
        &b.root(),
        "test \"$(ffprobe -v error -show_entries format=duration -of csv=p=0 film.mp4)\" = 160.000000
        ffmpeg -nostdin -v error -ss 100 -i film.mp4 -frames:v 1 ../../again.ppm && cmp ../../picture.ppm ../../again.ppm",
    );
    let fetched = proxy.traffic().down - before;
    assert!(size > 40_000_000 && fetched < size / 3, "{fetched} of {size} bytes were fetched");
    tool(
        &b.root(),
        "ffmpeg -nostdin -v error -i begin.mp4 -map 0 -f null - && cmp begin.mp4 ../../a/m/begin.mp4",
    );
}
