//! The activity of a run: it calls actions, or it only waits.
//!
//! A host limits how many runs work at the same time. A waiting run costs next to nothing, so it need not count.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Reports whether a run calls actions or only waits: for a time, for a signal, for its next attempt. A clone reports
/// on the same run.
#[derive(Clone, Debug, Default)]
pub struct ActivityMonitor(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicUsize,
    waits: AtomicUsize,
}

impl ActivityMonitor {
    /// Returns whether everything in flight is waiting.
    pub fn is_idle(&self) -> bool {
        self.0.calls.load(Ordering::SeqCst) == 0 && self.0.waits.load(Ordering::SeqCst) > 0
    }

    /// Counts a call of an action until the guard is dropped.
    pub(crate) fn call(&self) -> ActivityGuard<'_> {
        ActivityGuard::new(&self.0.calls)
    }

    /// Counts a waiting step until the guard is dropped.
    pub(crate) fn wait(&self) -> ActivityGuard<'_> {
        ActivityGuard::new(&self.0.waits)
    }
}

pub(crate) struct ActivityGuard<'a>(&'a AtomicUsize);

impl<'a> ActivityGuard<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        ActivityGuard(count)
    }
}

impl Drop for ActivityGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
