use crate::samples;
use proptest::prelude::*;
use protocol::{limits::*, pack::*};

#[test]
fn a_pack_tells_what_is_in_it() {
    let pack = samples::pack();
    let entries = read_trailer(&pack).unwrap();
    assert_eq!(entries.len(), 2);
    for (entry, fill) in entries.iter().zip([1, 2]) {
        assert_eq!(entry.id, [fill; 32]);
        let at = entry.offset as usize;
        assert_eq!(pack[at..at + entry.len as usize], samples::chunk());
    }
    assert_eq!(entries[0].refs, Vec::<[u8; 32]>::new());
    assert_eq!(entries[1].refs, [[1; 32], [3; 32]]);
}

#[test]
fn an_empty_pack_is_a_pack() {
    assert_eq!(read_trailer(&PackWriter::default().finish()).unwrap(), []);
}

#[test]
fn the_writer_knows_its_length_and_its_room() {
    let chunk = samples::chunk();
    let mut writer = PackWriter::default();
    assert!(writer.is_empty());
    let mut count = 0_u32;
    while writer.fits(chunk.len(), 100) {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&count.to_le_bytes());
        writer.push(id, &chunk, vec![[7; 32]; 100]);
        count += 1;
    }
    let expected = writer.len();
    let pack = writer.finish();
    assert_eq!(pack.len(), expected);
    assert!(pack.len() <= PACK_BYTES && pack.len() + chunk.len() + 3_300 > PACK_BYTES);
    assert_eq!(read_trailer(&pack).unwrap().len(), count as usize);
}

/// A pack with one change, and the word in the error that it must cause.
#[test]
fn each_damage_has_its_error() {
    let good = samples::pack();
    let trailer_len = u32::from_le_bytes(good[good.len() - 8..][..4].try_into().unwrap()) as usize;
    let trailer = good.len() - 8 - trailer_len;
    type Damage = Box<dyn Fn(&mut Vec<u8>)>;
    let put = |at: usize, bytes: &'static [u8]| -> Damage {
        Box::new(move |pack| pack[at..at + bytes.len()].copy_from_slice(bytes))
    };
    let cases: Vec<(Damage, &str)> = vec![
        (Box::new(|pack| pack.truncate(10)), "size"),
        (Box::new(|pack| pack.resize(PACK_BYTES + 1, 0)), "size"),
        (put(0, b"X"), "not a pack"),
        (put(good.len() - 1, b"X"), "not a pack"),
        (put(4, &[2]), "version"),
        (put(good.len() - 8, &[0xff; 4]), "trailer too long"),
        (put(good.len() - 8, &[0; 4]), "cut off"),
        (put(trailer, &[0xff; 4]), "count"),
        (put(trailer, &[1]), "left over"),
        // Offset, length and number of references of the first entry.
        (put(trailer + 36, &[9]), "follow"),
        (put(trailer + 40, &[51]), "contradicts"),
        (put(trailer + 40, &[0xff; 4]), "follow"),
        (put(trailer + 44, &[0xff; 4]), "too many"),
        (put(trailer + 44, &[0xff]), "cut off"),
        // The head of the first chunk: number of segments, length, length of a segment.
        (put(9, &[3]), "number of segments"),
        (put(9, &[17]), "limit"),
        (put(10, &[0xff; 4]), "limit"),
        (put(30, &[0xff; 4]), "segment over"),
        (put(30, &[4]), "contradicts"),
        (Box::new(move |pack| pack.insert(trailer, 0)), "between"),
    ];
    for (index, (damage, word)) in cases.iter().enumerate() {
        let mut pack = good.clone();
        damage(&mut pack);
        let error = read_trailer(&pack).unwrap_err().to_string();
        assert!(error.contains(word), "case {index}: {error}");
    }
}

