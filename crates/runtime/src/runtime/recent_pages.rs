//! The pages of lists that were read last, for forms whose choices are such lists: a person who types reads them again and
//! again.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;
use tokio::time::Instant;
use trunkline_core::{Connected, Page, memory_of};

/// How long a page counts.
const FRESH: Duration = Duration::from_secs(60);
/// The most pages that are kept, and the most memory of one of them in bytes.
const MOST: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");
const LARGEST: u64 = 1024 * 1024;

/// Pages of lists by what they are a page of. Each counts for a minute.
pub(crate) struct RecentPages(Mutex<LruCache<String, RecentPage>>);

struct RecentPage {
    at: Instant,
    connected: Connected,
    page: Page,
}

impl Default for RecentPages {
    fn default() -> RecentPages {
        RecentPages(Mutex::new(LruCache::new(MOST)))
    }
}

impl RecentPages {
    /// Returns a page that this client has read. A connection with other settings has another client.
    pub(crate) fn get(&self, key: &str, client: &Connected) -> Option<Page> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |one: &&RecentPage| std::ptr::eq(one.connected.name(), client.name());
        pages.get(key).filter(|one| one.at.elapsed() < FRESH).filter(is_same).map(|one| one.page.clone())
    }

    /// Keeps a page that this client has read, unless it is too large.
    pub(crate) fn put(&self, key: String, client: &Connected, page: &Page) {
        if page.items.iter().map(memory_of).sum::<u64>() <= LARGEST {
            let recent = RecentPage { at: Instant::now(), connected: client.clone(), page: page.clone() };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, recent);
        }
    }
}
