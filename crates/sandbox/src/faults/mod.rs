//! The faults of the services: which request fails, and how.

mod generator;

pub(crate) use generator::{FaultInjector, FaultKind};
