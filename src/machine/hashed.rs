//! Texts as keys of large maps: ordered by their hash first, so that most comparisons need not
//! follow a pointer.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A value and its hash. The hash has no key: what comes out is the same in every run, and values
/// that were chosen to collide are compared as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hashed<T> {
    hash: u64,
    value: T,
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl<T: Hash> Hashed<T> {
    pub(super) fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self { hash: hasher.finish(), value }
    }
}

impl<T> std::ops::Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fingerprint::Fingerprint;

    #[test]
    fn values_that_collide_are_told_apart() {
        let collide = |value| Hashed { hash: 1, value };
        assert!(collide("a") != collide("b") && collide("a") < collide("b"));
        assert_eq!(Hashed::new("a"), Hashed::new("a"));
        assert_ne!(Hashed::new("a").hash, Hashed::new("b").hash);
        assert!(Hashed { hash: 1, value: "z" } < Hashed { hash: 2, value: "a" });
        assert_eq!(*Hashed::new("a"), "a");
    }

    #[test]
    fn engines_that_hold_other_keys_are_not_alike() {
        let print = |key| Fingerprint::of(|print| print.value(Hashed::new(key)));
        assert_eq!(print("a"), print("a"));
        assert_ne!(print("a"), print("b"));
    }
}
