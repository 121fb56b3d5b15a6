//! Every form in which services ask for a wait.

use proptest::prelude::*;

use super::*;

/// The `Date` of the responses, and the same in seconds since 1970. It is years behind the clock of this machine.
const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
const DATED: u64 = 1_445_412_480;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

/// The wait of a response with this status, these headers and a `Date`, in milliseconds.
fn asked(status: u16, pairs: &[(&'static str, &str)], body: &str) -> Option<u128> {
    let mut headers = headers(pairs);
    headers.insert("date", DATE.parse().unwrap());
    retry_after(status.try_into().unwrap(), &headers, body).map(|wait| wait.as_millis())
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
    fn a_wait_is_read_in_each_form(seconds in 0u64..100_000, now in 1_100_000_000u64..2_000_000_000, spaces in " {0,2}") {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let wanted = Some(Duration::from_secs(seconds.min(86_400)));
        let read = |date: &str, text: &str| {
            retry_after(StatusCode::TOO_MANY_REQUESTS, &headers(&[("date", date), ("retry-after", text)]), "")
        };
        let date = httpdate::fmt_http_date(at(now));
        let until = now + seconds;
        let (minutes, rest) = (seconds / 60, seconds % 60);
        for text in [
            format!("{spaces}{seconds}{spaces}"), format!("{seconds}.0"), format!("\"{seconds}\""), format!("{seconds}s"),
            format!("{seconds} seconds"), format!("PT{seconds}S"), format!("pt{seconds}s"), format!("{minutes}m{rest}s"),
            format!("{:02}:{:02}:{rest:02}", minutes / 60, minutes % 60), until.to_string(), format!("{until}000"),
            jiff::Timestamp::from_second(until as i64).unwrap().to_string(),
            httpdate::fmt_http_date(at(until)).replace("GMT", "+0000"),
        ] {
            prop_assert_eq!(read(&date, &text), wanted, "{:?}", text);
        }
        for (date, until) in dates(at(now)).iter().zip(dates(at(until))) {
            prop_assert_eq!(read(date, &until), wanted, "{} {}", date, until);
        }
    }

    #[test]
    fn no_header_and_no_body_makes_a_wait_longer_than_a_day(text in "[ -~]{0,40}", body in "[ -~]{0,60}", at in 0usize..20) {
        let names = [&IN_MILLISECONDS[..], &IN_SECONDS, &RESETS, &["ratelimit", "ratelimit-policy"]].concat();
        let headers = headers(&[(names[at % names.len()], &text)]);
        for status in [200, 403, 429, 503] {
            let wait = retry_after(status.try_into().unwrap(), &headers, &format!("try again in {body}"));
            prop_assert!(wait.is_none_or(|wait| wait <= LONGEST));
        }
    }
}

#[test]
fn retry_after_in_all_forms() {
    let hour = (DATED + 3600).to_string();
    let hour_in_ms = format!("{hour}123");
    for (value, expected) in [
        ("120", 120_000),
        ("0", 0),
        ("1.5", 1_500),
        (".25", 250),
        ("-5", 0),
        ("1e2", 100_000),
        ("99999999999999999999999", 86_400_000),
        ("30s", 30_000),
        ("1500ms", 1_500),
        ("12 s", 12_000),
        ("2 minutes", 120_000),
        ("1h30m", 5_400_000),
        ("6m0s", 360_000),
        ("PT1H", 3_600_000),
        ("P1D", 86_400_000),
        ("P30D", 86_400_000),
        ("00:12:34", 754_000),
        ("0.00:12:34", 754_000),
        ("1.02:03:04", 86_400_000),
        (&hour, 3_600_000),
        (&hour_in_ms, 3_600_123),
        ("Wed, 21 Oct 2015 07:30:00 GMT", 120_000),
        ("Wednesday, 21-Oct-15 07:30:00 GMT", 120_000),
        ("Wed Oct 21 07:30:00 2015", 120_000),
        ("Wed, 21 Oct 2015 09:30:00 +0200", 120_000),
        ("2015-10-21T07:30:00Z", 120_000),
        ("2015-10-21T07:30:00.500+00:00", 120_500),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400_000),
        ("7, 9", 9_000),
        ("120, Wed, 21 Oct 2015 07:29:00 GMT", 120_000),
        ("Wed, 21 Oct 2015 07:29:00 GMT, Wed, 21 Oct 2015 07:31:00 GMT", 180_000),
        ("soon, 7", 7_000),
    ] {
        for status in [429, 503, 403] {
            assert_eq!(asked(status, &[("retry-after", value)], ""), Some(expected), "{status} {value:?}");
        }
    }
    // A throttle whose wait cannot be read: a minute. A 403 is then about permissions.
    for value in ["soon", "NaN", "inf", "1000000000", "", " ", ",", "\"\""] {
        for (status, expected) in [(429, Some(60_000)), (503, Some(60_000)), (403, None)] {
            assert_eq!(asked(status, &[("retry-after", value)], ""), expected, "{status} {value:?}");
        }
    }
    // Of other responses, only what can be read counts.
    assert_eq!(asked(200, &[("retry-after", "30s")], ""), Some(30_000));
    for (status, value) in [(200, "soon"), (500, "soon"), (404, "later"), (500, ""), (200, "")] {
        assert_eq!(asked(status, &[("retry-after", value)], ""), None, "{status} {value:?}");
    }
    assert_eq!(retry_after(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), ""), None);
}

