//! The bytes of one value of each type never change. `MESHDRIVE_BLESS=1` writes the file anew: for
//! a new type only, and after a look at the difference.

use crate::samples;
use protocol::codec;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt::Debug, fs, path::Path};

struct Golden {
    known: BTreeMap<String, String>,
    found: BTreeMap<String, String>,
}

impl Golden {
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.found.insert(name.to_owned(), codec::hex(bytes));
    }

    /// Notes the encoding of a value, and checks that the known one reads as the same value.
    fn value<T>(&mut self, name: &str, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        self.bytes(name, &codec::encode(value));
        if let Some(known) = self.known.get(name) {
            let known: Vec<u8> = (0..known.len() / 2)
                .map(|at| codec::unhex::<1>(&known[2 * at..2 * at + 2]).unwrap()[0])
                .collect();
            assert_eq!(&codec::decode::<T>(&known).unwrap(), value, "{name}");
        }
    }
}

#[test]
fn bytes_do_not_change() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden.txt");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let line = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let known = text.lines().filter_map(line).collect();
    let mut golden = Golden { known, found: BTreeMap::new() };
    wire(&mut golden);
    golden.bytes("pack", &samples::pack());
    golden.bytes("chunk_head", &samples::chunk()[..30]);
    golden.bytes("frame_header", &samples::frame_header().encode());
    if std::env::var_os("MESHDRIVE_BLESS").is_some() {
        let lines: String =
            golden.found.iter().map(|(name, bytes)| format!("{name} {bytes}\n")).collect();
        fs::write(&file, lines).unwrap();
        return;
    }
    for (name, bytes) in &golden.found {
        assert_eq!(golden.known.get(name), Some(bytes), "{name} is not what it was");
    }
    assert_eq!(golden.known.len(), golden.found.len(), "a type is gone");
}

fn wire(golden: &mut Golden) {
    golden.value("info", &samples::info());
    golden.value("create_drive", &samples::create_drive());
    golden.value("membership", &samples::membership());
    golden.value("create_invite", &samples::create_invite());
    golden.value("join", &samples::join());
    golden.value("drive", &samples::drive());
    golden.value("hint", &samples::hint());
    golden.value("node", &samples::node());
    for op in samples::ops() {
        let name = format!("{op:?}").split(' ').next().unwrap_or_default().to_lowercase();
        golden.value(&format!("op_{name}"), &op);
    }
    golden.value("commit", &samples::commit());
    golden.value("commit_reply", &samples::commit_reply());
    golden.value("page", &samples::page());
    golden.value("changes", &samples::changes());
    golden.value("chunk_query", &samples::chunk_query());
    golden.value("chunk_presence", &samples::chunk_presence());
    golden.value("read_pieces", &samples::read_pieces());
    golden.value("content_query", &samples::content_query());
    golden.value("content_reply", &samples::content_reply());
    golden.value("versions", &samples::versions());
    golden.value("moment", &samples::moment());
    golden.value("activity", &samples::activity());
    golden.value("devices", &samples::devices());
    golden.value("purge", &samples::purge());
    golden.value("purged", &samples::purged());
    golden.value("damaged", &samples::damaged());
    golden.value("problem", &samples::problem());
}
