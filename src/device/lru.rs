//! A map of bounded size that drops the entry that was used longest ago.

use std::{collections::HashMap, hash::Hash};

/// At most `most` entries.
pub(super) struct LruMap<K, V> {
    most: usize,
    /// Counts uses.
    clock: u64,
    /// Each value with the clock of its last use.
    entries: HashMap<K, (u64, V)>,
}

impl<K: Clone + Eq + Hash, V> LruMap<K, V> {
    /// An empty map for at least one entry.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), clock: 0, entries: HashMap::new() }
    }

    /// The value at `key`, which becomes the one used last.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        self.clock += 1;
        self.entries.get_mut(key).map(|(used, value)| {
            *used = self.clock;
            value
        })
    }

    /// Adds an entry and drops the one used longest ago where there are too many. The search for it looks at all
    /// entries, so a value should cost more to make than that.
    pub fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        if self.entries.len() >= self.most
            && !self.entries.contains_key(&key)
            && let Some(oldest) =
                self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone())
        {
            self.entries.remove(&oldest);
        }
        self.entries.insert(key, (self.clock, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn the_entry_used_longest_ago_is_dropped() {
        let values: Vec<Rc<u32>> = (0..4).map(Rc::new).collect();
        let mut map = LruMap::new(3);
        for value in &values[..3] {
            map.insert(**value, value.clone());
        }
        assert!(map.get(&0).is_some(), "0 is used again");
        map.insert(3, values[3].clone());
        let alive: Vec<usize> = values.iter().map(Rc::strong_count).collect();
        assert_eq!(alive, [2, 1, 2, 2], "1 was used longest ago");
        assert!(map.get(&1).is_none() && map.get(&2).is_some_and(|v| **v == 2));
    }

    #[test]
    fn a_known_key_drops_nothing_else() {
        let mut map = LruMap::new(2);
        map.insert('a', 1);
        map.insert('b', 2);
        map.insert('b', 3);
        assert_eq!((map.get(&'a').copied(), map.get(&'b').copied()), (Some(1), Some(3)));
    }
}
