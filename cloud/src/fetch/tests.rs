use super::*;

#[test]
fn parts_are_widened_to_whole_segments_inside_their_extent() {
    let segment = SEGMENT_PLAIN_BYTES as u64;
    let chunk = [1; 32];
    // 3 segments of a chunk from its byte 1,000 on, at byte 5,000 of the file.
    let extent = Extent { len: 3 * segment, chunk: Some(chunk), offset: 1_000 };
    let want = Want::new(0, 5_000, &extent, Range::at(5_000 + segment, 10)).unwrap();
    assert_eq!(want.piece, Some(Piece { chunk, first: 1, count: 1 }));
    assert_eq!((want.at, want.len, want.skip), (5_000 + segment - 1_000, segment, 0));
    let first = Want::new(0, 5_000, &extent, Range::new(0, 5_001)).unwrap();
    assert_eq!(first.piece, Some(Piece { chunk, first: 0, count: 1 }));
    assert_eq!((first.at, first.len, first.skip), (5_000, segment - 1_000, 1_000));
    let all = Want::new(0, 5_000, &extent, Range::new(0, u64::MAX)).unwrap();
    assert_eq!(all.piece, Some(Piece { chunk, first: 0, count: 4 }));
    assert_eq!((all.at, all.len, all.skip), (5_000, extent.len, 1_000));
    assert_eq!(Want::new(0, 5_000, &extent, Range::new(0, 5_000)), None);
}

#[test]
fn a_short_chunk_is_refused_not_padded() {
    let want = Want { file: 0, at: 0, len: 10, piece: None, skip: 5 };
    assert!(want.take(Ok(Bytes::from_static(&[0; 14]))).is_err());
    assert_eq!(want.take(Ok(Bytes::from_static(&[0; 15]))).unwrap().len(), 10);
}
