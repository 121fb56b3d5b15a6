//! Kills a process during a token refresh, and checks what the next process finds.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::sleep;
use trunkline_core::{ReauthCause, SignInState};

use super::{HoldPoint, Point, Sabotage, World, process::Grant};
use crate::until;

/// The point of a refresh at which the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// Its intent is stored, no request is sent.
    BeforeSend,
    /// The login server has the request; its response has not arrived.
    Sent,
    /// The response has arrived and is not stored.
    Answered,
    /// The tokens are stored, and the process does not know yet. The same write releases the lease.
    Stored,
    /// At a random instant around that write.
    Releasing,
    /// The new token is used for the first time.
    Used,
}

/// All windows.
pub const WINDOWS: [Window; 6] =
    [Window::BeforeSend, Window::Sent, Window::Answered, Window::Stored, Window::Releasing, Window::Used];

/// The results of kills.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Kills by window. A kill around the write counts for the window that the row shows.
    pub kills: BTreeMap<Window, usize>,
    /// Lost sign-ins by window.
    pub lost: BTreeMap<Window, usize>,
    /// Kills that missed their window because the machine was too slow. They prove nothing.
    pub spoiled: usize,
    /// Rows that held tokens of two different responses.
    pub mixed: usize,
    /// Violations of the guarantees.
    pub faults: Vec<String>,
}

impl Tally {
    /// Returns the number of kills.
    pub fn count(&self) -> usize {
        self.kills.values().sum()
    }

    /// Returns the number of lost sign-ins.
    pub fn lost(&self) -> usize {
        self.lost.values().sum()
    }

    /// Adds another tally.
    pub fn and(mut self, other: Tally) -> Tally {
        for (window, count) in other.kills {
            *self.kills.entry(window).or_default() += count;
        }
        for (window, count) in other.lost {
            *self.lost.entry(window).or_default() += count;
        }
        self.mixed += other.mixed;
        self.spoiled += other.spoiled;
        self.faults.extend(other.faults);
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        // The rule of three: an event that did not occur in n trials has a rate below 3/n, with 95 % confidence.
        let bound = 300.0 / count as f64;
        write!(f, "{count} kills ({:?}): {} mixed rows (95 % bound {bound:.1} %), ", self.kills, self.mixed)?;
        write!(
            f,
            "{} sign-ins lost ({:?}), {} faults, {} spoiled",
            self.lost(),
            self.lost,
            self.faults.len(),
            self.spoiled
        )
    }
}

/// Kills on one connection, one after the other, each in the next window.
pub struct Rounds<'a> {
    /// The shared connection.
    pub world: &'a World,
    /// The window of the first kill, as a place in [`WINDOWS`].
    pub first: usize,
    /// The delay before a kill around the write, for each kill.
    pub pauses: &'a [Duration],
    /// Whether the login server accepts a refresh token only once.
    pub may_lose: bool,
}

impl Rounds<'_> {
    /// Makes one kill per pause. A kill that missed its window is made again.
    ///
    /// # Panics
    ///
    /// If twenty kills missed their window.
    pub async fn play(&self, browser: &impl AsyncFn(String) -> String) -> Tally {
        let mut tally = Tally::default();
        for (round, pause) in self.pauses.iter().enumerate() {
            let window = WINDOWS[(self.first + round) % WINDOWS.len()];
            let so_far = tally.count();
            while tally.count() == so_far {
                tally = tally.and(kill(self.world, window, self.may_lose, None, *pause, browser).await);
                assert!(tally.spoiled < 20, "{tally}");
            }
        }
        tally.faults.extend(self.world.gate.faults());
        tally
    }
}

/// Kills one process, and checks the next. `may_lose` is true if the login server accepts a refresh token only once;
/// `pause` is the delay before a kill around the write.
pub async fn kill(
    world: &World,
    window: Window,
    may_lose: bool,
    sabotage: Option<Sabotage>,
    pause: Duration,
    browser: &impl AsyncFn(String) -> String,
) -> Tally {
    world.expire().await;
    let before = world.gate.posts().len();
    let old = world.tokens().await;
    let (stop, door) = match window {
        Window::BeforeSend => (Some(Point::Begun), None),
        Window::Sent => (None, Some(HoldPoint::BeforeServer)),
        Window::Answered => (Some(Point::Answered), None),
        Window::Stored => (Some(Point::Stored), None),
        Window::Releasing => (Some(Point::Storing), None),
        Window::Used => (None, Some(HoldPoint::Api)),
    };
    let mut victim = world.started(stop, sabotage).await;
    let held = door.map(|door| world.gate.hold(door));
    victim.start_calls(1, Duration::from_secs(60)).await;
    if let Some(mut held) = held {
        held.arrived().await;
        victim.kill().await;
        // The login server completes the request although its caller is dead.
    } else {
        assert_eq!(Some(victim.reached().await), stop);
        if window == Window::Releasing {
            sleep(pause).await;
        }
        victim.kill().await;
    }
    let sent = window != Window::BeforeSend;
    let answered = async || world.gate.posts().iter().all(|post| post.answered.is_some()).then_some(());
    until("the login server's response", answered).await;

    if world.gate.posts().len() != before + usize::from(sent) {
        // The process had timed out before it was killed, and had sent a second request.
        world.sign_in(browser).await;
        return Tally { spoiled: 1, ..Tally::default() };
    }
    let mut tally = Tally::default();
    let mut fault = |text: String| tally.faults.push(format!("{window:?}: {text}"));
    let found = world.tokens().await;
    let mixed = !world.gate.gave(&found);
    if mixed {
        fault("the row holds tokens of two responses".into());
    }
    let stored = found != old;
    let struck = match window {
        Window::Releasing if !stored => Window::Answered,
        _ => window,
    };
    if stored != (struck >= Window::Stored) {
        fault(format!("stored: {stored}"));
    }

    let mut next = world.process().await;
    let outcome = next.call().await;
    if outcome.error.is_some() && next.call().await.error != outcome.error {
        fault("the second call after the restart has another outcome".into());
    }
    let posts = &world.gate.posts()[before + usize::from(sent)..];
    let again = posts.iter().filter(|post| post.offered.is_some() && post.offered == old.refresh).count();
    if again > 1 {
        fault(format!("{again} requests with the old token after the restart"));
    }
    if !stored && posts.is_empty() {
        fault("the next process sent no request".into());
    }
    let mut lost = 0;
    if let Some(kind) = &outcome.error {
        lost = 1;
        let state = world.state().await;
        let shown = matches!(state, SignInState::ReauthRequired { cause: ReauthCause::Interrupted, .. });
        if !(kind == "auth" && outcome.cause.as_deref() == Some("interrupted") && shown) {
            fault(format!("lost, but not shown as interrupted: {outcome:?}, {state:?}"));
        }
        if !may_lose || !matches!(struck, Window::Sent | Window::Answered) {
            fault(format!("a sign-in was lost without need: {outcome:?}"));
        }
        assert!(
            matches!(world.setup.grant, Grant::Browser),
            "only a sign-in in the browser can be repeated: {outcome:?}"
        );
        world.sign_in(browser).await;
    }
    tally.mixed += usize::from(mixed);
    tally.kills.insert(struck, 1);
    tally.lost.insert(struck, lost);
    tally
}
