//! A map of what was used last, bounded by the bytes it holds.

use lru::LruCache;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Recently used values by key; the oldest go when their weights add up to more than the limit.
pub(crate) struct Recent<K: Hash + Eq, V> {
    inner: Mutex<Inner<K, V>>,
    limit: usize,
}

struct Inner<K: Hash + Eq, V> {
    map: LruCache<K, (V, usize)>,
    weight: usize,
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// `limit` in the unit of the weights: bytes, or entries when each weighs 1.
    pub(crate) fn new(limit: usize) -> Recent<K, V> {
        let inner = Inner { map: LruCache::unbounded(), weight: 0 };
        Recent { inner: Mutex::new(inner), limit }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.lock().map.get(key).map(|(value, _)| value.clone())
    }

    pub(crate) fn put(&self, key: K, value: V, weight: usize) {
        let mut inner = self.lock();
        inner.weight += weight;
        if let Some((_, old)) = inner.map.put(key, (value, weight)) {
            inner.weight -= old;
        }
        while inner.weight > self.limit {
            let Some((_, (_, old))) = inner.map.pop_lru() else { break };
            inner.weight -= old;
        }
    }

    pub(crate) fn forget(&self, key: &K) {
        let mut inner = self.lock();
        if let Some((_, old)) = inner.map.pop(key) {
            inner.weight -= old;
        }
    }

    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.map.clear();
        inner.weight = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<K, V>> {
        // The map is whole between any two statements above, so a panic elsewhere spoils nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
