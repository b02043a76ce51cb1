use super::*;

/// Everything that `Parts` hands on when `steps` (offset, length) are put in.
fn put(steps: &[(u64, usize)]) -> Vec<(u64, Bytes)> {
    let (to, from) = std::sync::mpsc::channel();
    let mut sink = move |at, part| to.send((at, part)).unwrap();
    let mut parts = Parts::new(Buffers::default(), &mut sink);
    for &(at, len) in steps {
        let bytes = (at..at + len as u64).map(|at| (at % 251) as u8);
        parts.at(at).vec().extend(bytes);
        parts.ripen();
    }
    parts.flush();
    from.try_iter().collect()
}

#[test]
fn parts_are_in_order_without_gaps_and_end_with_pages() {
    let steps: Vec<(u64, usize)> = (0..200).map(|n| (1_000 + n * 50_001, 50_001)).collect();
    let parts = put(&steps);
    let mut next = 1_000;
    for (at, part) in &parts {
        assert_eq!(*at, next);
        next += part.len() as u64;
        assert!(part.iter().zip(*at..).all(|(byte, at)| u64::from(*byte) == at % 251));
        assert_eq!(part.as_ptr() as u64 % 4096, at % 4096);
        assert!(part.len() as u64 <= LARGEST_PART_BYTES);
    }
    assert_eq!(next, 1_000 + 200 * 50_001);
    let (_, body) = parts.split_last().unwrap();
    assert!(body.iter().all(|(at, part)| (at + part.len() as u64).is_multiple_of(4096)));
    assert!((body[0].1.len() as u64) < 2 * FIRST_PART_BYTES, "the first one comes soon");
    assert!(
        body[2..]
            .iter()
            .all(|(at, part)| (at + part.len() as u64).is_multiple_of(LARGEST_PART_BYTES))
    );
    assert!(parts.len() < 14, "the rest in large parts: {}", parts.len());
}

#[test]
fn a_jump_ends_a_part_where_it_is() {
    let parts = put(&[(0, 100), (100, 100), (5_000, 10)]);
    let shape: Vec<(u64, usize)> = parts.iter().map(|(at, part)| (*at, part.len())).collect();
    assert_eq!(shape, [(0, 200), (5_000, 10)]);
}

#[test]
fn holes_are_zeros_of_bounded_parts() {
    let (to, from) = std::sync::mpsc::channel();
    let mut sink = move |at, part: Bytes| to.send((at, part)).unwrap();
    let mut parts = Parts::new(Buffers::default(), &mut sink);
    parts.at(3).vec().push(9);
    parts.zeros(4, (2 << 20) + 5);
    let parts: Vec<(u64, Bytes)> = from.try_iter().collect();
    assert_eq!(parts[0], (3, Bytes::from_static(&[9])));
    let lens: Vec<usize> = parts[1..].iter().map(|(_, part)| part.len()).collect();
    assert_eq!(lens, [1 << 20, 1 << 20, 5]);
    assert!(parts[1..].iter().all(|(_, part)| part.iter().all(|byte| *byte == 0)));
}
