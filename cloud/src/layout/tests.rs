use super::*;
use crate::manifest::{chunks_of, encode_page};
use proptest::prelude::*;

/// A file as what each of its bytes is made of: a byte of a chunk, or nothing.
type Model = Vec<Option<(ChunkId, u32)>>;

fn id(number: u32) -> ChunkId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    id
}

/// A manifest with its pages, as staging would have stored it.
#[derive(Clone)]
struct File {
    size: u64,
    layout: Layout,
}

fn spell(extents: &[Extent]) -> Model {
    let byte = |e: &Extent, n: u64| e.chunk.map(|chunk| (chunk, e.offset + n as u32));
    extents.iter().flat_map(|e| (0..e.len).map(move |n| byte(e, n))).collect()
}

fn model_of(file: &File, pages: &Pages) -> Model {
    match &file.layout {
        Layout::Inline(_) => Vec::new(),
        Layout::Extents(extents) => spell(extents),
        Layout::Pages(list) => list.iter().flat_map(|page| spell(&pages[&page.id])).collect(),
    }
}

/// What one edit costs: pages read, pages made.
struct Cost {
    read: usize,
    made: usize,
}

fn edit(
    file: Option<&File>,
    (size, base_len): (u64, u64),
    fresh: BTreeMap<u64, Vec<Extent>>,
    pages: &mut Pages,
) -> (File, Cost) {
    let base_end = file.map_or(0, |file| file.size.min(base_len).min(size));
    let cut: Ranges = fresh
        .iter()
        .map(|(at, run)| Range::at(*at, run.iter().map(|extent| extent.len).sum()))
        .collect();
    let kept: Ranges = cut.gaps(Range::new(0, base_end)).into_iter().collect();
    let layout = file.map(|file| &file.layout);
    let read = layout.map(|layout| touched(layout, &kept)).unwrap_or_default();
    let loaded: Pages = read.iter().map(|page| (page.id, pages[&page.id].clone())).collect();
    let parts = assemble(size, layout, &kept, &fresh, &loaded).unwrap();
    let beside = neighbours(&parts);
    let parts = absorb(parts, &beside, pages);
    let mut cost = Cost { read: read.len() + beside.len(), made: 0 };
    let layout = match paginate(parts, file.is_some()) {
        Pagination::Flat(extents) => Layout::Extents(extents),
        Pagination::Paged(list) => {
            let mut store = |page| match page {
                NewPage::Kept(page) => page,
                NewPage::Made(extents) => {
                    cost.made += 1;
                    assert!(!extents.is_empty() && extents.len() <= PAGE_EXTENTS_MAX);
                    let id = blake3::hash(&encode_page(&extents)).into();
                    let len = extents.iter().map(|extent| extent.len).sum();
                    let count = extents.len() as u16;
                    assert!(chunks_of(&extents).len() <= extents.len());
                    pages.insert(id, Arc::new(extents));
                    PageRef { id, len, count }
                }
            };
            Layout::Pages(list.into_iter().map(&mut store).collect())
        }
    };
    (File { size, layout }, cost)
}

fn fresh_run(at: u64, lens: &[u64], next: &mut u32) -> BTreeMap<u64, Vec<Extent>> {
    let extent = |len: &u64| {
        *next += 1;
        Extent::whole(id(*next), *len)
    };
    BTreeMap::from([(at, lens.iter().map(extent).collect())])
}

#[derive(Clone, Debug)]
enum Edit {
    Write { at: u64, lens: Vec<u64> },
    Truncate(u64),
    Extend(u64),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let write = (0_u64..3_000, proptest::collection::vec(1_u64..20, 1..40))
        .prop_map(|(at, lens)| Edit::Write { at, lens });
    let edit = prop_oneof![
        6 => write,
        1 => (0_u64..3_000).prop_map(Edit::Truncate),
        1 => (1_u64..300).prop_map(Edit::Extend),
    ];
    proptest::collection::vec(edit, 1..40)
}