#[test]
fn heads_say_where_segments_lie() {
    let head = ChunkHead::decode(&samples::chunk()).unwrap();
    assert_eq!(head, samples::chunk_head());
    assert_eq!(head.encoded_len(), 30);
    assert_eq!(head.locate(0, 0), Ok(30..50));
    assert_eq!(head.locate(0, 1), Ok(30..33));
    assert_eq!(head.locate(1, 1), Ok(33..50));
    assert_eq!(head.locate(1, 0), Ok(33..50));
    for (first, count) in [(2, 0), (0, 3), (1, 2), (u16::MAX, u16::MAX), (2, 1)] {
        assert!(head.locate(first, count).is_err(), "{first} {count}");
    }
}

#[test]
fn an_empty_chunk_has_one_segment() {
    let segment = Segment { stored_len: 16, compressed: false };
    let head = ChunkHead { suite: 2, plain_len: 0, salt: [1; 16], segments: vec![segment] };
    let mut bytes = Vec::new();
    head.encode(&mut bytes);
    assert_eq!(ChunkHead::decode(&bytes), Ok(head));
    assert!(ChunkHead::decode(&bytes[..25]).is_err());
}

#[test]
fn frames_are_bounded() {
    let header = samples::frame_header();
    assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
    let mut status = header.encode();
    status[0] = 4;
    assert!(FrameHeader::decode(&status).is_err());
    for (head_len, body_len) in [(87, 0), (0, (1 << 20) + 257), (u32::MAX, u32::MAX)] {
        let header = FrameHeader { status: FrameStatus::Ok, head_len, body_len };
        assert!(FrameHeader::decode(&header.encode()).is_err());
    }
    let most = FrameHeader { status: FrameStatus::Ok, head_len: 86, body_len: (1 << 20) + 256 };
    assert!(FrameHeader::decode(&most.encode()).is_ok());
}

prop_compose! {
    fn any_chunk()(segments in 1_usize..=16, short in 0_u32..65_536, salt: [u8; 16], lens in
        prop::collection::vec((0_u32..2_000, any::<bool>()), 16)) -> Vec<u8>
    {
        let plain_len = segments as u32 * 65_536 - short.min(65_535);
        let segments: Vec<Segment> = lens[..segments]
            .iter()
            .map(|(stored_len, compressed)| Segment {
                stored_len: *stored_len,
                compressed: *compressed,
            })
            .collect();
        let total: u32 = segments.iter().map(|segment| segment.stored_len).sum();
        let mut chunk = Vec::new();
        ChunkHead { suite: 1, plain_len, salt, segments }.encode(&mut chunk);
        chunk.extend(std::iter::repeat_n(0x55, total as usize));
        chunk
    }
}

proptest! {
    #[test]
    fn packs_round_trip(chunks in prop::collection::vec((any::<[u8; 32]>(), any_chunk(),
        prop::collection::vec(any::<[u8; 32]>(), 0..4)), 0..20))
    {
        let mut writer = PackWriter::default();
        for (id, chunk, refs) in &chunks {
            writer.push(*id, chunk, refs.clone());
        }
        let pack = writer.finish();
        let entries = read_trailer(&pack).unwrap();
        prop_assert_eq!(entries.len(), chunks.len());
        for (entry, (id, chunk, refs)) in entries.iter().zip(&chunks) {
            let at = entry.offset as usize;
            prop_assert_eq!(&pack[at..at + entry.len as usize], &chunk[..]);
            prop_assert_eq!((&entry.id, &entry.refs), (id, refs));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_trailer(&bytes);
        let _ = ChunkHead::decode(&bytes).map(|head| head.locate(0, 0));
    }

    #[test]
    fn damaged_packs_are_read_or_refused(changes in prop::collection::vec(
        (any::<prop::sample::Index>(), any::<u8>()), 1..5))
    {
        let mut pack = samples::pack();
        for (at, value) in changes {
            let at = at.index(pack.len());
            pack[at] = value;
        }
        if let Ok(entries) = read_trailer(&pack) {
            for entry in entries {
                let at = entry.offset as usize;
                prop_assert!(pack.get(at..at + entry.len as usize).is_some());
            }
        }
    }
}
