//! The waits between the tries of a call.
//!
//! The idea: exponential backoff with full jitter, but never less than the service asks for.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use http::{HeaderMap, header};
use tokio::time::Instant;
use trunkline_core::{Error, Retry};

use super::limits::ClientLimits;

/// The waits between the tries of one call.
pub(crate) struct Waits {
    steps: ExponentialBackoff,
    longest: Duration,
    deadline: Option<Instant>,
}

impl Waits {
    pub(crate) fn new(limits: &ClientLimits, deadline: Option<Instant>) -> Waits {
        let steps = ExponentialBuilder::new()
            .with_min_delay(limits.first_wait)
            .with_max_delay(limits.own_wait)
            .with_factor(2.0)
            .with_max_times(limits.tries.saturating_sub(1) as usize)
            .build();
        Waits { steps, longest: limits.longest_wait, deadline }
    }

    /// Returns the wait after this failure. Returns `None` if the call should fail: the failure is final, there are no
    /// tries left, or the wait would be too long or would pass the deadline.
    pub(crate) fn after(&mut self, error: &Error) -> Option<Duration> {
        let asked = match error.retryable() {
            Retry::Never => return None,
            Retry::Backoff => Duration::ZERO,
            // The engine can wait that long without holding a permit, and repeats the call later.
            Retry::After(asked) if asked > self.longest => return None,
            Retry::After(asked) => asked,
        };
        // backon would add its jitter to the step. Full jitter spreads callers over the whole step.
        let own = self.steps.next()?.mul_f64(rand::random::<f64>());
        let wait = if asked.is_zero() { own } else { asked.max(own) + own / 10 };
        let in_time = self.deadline.is_none_or(|deadline| Instant::now() + wait < deadline);
        in_time.then_some(wait)
    }
}

/// The longest `Retry-After` that is believed. A larger value is a mistake that would block the connection for years.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The headers of services on Azure with the same meaning in milliseconds. They are more precise and take precedence.
const IN_MILLISECONDS: [&str; 2] = ["retry-after-ms", "x-ms-retry-after-ms"];

