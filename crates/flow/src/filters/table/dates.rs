//! Filters of dates and times.

use crate::{
    filters::{
        date_math, dates,
        entries::{TEXT, example, needed, optional},
        filter::{Filter, Gives},
    },
    values::json_kinds::Kinds,
};

pub(super) const DATES: &[Filter] = &[
    Filter {
        name: "date",
        about: "A date or time in another form. It is read from a text such as 2024-05-01T12:00:00Z or Wed, 01 May \
                2024 12:00:00 GMT, from seconds (numbers below 10^11) or milliseconds (all others) since 1970, or from a \
                text or digits of the form `from`. Forms are those of strftime; `zone` is an IANA name. A time without \
                a zone or offset is in `zone`, or else in UTC.",
        takes: TEXT.or(Kinds::INTEGER),
        arguments: &[needed("format", TEXT), optional("zone", TEXT), optional("from", TEXT)],
        gives: Gives::Kinds(TEXT),
        examples: &[
            example("input.at | date('%Y-%m-%d')", r#"{ "at": "2024-05-01T22:30:00Z" }"#, r#""2024-05-01""#),
            example(
                "input.at | date('%d.%m.%Y %H:%M', 'Europe/Stockholm')",
                r#"{ "at": "2024-05-01T22:30:00Z" }"#,
                r#""02.05.2024 00:30""#,
            ),
            example("input.at | date('%Y-%m-%dT%H:%M:%SZ')", r#"{ "at": 1714602600 }"#, r#""2024-05-01T22:30:00Z""#),
            example("input.at | date('%F', 'UTC', '%m/%d/%Y')", r#"{ "at": "05/31/2024" }"#, r#""2024-05-31""#),
        ],
        apply: dates::date,
    },
    Filter {
        name: "date_add",
        about: "The date or time that is a duration later, or earlier if it is negative: '1 month', '-90 days', '2h 30m' or P1M of ISO 8601. Days and longer are those of the calendar in `zone`, UTC if not given. A date without a time of day stays one if the duration has days and longer only.",
        takes: TEXT.or(Kinds::INTEGER),
        arguments: &[needed("duration", TEXT), optional("zone", TEXT)],
        gives: Gives::Kinds(TEXT),
        examples: &[
            example(
                "input.at | date_add('-7 days')",
                r#"{ "at": "2024-05-01T12:00:00Z" }"#,
                r#""2024-04-24T12:00:00Z""#,
            ),
            example("'2024-01-31' | date_add('1 month')", "{}", r#""2024-02-29""#),
            example(
                "'2024-03-30T12:00:00+01:00' | date_add('1 day', 'Europe/Stockholm')",
                "{}",
                r#""2024-03-31T12:00:00+02:00""#,
            ),
        ],
        apply: date_math::date_add,
    },
    Filter {
        name: "date_diff",
        about: "The time from another date or time to this one in seconds, minutes, hours, days or weeks. Negative if this one is earlier.",
        takes: TEXT.or(Kinds::INTEGER),
        arguments: &[needed("other", TEXT.or(Kinds::INTEGER)), needed("unit", TEXT)],
        gives: Gives::Kinds(Kinds::NUMBER),
        examples: &[
            example("'2024-05-03' | date_diff('2024-05-01', 'days')", "{}", "2"),
            example(
                "input.end | date_diff(input.start, 'minutes')",
                r#"{ "start": "2024-05-01T12:00:00Z", "end": "2024-05-01T13:30:00Z" }"#,
                "90",
            ),
        ],
        apply: date_math::date_diff,
    },
];
