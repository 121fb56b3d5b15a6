//! What the values of a whole process may take of its memory.
//!
//! A [`MemoryBudget`] is divided among accounts: one for each run, request and call outside a run. What an account needs
//! is reserved before it is allocated, and waits while others hold the budget. Accounts cannot wait for one another in a
//! circle: beside the shared part there is a reserve that one account at a time has to itself, and it covers the most
//! that an account may take. Its owner never waits, so it ends, and the next one gets the reserve.
//!
//! ```
//! # use trunkline_core::MemoryBudget;
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let account = MemoryBudget::default().account(0);
//! let held = account.reserve("the response", 5 << 20).await?;
//! // .. read the response ..
//! drop(held);
//! # Ok::<(), trunkline_core::Error>(()) }).unwrap();
//! ```

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, ErrorKind, Result};

/// The part of the budget that all accounts share, in bytes.
const SHARED: u64 = 64 << 20;
/// The most that one account may take, in bytes.
const ACCOUNT: u64 = 224 << 20;
/// The unit of permits, in bytes.
const UNIT: u64 = 1 << 10;

/// The memory that the values of all runs, requests and calls of a runtime may take. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    shared: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    /// The number of permits of the shared part.
    all: u32,
    /// The most that one account may take, in bytes.
    account: u64,
}

impl Default for MemoryBudget {
    /// Returns a budget of 64 MiB for all accounts, and a reserve of 224 MiB, which is also the most that one may take.
    fn default() -> Self {
        MemoryBudget::new(SHARED, ACCOUNT)
    }
}

impl MemoryBudget {
    /// Returns a budget of `shared` bytes for all accounts, and a reserve of `account` bytes for one at a time.
    pub fn new(shared: u64, account: u64) -> Self {
        let all = u32::try_from(shared / UNIT).unwrap_or(u32::MAX);
        let shared = Arc::new(Semaphore::new(all as usize));
        MemoryBudget(Arc::new(Pool { shared, reserve: Arc::new(Semaphore::new(1)), all, account }))
    }

    /// Returns a new account. Its first `free` bytes are not taken from the budget.
    pub fn account(&self, free: u64) -> MemoryAccount {
        let pool = self.0.clone();
        let inner =
            Inner { pool, free, state: Mutex::default(), growth: Default::default(), waiting: AtomicUsize::new(0) };
        MemoryAccount(Arc::new(inner))
    }
}

/// The memory of one run, request or call. A clone is the same account. What it has taken of the budget is given back
/// with [`trim`](MemoryAccount::trim), and when the last clone is dropped.
#[derive(Clone)]
pub struct MemoryAccount(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    free: u64,
    state: Mutex<State>,
    /// Held while the account grows, so that its tasks do not wait for what another of them gets.
    growth: tokio::sync::Mutex<()>,
    /// The number of its tasks that wait for memory.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// Bytes in use.
    used: u64,
    /// The part of the shared budget.
    granted: Option<OwnedSemaphorePermit>,
    /// The reserve, if the account has it.
    reserve: Option<OwnedSemaphorePermit>,
}

impl State {
    fn granted(&self) -> u64 {
        self.granted.as_ref().map_or(0, |permit| permit.num_permits() as u64 * UNIT)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes that are covered. Returns the number of permits that are missing otherwise.
    fn add(&self, bytes: u64) -> std::result::Result<(), u32> {
        let mut state = self.lock();
        let missing = (state.used + bytes).saturating_sub(self.free + state.granted());
        if missing > 0 && state.reserve.is_none() {
            return Err(u32::try_from(missing.div_ceil(UNIT)).unwrap_or(u32::MAX));
        }
        state.used += bytes;
        Ok(())
    }

    fn grant(&self, more: OwnedSemaphorePermit) {
        let mut state = self.lock();
        match &mut state.granted {
            Some(granted) => granted.merge(more),
            none => *none = Some(more),
        }
    }
}

impl MemoryAccount {
    /// Reserves bytes until the result is dropped, and waits while the budget does not have them. `what` names their use
    /// in an error.
    ///
    /// # Errors
    ///
    /// `limit` if the account would take more than one account may.
    pub async fn reserve(&self, what: &str, bytes: u64) -> Result<HeldMemory> {
        let held = || HeldMemory { account: self.clone(), bytes };
        self.check(what, bytes)?;
        if self.0.add(bytes).is_ok() {
            return Ok(held());
        }
        let _waits = Waits::new(&self.0.waiting);
        let _growth = self.0.growth.lock().await;
        let pool = &self.0.pool;
        while let Err(missing) = self.0.add(bytes) {
            tokio::select! {
                biased;
                Ok(permit) = pool.shared.clone().acquire_many_owned(missing), if missing <= pool.all => self.0.grant(permit),
                Ok(permit) = pool.reserve.clone().acquire_owned() => self.0.lock().reserve = Some(permit),
            }
        }
        Ok(held())
    }

    /// Reserves bytes if the budget has them now.
    pub fn try_reserve(&self, bytes: u64) -> Option<HeldMemory> {
        let held = || HeldMemory { account: self.clone(), bytes };
        self.check("it", bytes).ok()?;
        if let Err(missing) = self.0.add(bytes) {
            self.0.grant(self.0.pool.shared.clone().try_acquire_many_owned(missing).ok()?);
            self.0.add(bytes).ok()?;
        }
        Some(held())
    }

