use super::*;
use fs_core::{
    ContentRow, Draft, FlightItem, Group, Hold, Ino, Kind, Loaded, Name, NodeId, NodeRow, Op,
    Pending, Range, RequestId, Rev, Timestamp,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// Few inodes, so that changes meet.
pub(crate) fn ino() -> impl Strategy<Value = Ino> {
    (1..12_u64).prop_map(Ino)
}

pub(crate) fn range() -> impl Strategy<Value = Range> {
    (0..2_000_u64, 0..300_u64).prop_map(|(start, len)| Range::new(start, start + len))
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, any::<u64>()]
}

fn rev() -> impl Strategy<Value = Rev> {
    number().prop_map(Rev)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(0_i64), Just(1_700_000_000_000_000_000), any::<i64>()].prop_map(Timestamp)
}

fn id() -> impl Strategy<Value = NodeId> {
    prop_oneof![(0..6_u8).prop_map(|n| NodeId([n; 16])), any::<[u8; 16]>().prop_map(NodeId)]
}

fn name() -> impl Strategy<Value = Name> {
    vec(any::<u8>(), 0..20).prop_map(|bytes| Name::new(&bytes).unwrap_or_else(|_| Name::none()))
}

fn ranges() -> impl Strategy<Value = Ranges> {
    vec(range(), 0..6).prop_map(|list| list.into_iter().collect())
}

