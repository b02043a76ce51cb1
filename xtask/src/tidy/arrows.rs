//! Who may depend on whom inside the workspace. A new arrow is the largest change there is: it
//! needs an ADR first, then a line here.

use super::Finding;
use cargo_metadata::{DependencyKind, Metadata};

/// Everything the tests may use: all but `xtask` and themselves.
const ALL: &[&str] = &[
    "fs-core",
    "cache",
    "cloud",
    "protocol",
    "engine",
    "fuse-linux",
    "projfs-windows",
    "server",
    "meshdrive",
    "simulation",
];

/// One crate's arrows.
struct Arrows {
    from: &'static str,
    /// Normal and build dependencies.
    to: &'static [&'static str],
    /// Further ones for its tests.
    dev: &'static [&'static str],
}

const ARROWS: &[Arrows] = &[
    Arrows {
        from: "meshdrive",
        to: &[
            "fuse-linux",
            "projfs-windows",
            "engine",
            "cache",
            "cloud",
            "server",
            "protocol",
            "fs-core",
        ],
        dev: &[],
    },
    Arrows { from: "fuse-linux", to: &["engine", "fs-core"], dev: &["cache", "cloud", "server"] },
    Arrows { from: "projfs-windows", to: &["engine", "fs-core"], dev: &[] },
    Arrows { from: "engine", to: &["cache", "cloud", "fs-core"], dev: &["server"] },
    Arrows { from: "cache", to: &["fs-core"], dev: &[] },
    Arrows { from: "cloud", to: &["fs-core", "protocol"], dev: &["server"] },
    Arrows { from: "server", to: &["protocol"], dev: &[] },
    Arrows { from: "protocol", to: &[], dev: &[] },
    Arrows { from: "fs-core", to: &[], dev: &[] },
    Arrows { from: "meshdrive-tests", to: ALL, dev: &[] },
    Arrows {
        from: "projectedfslib",
        to: &[],
        dev: &["projfs-windows", "engine", "cache", "cloud", "fs-core"],
    },
    // The simulated world is made of the core and models only; no store, no engine.
    Arrows { from: "simulation", to: &["fs-core"], dev: &[] },
    Arrows { from: "xtask", to: &[], dev: &[] },
];

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let packages = metadata.workspace_packages();
    let members: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &packages {
        let name = package.name.as_str();
        let manifest = relative(package.manifest_path.as_str(), metadata);
        for dependency in &package.dependencies {
            if members.contains(&dependency.name.as_str()) {
                let dev = dependency.kind == DependencyKind::Development;
                findings.extend(arrow(&manifest, name, &dependency.name, dev));
            }
        }
        if !ARROWS.iter().any(|arrows| arrows.from == name) {
            let what = format!("crate `{name}` is not in the table of arrows");
            let remedy = "write an ADR for the new room, then add it to xtask/src/tidy/arrows.rs";
            findings.push(Finding::new(&manifest, 0, what, remedy));
        }
    }
    findings
}

/// `path` from the root of the workspace.
pub(super) fn relative(path: &str, metadata: &Metadata) -> String {
    let root = metadata.workspace_root.as_str();
    path.strip_prefix(root).unwrap_or(path).trim_start_matches(['/', '\\']).to_owned()
}

fn arrow(manifest: &str, from: &str, to: &str, dev: bool) -> Option<Finding> {
    let known = ARROWS.iter().find(|arrows| arrows.from == from)?;
    if known.to.contains(&to) || (dev && known.dev.contains(&to)) {
        return None;
    }
    let kind = if dev { "dev-dependency" } else { "dependency" };
    let what = format!("{kind} `{from}` -> `{to}` is not an arrow of the house");
    let remedy = "take the other road (ARCHITECTURE.md, rooms and arrows), or write an ADR first";
    Some(Finding::new(manifest, 0, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arrows_of_the_house_pass() {
        let refused = |from, to, dev| arrow("Cargo.toml", from, to, dev).is_some();
        assert!(!refused("engine", "cache", false));
        assert!(!refused("cloud", "server", true));
        assert!(refused("cloud", "server", false));
        assert!(refused("cache", "cloud", false));
        assert!(refused("fuse-linux", "cache", false));
        assert!(refused("fs-core", "protocol", true));
        assert!(refused("xtask", "fs-core", false));
    }

    #[test]
    fn the_table_has_no_cycle() {
        let target = |from: &str| ARROWS.iter().find(|arrows| arrows.from == from);
        for start in ARROWS {
            let mut reached: Vec<&str> = start.to.to_vec();
            let mut at = 0;
            while at < reached.len() {
                for next in target(reached[at]).map_or(&[][..], |arrows| arrows.to) {
                    assert_ne!(*next, start.from, "{} reaches itself", start.from);
                    if !reached.contains(next) {
                        reached.push(next);
                    }
                }
                at += 1;
            }
        }
    }
}
