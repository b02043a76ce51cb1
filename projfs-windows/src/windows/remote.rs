//! What the core says has changed elsewhere: places to look at, like any other.

use super::provider::Provider;
use crate::ledger::Hint;
use engine::Driver;
use fs_core::Stale;
use std::sync::{Arc, Weak};

/// Weak: the engine keeps its driver for as long as it runs itself.
pub(super) struct Remote(Weak<Provider>);

impl Remote {
    pub(super) fn new(provider: &Arc<Provider>) -> Remote {
        Remote(Arc::downgrade(provider))
    }
}

impl Driver for Remote {
    fn invalidate(&self, stale: Stale) {
        let Some(provider) = self.0.upgrade() else { return };
        match stale {
            Stale::Entry { parent, name } => {
                let place = provider.tree.place_of_entry(parent, &name);
                provider.tree.forget_listing(parent);
                if let Some(place) = place {
                    provider.look_at(&Hint::look(place));
                }
            }
            Stale::Data(ino) | Stale::Attrs(ino) => {
                let place = provider.tree.place_of(ino);
                provider.tree.forget_listing(ino);
                provider.tree.forget_listing_of(ino);
                if let Some(place) = place {
                    provider.look_at(&Hint::look(place));
                }
            }
            // Nothing is ever opened by passthrough here.
            Stale::Backing(_) => {}
        }
    }
}
