//! Which numbers a JSON value keeps.
//!
//! A number is kept as a whole number of 64 bits, or else as a binary floating-point number of 64 bits (IEEE 754), which
//! holds 15 to 17 digits. RFC 8259 section 6 leaves open what a reader does with a number that fits neither. Serde's own
//! reader rounds it silently, and so two ids can become one. Our readers refuse it.

/// The most digits that a floating-point number of 64 bits can tell apart.
const MAX_DIGITS: usize = 17;

/// The advice where a number cannot be kept.
pub const NUMBER_HINT: &str = "declare it as text, in quotes";

/// Returns why the value that a JSON number stands for cannot be kept, or `None` if it can be kept or if the text is not
/// a JSON number. A number that is kept may be written in another way: `1.10` as `1.1`, and `1e2` as `100.0`.
///
/// ```
/// # use trunkline_core::lossy_number;
/// assert_eq!(lossy_number("18446744073709551615"), None);
/// assert_eq!(lossy_number("0.30000000000000004"), None);
/// assert!(lossy_number("18446744073709551616").is_some());
/// assert!(lossy_number("12345678901234567.89").is_some());
/// ```
pub fn lossy_number(text: &str) -> Option<&'static str> {
    // Fewer than 16 digits with a small exponent are always kept.
    if text.len() < 16 && !text.contains(['e', 'E']) {
        return None;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    if exponent == "0" && !text.contains(['.', 'e', 'E']) {
        let fits = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        return (is_number(text) && !fits).then_some("it has more than 64 bits");
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0').trim_end_matches('0');
    if !is_number(text) || digits.is_empty() {
        return None;
    }
    if digits.len() > MAX_DIGITS {
        return Some("it has more than 17 digits");
    }
    let Ok(value) = text.parse::<f64>() else { return None };
    let size = magnitude(mantissa, exponent);
    let is_same = |kept: String| {
        let (kept, exponent) = kept.split_once('e').unwrap_or((&kept, ""));
        kept.chars().filter(char::is_ascii_digit).eq(digits.chars()) && exponent.parse().ok() == size
    };
    // The value with the same number of digits, or with as few as possible: the two differ where a half is rounded.
    let value = value.abs();
    let is_kept = is_same(format!("{value:.*e}", digits.len() - 1)) || is_same(format!("{value:e}"));
    (!is_kept).then_some("a floating-point number of 64 bits does not hold all its digits")
}

/// Returns the message that a number is refused. `place` is its JSON pointer, and may be empty.
pub fn lossy_number_message(number: &str, place: &str, reason: &str) -> String {
    let number = match number.char_indices().nth(40) {
        Some((end, _)) => format!("{}..", &number[..end]),
        None => number.to_owned(),
    };
    let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
    format!("the number {number}{place} cannot be kept exactly: {reason}; {NUMBER_HINT}")
}

/// Returns the power of ten of a number's first digit that is not zero.
fn magnitude(mantissa: &str, exponent: &str) -> Option<i64> {
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let first = match whole.trim_start_matches('0').len() {
        0 => -1 - i64::try_from(fraction.len() - fraction.trim_start_matches('0').len()).ok()?,
        digits => i64::try_from(digits).ok()? - 1,
    };
    exponent.parse::<i64>().ok()?.checked_add(first)
}

/// Returns whether a text is a number by the grammar of RFC 8259 section 6.
pub(crate) fn is_number(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok_and(|raw| raw.get() == text)
        && text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{RepeatedMember, read_json};

    /// Numbers as they are written, with what a reader yields: JSON, or nothing if it is refused.
    const NUMBERS: &[(&str, Option<&str>)] = &[
        ("0", Some("0")),
        ("-0", Some("-0.0")),
        ("-0.0", Some("-0.0")),
        ("1.0", Some("1.0")),
        ("1.10", Some("1.1")),
        ("1e2", Some("100.0")),
        ("1E+2", Some("100.0")),
        ("1e-2", Some("0.01")),
        ("10.000000000000000000", Some("10.0")),
        ("0.000000000000000000000000000001", Some("1e-30")),
        ("9007199254740993", Some("9007199254740993")),
        ("18446744073709551615", Some("18446744073709551615")),
        ("-9223372036854775808", Some("-9223372036854775808")),
        ("0.1", Some("0.1")),
        ("818118637583497.3", Some("818118637583497.2")),
        ("818118637583497.2", Some("818118637583497.2")),
        ("0.30000000000000004", Some("0.30000000000000004")),
        ("59.329300000000003", Some("59.3293")),
        ("1.7976931348623157e308", Some("1.7976931348623157e+308")),
        ("2.2250738585072014e-308", Some("2.2250738585072014e-308")),
        ("5e-324", Some("5e-324")),
        ("1e20", Some("1e+20")),
        ("0e999999999999", Some("0.0")),
        ("18446744073709551616", None),
        ("18446744073709551617", None),
        ("-9223372036854775809", None),
        ("12345678901234567890123", None),
        ("100000000000000000000", None),
        ("12345678901234567.89", None),
        ("9007199254740993.0", None),
        ("90071992547409.93e2", None),
        ("0.1000000000000000055511151231257827", None),
        ("0.12345678901234567", None),
        ("1e400", None),
        ("-1e400", None),
        ("1e-400", None),
        ("1e99999999999999999999", None),
        ("4e-324", None),
    ];

    #[test]
    fn a_number_is_kept_or_refused() {
        for (text, expected) in NUMBERS {
            let read = read_json(text.as_bytes(), RepeatedMember::Refused).ok().map(|value| value.to_string());
            assert_eq!(read.as_deref(), *expected, "{text}");
            assert_eq!(lossy_number(text).is_none(), expected.is_some(), "{text}");
        }
    }

    #[test]
    fn a_refused_number_is_named_with_its_place_and_the_cure() {
        let text =
            "{\"a/b\": [{\"x\": 1, \"n\": \"18446744073709551616 \\\" 1e400\"},\n {\"id\": 18446744073709551616}]}";
        let error = read_json(text.as_bytes(), RepeatedMember::AcceptedIfEqual).unwrap_err();
        assert_eq!((error.line(), error.column()), (2, 9));
        for words in ["18446744073709551616 at /a~1b/1/id", "64 bits", "declare it as text"] {
            assert!(error.to_string().contains(words), "{error}");
        }
        // Without the check, the number is another one.
        assert!(serde_json::from_str::<Value>(text).unwrap().to_string().contains("1.8446744073709552e+19"));
    }

    #[test]
    fn the_parser_reports_what_is_not_a_number() {
        for text in
            ["1.2.3456789012345678", "--12345678901234567890", "1e", "01234567890123456789", "1-23456789012345e"]
        {
            let error = read_json(text.as_bytes(), RepeatedMember::Refused).unwrap_err();
            assert!(!error.to_string().contains("declare"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(digits in "[1-9][0-9]{0,24}", point in 0..25usize, exponent in -330..310i32) {
            let point = point.min(digits.len() - 1);
            for text in [
                digits.clone(),
                format!("-{digits}.0"),
                format!("0.{digits}"),
                format!("{}.{}0", &digits[..=point], &digits[point + 1..]),
                format!("{digits}e{exponent}"),
            ] {
                let read = read_json(text.as_bytes(), RepeatedMember::Refused).ok().map(|value| value.to_string());
                let (written, size) = decimal(&text);
                match read {
                    Some(read) if text == digits => prop_assert_eq!(&read, &text),
                    // 17 digits can name a number that 16 digits name too, and the smallest numbers have fewer digits.
                    Some(read) if written.len() > 15 || size < -290 => {
                        prop_assert!(written.len() <= 17 && read.parse::<f64>() == text.parse(), "{} {}", text, read)
                    }
                    Some(read) => prop_assert_eq!(decimal(&read), (written, size), "{}", text),
                    None => prop_assert!(written.len() > 15 || size.abs() > 290, "{}", text),
                }
            }
        }

        #[test]
        fn a_floating_point_number_is_kept_in_every_usual_notation(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value:?}"), format!("{value:e}"), format!("{value:.16e}")] {
                prop_assert_eq!(lossy_number(&text), None, "{}", text);
            }
        }
    }

    /// Returns the digits of a number without zeros at both ends, and the power of ten of the last one.
    fn decimal(text: &str) -> (String, i32) {
        let (mantissa, exponent) = text.trim_start_matches('-').split_once('e').unwrap_or((text, "0"));
        let mantissa = mantissa.trim_start_matches('-');
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let kept = digits.trim_end_matches('0');
        let zeros = (digits.len() - kept.len()) as i32;
        let size = exponent.parse::<i32>().unwrap() - fraction.len() as i32 + zeros;
        (kept.trim_start_matches('0').to_owned(), size)
    }
}
