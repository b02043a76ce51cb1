//! Seeds as worlds.

use simulation::{Config, OUTCOMES, Report, run};

/// Worlds of each of the five shapes in one `cargo test`.
const SEEDS: u64 = 40_000;
const STEPS: usize = 160;

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Worlds that once broke a promise: seed and steps.
const FOUND: [(u64, usize); 19] = [
    (687, 127),
    (1_087, 207),
    (6_510, 190),
    (9_967, 127),
    (16_228, 148),
    (17_553, 193),
    (22_485, 165),
    (43_674, 234),
    (53_082, 202),
    (91_344, 224),
    (101_737, 217),
    (126_850, 210),
    (142_835, 195),
    (168_976, 96),
    (244_176, 96),
    (820_242, 162),
    (955_351, 231),
    (996_306, 226),
    (1_483_155, 195),
];

#[test]
fn found_seeds_stay_found() {
    for (seed, steps) in FOUND {
        if let Err(failure) = run(Config { seed, steps, ..Config::default() }) {
            panic!("{failure}");
        }
    }
}

/// The same with hard links.
const FOUND_WITH_LINKS: [(u64, usize); 3] = [(637, 237), (6_654, 174), (10_040, 200)];

#[test]
fn found_seeds_with_hard_links_stay_found() {
    for (seed, steps) in FOUND_WITH_LINKS {
        if let Err(failure) = run(Config { seed, steps, links: true, ..Config::default() }) {
            panic!("{failure}");
        }
    }
}

/// The same with saves, equal contents and decisions: seed, steps, hard links.
const FOUND_WITH_SAVES: [(u64, usize, bool); 6] = [
    (567, 167, false),
    (9_061, 181, false),
    (11_825, 225, false),
    (12_478, 238, true),
    (24_145, 225, true),
    (219_768, 168, true),
];

#[test]
fn found_seeds_with_saves_stay_found() {
    for (seed, steps, links) in FOUND_WITH_SAVES {
        if let Err(failure) = run(Config { seed, steps, links, saves: true, ..Config::default() }) {
            panic!("{failure}");
        }
    }
}

#[test]
fn one_seed() {
    let seed = env("SEED", 1);
    let steps = env("STEPS", STEPS as u64) as usize;
    let is_set = |name| env(name, 0) != 0;
    let (links, saves, ignores) = (is_set("LINKS"), is_set("SAVES"), is_set("IGNORES"));
    if let Err(failure) = run(Config { seed, steps, links, saves, ignores }) {
        panic!("{failure}");
    }
}

#[test]
fn many_seeds() {
    many(Config::default());
}

#[test]
fn many_seeds_with_hard_links() {
    many(Config { links: true, ..Config::default() });
}

/// The same with saves as editors make them, equal contents, and people who decide conflicts.
#[test]
fn many_seeds_with_saves() {
    many(Config { saves: true, ..Config::default() });
    many(Config { links: true, saves: true, ..Config::default() });
}

/// The same with `.meshignore`: what stays on a device for a while is not lost, and does not stay for ever.
#[test]
fn many_seeds_with_ignored_names() {
    many(Config { links: true, saves: true, ignores: true, ..Config::default() });
}

fn many(shape: Config) {
    let first = env("FIRST", 1);
    let count = env("SEEDS", SEEDS);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let results: Vec<(Vec<String>, Report)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let seeds = (first + worker..first + count).step_by(threads as usize);
                scope.spawn(move || some(shape, seeds))
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    let sum = |of: fn(&Report) -> u64| results.iter().map(|(_, report)| of(report)).sum::<u64>();
    let (twins, conflicts) = (sum(|report| report.twins), sum(|report| report.conflicts));
    println!(
        "{count} worlds: {twins} times the same on two devices, {conflicts} conflicts left open"
    );
    let mut met = [0; OUTCOMES.len()];
    for (_, report) in &results {
        met.iter_mut().zip(report.outcomes).for_each(|(sum, count)| *sum += count);
    }
    // Read by `cargo xtask soak`.
    met.iter().zip(OUTCOMES).for_each(|(count, (what, _))| println!("met {count} {what}"));
    let failures: Vec<String> = results.into_iter().flat_map(|(failures, ..)| failures).collect();
    assert!(failures.is_empty(), "{} failing seeds:\n{}", failures.len(), failures.join("\n\n"));
    assert!(
        count < 1_000 || !shape.saves || twins > 0 && conflicts > 0,
        "the worlds are too peaceful"
    );
    // The others come about too seldom to be counted on.
    let common = met.iter().take(4).all(|count| *count > 0);
    assert!(count < 10_000 || !shape.saves || common, "some were never met: {met:?}");
}

/// Runs these worlds, until five of them have failed. Gives those, and what all did together.
fn some(shape: Config, seeds: impl Iterator<Item = u64>) -> (Vec<String>, Report) {
    let (mut failures, mut all) = (Vec::new(), Report::default());
    for seed in seeds {
        let steps = STEPS / 2 + (seed as usize % STEPS);
        match std::panic::catch_unwind(|| run(Config { seed, steps, ..shape })) {
            Ok(Ok(report)) => {
                all.twins += report.twins;
                all.conflicts += report.conflicts;
                all.outcomes.iter_mut().zip(report.outcomes).for_each(|(sum, one)| *sum += one);
            }
            Ok(Err(failure)) => failures.push(failure.to_string()),
            Err(_) => failures.push(format!(
                "SEED={seed} STEPS={steps} of {shape:?}: cargo test -p simulation one_seed (panicked)"
            )),
        }
        if failures.len() >= 5 {
            break;
        }
    }
    (failures, all)
}

#[test]
fn same_seed_same_digest() {
    for seed in 1..50 {
        let (links, saves, ignores) = (seed % 2 == 0, seed % 3 == 0, seed % 5 == 0);
        let config = Config { seed, steps: STEPS, links, saves, ignores };
        let digest = |_| run(config).map_err(|failure| failure.to_string());
        assert_eq!(digest(0), digest(1), "seed {seed}");
    }
}
