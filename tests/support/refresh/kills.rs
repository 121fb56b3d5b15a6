//! Processes that are killed in the course of a refresh, and what the next one finds.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::sleep;
use trunkline_core::{ReauthCause, SignInState};

use super::{Door, Point, Sabotage, World, process::Grant};
use crate::until;

/// Where in the course of a refresh the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// Its intent is written down, nothing is sent.
    BeforeSend,
    /// The login server has the request; its answer has not come.
    Sent,
    /// The answer has come and is not stored.
    Answered,
    /// Stored, and not yet known to be; here the same write gives the lease back.
    Stored,
    /// At some instant around that write.
    Releasing,
    /// The new token is used for the first time.
    Used,
}

/// All of them.
pub const WINDOWS: [Window; 6] =
    [Window::BeforeSend, Window::Sent, Window::Answered, Window::Stored, Window::Releasing, Window::Used];

/// What came of kills.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Kills by where they struck; one around the write counts to where the row says that it was.
    pub kills: BTreeMap<Window, usize>,
    /// Sign-ins that were lost, by the same.
    pub lost: BTreeMap<Window, usize>,
    /// Kills that struck elsewhere than they were meant to, because the machine was too slow: they show nothing.
    pub spoiled: usize,
    /// Rows that held tokens of two answers.
    pub torn: usize,
    /// All that goes against the promises.
    pub faults: Vec<String>,
}

impl Tally {
    /// How many were killed.
    pub fn count(&self) -> usize {
        self.kills.values().sum()
    }

    /// How many sign-ins were lost.
    pub fn lost(&self) -> usize {
        self.lost.values().sum()
    }

    /// With another one's added.
    pub fn and(mut self, other: Tally) -> Tally {
        for (window, count) in other.kills {
            *self.kills.entry(window).or_default() += count;
        }
        for (window, count) in other.lost {
            *self.lost.entry(window).or_default() += count;
        }
        self.torn += other.torn;
        self.spoiled += other.spoiled;
        self.faults.extend(other.faults);
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        // The rule of three: what was not seen in n tries is rarer than 3/n, with 95 % certainty.
        let bound = 300.0 / count as f64;
        write!(f, "{count} kills ({:?}): {} torn rows (95 % bound {bound:.1} %), ", self.kills, self.torn)?;
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

/// One kill, and the process after it. `may_lose` is whether the login server forgives no second use of a refresh token;
/// `pause` is how long a process lives on that is killed around the write.
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
        Window::Sent => (None, Some(Door::In)),
        Window::Answered => (Some(Point::Answered), None),
        Window::Stored => (Some(Point::Stored), None),
        Window::Releasing => (Some(Point::Storing), None),
        Window::Used => (None, Some(Door::Api)),
    };
    let mut victim = world.started(stop, sabotage).await;
    let held = door.map(|door| world.gate.hold(door));
    victim.go(1, Duration::from_secs(60)).await;
    if let Some(mut held) = held {
        held.arrived().await;
        victim.kill().await;
        // The login server does what it was asked, though nobody waits.
    } else {
        assert_eq!(Some(victim.reached().await), stop);
        if window == Window::Releasing {
            sleep(pause).await;
        }
        victim.kill().await;
    }
    let sent = window != Window::BeforeSend;
    let answered = async || world.gate.posts().iter().all(|post| post.answered.is_some()).then_some(());
    until("the login server's answer", answered).await;

    if world.gate.posts().len() != before + usize::from(sent) {
        // The process had given up its request when it was killed, and had asked again.
        world.sign_in(browser).await;
        return Tally { spoiled: 1, ..Tally::default() };
    }
    let mut tally = Tally::default();
    let mut fault = |text: String| tally.faults.push(format!("{window:?}: {text}"));
    let found = world.tokens().await;
    let torn = !world.gate.gave(&found);
    if torn {
        fault("the row holds tokens of two answers".into());
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
    let called = next.call().await;
    if called.error.is_some() && next.call().await.error != called.error {
        fault("the second call after the restart ends otherwise".into());
    }
    let posts = &world.gate.posts()[before + usize::from(sent)..];
    let again = posts.iter().filter(|post| post.offered.is_some() && post.offered == old.refresh).count();
    if again > 1 {
        fault(format!("{again} requests with the old token after the restart"));
    }
    if !stored && posts.is_empty() {
        fault("the next process asked for nothing".into());
    }
    let mut lost = 0;
    if let Some(kind) = &called.error {
        lost = 1;
        let state = world.state().await;
        let shown = matches!(state, SignInState::ReauthRequired { cause: ReauthCause::Interrupted, .. });
        if !(kind == "auth" && called.cause.as_deref() == Some("interrupted") && shown) {
            fault(format!("lost, and not shown as interrupted: {called:?}, {state:?}"));
        }
        if !may_lose || !matches!(struck, Window::Sent | Window::Answered) {
            fault(format!("a sign-in was lost that need not be: {called:?}"));
        }
        assert!(matches!(world.setup.grant, Grant::Browser), "nothing can be repaired: {called:?}");
        world.sign_in(browser).await;
    }
    tally.torn += usize::from(torn);
    tally.kills.insert(struck, 1);
    tally.lost.insert(struck, lost);
    tally
}
