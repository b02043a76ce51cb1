//! Golden vectors: what is stored today must open in every later version. And what must never open.

use crate::chunk;
use crate::chunker::Chunker;
use crate::draft::DraftRecord;
use crate::keys::{DriveKey, Keys, Suite};
use crate::manifest::{Body, Extent, Layout, PageRef, decode_page, encode_page};
use crate::params::{DriveParams, Profile};
use crate::record::{Field, Sealer, pad_name};
use crate::records::{Head, decode_attrs, encode_attrs};
use fs_core::{Attrs, Kind, Name, NodeId, Rev, Timestamp};
use protocol::codec::hex;
use protocol::pack::ChunkHead;
use protocol::wire;

const SUITES: [Suite; 3] = [Suite::XChaCha20Poly1305, Suite::Aes256GcmSiv, Suite::Aes256Gcm];
const NODE: NodeId = NodeId([2; 16]);
const PARENT: NodeId = NodeId([3; 16]);

fn sealer(suite: Suite) -> Sealer {
    let key = DriveKey::from_bytes(std::array::from_fn(|at| at as u8));
    Sealer { keys: Keys::derive(&key), suite, drive: [1; 16] }
}

fn attrs() -> Attrs {
    Attrs {
        mode: 0o644,
        uid: 1000,
        gid: 100,
        rdev: 0,
        atime: Timestamp(1),
        mtime: Timestamp(-2),
        ctime: Timestamp(3),
        btime: Timestamp(i64::MAX),
        target: Vec::new(),
        xattrs: [(b"user.a".to_vec(), b"\0b".to_vec())].into(),
    }
}

/// Repeats itself enough to compress, and is long enough for several segments.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| b"meshdrive keeps every byte "[at % 27] ^ (at / 5_000) as u8).collect()
}

/// Does not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

fn digest(bytes: &[u8]) -> String {
    hex(&blake3::hash(bytes).as_bytes()[..8])
}

#[test]
fn keys_are_what_they_were() {
    let keys = sealer(Suite::Aes256GcmSiv).keys;
    let name = Name::new(b"report.txt").unwrap();
    let found = [
        digest(&keys.chunk_id(b"abc")),
        digest(&keys.page_id(b"abc")),
        hex(&keys.name_key(PARENT, &name)),
        hex(&keys.gear_seed().to_le_bytes()),
    ];
    assert_eq!(
        found,
        [
            "6cd9f49e2bd7f159",
            "48516a5930a6e038",
            "3143ea943ff4a9c81ffb215658077b29",
            "d334b3e29a20532c"
        ]
    );
}

#[test]
fn records_are_what_they_were() {
    let plain = pad_name(&Name::new(b"report.txt").unwrap());
    assert_eq!(plain, b"\x0areport.txt\0\0\0\0\0");
    let seal = |suite| {
        let field = Field::Name { parent: PARENT };
        hex(&sealer(suite).seal_salted(NODE, field, &plain, [9; 24]).unwrap())
    };
    assert_eq!(
        SUITES.map(seal),
        [
            "01010909090909090909090909090909090909090909090909097dab1d7a7c8e50e6effa34a4a980827291337b91584603c74afc17fa644bc28e",
            "01020909090909090909090909090909090909090909090909090fbb3bb8bda1a5d1e15d9c738d59e8bf71a86f011a8e4f379b17ec35b5395b4c",
            "01030909090909090909090909090909090909090909090909098d83ecdb769c872120e7c6616bc4e81f4ac086c9842136c985d64a64817d4ca0"
        ]
    );
    let plains = [
        hex(&Head::new(1 << 40, Timestamp(-5)).encode()),
        digest(&encode_attrs(&attrs(), Rev(7))),
        hex(&DriveParams { suite: SUITES[1], profile: Profile::DEFAULT }.encode()),
    ];
    assert_eq!(
        plains,
        [
            "a30001011b000001000000000002240000000000000000000000000000000000",
            "bd3acc4e1edf5e23",
            "a3000101020284011a000100001a000400001a00100000"
        ]
    );
}