proptest! {
    #[test]
    fn edits_change_what_they_say_and_nothing_else(edits in edits()) {
        let (mut pages, mut next) = (Pages::new(), 0);
        let lens = vec![9; 200];
        let (mut file, _) = edit(None, (1_800, 0), fresh_run(0, &lens, &mut next), &mut pages);
        let mut model = model_of(&file, &pages);
        prop_assert_eq!(model.len(), 1_800);
        for step in edits {
            let mut base_len = u64::MAX;
            let mut fresh = BTreeMap::new();
            match step {
                Edit::Write { at, lens } => {
                    fresh = fresh_run(at, &lens, &mut next);
                    let run = spell(&fresh[&at]);
                    let end = at as usize + run.len();
                    model.resize(model.len().max(end), None);
                    model[at as usize..end].copy_from_slice(&run);
                }
                Edit::Truncate(to) => {
                    base_len = to.min(model.len() as u64);
                    model.truncate(base_len as usize);
                }
                Edit::Extend(by) => {
                    base_len = model.len() as u64;
                    model.resize(model.len() + by as usize, None);
                }
            }
            let size = model.len() as u64;
            (file, _) = edit(Some(&file), (size, base_len), fresh, &mut pages);
            prop_assert_eq!(file.size, size);
            prop_assert!(model_of(&file, &pages) == model);
        }
    }
}

#[test]
fn a_small_edit_in_a_large_file_reads_and_makes_one_page() {
    let (mut pages, mut next) = (Pages::new(), 0);
    let lens = vec![256 << 10; 1_024];
    let size = lens.iter().sum();
    let (file, cost) = edit(None, (size, 0), fresh_run(0, &lens, &mut next), &mut pages);
    assert_eq!(cost.made, 16);
    let before = match &file.layout {
        Layout::Pages(list) => list.clone(),
        _ => panic!("a large file has pages"),
    };
    let change = fresh_run(100 << 20, &[4 << 10], &mut next);
    let (file, cost) = edit(Some(&file), (size, size), change, &mut pages);
    assert_eq!((cost.read, cost.made), (1, 1));
    let Layout::Pages(after) = &file.layout else { panic!("it still has pages") };
    let same = before.iter().zip(after).filter(|(old, new)| old == new).count();
    assert_eq!((after.len(), same), (16, 15));
}

#[test]
fn many_small_appends_do_not_make_many_small_pages() {
    let (mut pages, mut next) = (Pages::new(), 0);
    let (mut file, _) = edit(None, (10, 0), fresh_run(0, &[10], &mut next), &mut pages);
    for _ in 0..1_000 {
        let (at, size) = (file.size, file.size + 10);
        let cost;
        (file, cost) = edit(Some(&file), (size, at), fresh_run(at, &[10], &mut next), &mut pages);
        assert!(cost.read <= 1 && cost.made <= 3, "{} read, {} made", cost.read, cost.made);
    }
    let Layout::Pages(list) = &file.layout else { panic!("1,001 extents need pages") };
    assert!(list.len() <= 1_001 / 32, "{} pages", list.len());
}

#[test]
fn a_page_that_outgrows_its_bound_is_split_alone() {
    let (mut pages, mut next) = (Pages::new(), 0);
    let lens = vec![100_000; 256];
    let size = 25_600_000;
    let (mut file, _) = edit(None, (size, 0), fresh_run(0, &lens, &mut next), &mut pages);
    for step in 0..40 {
        let change = fresh_run(50_000 + 100_000 * step, &[10], &mut next);
        (file, _) = edit(Some(&file), (size, size), change, &mut pages);
    }
    let Layout::Pages(list) = &file.layout else { panic!("it has pages") };
    assert!(list.iter().all(|page| usize::from(page.count) <= PAGE_EXTENTS_MAX));
    assert_eq!(list.len(), 6, "the first of 4 pages became 3");
    let counted: u64 = list.iter().map(|page| u64::from(page.count)).sum();
    assert_eq!(counted, 256 + 80);
}
