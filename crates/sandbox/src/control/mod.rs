//! The sandbox's own pages and its report.

mod control;
mod report;

pub(crate) use control::serve;
pub use report::Report;
pub(crate) use report::report;
