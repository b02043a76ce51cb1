//! Random edits of a file, staged with random parts of it on the device, against a model in memory.

use crate::world::{World, change, fetch, fetch_all, noise};
use cloud::CloudStore;
use fs_core::{ContentRef, Range, Ranges};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

/// Files, each with a life of its own; the server and the client's memory are shared by all.
const CASES: u32 = 24;

#[derive(Clone, Debug)]
enum Edit {
    /// Writes at these places (thousandths of the size), of these lengths.
    Write(Vec<(u64, u64)>),
    Append(u64),
    Truncate(u64),
    Extend(u64),
    /// Truncates, then extends: a hole where bytes were.
    Reopen(u64, u64),
    Rewrite(u64),
}

#[derive(Clone, Debug)]
struct Step {
    edit: Edit,
    /// What of the clean bytes is on the device: nothing, all, or some ranges (thousandths).
    here: Option<Vec<(u64, u64)>>,
    seed: u64,
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        1_u64..3_000,
        100_000_u64..140_000,
        1_u64..400_000,
        1_500_000_u64..3_000_000
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let places = proptest::collection::vec((0_u64..=1_000, 1_u64..20_000), 1..12);
    let edit = prop_oneof![
        4 => places.prop_map(Edit::Write),
        2 => (1_u64..300_000).prop_map(Edit::Append),
        1 => (0_u64..1_000).prop_map(Edit::Truncate),
        1 => (1_u64..500_000).prop_map(Edit::Extend),
        1 => (0_u64..1_000, 1_u64..200_000).prop_map(|(to, by)| Edit::Reopen(to, by)),
        1 => length().prop_map(Edit::Rewrite),
    ];
    let some = proptest::collection::vec((0_u64..1_000, 1_u64..400), 0..6);
    let here = prop_oneof![
        2 => Just(Some(Vec::new())),
        2 => Just(None),
        1 => some.prop_map(Some),
    ];
    (edit, here, any::<u64>()).prop_map(|(edit, here, seed)| Step { edit, here, seed })
}

/// Applies an edit to the model; the dirty ranges, and how much of the base still counts.
fn apply(model: &mut Vec<u8>, step: &Step) -> (Ranges, u64) {
    let size = model.len() as u64;
    let mut dirty = Ranges::new();
    let mut base_len = size;
    let mut write = |model: &mut Vec<u8>, at: u64, len: u64| {
        let end = (at + len) as usize;
        model.resize(model.len().max(end), 0);
        model[at as usize..end].copy_from_slice(&noise(step.seed ^ at, len as usize));
        dirty.insert(Range::at(at, len));
    };
    match &step.edit {
        Edit::Write(places) => {
            places.iter().for_each(|(at, len)| write(model, size * at / 1_000, *len));
        }
        Edit::Append(len) => write(model, size, *len),
        Edit::Truncate(to) => {
            base_len = size * to / 1_000;
            model.truncate(base_len as usize);
        }
        Edit::Extend(by) => model.resize((size + by) as usize, 0),
        Edit::Reopen(to, by) => {
            base_len = size * to / 1_000;
            model.truncate(base_len as usize);
            model.resize((base_len + by) as usize, 0);
        }
        Edit::Rewrite(len) => {
            model.clear();
            base_len = 0;
            write(model, 0, *len);
        }
    }
    (dirty, base_len)
}

async fn live(world: &World, first: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = noise(first, first as usize);
    let mut content = world.file(&model).await;
    for step in steps {
        let old = model.len() as u64;
        let (dirty, base_len) = apply(&mut model, step);
        let size = model.len() as u64;
        let clean = Range::new(0, base_len.min(size));
        let mut valid: Ranges = match &step.here {
            None => [clean].into_iter().collect(),
            Some(parts) => parts
                .iter()
                .map(|(at, len)| Range::at(old * at / 1_000, old * len / 1_000).clip(clean))
                .collect(),
        };
        dirty.iter().for_each(|range| valid.remove(range));
        let mut item = change(content, base_len, size, &[]);
        (item.dirty, item.valid) = (dirty, valid);
        content = world.publish(item, model.clone()).await;
        check(world, content, &model, step.seed).await?;
    }
    Ok(())
}

async fn check(
    world: &World,
    content: ContentRef,
    model: &[u8],
    seed: u64,
) -> Result<(), TestCaseError> {
    let size = model.len() as u64;
    let fresh = world.stranger();
    for store in [&world.store, &fresh] {
        prop_assert!(fetch_all(store.as_ref(), content).await == model, "the whole file");
        let mut dice = seed;
        for _ in 0..4 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let start = (dice >> 20) % (size + 1);
            let end = (start + (dice >> 40) % 300_000).min(size);
            let got = fetch(store.as_ref(), content, Range::new(start, end)).await.unwrap();
            prop_assert!(got == model[start as usize..end as usize], "{start}..{end}");
        }
    }
    let small = fresh.fetch_small(&[content]).await.unwrap();
    prop_assert!(small[0].as_ref().unwrap() == model, "fetched as a small file");
    Ok(())
}

#[test]
fn random_edits_are_read_back_as_they_were_made() {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let config = Config { cases: CASES, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let lives = (length(), proptest::collection::vec(step(), 1..8));
    let result = runner.run(&lives, |(first, steps)| runtime.block_on(live(&world, first, &steps)));
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
