//! How long, how much, how often: all bounds of a client in one place.

use std::time::Duration;

/// The bounds of a [`Client`](crate::Client); the defaults fit services that people use, too.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// A call with all its tries, unless its context has a deadline. 2 minutes.
    pub call: Duration,
    /// A call that sends a file, with all its tries. 24 hours.
    pub file_call: Duration,
    /// One try: from sending to the last byte of the answer; where a file is sent, from its last piece that went out.
    /// 30 seconds.
    pub attempt: Duration,
    /// The same for what goes to storage. 2 minutes.
    pub block_attempt: Duration,
    /// Silence in the middle of a download. 30 seconds.
    pub idle: Duration,
    /// Tries of a call, a block, or a download that makes no progress. 5.
    pub tries: u32,
    /// Longest wait after the first try; doubles with each further one. 250 milliseconds.
    pub first_wait: Duration,
    /// Longest wait of our own. 20 seconds.
    pub own_wait: Duration,
    /// Longest wait because the service asked for one; a call that would have to wait longer ends. 15 minutes.
    pub longest_wait: Duration,
    /// Requests to the API that are under way at once. 16: systems that people use at the same time answer more with 429.
    pub at_once: usize,
    /// Size of an answer in bytes, after decompression. 32 MiB.
    pub answer: usize,
    /// Size in bytes up to which a file goes to storage in one request, without blocks. 64 MB.
    pub one_put: u64,
    /// Size of a block of an upload in bytes. 4 MiB.
    pub block: usize,
    /// Least time between two token refreshes that a 401 asked for, unless the token had expired. 30 seconds.
    pub between_forced: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits {
            call: Duration::from_secs(120),
            file_call: Duration::from_secs(24 * 60 * 60),
            attempt: Duration::from_secs(30),
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