#[test]
fn manifests_are_what_they_were() {
    let extents = vec![Extent { len: 5, chunk: Some([7; 32]), offset: 9 }, Extent::hole(1 << 33)];
    let page = PageRef { id: [8; 32], len: (1 << 33) + 5, count: 2 };
    let found = [
        hex(&Body::new(3, Layout::Inline(b"abc".to_vec())).encode()),
        hex(&Body::new((1 << 33) + 5, Layout::Extents(extents.clone())).encode()),
        hex(&Body::new(page.len, Layout::Pages(vec![page])).encode()),
        hex(&encode_page(&extents)),
        hex(&DraftRecord::new(vec![1], vec![2], vec![[3; 32]]).encode()),
    ];
    assert_eq!(
        found,
        [
            "a3000101030282008143616263",
            "a30001011b0000000200000005028201818283055820070707070707070707070707070707070707070707070707070707070707070709831b0000000200000000f600",
            "a30001011b0000000200000005028202818183582008080808080808080808080808080808080808080808080808080808080808081b000000020000000502",
            "82018283055820070707070707070707070707070707070707070707070707070707070707070709831b0000000200000000f600",
            "a40001014101024102038158200303030303030303030303030303030303030303030303030303030303030303"
        ]
    );
    assert_eq!(decode_page(&encode_page(&extents), page).unwrap(), extents);
}

#[test]
fn chunks_are_what_they_were() {
    let (small, packed, raw) = (b"abc".to_vec(), text(200_000), noise(200_000));
    let mut found = Vec::new();
    for suite in SUITES {
        for plain in [&small, &packed, &raw] {
            let keys = sealer(suite).keys;
            let id = keys.chunk_id(plain);
            let stored = chunk::seal(&keys, suite, &id, plain, [5; 16]).unwrap();
            assert_eq!(&chunk::open_whole(&keys, &id, &stored).unwrap(), plain);
            found.push(format!("{} {}", stored.len(), digest(&stored)));
        }
    }
    let golden = [
        "45 fbd572437965d42d",
        "1248 3447908225d87745",
        "200102 dcadb50ffaf0be07",
        "45 246b09ae0ee12f0e",
        "1248 853c6276e4ebe9c9",
        "200102 08c19de9d12fde10",
        "45 3bbfb7acc42cdb70",
        "1248 6b10fcd40979915a",
        "200102 e1169edf8b1e8a12",
    ];
    assert_eq!(found, golden);
}

#[test]
fn cuts_fall_where_they_fell() {
    let bytes = noise(3 << 20);
    let cut = |seed| {
        let chunker = Chunker::new(Profile::DEFAULT, seed);
        let (mut lens, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let len = chunker.cut(rest);
            lens.push(len);
            rest = &rest[len..];
        }
        lens
    };
    let lens = cut(42);
    let inner = &lens[..lens.len() - 1];
    assert!(inner.iter().all(|len| (64 << 10..=1 << 20).contains(len)), "{lens:?}");
    assert_eq!(
        lens,
        [257853, 490129, 390081, 104567, 416283, 271873, 293869, 466093, 338615, 116365]
    );
    assert_ne!(lens, cut(43), "where cuts fall is secret to the drive");
}

