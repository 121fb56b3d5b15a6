//! Items whose key occurs again in their list. None of them vanishes: each is an item of its own, which is skipped.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

/// The number of items in one of the two generations that are remembered.
const GENERATION: usize = 50_000;

/// How an item compares with the one that was read before it under the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    Equal,
    Different,
    /// The earlier one was read by another process, or too long ago.
    Unknown,
}

impl Repeat {
    /// Returns why the item is skipped.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Repeat::Equal => "the same item occurs again in the list",
            Repeat::Different => "another item of the list has the same key; let `key` identify one item",
            Repeat::Unknown => "an item with the same key was listed before",
        }
    }
}

/// The items of a list that were read lately. Its size is bounded.
#[derive(Default)]
pub(super) struct Repeats {
    newer: HashMap<String, u64>,
    older: HashMap<String, u64>,
    /// The number of the last item of each repeated key.
    numbers: HashMap<String, u64>,
}

impl Repeats {
    /// Remembers the first item with a key.
    pub(super) fn remember(&mut self, key: &str, item: &Value) {
        if self.newer.len() >= GENERATION {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key.to_owned(), digest(item));
    }

    /// Compares an item with the first one of the same key.
    pub(super) fn compare(&self, key: &str, item: &Value) -> Repeat {
        match self.newer.get(key).or_else(|| self.older.get(key)) {
            Some(first) if *first == digest(item) => Repeat::Equal,
            Some(_) => Repeat::Different,
            None => Repeat::Unknown,
        }
    }

    /// Returns the number of the next item with this key, from 2.
    pub(super) fn next_number(&mut self, key: &str) -> u64 {
        if self.numbers.len() >= GENERATION {
            self.numbers.clear();
        }
        let number = self.numbers.entry(key.to_owned()).or_insert(1);
        *number += 1;
        *number
    }
}

fn digest(item: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.hash(&mut hasher);
    hasher.finish()
}
