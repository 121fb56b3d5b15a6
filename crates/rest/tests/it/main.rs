//! The REST client seen from outside, against servers on loopback.

mod batch;
mod calls;
mod check;
mod discover;
mod download;
mod faults;
mod pages;
mod sign_in;
mod support;
mod token_answers;
mod tokens;
mod upload;
