//! The brake on wrong tokens: of the API, and in the URLs of webhooks.
//!
//! After a number of wrong tokens in a minute, from one address or from all, further wrong ones get status 429. The
//! right token always works, so the brake locks no caller out: behind a proxy, all callers share an address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::StatusCode,
};
use tokio::time::Instant;
use trunkline_core::{Error, ErrorKind};

use crate::response::ErrorResponse;

/// The time for which wrong tokens are counted, and between two lines of the log about them.
const WINDOW: Duration = Duration::from_secs(60);
/// The maximum number of wrong tokens of one address in a minute.
const MAX_OF_ADDRESS: u32 = 100;
/// The maximum number of wrong tokens of all addresses in a minute.
const MAX_OF_ALL: u32 = 1000;

pub(crate) struct Brake {
    max_of_address: u32,
    max_of_all: u32,
    counted: Mutex<WrongTokens>,
}

/// The wrong tokens of the current minute.
struct WrongTokens {
    since: Instant,
    all: u64,
    refused: u64,
    /// The numbers by address. There are at most as many addresses as there may be wrong tokens.
    addresses: HashMap<IpAddr, u32>,
}

impl WrongTokens {
    fn new() -> WrongTokens {
        WrongTokens { since: Instant::now(), all: 0, refused: 0, addresses: HashMap::new() }
    }
}

impl Default for Brake {
    fn default() -> Brake {
        Brake::new(MAX_OF_ADDRESS, MAX_OF_ALL)
    }
}

impl Brake {
    pub(crate) fn new(max_of_address: u32, max_of_all: u32) -> Brake {
        Brake { max_of_address, max_of_all, counted: Mutex::new(WrongTokens::new()) }
    }

    fn counted(&self) -> MutexGuard<'_, WrongTokens> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a wrong token.
    ///
    /// # Errors
    ///
    /// Status 429 if there were too many in this minute.
    pub(crate) fn count(&self, address: IpAddr) -> Result<(), ErrorResponse> {
        let mut counted = self.counted();
        counted.all += 1;
        let is_within = counted.all <= u64::from(self.max_of_all) && {
            let of_address = counted.addresses.entry(address).or_default();
            *of_address += 1;
            *of_address <= self.max_of_address
        };
        if is_within {
            return Ok(());
        }
        counted.refused += 1;
        let wait = WINDOW.saturating_sub(counted.since.elapsed());
        let message = "too many requests had a wrong token in the last minute";
        let error =
            Error::new(ErrorKind::RateLimited, message).hint("a request with the right token is accepted at once");
        Err(ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, error).retry_after(wait))
    }

    /// Ends a minute after the other, and logs how many wrong tokens each had, until it is dropped.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(WINDOW).await;
            self.end_window();
        }
    }

    fn end_window(&self) {
        let WrongTokens { all, refused, addresses, .. } = std::mem::replace(&mut *self.counted(), WrongTokens::new());
        if all > 0 {
            let of = addresses.len();
            tracing::warn!("{all} requests of {of} addresses had a wrong token in a minute; {refused} of them got 429");
        }
    }
}

/// Returns the address of the caller of a request, as the listener saw it.
pub(crate) fn caller_address(request: &Request) -> IpAddr {
    let known = request.extensions().get::<ConnectInfo<SocketAddr>>();
    known.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(address)| address.ip())
}

#[cfg(test)]
mod tests;
