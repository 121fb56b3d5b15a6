//! Tests of the REST client through its public API, against servers on the loopback interface.

mod answers;
mod batch;
mod calls;
mod check;
mod contexts;
mod discover;
mod download;
mod faults;
mod hiccups;
mod keep_alive;
mod late_responses;
mod numbers;
mod pages;
mod sign_in;
mod support;
mod token_answers;
mod tokens;
mod upload;
