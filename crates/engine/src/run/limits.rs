//! Limits on what one run may take of the machine. The error of each limit says what was exceeded, and the number.

use std::{io, time::Duration};

use serde_json::Value;
use trunkline_core::{Error, ErrorDetail, ErrorKind, Result, check_value_memory, memory_of};

/// Limits of an engine's runs. The limits of the flow document itself (depth, number of steps) are fixed.
#[derive(Clone, Debug)]
pub struct RunLimits {
    /// The largest number of items of an `each` over a list. An `each` over an action that lists has no such limit.
    pub items: usize,
    /// The largest size of a step's output, a run's input or a signal's payload, in bytes of JSON. Files do not count:
    /// values only refer to them.
    pub payload: usize,
    /// The longest time of a run whose flow has no timeout, and the longest timeout that a flow may have.
    pub run_time: Duration,
    /// The largest number of recorded steps of a run.
    pub recorded: u64,
}

/// The deepest nesting of lists and objects in a step's output, a run's input or a signal's payload. The events of the
/// journal and the responses of the API wrap these values in a few levels more, and readers of JSON stop at
/// [`MAX_NESTING`](trunkline_core::MAX_NESTING): a deeper value could be stored, but not read again.
pub const VALUE_NESTING: usize = 100;

impl Default for RunLimits {
    fn default() -> Self {
        RunLimits {
            items: 100_000,
            payload: 4 * 1024 * 1024,
            run_time: Duration::from_secs(90 * 24 * 60 * 60),
            recorded: 10_000_000,
        }
    }
}

impl RunLimits {
    /// Fails with `limit` if a run that has recorded this many steps must not record another one.
    pub(crate) fn recorded(&self, steps: u64) -> Result<()> {
        if steps < self.recorded {
            return Ok(());
        }
        let error = Error::new(ErrorKind::Limit, format!("the run has recorded {} steps, the limit", self.recorded));
        Err(error.hint("divide the work among several runs").with_detail(ErrorDetail::EndsRun))
    }

    /// Fails with `limit` if the value is larger than [`RunLimits::payload`], is nested deeper than [`VALUE_NESTING`], or
    /// takes more than [`VALUE_MEMORY`](trunkline_core::VALUE_MEMORY); `what` names it in the error.
    pub(crate) fn payload(&self, what: &str, value: &Value) -> Result<()> {
        if is_deeper(value, VALUE_NESTING) {
            let message = format!("{what} is nested more than {VALUE_NESTING} levels deep, which is the limit");
            return Err(Error::new(ErrorKind::Limit, message).hint("pass a flatter value, or the JSON as a text"));
        }
        let size = json_size(value);
        if size > self.payload {
            let message = format!("{what} is {size} bytes of JSON; the limit is {}", self.payload);
            return Err(Error::new(ErrorKind::Limit, message).hint("pass files, ids or one page at a time instead"));
        }
        check_value_memory(what, memory_of(value))
    }
}

/// Returns the size of a value in bytes of JSON.
pub(crate) fn json_size(value: &Value) -> usize {
    struct ByteCounter(usize);
    impl io::Write for ByteCounter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = ByteCounter(0);
    // Neither the value nor the counter can fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let is_deeper = |part: &Value| is_deeper(part, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(is_deeper),
        Value::Object(members) => levels == 0 || members.values().any(is_deeper),
        _ => false,
    }
}