    /// Returns what is not in use to the budget.
    pub fn trim(&self) {
        let mut state = self.0.lock();
        let needed = state.used.saturating_sub(self.0.free);
        if needed <= state.granted() {
            state.reserve = None;
            let spare = ((state.granted() - needed) / UNIT) as usize;
            drop(state.granted.as_mut().and_then(|granted| granted.split(spare)));
        }
    }

    /// Returns whether the account waits for memory.
    pub fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }

    fn check(&self, what: &str, bytes: u64) -> Result<()> {
        let (used, most) = (self.0.lock().used, self.0.pool.account);
        if used.saturating_add(bytes) <= most {
            return Ok(());
        }
        let message = format!(
            "{what} needs {bytes} bytes of memory, where {used} are in use; the limit of a run, call or request is {most}"
        );
        Err(Error::new(ErrorKind::Limit, message)
            .hint("pass fewer values at a time: a smaller page, fewer fields, or fewer items at the same time"))
    }
}

impl fmt::Debug for MemoryAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAccount").field("used", &self.0.lock().used).finish_non_exhaustive()
    }
}

/// Counts a waiting task.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Reserved memory. It is in use until this is dropped.
#[derive(Debug)]
pub struct HeldMemory {
    account: MemoryAccount,
    bytes: u64,
}

impl HeldMemory {
    /// Returns its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reduces it to this size.
    pub fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.account.0.lock().used -= less;
    }

    /// Adds memory of the same account.
    pub fn merge(&mut self, mut other: HeldMemory) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.account.0.lock().used -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU64, time::Duration};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Lets `accounts` accounts read responses of 40 MiB into a state that grows to 200 MiB. Returns the most memory that
    /// was in use.
    async fn peak(budget: MemoryBudget, accounts: u64) -> u64 {
        let (used, peak) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let one = |number: u64| {
            let (budget, used, peak) = (budget.clone(), used.clone(), peak.clone());
            tokio::spawn(async move {
                let (account, mut all, mut own) = (budget.account(MIB), Vec::new(), 0);
                for turn in 0..5 {
                    let size = 40 * MIB - number * turn;
                    all.push(account.reserve("a response", size).await.unwrap());
                    own += size;
                    let now = used.fetch_add(size, Ordering::SeqCst) + size;
                    peak.fetch_max(now, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(number % 7)).await;
                }
                used.fetch_sub(own, Ordering::SeqCst);
            })
        };
        for task in (0..accounts).map(one).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        peak.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_that_all_want_more_end_one_after_the_other_within_the_budget() {
        let most = peak(MemoryBudget::default(), 40).await;
        assert!(most <= SHARED + ACCOUNT + 40 * MIB, "{most}");
    }

    /// The sabotage twin: with a budget for all of them, the same accounts take gigabytes.
    #[tokio::test(start_paused = true)]
    async fn without_a_budget_the_same_accounts_take_gigabytes() {
        let most = peak(MemoryBudget::new(100 << 30, ACCOUNT), 40).await;
        assert!(most > 3 << 30, "{most}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_keeps_what_it_was_granted_until_it_is_trimmed() {
        let budget = MemoryBudget::new(10 * MIB, 20 * MIB);
        let (first, second) = (budget.account(0), budget.account(MIB));
        let mut held = first.reserve("it", 8 * MIB).await.unwrap();
        assert!(second.try_reserve(4 * MIB).is_none() && second.try_reserve(MIB).is_some());
        held.shrink(2 * MIB);
        assert!(second.try_reserve(4 * MIB).is_none(), "not trimmed");
        first.trim();
        let more = second.try_reserve(4 * MIB).unwrap();
        drop((held, more));
        second.trim();
        // The whole reserve is for one account.
        drop(first);
        let large = second.reserve("it", 20 * MIB).await.unwrap();
        assert_eq!(large.bytes(), 20 * MIB);
        assert_eq!(budget.account(0).try_reserve(8 * MIB).map(|held| held.bytes()), Some(8 * MIB));
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_one_account_may_take_is_an_error_with_both_numbers() {
        let account = MemoryBudget::new(10 * MIB, 20 * MIB).account(0);
        let _held = account.reserve("the input", 15 * MIB).await.unwrap();
        let error = account.reserve("the output", 6 * MIB).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        for number in [6 * MIB, 15 * MIB, 20 * MIB] {
            assert!(error.message().contains(&number.to_string()), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_account_is_reported_and_gets_its_memory_when_another_ends() {
        let budget = MemoryBudget::new(MIB, 20 * MIB);
        let (first, second) = (budget.account(0), budget.account(0));
        let held = first.reserve("it", 20 * MIB).await.unwrap();
        let waiting = tokio::spawn({
            let second = second.clone();
            async move { second.reserve("it", 20 * MIB).await.unwrap().bytes() }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(second.is_waiting() && !waiting.is_finished());
        drop((held, first));
        assert_eq!(waiting.await.unwrap(), 20 * MIB);
        assert!(!second.is_waiting());
    }
}
