//! Lists that are counted while they are read, so that no list of a hostile peer becomes memory.

use crate::limits::{
    CONTENT_ITEMS, DEVICES_LISTED, OPS_PER_COMMIT, PAGE_COMMITS, PAGE_NODES, QUERY_IDS,
    READ_PIECES, REFS_PER_BODY, VERSIONS_LISTED,
};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::{fmt, marker::PhantomData};

/// Elements that are reserved before the first one has been seen.
const RESERVED: usize = 1_024;

struct Bounded<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let announced = seq.size_hint().unwrap_or(0);
        if announced > MAX {
            return Err(A::Error::invalid_length(announced, &self));
        }
        let mut list = Vec::with_capacity(announced.min(RESERVED));
        while let Some(element) = seq.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}

fn list<'de, D, T, const MAX: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

macro_rules! bounded {
    ($($name:ident = $max:expr;)*) => { $(
        pub(crate) fn $name<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
        where
            D: Deserializer<'de>,
            T: Deserialize<'de>,
        {
            list::<D, T, { $max }>(from)
        }
    )* };
}

bounded! {
    refs = REFS_PER_BODY;
    ids = QUERY_IDS;
    nodes = PAGE_NODES;
    groups = OPS_PER_COMMIT;
    commits = PAGE_COMMITS;
    pieces = READ_PIECES;
    items = CONTENT_ITEMS;
    versions = VERSIONS_LISTED;
    devices = DEVICES_LISTED;
}

/// The groups of a commit, whose operations are counted all together.
pub(crate) fn op_groups<'de, D, T>(from: D) -> Result<Vec<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let groups: Vec<Group<T>> = groups(from)?;
    let total: usize = groups.iter().map(|group| group.0.len()).sum();
    if total > OPS_PER_COMMIT {
        return Err(D::Error::custom(format_args!(
            "{total} operations, at most {OPS_PER_COMMIT} fit in one commit"
        )));
    }
    Ok(groups.into_iter().map(|group| group.0).collect())
}

struct Group<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Group<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Group<T>, D::Error> {
        list::<D, T, OPS_PER_COMMIT>(from).map(Group)
    }
}
