use super::comes_back_everywhere;
use meshdrive_tests::{World, have, tool};

/// Nothing of the user's settings, no network, and a cache outside the drive.
const QUIET: &str = "
    export HOME=$PWD/../../npm-home npm_config_cache=$PWD/../../npm-cache npm_config_offline=true
    export npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false npm_config_loglevel=error
    mkdir -p $HOME
";

/// Packages made, installed from their archives with the tool they bring, removed and installed
/// again from the lock file; also inside a workspace, which links folders.
#[test]
fn npm() {
    if !have("apps::npm", &["npm", "node", "bash"]) {
        return;
    }
    let Some(world) = World::mounted("apps::npm") else { return };
    tool(
        &world.a.root(),
        &format!(
            "{QUIET}
            mkdir -p lib app work/inner
            for i in $(seq 200); do mkdir -p lib/data/d$((i % 10)); seq $i > lib/data/d$((i % 10))/f$i; done
            echo '{{\"name\":\"lib\",\"version\":\"1.0.0\",\"bin\":{{\"lib\":\"cli.js\"}}}}' > lib/package.json
            echo 'module.exports = () => 42' > lib/index.js
            printf '#!/usr/bin/env node\\nconsole.log(require(\"./index.js\")())\\n' > lib/cli.js
            (cd lib && npm pack > /dev/null)
            echo '{{\"name\":\"app\",\"version\":\"1.0.0\",\"scripts\":{{\"test\":\"lib && node main.js\"}}}}' > app/package.json
            echo 'if (require(\"lib\")() !== 42) process.exit(1)' > app/main.js
            cd app && npm install ../lib/lib-1.0.0.tgz > /dev/null
            test -x node_modules/.bin/lib && test $(readlink node_modules/.bin/lib) = ../lib/cli.js
            diff -r ../lib/data node_modules/lib/data && npm test > /dev/null
            npm ci > /dev/null && npm test > /dev/null
            npm uninstall lib > /dev/null && test ! -e node_modules/lib
            npm install ../lib/lib-1.0.0.tgz > /dev/null && npm test > /dev/null
            cd ../work
            echo '{{\"name\":\"work\",\"version\":\"1.0.0\",\"workspaces\":[\"inner\"]}}' > package.json
            echo '{{\"name\":\"inner\",\"version\":\"1.0.0\"}}' > inner/package.json
            npm install > /dev/null && test -L node_modules/inner"
        ),
    );
    let b = comes_back_everywhere(&world);
    tool(&b.path("app"), "npm_config_update_notifier=false npm test > /dev/null && node main.js");
}