/// Returns the wait of a `Retry-After` header (RFC 9110 section 10.2.3) in seconds or as a date, at most one day. A
/// date is compared with the `Date` of the same response, because the clock of this machine may be wrong. A date in the
/// past means no wait. Of several values, the longest counts. Returns `None` without a valid header.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let texts = |name: &str| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let milliseconds = IN_MILLISECONDS.into_iter().find_map(|name| texts(name).filter_map(number).max());
    let seconds = |asked: &str| {
        number(asked).map(Duration::from_secs).or_else(|| {
            let until = httpdate::parse_http_date(asked).ok()?;
            let date = texts(header::DATE.as_str()).find_map(|date| httpdate::parse_http_date(date).ok());
            Some(until.duration_since(date.unwrap_or_else(SystemTime::now)).unwrap_or_default())
        })
    };
    let in_seconds = || texts(header::RETRY_AFTER.as_str()).filter_map(seconds).max();
    let asked = milliseconds.map(Duration::from_millis).or_else(in_seconds);
    asked.map(|asked| asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use trunkline_core::ErrorKind;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// Returns a time in the three forms of RFC 9110 section 5.6.7.
    fn dates(at: SystemTime) -> [String; 3] {
        let imf = httpdate::fmt_http_date(at);
        let [day, date, month, year, time, _] = imf.split(' ').collect::<Vec<_>>()[..] else { panic!("{imf}") };
        let long = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        let long = long.iter().find(|one| one.starts_with(&day[..3])).unwrap();
        let rfc_850 = format!("{long}, {date}-{month}-{} {time} GMT", &year[2..]);
        let asctime = format!("{} {month} {:>2} {time} {year}", &day[..3], date.trim_start_matches('0'));
        [imf, rfc_850, asctime]
    }

    proptest! {
        #[test]
        fn a_wait_is_read_in_each_form(seconds in 0u64..100_000, now in 1_000_000_000u64..2_000_000_000, spaces in " {0,2}") {
            let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let wanted = Some(Duration::from_secs(seconds.min(86_400)));
            let written = format!("{spaces}{seconds}{spaces}");
            prop_assert_eq!(retry_after(&headers(&[("retry-after", &written)])), wanted);
            for (date, until) in dates(at(now)).iter().zip(dates(at(now + seconds))) {
                prop_assert_eq!(retry_after(&headers(&[("date", date), ("retry-after", &until)])), wanted, "{} {}", date, until);
            }
        }

        #[test]
        fn no_header_makes_a_wait_longer_than_a_day(text in "[ -~]{0,40}") {
            prop_assert!(retry_after(&headers(&[("retry-after", &text)])).is_none_or(|wait| wait <= LONGEST_RETRY_AFTER));
        }
    }

    #[test]
    fn of_several_waits_the_longest_counts() {
        for (pairs, expected) in [
            (&[("retry-after", "1"), ("retry-after", "7")][..], Some(7_000)),
            (&[("retry-after", "soon"), ("retry-after", "7")], Some(7_000)),
            (&[("retry-after", "9"), ("retry-after-ms", "20"), ("retry-after-ms", "30")], Some(30)),
            (&[("retry-after", "7, 9")], None),
        ] {
            let mut all = HeaderMap::new();
            for (name, value) in pairs {
                all.append(*name, value.parse().unwrap());
            }
            assert_eq!(retry_after(&all).map(|wait| wait.as_millis()), expected, "{pairs:?}");
        }
    }

    #[test]
    fn retry_after_in_all_forms() {
        let seconds = |value: &str| retry_after(&headers(&[("retry-after", value)])).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 5 "), Some(5));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(86_400));
        assert_eq!(seconds("Fri, 31 Dec 9999 23:59:59 GMT"), Some(86_400));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0), "a date in the past");
        for invalid in ["", "soon", "-5", "1.5", "12 s"] {
            assert_eq!(seconds(invalid), None, "{invalid:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
        // The clock of the service counts, although it is years behind this one.
        let dated = [("date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2015 07:30:00 GMT")];
        assert_eq!(retry_after(&headers(&dated)), Some(Duration::from_secs(120)));
        for name in IN_MILLISECONDS {
            let both = [(name, "1500"), ("retry-after", "2")];
            assert_eq!(retry_after(&headers(&both)), Some(Duration::from_millis(1500)), "{name}");
        }
        assert_eq!(
            retry_after(&headers(&[("retry-after-ms", "1.5"), ("retry-after", "2")])),
            Some(Duration::from_secs(2))
        );
    }

    fn error(retry: Retry) -> Error {
        Error::new(ErrorKind::Unavailable, "down").retry(retry)
    }

    #[test]
    fn waits_grow_and_end() {
        let limits = ClientLimits::default();
        for _ in 0..200 {
            let mut waits = Waits::new(&limits, None);
            for cap in [250, 500, 1000, 2000] {
                assert!(waits.after(&error(Retry::Backoff)).unwrap() <= Duration::from_millis(cap));
            }
            assert_eq!(waits.after(&error(Retry::Backoff)), None, "five tries are enough");
        }
        assert_eq!(Waits::new(&limits, None).after(&error(Retry::Never)), None);
    }

    #[test]
    fn waits_at_least_as_long_as_asked_and_never_longer_than_the_limit() {
        let limits = ClientLimits::default();
        let wait = |seconds| Waits::new(&limits, None).after(&error(Retry::After(Duration::from_secs(seconds))));
        assert!(wait(7).is_some_and(|wait| wait >= Duration::from_secs(7) && wait < Duration::from_secs(8)));
        assert!(wait(900).is_some_and(|wait| wait >= Duration::from_secs(900)));
        assert_eq!(wait(901), None);
    }

    #[test]
    fn gives_up_immediately_if_the_deadline_would_pass() {
        let deadline = Some(Instant::now() + Duration::from_secs(3));
        let mut waits = Waits::new(&ClientLimits::default(), deadline);
        assert_eq!(waits.after(&error(Retry::After(Duration::from_secs(10)))), None);
        assert!(waits.after(&error(Retry::After(Duration::from_secs(1)))).is_some());
    }
}
