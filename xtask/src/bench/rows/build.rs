//! `make -j2` of a project in C inside the drive and on ext4: 120 sources with a header of their own
//! each, an archive, a program. Every slice builds all of it anew.

use super::settle_disk;
use crate::bench::{
    Bench,
    device::Device,
    measure::{Pair, median, time},
    output,
    server::Server,
    table::Line,
};
use anyhow::{Context, Result};
use std::{fs, path::Path, process::Command};

const SOURCES: u64 = 120;
/// Functions in each: what a source of some hundred lines has.
const FUNCTIONS: u64 = 40;
const REACH: f64 = 1.25;

const MAKEFILE: &str = "\
OBJECTS := $(patsubst src/%.c,out/%.o,$(filter-out src/main.c,$(wildcard src/*.c)))
out/program: out/main.o out/lib.a
\tcc -o $@ $^
out/lib.a: $(OBJECTS)
\trm -f $@ && ar rcs $@ $^
out/%.o: src/%.c | out
\tcc -O1 -g -MMD -Isrc -c -o $@ $<
out:
\tmkdir -p out
";

pub(super) fn run(bench: &Bench) -> Result<Vec<Line>> {
    let sources = bench.scaled(SOURCES);
    let server = Server::start(bench, "build")?;
    let device = Device::create(bench, "build/a", &server)?;
    device.mount()?;
    let (base, ours) = (bench.place("build/ext4")?, device.path("project"));
    project(&base, sources)?;
    project(&ours, sources)?;
    let mut pair = Pair::default();
    for _ in 0..bench.slices(5) {
        for (folder, times) in [(&base, &mut pair.base), (&ours, &mut pair.ours)] {
            settle_disk()?;
            times.push(time(|| make(folder))?);
            fs::remove_dir_all(folder.join("out"))?;
        }
    }
    let line = Line::of(format!("make -j2 of {sources} sources in C"))
        .base(format!("ext4 {}", median(&pair.base)))
        .ours(median(&pair.ours))
        .ratio(pair.ratio())
        .target(format!("<= {REACH}x its time"), pair.ratio() <= REACH);
    Ok(vec![line])
}

fn make(folder: &Path) -> Result<()> {
    output(Command::new("make").args(["-s", "-j2", "-C"]).arg(folder)).map(drop)
}

fn project(folder: &Path, sources: u64) -> Result<()> {
    let src = folder.join("src");
    fs::create_dir_all(&src).with_context(|| src.display().to_string())?;
    fs::write(folder.join("Makefile"), MAKEFILE)?;
    let mut main = String::from("#include <stdio.h>\n");
    let mut calls = String::new();
    for source in 0..sources {
        let mut text = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include \"s{source}.h\"\n"
        );
        for function in 0..FUNCTIONS {
            text.push_str(&format!(
                "static int s{source}_{function}(int n) {{\n    int sum = {function};\n    \
                 for (int i = 0; i < n; i++) sum = sum * 31 + i % {};\n    return sum;\n}}\n",
                function + 2
            ));
        }
        let all: Vec<String> = (0..FUNCTIONS).map(|f| format!("s{source}_{f}(n)")).collect();
        text.push_str(&format!("int s{source}(int n) {{ return {}; }}\n", all.join(" + ")));
        fs::write(src.join(format!("s{source}.c")), text)?;
        fs::write(src.join(format!("s{source}.h")), format!("int s{source}(int n);\n"))?;
        main.push_str(&format!("#include \"s{source}.h\"\n"));
        calls.push_str(&format!("    sum ^= s{source}(10);\n"));
    }
    main.push_str(&format!(
        "int main(void) {{\n    int sum = 0;\n{calls}    printf(\"%d\\n\", sum);\n    return 0;\n}}\n"
    ));
    Ok(fs::write(src.join("main.c"), main)?)
}
