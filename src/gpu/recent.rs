//! A few things by key: what was asked for least recently goes first.

/// At most `most` values. The keys are few and long, so they are compared one by one.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    /// The least recently asked for first.
    all: Vec<(K, V)>,
}

impl<K: PartialEq, V> Recent<K, V> {
    pub fn new(most: usize) -> Recent<K, V> {
        Recent { most, all: vec![] }
    }

    /// The value of a key.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        let i = self.all.iter().position(|(k, _)| k == key)?;
        let hit = self.all.remove(i);
        self.all.push(hit);
        self.all.last_mut().map(|(_, v)| v)
    }

    /// Adds a value, or replaces the one there is, and gives it.
    pub fn insert(&mut self, key: K, value: V) -> Option<&mut V> {
        self.all.retain(|(k, _)| *k != key);
        if self.all.len() >= self.most {
            self.all.remove(0);
        }
        self.all.push((key, value));
        self.all.last_mut().map(|(_, v)| v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recent_goes() {
        let mut r = Recent::new(2);
        r.insert(1, 'a');
        r.insert(2, 'b');
        assert_eq!(r.get(&1), Some(&mut 'a'));
        r.insert(3, 'c');
        assert_eq!([1, 2, 3].map(|k| r.get(&k).copied()), [Some('a'), None, Some('c')]);
        assert_eq!(r.insert(3, 'd'), Some(&mut 'd'));
        assert_eq!(r.get(&1), Some(&mut 'a'));
    }
}
