//! All limits of a client in one place: times, sizes and numbers of tries.

use std::time::Duration;

/// The limits of a [`Client`](crate::Client). The defaults suit services that people use at the same time.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// The time of a call with all its tries, unless its context has a deadline. Default: 2 minutes.
    pub call: Duration,
    /// The time of a call that sends a file, with all its tries. Default: 24 hours.
    pub file_call: Duration,
    /// The time of one try, from sending the request to the last byte of the response. If a file is sent, the time
    /// starts again with each piece that was sent. Default: 30 seconds.
    pub attempt: Duration,
    /// The time that the response to a token request is awaited. It is much longer than [`attempt`](Self::attempt),
    /// because a late response may hold the only valid tokens; callers wait only until their own deadline. Default: 2
    /// minutes.
    pub token_response: Duration,
    /// The pause before a refusal that nothing explains is checked once more: the login server refuses what it has
    /// accepted before, or the API answers 401 or 403 on a connection that worked. Default: 10 seconds.
    pub confirm: Duration,
    /// The time of one try of a request to storage, counted in the same way. Default: 2 minutes.
    pub block_attempt: Duration,
    /// The time that a download may receive nothing. Default: 30 seconds.
    pub idle: Duration,
    /// The number of tries of a call, of a block, or of a download that makes no progress. Default: 5.
    pub tries: u32,
    /// The longest wait after the first try. It doubles with each further try. Default: 250 milliseconds.
    pub first_wait: Duration,
    /// The longest wait between tries if the service does not ask for one. Default: 20 seconds.
    pub own_wait: Duration,
    /// The longest wait that the service may ask for. A call that would have to wait longer fails. Default: 15 minutes.
    pub longest_wait: Duration,
    /// The number of requests to the API in flight. Default: 16; many systems answer more with 429.
    pub at_once: usize,
    /// The size of a response in bytes, after decompression. Default: 32 MiB.
    pub answer: usize,
    /// The size in bytes up to which a file is uploaded to storage in one request, without blocks. Default: 64 MB.
    pub one_put: u64,
    /// The size of a block of an upload in bytes. Default: 4 MiB.
    pub block: usize,
    /// The shortest time between two token refreshes because of a 401, unless the token has expired. Default: 30
    /// seconds.
    pub between_forced: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits {
            call: Duration::from_secs(120),
            file_call: Duration::from_secs(24 * 60 * 60),
            attempt: Duration::from_secs(30),
            token_response: Duration::from_secs(120),
            confirm: Duration::from_secs(10),
            block_attempt: Duration::from_secs(120),
            idle: Duration::from_secs(30),
            tries: 5,
            first_wait: Duration::from_millis(250),
            own_wait: Duration::from_secs(20),
            longest_wait: Duration::from_secs(15 * 60),
            at_once: 16,
            answer: 32 << 20,
            one_put: 64_000_000,
            block: 4 << 20,
            between_forced: Duration::from_secs(30),
        }
    }
}
