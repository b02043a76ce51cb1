//! Paths below the root as ProjFS writes them: components joined by `\`, empty for the root.

use crate::fold;

/// The separator of components.
pub const SEPARATOR: u16 = b'\\' as u16;

/// A path below the root. Two paths that differ only in case are the same place; ask [`Place::key`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Place(Vec<u16>);

impl Place {
    #[must_use]
    pub fn root() -> Place {
        Place::default()
    }

    /// Takes a path as ProjFS gives it; separators at either end do not count.
    #[must_use]
    pub fn new(units: &[u16]) -> Place {
        let parts: Vec<&[u16]> =
            units.split(|&unit| unit == SEPARATOR).filter(|part| !part.is_empty()).collect();
        Place(parts.join(&SEPARATOR))
    }

    #[must_use]
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn components(&self) -> impl Iterator<Item = &[u16]> {
        self.0.split(|&unit| unit == SEPARATOR).filter(|part| !part.is_empty())
    }

    #[must_use]
    pub fn join(&self, name: &[u16]) -> Place {
        if self.is_root() {
            return Place(name.to_vec());
        }
        Place([&self.0, &[SEPARATOR][..], name].concat())
    }

    /// The folder that it is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Place> {
        if self.is_root() {
            return None;
        }
        let at = self.0.iter().rposition(|&unit| unit == SEPARATOR).unwrap_or(0);
        Some(Place(self.0[..at].to_vec()))
    }

    /// Its last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u16] {
        let start = self.0.iter().rposition(|&unit| unit == SEPARATOR).map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// Equal exactly for paths that Windows takes for the same.
    #[must_use]
    pub fn key(&self) -> Vec<u16> {
        fold::key(&self.0)
    }

    /// With a NUL at the end, as Windows wants it.
    #[must_use]
    pub fn with_nul(&self) -> Vec<u16> {
        self.0.iter().copied().chain([0]).collect()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf16_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::new(&text.encode_utf16().collect::<Vec<_>>())
    }

    #[test]
    fn parents_names_and_joins() {
        let deep = place("a\\b\\c.txt");
        assert_eq!(deep.parent(), Some(place("a\\b")));
        assert_eq!(String::from_utf16_lossy(deep.name()), "c.txt");
        assert_eq!(deep.parent().unwrap().join(deep.name()), deep);
        assert_eq!(place("a").parent(), Some(Place::root()));
        assert_eq!(Place::root().parent(), None);
        assert_eq!(Place::root().join(place("a").units()), place("a"));
        assert_eq!(deep.components().count(), 3);
        assert_eq!(Place::root().components().count(), 0);
    }

    #[test]
    fn stray_separators_and_case_do_not_count() {
        assert_eq!(place("\\a\\\\b\\"), place("a\\b"));
        assert_eq!(place("A\\é").key(), place("a\\É").key());
        assert_eq!(deep_nul(&place("ab")), 3);
    }

    fn deep_nul(place: &Place) -> usize {
        place.with_nul().len()
    }
}