#[test]
fn a_record_opens_at_its_place_only() {
    for suite in SUITES {
        let sealer = sealer(suite);
        let name = Name::new(b"report.txt").unwrap();
        let sealed = sealer.seal_name(NODE, PARENT, &name).unwrap();
        assert_eq!(sealer.open_name(NODE, PARENT, &sealed), Ok(name));
        assert!(sealer.open_name(NODE, NODE, &sealed).is_err(), "under another parent");
        assert!(sealer.open_name(PARENT, PARENT, &sealed).is_err(), "of another node");
        assert!(sealer.open(NODE, Field::Attrs, &sealed).is_err(), "as another field");
        let body = sealer.seal(NODE, Field::Body, b"body").unwrap();
        assert!(sealer.open(NODE, Field::Head, &body).is_err());
        assert!(sealer.open(PARENT, Field::Body, &body).is_err());
        let other = Sealer { drive: [9; 16], ..super::formats::sealer(suite) };
        assert!(other.open(NODE, Field::Body, &body).is_err(), "in another drive");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open_name(NODE, PARENT, &changed).is_err(), "byte {at} changed");
            assert!(sealer.open_name(NODE, PARENT, &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn illegal_names_are_refused_even_when_they_are_sealed() {
    let sealer = sealer(SUITES[1]);
    let long = [&[255_u8][..], &[b'a'; 100]].concat();
    for plain in [&b"\0"[..], b"", b"\x01.", b"\x02..", b"\x03a/b", b"\x02a\0", &long] {
        let sealed = sealer.seal(NODE, Field::Name { parent: PARENT }, plain).unwrap();
        assert!(sealer.open_name(NODE, PARENT, &sealed).is_err(), "{plain:?}");
    }
}

#[test]
fn a_segment_opens_at_its_place_only() {
    for suite in SUITES {
        for plain in [text(150_000), noise(150_000)] {
            let keys = sealer(suite).keys;
            let id = keys.chunk_id(&plain);
            let stored = chunk::seal(&keys, suite, &id, &plain, [5; 16]).unwrap();
            let head = ChunkHead::decode(&stored).unwrap();
            let segment = |index: u16| {
                let at = head.locate(index, 1).unwrap();
                stored[at.start as usize..at.end as usize].to_vec()
            };
            for index in 0..3_u16 {
                let opened =
                    chunk::open(&keys, &id, head.clone(), (index, 1), &segment(index)).unwrap();
                let start = usize::from(index) << 16;
                assert_eq!(opened, plain[start..(start + (1 << 16)).min(plain.len())]);
            }
            let mut swapped = head.clone();
            swapped.segments.swap(0, 1);
            assert!(chunk::open(&keys, &id, swapped.clone(), (0, 1), &segment(1)).is_err());
            let other = keys.chunk_id(b"other");
            assert!(chunk::open(&keys, &other, head.clone(), (0, 1), &segment(0)).is_err());
            let mut shorter = head.clone();
            shorter.plain_len -= 1;
            assert!(chunk::open(&keys, &id, shorter.clone(), (0, 1), &segment(0)).is_err());
            let mut flipped = head.clone();
            flipped.segments[0].compressed ^= true;
            assert!(chunk::open(&keys, &id, flipped.clone(), (0, 1), &segment(0)).is_err());
            assert!(chunk::open(&keys, &id, head.clone(), (0, 2), &segment(0)).is_err());
            assert!(chunk::open(&keys, &id, head.clone(), (3, 1), &segment(0)).is_err());
            assert!(chunk::open(&keys, &id, head.clone(), (u16::MAX, 2), &segment(0)).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_of_a_chunk_is_refused() {
    let keys = sealer(SUITES[1]).keys;
    let plain = text(3_000);
    let id = keys.chunk_id(&plain);
    let stored = chunk::seal(&keys, SUITES[1], &id, &plain, [5; 16]).unwrap();
    assert!(stored.len() < 1_000, "text compresses");
    for at in 0..stored.len() {
        for bit in 0..8 {
            let mut changed = stored.clone();
            changed[at] ^= 1 << bit;
            assert!(chunk::open_whole(&keys, &id, &changed).is_err(), "bit {bit} of byte {at}");
        }
        assert!(chunk::open_whole(&keys, &id, &stored[..at]).is_err());
    }
    assert!(chunk::seal(&keys, SUITES[1], &id, &[], [5; 16]).is_err());
    assert!(chunk::seal(&keys, SUITES[1], &id, &vec![0; (1 << 20) + 1], [5; 16]).is_err());
}

#[test]
fn attributes_read_back_and_newer_ones_are_not_guessed() {
    let encoded = encode_attrs(&attrs(), Rev(7));
    assert_eq!(decode_attrs(&encoded).unwrap(), (attrs(), Rev(7)));
    assert_eq!(encoded.len() % 32, 0);
    // Field 0 of the map is the version.
    let mut newer = encoded.clone();
    assert_eq!(newer[1..3], [0, 1]);
    newer[2] = 2;
    assert!(decode_attrs(&newer).unwrap_err().0.contains("newer"));
    assert!(decode_attrs(&[]).is_err());
}

#[test]
fn impossible_bodies_are_refused() {
    let whole = Extent::whole([7; 32], 10);
    let beyond = Extent { len: 10, chunk: Some([7; 32]), offset: (1 << 20) - 9 };
    let page = PageRef { id: [8; 32], len: u64::MAX, count: 1 };
    let bad = [
        Body::new(4, Layout::Inline(b"abc".to_vec())),
        Body::new(4_000, Layout::Inline(vec![0; 4_000])),
        Body::new(11, Layout::Extents(vec![whole])),
        Body::new(10, Layout::Extents(vec![beyond])),
        Body::new(10, Layout::Extents(vec![whole, Extent::hole(0)])),
        Body::new(u64::MAX - 1, Layout::Pages(vec![page, page])),
    ];
    for body in bad {
        assert!(Body::decode(&body.encode()).is_err(), "{body:?}");
    }
    assert!(decode_page(&encode_page(&[whole]), page).is_err());
    assert!(Body::decode(&[0xff; 40]).is_err());
}

#[test]
fn impossible_parameters_are_refused() {
    let params = DriveParams { suite: Suite::best(), profile: Profile::DEFAULT };
    let good = params.encode();
    assert_eq!(DriveParams::decode(&good), Ok(params));
    for min in [0, 3, 64 * 1024 + 1, 1 << 30] {
        let profile = Profile { min, ..Profile::DEFAULT };
        assert!(DriveParams::decode(&DriveParams { profile, ..params }.encode()).is_err());
    }
    let profile = Profile { max: 1 << 24, ..Profile::DEFAULT };
    assert!(DriveParams::decode(&DriveParams { profile, ..params }.encode()).is_err());
}

#[test]
fn a_node_that_cannot_be_opened_is_shown_as_such() {
    let sealer = sealer(SUITES[1]);
    let name = Name::new(b"a").unwrap();
    let good = wire::Node {
        id: wire::Id::new(NODE.0),
        parent: wire::Id::new(PARENT.0),
        name: sealer.seal_name(NODE, PARENT, &name).unwrap().into(),
        kind: 0,
        meta: sealer.seal_attrs(NODE, &attrs(), Rev(4)).unwrap().into(),
        head: Some(
            sealer.seal(NODE, Field::Head, &Head::new(77, Timestamp(99)).encode()).unwrap().into(),
        ),
        meta_rev: 5,
        content_rev: 4,
        live: true,
    };
    let node = sealer.open_node(&good);
    assert_eq!((node.name.clone(), node.size, node.attrs), (name, 77, attrs()));
    // The content is newer than what the attributes speak of: its time counts.
    let newer = sealer.open_node(&wire::Node { content_rev: 6, ..good.clone() });
    assert_eq!(newer.attrs.mtime, Timestamp(99));
    let moved = wire::Node { parent: wire::Id::new([9; 16]), ..good.clone() };
    let no_head = wire::Node { head: Some(vec![1, 2, 3].into()), ..good.clone() };
    let strange = wire::Node { kind: 77, ..good.clone() };
    for bad in [moved, no_head, strange] {
        let node = sealer.open_node(&bad);
        assert_eq!(node.name.as_bytes(), format!("invalid-{}", hex(&NODE.0)).as_bytes());
        assert_eq!((node.kind, node.attrs.mode, node.size), (Kind::File, 0, 0));
        assert_eq!((node.meta_rev, node.live), (Rev(5), true));
    }
    // A hard link names a node by its identity, in which any byte may be zero.
    let link = |target: &[u8]| {
        let attrs = fs_core::Attrs { target: target.to_vec(), ..attrs() };
        let meta = sealer.seal_attrs(NODE, &attrs, Rev(0)).unwrap().into();
        sealer.open_node(&wire::Node { kind: 7, meta, head: None, content_rev: 0, ..good.clone() })
    };
    assert_eq!(link(&[0; 16]).link_target(), Some(fs_core::NodeId([0; 16])));
    assert_eq!(link(&[1; 15]).kind, Kind::File);
    let folder = wire::Node { kind: 1, meta: Vec::new().into(), ..good };
    assert_eq!(sealer.open_node(&folder).kind, Kind::Dir);
}
