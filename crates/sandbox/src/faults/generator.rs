//! The fault generator: it decides which requests fail. The services do not know about faults; only the blob storage
//! asks whether an upload URL has expired.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::extract::Request;
use axum::http::Method;

use crate::Faults;
use crate::http::Service;
use crate::http::request_log::RecordedRequest;
use crate::library::mix;

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Status 429; the request is not carried out.
    TooManyRequests,
    /// Status 500; the request is not carried out.
    Internal,
    /// Status 503; the request is not carried out.
    Unavailable,
    /// The connection breaks in the middle of the response.
    Truncated,
    /// The connection closes without a response.
    Lost,
}

impl FaultKind {
    /// Returns the name of the kind in the report and the request log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FaultKind::TooManyRequests => "429",
            FaultKind::Internal => "500",
            FaultKind::Unavailable => "503",
            FaultKind::Truncated => "cut",
            FaultKind::Lost => "lost",
        }
    }
}

/// Decides which requests fail: the faults in force, the seed of the random generator, and the counts so far.
#[derive(Debug)]
pub(crate) struct FaultGenerator {
    seed: u64,
    pub faults: Faults,
    requests: u64,
    api_requests: u64,
    /// The number of faults that `rate` has caused.
    random_faults: u64,
    /// Paths of the requests whose first response was lost because of `lost_commits`.
    committed: HashSet<String>,
    /// The number of blocks sent to each signed URL, by the URL's number.
    blocks: HashMap<u64, u64>,
}

impl FaultGenerator {
    pub(crate) fn new(seed: u64, faults: Faults) -> FaultGenerator {
        let (committed, blocks) = Default::default();
        FaultGenerator { seed, faults, requests: 0, api_requests: 0, random_faults: 0, committed, blocks }
    }

    /// Returns whether `lost_commits` is on and this is the first request that makes the blob or asset of its path
    /// visible.
    pub(crate) fn is_first_commit(&mut self, service: Service, request: &Request) -> bool {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let commits = match service {
            Service::Blob => request.method() == Method::PUT && !query.contains("comp=block&"),
            Service::Mediavalet => request.method() == Method::PATCH && path.contains("/uploads/"),
            _ => false,
        };
        self.faults.lost_commits && commits && self.committed.insert(path.to_owned())
    }

    /// Counts a block sent to the signed URL with this number. Returns an Azure error code if the URL has expired.
    pub(crate) fn reject_block(&mut self, url_number: u64) -> Option<&'static str> {
        let limit = self.faults.address_blocks?;
        let count = self.blocks.entry(url_number).or_default();
        *count += 1;
        (*count > limit).then_some(["AuthenticationFailed", "AuthorizationFailure"][(url_number % 2) as usize])
    }

    /// Counts a request to a faultable service and returns the fault that hits it, if any.
    pub(crate) fn next_fault(&mut self, service: Service) -> Option<FaultKind> {
        let nth = |every: Option<u64>, count: u64| every.is_some_and(|n| n > 0 && count.is_multiple_of(n));
        self.requests += 1;
        if service.is_api() {
            self.api_requests += 1;
        }
        let faults = &self.faults;
        if nth(faults.every_lost, self.requests) {
            return Some(FaultKind::Lost);
        }
        if nth(faults.every_cut, self.requests) {
            return Some(FaultKind::Truncated);
        }
        if service.is_api() && nth(faults.every_500, self.api_requests) {
            return Some(FaultKind::Internal);
        }
        if service.is_api() && nth(faults.every_429, self.api_requests) {
            return Some(FaultKind::TooManyRequests);
        }
        let share = (mix(mix(self.seed) ^ self.requests) >> 11) as f64 / (1u64 << 53) as f64;
        (share < faults.rate).then(|| {
            self.random_faults += 1;
            [FaultKind::TooManyRequests, FaultKind::Unavailable, FaultKind::Truncated, FaultKind::Lost]
                [(self.random_faults % 4) as usize]
        })
    }
}

/// The state of the middleware: the fault generator and the request log.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    pub generator: Mutex<FaultGenerator>,
    pub requests: Mutex<VecDeque<RecordedRequest>>,
}

impl FaultInjector {
    pub(crate) fn new(seed: u64, faults: Faults) -> FaultInjector {
        FaultInjector { generator: Mutex::new(FaultGenerator::new(seed, faults)), requests: Mutex::default() }
    }

    /// Replaces the faults in force and starts all counts from zero.
    pub(crate) fn set(&self, faults: Faults) {
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        *generator = FaultGenerator::new(generator.seed, faults);
    }
}
