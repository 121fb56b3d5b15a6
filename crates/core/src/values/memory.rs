//! The memory that JSON takes once it is values.
//!
//! A text of one megabyte can be half a million values, and each takes 72 bytes and more. So a limit on bytes does not
//! limit memory. The estimate is made before the values are: it looks at each byte once and allocates next to nothing.

use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// The most memory that the values of one response, request, input or output may take, in bytes.
pub const VALUE_MEMORY: u64 = 40 << 20;

/// Deeper containers are an error for every reader of JSON, so nothing is counted in them.
pub(crate) const DEPTH: usize = 128;

const VALUE: u64 = size_of::<Value>() as u64;
/// A member of an object: its hash, its name and its value.
const MEMBER: u64 = 8 + size_of::<String>() as u64 + VALUE;
/// What an allocator and the growth of a buffer add to one allocation.
const ALLOCATION: u64 = 16;

/// Returns the memory in bytes that the values of a JSON text take, estimated. A text that is not JSON has some estimate,
/// too.
///
/// ```
/// # use trunkline_core::memory_of_json;
/// assert!(memory_of_json(br#"["a text of some words"]"#) < 300);
/// assert!(memory_of_json("[0,0,0,0,0,0,0,0]".as_bytes()) > 8 * 70);
/// ```
pub fn memory_of_json(json: &[u8]) -> u64 {
    let (mut bytes, mut at, mut open) = (0, 0, Vec::<u64>::new());
    while let Some(byte) = json.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => {
                if open.len() == DEPTH {
                    return bytes;
                }
                open.push(0);
                bytes += VALUE + ALLOCATION;
            }
            b'}' | b']' => bytes += open.pop().map_or(0, members),
            b':' => {
                // The string before it is a name, which has no value of its own.
                bytes = bytes.saturating_sub(VALUE);
                open.last_mut().into_iter().for_each(|names| *names += 1);
            }
            b'"' => {
                at = end_of_string(json, start);
                bytes += VALUE + ALLOCATION + (at - start) as u64;
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                at += json[at..].iter().take_while(part).count();
                bytes += VALUE;
            }
            _ => {}
        }
    }
    bytes + open.into_iter().map(members).sum::<u64>()
}

/// Returns the memory in bytes that a value takes, estimated as [`memory_of_json`] does.
pub fn memory_of(value: &Value) -> u64 {
    VALUE
        + match value {
            Value::String(text) => ALLOCATION + text.len() as u64,
            Value::Array(items) => ALLOCATION + items.iter().map(memory_of).sum::<u64>(),
            Value::Object(all) => {
                let inside = |(name, value): (&String, &Value)| ALLOCATION + name.len() as u64 + memory_of(value);
                ALLOCATION + members(all.len() as u64) + all.iter().map(inside).sum::<u64>()
            }
            _ => 0,
        }
}

/// Fails with `limit` if values would take more than [`VALUE_MEMORY`]. `what` names them in the error.
///
/// # Errors
///
/// `limit` with both numbers.
pub fn check_value_memory(what: &str, bytes: u64) -> Result<()> {
    if bytes <= VALUE_MEMORY {
        return Ok(());
    }
    let message = format!("{what} would take {bytes} bytes of memory as values; the limit is {VALUE_MEMORY}");
    Err(Error::new(ErrorKind::Limit, message).hint("pass fewer values at a time: a smaller page, or fewer fields"))
}

/// Returns what the table of an object with this number of members takes besides its values. An object of one member
/// has room for three.
fn members(count: u64) -> u64 {
    match count {
        0 => 0,
        1..=3 => 3 * MEMBER + 64 - count * VALUE,
        _ => {
            let room = (count * 8 / 7).next_power_of_two();
            room * (MEMBER + 9) - count * VALUE
        }
    }
}

/// Returns the offset after the string that begins here.
pub(crate) fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match json.get(at) {
            None => return json.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_estimate_of_a_text_is_that_of_its_values() {
        for value in [
            json!(null),
            json!([0, 1.5, -2e3, true, null, "text", ["in", []], {}]),
            json!({ "a": 1, "b": { "c": [], "d": "x\"{[:" }, "e": [{ "f": 1 }, { "g": 2, "h": 3, "i": 4, "j": 5 }] }),
            json!((0..10_000).map(|id| json!({ "id": id, "name": format!("item {id}") })).collect::<Vec<_>>()),
        ] {
            let (text, values) = (memory_of_json(value.to_string().as_bytes()), memory_of(&value));
            assert!(text >= values && text <= values + values / 8 + 100, "{text} {values}");
        }
    }

    #[test]
    fn small_texts_of_many_values_are_not_small() {
        for (item, least) in [("0,", 36), ("[],", 28), ("{},", 28), ("[0],", 36), (r#"{"a":0},"#, 45)] {
            let text = format!("[{}0]", item.repeat(1 << 16));
            let times = memory_of_json(text.as_bytes()) / text.len() as u64;
            assert!(times >= least, "{item} {times}");
        }
        let text = format!("\"{}\"", "x".repeat(1 << 20));
        assert!(memory_of_json(text.as_bytes()) < (1 << 20) + 200);
    }

    #[test]
    fn an_estimate_needs_no_memory_itself() {
        assert!(memory_of_json(&vec![b'['; 1 << 20]) < 128 * 100);
        assert!(check_value_memory("it", VALUE_MEMORY).is_ok());
        let error = check_value_memory("the body", VALUE_MEMORY + 1).unwrap_err();
        assert!(error.kind() == ErrorKind::Limit && error.message().contains("41943041"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_estimate(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(memory_of_json(&bytes) < 300 * 1000);
        }
    }
}
