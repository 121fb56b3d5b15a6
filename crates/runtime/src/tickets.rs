//! Tickets for streams of events. A web page gets one with its token and puts it into the URL of a stream, because the
//! `EventSource` of a browser sends no header. A URL can end in logs, so a ticket is short-lived and is used once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    caller::Caller,
    token::{hash, random},
};

/// How long a ticket is valid.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);
/// The most tickets at a time that were not used.
const MOST_TICKETS: usize = 4096;

/// The tickets that were not used. Only their hashes are held.
#[derive(Default)]
pub(crate) struct Tickets(Mutex<HashMap<[u8; 32], Ticket>>);

struct Ticket {
    caller: Caller,
    run: Option<String>,
    issued: Instant,
}

impl Tickets {
    /// Returns a new ticket for the events of a run, or of all runs.
    ///
    /// # Errors
    ///
    /// `rate_limited` if too many tickets are not used.
    pub(crate) fn issue(&self, caller: Caller, run: Option<String>) -> Result<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, ticket| ticket.issued.elapsed() < LIFETIME);
        if all.len() >= MOST_TICKETS {
            let message = format!("{MOST_TICKETS} tickets of the last minute are not used");
            return Err(Error::new(ErrorKind::RateLimited, message).hint("use them, or try again in a minute"));
        }
        let ticket = random();
        all.insert(hash(ticket.expose()), Ticket { caller, run, issued: Instant::now() });
        Ok(ticket.expose().to_owned())
    }

    /// Returns the caller that a ticket was issued to, if it is for this stream and can be used. It cannot be used again then.
    pub(crate) fn redeem(&self, ticket: &str, run: Option<&str>) -> Option<Caller> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.remove(&hash(ticket))?;
        let fits = found.run.as_deref() == run && found.issued.elapsed() < LIFETIME;
        fits.then_some(found.caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Role;

    fn caller() -> Caller {
        Caller::new("page", Role::Viewer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_opens_one_stream_once_within_a_minute() {
        let tickets = Tickets::default();
        let issue = |run: Option<&str>| tickets.issue(caller(), run.map(str::to_owned)).unwrap();
        let one = issue(None);
        assert_eq!(tickets.redeem(&one, None), Some(caller()));
        assert_eq!(tickets.redeem(&one, None), None, "it was used");
        let other = issue(Some("7d4f"));
        assert_eq!(tickets.redeem(&other, None), None, "it is for another stream");
        assert_eq!(tickets.redeem(&other, Some("7d4f")), None, "an attempt uses it up");
        assert_eq!(tickets.redeem("", None), None);
        let late = issue(None);
        tokio::time::advance(LIFETIME).await;
        assert_eq!(tickets.redeem(&late, None), None, "it has expired");
        // The sabotage twins: what was not removed opens the stream again, and what is younger opens it.
        let again = issue(None);
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        let kept = tickets.0.lock().unwrap().remove(&hash(&again)).unwrap();
        tickets.0.lock().unwrap().insert(hash(&again), Ticket { caller: caller(), ..kept });
        assert_eq!(tickets.redeem(&again, None), Some(caller()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_tickets_is_limited_until_they_expire() {
        let tickets = Tickets::default();
        let issued = (0..=MOST_TICKETS).map(|_| tickets.issue(caller(), None)).filter(Result::is_ok).count();
        assert_eq!(issued, MOST_TICKETS);
        assert_eq!(tickets.issue(caller(), None).unwrap_err().kind(), ErrorKind::RateLimited);
        tokio::time::advance(LIFETIME).await;
        assert!(tickets.issue(caller(), None).is_ok());
    }
}
