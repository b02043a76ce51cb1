use super::comes_back_everywhere;
use meshdrive_tests::{World, have, tool};

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
    comes_back_everywhere(&world);
    tool(&world.a.path("c"), "test $(./out/program) = 1210 && make -q");
}