#[test]
fn headers_of_other_names_are_read() {
    let minute = (DATED + 60).to_string();
    let minute_in_ms = format!("{minute}000");
    for (pairs, expected) in [
        (&[("retry-after-ms", "1500"), ("retry-after", "2")][..], 1_500),
        (&[("x-ms-retry-after-ms", "1500.5"), ("retry-after", "2")], 1_500),
        (&[("retry-after", "9"), ("retry-after-ms", "20"), ("retry-after-ms", "30")], 30),
        (&[("retry-after-ms", "soon"), ("retry-after", "2")], 2_000),
        (&[("retry-after", "1"), ("retry-after", "7")], 7_000),
        (&[("x-retry-after", "7")], 7_000),
        (&[("ratelimit-reset", "50")], 50_000),
        (&[("x-ratelimit-reset", "50")], 50_000),
        (&[("x-ratelimit-reset", &*minute)], 60_000),
        (&[("x-ratelimit-reset", &*minute_in_ms)], 60_000),
        (&[("x-rate-limit-reset", &*minute)], 60_000),
        (&[("x-rate-limit-reset", "2015-10-21T07:29:00Z")], 60_000),
        (&[("x-ratelimit-reset-after", "1.25")], 1_250),
        (&[("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "6m0s")], 360_000),
        (&[("ratelimit", "\"default\";r=0;t=30")], 30_000),
        (&[("ratelimit", "\"burst\";r=0;t=3, \"daily\";r=0;t=300")], 300_000),
        (&[("ratelimit", "limit=100, remaining=0, reset=40")], 40_000),
        (&[("ratelimit", "\"default\";r=0"), ("ratelimit-policy", "\"default\";q=100;w=60")], 60_000),
        // The service's own wait comes before the end of a window.
        (&[("retry-after", "2"), ("x-ratelimit-reset", "50")], 2_000),
    ] {
        assert_eq!(asked(429, pairs, ""), Some(expected), "{pairs:?}");
        let spent = [pairs, &[("x-ratelimit-remaining", "0")]].concat();
        assert_eq!(asked(503, &spent, ""), Some(expected), "{pairs:?}");
        assert_eq!(asked(403, &spent, ""), Some(expected), "{pairs:?}");
    }
    // Every response of such a service has these headers.
    let [left, spent] = ["5", "0"].map(|left| [("x-ratelimit-remaining", left), ("x-ratelimit-reset", "50")]);
    for status in [403, 503] {
        assert_eq!((asked(status, &left, ""), asked(status, &spent, "")), (None, Some(50_000)), "{status}");
    }
    assert_eq!(asked(200, &spent, ""), None);
    // Only a wait of its own shows that a 503 had no effect, so that a create may be repeated.
    assert!(names_wait(&headers(&[("retry-after", "7")])) && !names_wait(&headers(&spent)));
}

#[test]
fn a_stated_quota_has_a_size_a_rest_and_an_end() {
    let hour = (DATED + 3600).to_string();
    let quota = |limit, left, ends_in| Some(Quota { limit, left, ends_in: Duration::from_secs(ends_in) });
    for (pairs, expected) in [
        (
            &[("ratelimit-limit", "100"), ("ratelimit-remaining", "40"), ("ratelimit-reset", "50")][..],
            quota(100, 40, 50),
        ),
        (
            &[("x-ratelimit-limit", "100, 100;w=3600"), ("x-ratelimit-remaining", "40"), ("x-ratelimit-reset", &*hour)],
            quota(100, 40, 3600),
        ),
        (&[("ratelimit", "limit=100, remaining=40, reset=50")], quota(100, 40, 50)),
        (
            &[
                ("ratelimit", "\"burst\";r=3;t=1, \"daily\";r=40;t=300"),
                ("ratelimit-policy", "\"burst\";q=5;w=1, \"daily\";q=100;w=86400"),
            ],
            quota(100, 40, 300),
        ),
        (&[("ratelimit", "\"daily\";r=40"), ("ratelimit-policy", "\"daily\";q=100;w=86400")], quota(100, 40, 86_400)),
        (&[("ratelimit", "\"daily\";r=40;t=300")], None),
        (&[("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "40")], None),
        (&[("x-ratelimit-remaining", "40"), ("x-ratelimit-reset", "50")], None),
        (&[("x-ratelimit-limit", "9"), ("x-ratelimit-remaining", "40"), ("x-ratelimit-reset", "50")], None),
        (&[("x-ratelimit-limit", "0"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "50")], None),
        (&[("x-ratelimit-limit", "many"), ("x-ratelimit-remaining", "few"), ("x-ratelimit-reset", "soon")], None),
        (&[], None),
    ] {
        let mut headers = headers(pairs);
        headers.insert("date", DATE.parse().unwrap());
        assert_eq!(stated_quota(&headers), expected, "{pairs:?}");
    }
}

#[test]
fn words_in_a_body_are_read() {
    for (body, expected) in [
        ("Rate limit is exceeded. Try again in 25 seconds.", 25_000),
        ("Out of call volume quota. Quota will be replenished in 00:12:34.", 754_000),
        ("Out of call volume quota. Quota will be replenished in 1.02:03:04.", 86_400_000),
        (
            r#"{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 02:00:00." }"#,
            7_200_000,
        ),
        (r#"{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 1 second." }"#, 1_000),
        ("Too many requests, please wait 30 seconds", 30_000),
        ("Retry after: 5 minutes", 300_000),
        ("slow down: retry in 7", 7_000),
        (r#"{ "retry_after": 1.5 }"#, 1_500),
        (r#"{ "error": { "retryAfterSeconds": "20" } }"#, 20_000),
        (r#"{ "retry_after_ms": 250 }"#, 250),
    ] {
        assert_eq!(asked(429, &[], body), Some(expected), "{body}");
        assert_eq!(asked(403, &[], body), Some(expected), "{body}");
        assert_eq!(asked(200, &[], body), None, "a body of data says nothing: {body}");
    }
    for body in ["", "forbidden", "try again in a while", "try again in the morning", "{}", "[1]"] {
        assert_eq!(asked(429, &[], body), None, "{body}");
    }
}
