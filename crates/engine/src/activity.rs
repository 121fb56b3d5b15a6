//! Whether a run works, or only waits.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Tells whether a run works, or only waits: for a time, for a signal, for its next try. One that waits costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct ActivityMonitor(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicUsize,
    waits: AtomicUsize,
}

impl ActivityMonitor {
    /// Whether all that is in flight is waiting.
    pub fn is_idle(&self) -> bool {
        self.0.calls.load(Ordering::SeqCst) == 0 && self.0.waits.load(Ordering::SeqCst) > 0
    }

    /// An action is at work until this is dropped.
    pub(crate) fn call(&self) -> ActivityGuard<'_> {
        ActivityGuard::of(&self.0.calls)
    }

    /// A step waits until this is dropped.
    pub(crate) fn wait(&self) -> ActivityGuard<'_> {
        ActivityGuard::of(&self.0.waits)
    }
}

pub(crate) struct ActivityGuard<'a>(&'a AtomicUsize);

impl<'a> ActivityGuard<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        ActivityGuard(count)
    }
}

impl Drop for ActivityGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
