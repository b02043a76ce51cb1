use super::comes_back_everywhere;
use meshdrive_tests::{World, have, tool, wait_until};

/// A project in C: generated sources, a static library, a program that links it; make sees what is
/// up to date by the times.
#[test]
fn a_build_with_make() {
    if !have("apps::a_build_with_make", &["make", "cc", "ar", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::a_build_with_make") else { return };
    tool(
        &world.a.root(),
        r#"mkdir -p c/src && cd c
        for i in $(seq 20); do printf 'int f%d(void) { return %d; }\n' $i $i > src/f$i.c; done
        { for i in $(seq 20); do echo "int f$i(void);"; done
          echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'
          for i in $(seq 20); do echo "s += f$i();"; done
          echo 'printf("%d\n", s); return 0; }'; } > src/main.c
        cat > Makefile <<'MAKE'
OBJECTS := $(patsubst src/%.c,out/%.o,$(filter-out src/main.c,$(wildcard src/*.c)))
out/program: out/main.o out/lib.a
	cc -o $@ $^
out/lib.a: $(OBJECTS)
	rm -f $@ && ar rcs $@ $^
out/%.o: src/%.c | out
	cc -O1 -g -c -o $@ $<
out:
	mkdir -p out
MAKE
        make -s -j2 && test $(./out/program) = 210
        make -q
        printf 'int f7(void) { return 1007; }\n' > src/f7.c
        make -s -j2 && test $(./out/program) = 1210 && make -q
        rm -rf out && make -s && test $(./out/program) = 1210"#,
    );
    let b = comes_back_everywhere(&world);
    for device in [&world.a, &b] {
        tool(&device.path("c"), "test $(./out/program) = 1210 && make -q");
    }
    tool(
        &b.path("c"),
        "touch src/f3.c && ! make -q && make -s -j2 && test $(./out/program) = 1210",
    );
}

/// Two crates with a build script, built, tested and changed; cargo links and maps its artifacts.
#[test]
fn a_build_with_cargo() {
    if !have("apps::a_build_with_cargo", &["cargo", "cc", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::a_build_with_cargo") else { return };
    let quiet =
        "unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR RUSTFLAGS; export CARGO_NET_OFFLINE=true";
    tool(
        &world.a.root(),
        &format!(
            r#"{quiet}
            mkdir -p work/lib/src work/bin/src && cd work
            printf '[workspace]\nmembers = ["lib", "bin"]\nresolver = "2"\n' > Cargo.toml
            printf '[package]\nname = "lib"\nversion = "0.1.0"\nedition = "2021"\n' > lib/Cargo.toml
            printf '[package]\nname = "bin"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nlib = {{ path = "../lib" }}\n' > bin/Cargo.toml
            cat > lib/build.rs <<'RS'
fn main() {{
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
    std::fs::write(out.join("n.rs"), "pub const N: u32 = 41;").unwrap();
    println!("cargo:rerun-if-changed=build.rs");
}}
RS
            cat > lib/src/lib.rs <<'RS'
include!(concat!(env!("OUT_DIR"), "/n.rs"));
pub fn add(n: u32) -> u32 {{ N + n }}
#[test]
fn adds() {{ assert_eq!(add(1), 42); }}
RS
            echo 'fn main() {{ println!("{{}}", lib::add(1)); }}' > bin/src/main.rs
            cargo build -q && test $(./target/debug/bin) = 42 && cargo test -q > /dev/null
            echo 'fn main() {{ println!("{{}}", lib::add(2)); }}' > bin/src/main.rs
            cargo build -q && test $(./target/debug/bin) = 43
            cargo build 2>&1 | grep -q Finished
            ! cargo build 2>&1 | grep -q Compiling"#
        ),
    );
    let b = comes_back_everywhere(&world);
    tool(
        &world.a.path("work"),
        &format!(
            "{quiet}\n! cargo build 2>&1 | grep -q Compiling; test $(./target/debug/bin) = 43"
        ),
    );
    // Cargo has written there. What comes of that while the other device removes it would stay.
    world.a.sync();
    std::fs::write(world.a.path("written"), "").unwrap();
    wait_until("the other device has it", || b.path("written").exists());
    tool(
        &b.path("work"),
        &format!(
            "{quiet}\ntest $(./target/debug/bin) = 43 && cargo build -q && rm -r target && cargo test -q > /dev/null"
        ),
    );
}
