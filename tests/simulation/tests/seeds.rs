//! Seeds as worlds.

use simulation::{Config, run};

/// Worlds in one `cargo test`.
const SEEDS: u64 = 20_000;
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
        if let Err(failure) = run(Config { seed, steps, links: false, saves: false }) {
            panic!("{failure}");
        }
    }
}

/// The same with hard links.
const FOUND_WITH_LINKS: [(u64, usize); 3] = [(637, 237), (6_654, 174), (10_040, 200)];

#[test]
fn found_seeds_with_hard_links_stay_found() {
    for (seed, steps) in FOUND_WITH_LINKS {
        if let Err(failure) = run(Config { seed, steps, links: true, saves: false }) {
            panic!("{failure}");
        }
    }
}

/// The same with saves, equal contents and decisions: seed, steps, hard links.
const FOUND_WITH_SAVES: [(u64, usize, bool); 4] =
    [(567, 167, false), (11_825, 225, false), (12_478, 238, true), (219_768, 168, true)];

#[test]
fn found_seeds_with_saves_stay_found() {
    for (seed, steps, links) in FOUND_WITH_SAVES {
        if let Err(failure) = run(Config { seed, steps, links, saves: true }) {
            panic!("{failure}");
        }
    }
}

#[test]
fn one_seed() {
    let seed = env("SEED", 1);
    let steps = env("STEPS", STEPS as u64) as usize;
    let (links, saves) = (env("LINKS", 0) != 0, env("SAVES", 0) != 0);
    if let Err(failure) = run(Config { seed, steps, links, saves }) {
        panic!("{failure}");
    }
}

#[test]
fn many_seeds() {
    many(false, false);
}

#[test]
fn many_seeds_with_hard_links() {
    many(true, false);
}

/// The same with saves as editors make them, equal contents, and people who decide conflicts.
#[test]
fn many_seeds_with_saves() {
    many(false, true);
    many(true, true);
}

fn many(links: bool, saves: bool) {
    let first = env("FIRST", 1);
    let count = env("SEEDS", SEEDS);
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let results: Vec<(Vec<String>, u64, u64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let (mut failures, mut twins, mut conflicts) = (Vec::new(), 0, 0);
                    for seed in (first + worker..first + count).step_by(threads as usize) {
                        let steps = STEPS / 2 + (seed as usize % STEPS);
                        match std::panic::catch_unwind(|| run(Config { seed, steps, links, saves })) {
                            Ok(Ok(report)) => {
                                twins += report.twins;
                                conflicts += report.conflicts;
                            }
                            Ok(Err(failure)) => failures.push(failure.to_string()),
                            Err(_) => failures.push(format!(
                                "SEED={seed} STEPS={steps} LINKS={} SAVES={} cargo test -p simulation one_seed (panicked)",
                                u8::from(links), u8::from(saves)
                            )),
                        }
                        if failures.len() >= 5 {
                            break;
                        }
                    }
                    (failures, twins, conflicts)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    let twins: u64 = results.iter().map(|(_, twins, _)| twins).sum();
    let conflicts: u64 = results.iter().map(|(_, _, conflicts)| conflicts).sum();
    println!(
        "{count} worlds: {twins} times the same on two devices, {conflicts} conflicts left open"
    );
    let failures: Vec<String> = results.into_iter().flat_map(|(failures, ..)| failures).collect();
    assert!(failures.is_empty(), "{} failing seeds:\n{}", failures.len(), failures.join("\n\n"));
    assert!(count < 1_000 || !saves || twins > 0 && conflicts > 0, "the worlds are too peaceful");
}

#[test]
fn same_seed_same_digest() {
    for seed in 1..50 {
        let config = Config { seed, steps: STEPS, links: seed % 2 == 0, saves: seed % 3 == 0 };
        let digest = |_| run(config).map_err(|failure| failure.to_string());
        assert_eq!(digest(0), digest(1), "seed {seed}");
    }
}
