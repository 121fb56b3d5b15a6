//! mediaflow