prop_compose! {
    fn attrs()(
        numbers in any::<[u32; 3]>(),
        rdev in prop_oneof![Just(0_u32), any::<u32>()],
        times in [time(), time(), time(), time()],
        target in vec(any::<u8>(), 0..8),
        xattrs in btree_map(vec(any::<u8>(), 0..5), vec(any::<u8>(), 0..5), 0..3),
    ) -> Attrs {
        let [mode, uid, gid] = numbers;
        let [atime, mtime, ctime, btime] = times;
        Attrs { mode, uid, gid, rdev, atime, mtime, ctime, btime, target, xattrs }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(vec![
        Kind::File,
        Kind::Dir,
        Kind::Symlink,
        Kind::Fifo,
        Kind::Socket,
        Kind::CharDevice,
        Kind::BlockDevice,
        Kind::Link,
    ])
}

prop_compose! {
    pub(crate) fn node()(
        (ino, id, parent, name) in (ino(), id(), (0..12_u64).prop_map(Ino), name()),
        kind in kind(),
        attrs in attrs(),
        size in number(),
        (meta_rev, content_rev) in (rev(), rev()),
        pending in prop_oneof![Just(0_u8), any::<u8>()].prop_map(Pending),
        origin in option::of((id(), name(), attrs())),
        (listed, pinned, gone) in any::<(bool, bool, bool)>(),
    ) -> NodeRow {
        let origin = origin.map(|(parent, name, attrs)| Box::new(Origin { parent, name, attrs }));
        NodeRow {
            ino, id, parent, name, kind, attrs, size, meta_rev, content_rev, pending, origin,
            listed, pinned, gone,
        }
    }
}

prop_compose! {
    pub(crate) fn content()(
        (ino, base_id, base_rev, base_len) in (ino(), id(), rev(), number()),
        (valid, dirty, blind) in (ranges(), ranges(), any::<bool>()),
    ) -> ContentRow {
        let valid = valid.iter().flat_map(|range| dirty.gaps(range)).collect();
        ContentRow { ino, base_id, base_rev, base_len, valid, dirty, blind }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let draft =
        || (vec(any::<u8>(), 0..9), number()).prop_map(|(bytes, size)| Draft { bytes, size });
    prop_oneof![
        (id(), id(), name(), kind(), attrs(), option::of(draft())).prop_map(
            |(id, parent, name, kind, attrs, content)| {
                Op::Create { id, parent, name, kind, attrs, content }
            }
        ),
        (id(), rev(), draft()).prop_map(|(id, base, content)| Op::SetContent { id, base, content }),
        (id(), rev(), id(), name(), attrs(), rev()).prop_map(
            |(id, base, parent, name, attrs, for_content)| {
                Op::Move { id, base, parent, name, attrs, for_content }
            }
        ),
        (id(), rev(), attrs(), rev()).prop_map(|(id, base, attrs, for_content)| {
            Op::SetAttrs { id, base, attrs, for_content }
        }),
        (id(), rev(), rev()).prop_map(|(id, meta, content)| Op::Trash { id, meta, content }),
        (id(), rev(), id(), name(), attrs(), rev()).prop_map(
            |(id, base, parent, name, attrs, for_content)| {
                Op::Restore { id, base, parent, name, attrs, for_content }
            }
        ),
    ]
}

prop_compose! {
    pub(crate) fn flight()(
        request in (0..4_u8).prop_map(|n| RequestId([n; 16])),
        groups in vec(vec(op(), 0..3).prop_map(|ops| Group { ops }), 0..3),
        items in vec((any::<u32>(), node(), option::of(content()), number()), 0..3),
    ) -> Flight {
        let items = items.into_iter().map(|(group, node, content, generation)| {
            FlightItem { group, sent: Loaded { node, content }, generation }
        });
        Flight { request, groups, items: items.collect() }
    }
}

/// A change. `blind`: content rows may be of files that are written unseen, which recovery looks at.
pub(crate) fn change(blind: bool) -> impl Strategy<Value = Change> {
    let request = (0..4_u8).prop_map(|n| RequestId([n; 16]));
    prop_oneof![
        4 => node().prop_map(|row| Change::PutNode(Box::new(row))),
        1 => ino().prop_map(Change::DropNode),
        2 => content().prop_map(move |row| {
            Change::PutContent(Box::new(ContentRow { blind: row.blind && blind, ..row }))
        }),
        1 => ino().prop_map(Change::DropContent),
        5 => (ino(), range(), number(), time())
            .prop_map(|(ino, range, size, mtime)| Change::Wrote { ino, range, size, mtime }),
        4 => (ino(), range()).prop_map(|(ino, range)| Change::Filled { ino, range }),
        1 => (rev(), number()).prop_map(|(rev, epoch)| Change::Cursor { rev, epoch }),
        1 => Just(Change::Complete),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(removals, rewrites)| Change::Held(Hold { removals, rewrites })),
        1 => flight().prop_map(|flight| Change::PutFlight(Box::new(flight))),
        1 => request.prop_map(Change::DropFlight),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(batch in vec(change(true), 0..8)) {
        let mut bytes = vec![1, 2, 3];
        encode_batch(&batch, &mut bytes).unwrap();
        prop_assert_eq!(&bytes[..3], &[1, 2, 3]);
        prop_assert_eq!(decode_batch(&bytes[3..]).unwrap(), batch);
    }

    #[test]
    fn hostile_bytes_give_an_error_or_a_value(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_batch(&bytes);
        let _ = decode_flight(&bytes);
        let _ = decode_ranges(&bytes);
        let _ = decode_origin(&bytes);
        let _ = decode_extra(&bytes);
    }

    #[test]
    fn a_changed_byte_never_panics(
        batch in vec(change(true), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        encode_batch(&batch, &mut bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode_batch(&bytes);
        prop_assert!(decode_batch(&bytes[..at]).is_err(), "a cut value is never whole");
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // Arrays, maps and strings of 2^56 items.
    for major in [0x5b_u8, 0x9b, 0xbb] {
        let mut bytes = vec![0x81, 0x82, 0x00, major, 0x01];
        bytes.extend([0; 7]);
        assert!(decode_batch(&bytes).is_err());
        assert!(decode_ranges(&bytes[3..]).is_err());
    }
}

#[test]
fn ranges_that_overflow_or_are_empty_are_refused() {
    let mut out = Encoder::new(Vec::new());
    out.array(2).unwrap().u64(u64::MAX).unwrap().u64(1).unwrap();
    assert!(decode_ranges(&out.into_writer()).is_err());
    let mut out = Encoder::new(Vec::new());
    out.array(2).unwrap().u64(5).unwrap().u64(0).unwrap();
    assert!(decode_ranges(&out.into_writer()).is_err());
}

#[test]
fn appended_fields_are_skipped() {
    // [[5 Filled, 7, [1, 9, "later"], {later: 1}]]: two fields that this version does not know.
    let bytes = [
        0x81, 0x84, 0x05, 0x07, 0x83, 0x01, 0x09, 0x65, b'l', b'a', b't', b'e', b'r', 0xa1, 0x01,
        0x01,
    ];
    let expected = vec![Change::Filled { ino: Ino(7), range: Range::new(1, 9) }];
    assert_eq!(decode_batch(&bytes).unwrap(), expected);
}

/// One of each, with every field set.
fn sample() -> Vec<Change> {
    let attrs = Attrs {
        mode: 0o644,
        uid: 1000,
        gid: 100,
        rdev: 5,
        atime: Timestamp(-1),
        mtime: Timestamp(2),
        ctime: Timestamp(3),
        btime: Timestamp(4),
        target: b"t".to_vec(),
        xattrs: Xattrs::from([(b"user.a".to_vec(), b"v".to_vec())]),
    };
    let node = NodeRow {
        ino: Ino(9),
        id: NodeId([7; 16]),
        parent: Ino(1),
        name: Name::new(b"name").unwrap(),
        kind: Kind::Symlink,
        attrs: attrs.clone(),
        size: 70_000,
        meta_rev: Rev(11),
        content_rev: Rev(12),
        pending: Pending::CONTENT.with(Pending::PLACE),
        origin: Some(Box::new(Origin {
            parent: NodeId::ROOT,
            name: Name::new(b"old").unwrap(),
            attrs: attrs.clone(),
        })),
        listed: true,
        pinned: false,
        gone: true,
    };
    let content = ContentRow {
        ino: Ino(9),
        base_id: NodeId([8; 16]),
        base_rev: Rev(3),
        base_len: 300,
        valid: [Range::new(0, 10), Range::new(20, 30)].into_iter().collect(),
        dirty: [Range::new(10, 20)].into_iter().collect(),
        blind: false,
    };
    let flight = Flight {
        request: RequestId([5; 16]),
        groups: vec![Group {
            ops: vec![
                Op::Trash { id: NodeId([1; 16]), meta: Rev(1), content: Rev(2) },
                Op::SetContent {
                    id: NodeId([2; 16]),
                    base: Rev(4),
                    content: Draft { bytes: b"draft".to_vec(), size: 6 },
                },
            ],
        }],
        items: vec![FlightItem {
            group: 0,
            sent: Loaded { node: node.clone(), content: None },
            generation: 2,
        }],
    };
    vec![
        Change::PutNode(Box::new(node)),
        Change::DropNode(Ino(3)),
        Change::PutContent(Box::new(content)),
        Change::DropContent(Ino(4)),
        Change::Wrote {
            ino: Ino(5),
            range: Range::new(1, 2),
            size: 1 << 40,
            mtime: Timestamp(1_700_000_000_000_000_000),
        },
        Change::Filled { ino: Ino(6), range: Range::new(0, 65_536) },
        Change::Cursor { rev: Rev(77), epoch: 8 },
        Change::Complete,
        Change::PutFlight(Box::new(flight)),
        Change::DropFlight(RequestId([6; 16])),
    ]
}

fn golden(hex: &str) -> Vec<u8> {
    hex.split_ascii_whitespace()
        .flat_map(|line| line.as_bytes().chunks(2))
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The format on disk: it may only grow. If this fails, stores in the field become unreadable.
#[test]
fn the_format_is_as_it_was() {
    let mut bytes = Vec::new();
    encode_batch(&sample(), &mut bytes).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Since then content rows say whether their file may be written unseen.
    assert!(bytes == golden(include_str!("golden_v2.hex")), "the encoding is now {hex}");
    for old in [include_str!("golden_v1.hex"), include_str!("golden_v2.hex")] {
        assert_eq!(decode_batch(&golden(old)).unwrap(), sample());
    }
}
