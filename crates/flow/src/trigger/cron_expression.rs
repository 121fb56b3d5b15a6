//! Reads a cron expression of five fields.
//!
//! The parser of croner reads an expression in its own, generous way: `1,,2` and `*/61` are valid, and a name of a month
//! is a number in every field. A schedule that means something else than it says starts no runs, or too many of them,
//! without a message, so each field is checked here first. An error says which field, why, and what is allowed.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};

const FORM: &str = "write minute, hour, day of the month, month and day of the week: `30 2 * * 1-5` is half past two on \
                    workdays";

/// One of the five fields.
struct Field {
    name: &'static str,
    min: u16,
    max: u16,
    /// The last number that is not a second name for an earlier one.
    last: u16,
    /// The names of the numbers, in order from `min` on.
    names: &'static [&'static str],
    allowed: &'static str,
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, last: 59, names: &[], allowed: "0 to 59, such as `0,30` or `*/15`" },
    Field { name: "hour", min: 0, max: 23, last: 23, names: &[], allowed: "0 to 23, such as `2` or `8-18/2`" },
    Field { name: "day of the month", min: 1, max: 31, last: 31, names: &[], allowed: "1 to 31 or L, such as `1,15`" },
    Field { name: "month", min: 1, max: 12, last: 12, names: &MONTHS, allowed: "1 to 12 or JAN to DEC, such as `1-6`" },
    Field {
        name: "day of the week",
        min: 0,
        max: 7,
        last: 6,
        names: &DAYS,
        allowed: "0 to 7 or SUN to SAT, such as `1-5`",
    },
];

/// The short forms of whole expressions.
const SHORT: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];

/// What is wrong with an expression, and what is allowed in its place.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) reason: String,
    pub(super) hint: String,
}

/// Reads an expression. The error is about the first field that is not valid.
pub(super) fn read(text: &str) -> Result<Cron, Fault> {
    check(text)?;
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| Fault { reason: error.to_string(), hint: FORM.into() })?;
    // Without this check, each search for a day that no year has would look through all years.
    match cron.find_next_occurrence(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), true) {
        Ok(_) => Ok(cron),
        Err(_) => Err(Fault {
            reason: "none of its months has such a day of the month".into(),
            hint: "choose a day that one of the months has, such as `28`, or `L` for the last day".into(),
        }),
    }
}

fn check(text: &str) -> Result<(), Fault> {
    let fields: Vec<_> = text.split_whitespace().collect();
    if matches!(fields[..], [short] if SHORT.iter().any(|known| known.eq_ignore_ascii_case(short))) {
        return Ok(());
    }
    if fields.len() != FIELDS.len() {
        return Err(Fault { reason: format!("it has {} fields, not five", fields.len()), hint: FORM.into() });
    }
    for (field, text) in FIELDS.iter().zip(fields) {
        let alone = !text.contains(',');
        for part in text.split(',') {
            field.part(part, alone).map_err(|reason| Fault {
                reason: format!("the {} is {text}, and {reason}", field.name),
                hint: format!("write `*` or {} for the {}", field.allowed, field.name),
            })?;
        }
    }
    Ok(())
}

impl Field {
    /// Checks one part of a list. The error says what is wrong.
    fn part(&self, part: &str, alone: bool) -> Result<(), String> {
        if part.is_empty() {
            return Err("a comma in it has no value beside it".into());
        }
        if self.is_special(part) {
            return Ok(());
        }
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (self.number(from, true)?, self.number(to, false)?),
            None if part == "*" && !alone => return Err("`*` is every value, so it is not one of a list".into()),
            None if range == "*" => (self.min, self.last),
            None if step.is_some() => return Err("a step needs `*` or a range before the /".into()),
            None => return self.number(range, true).map(drop),
        };
        if from > to {
            return Err(format!("the range {range} ends before it begins"));
        }
        let Some(step) = step else { return Ok(()) };
        let longest = to - from + 1;
        match digits(step) {
            Some(step) if (1..=longest).contains(&step) => Ok(()),
            _ => Err(format!("the step after the / is not a number between 1 and {longest}")),
        }
    }

    /// Reads a number or a name. `SUN` at the end of a range is the end of the week.
    fn number(&self, text: &str, first: bool) -> Result<u16, String> {
        let mut names = (self.min..).zip(self.names).filter(|(_, name)| name.eq_ignore_ascii_case(text));
        let named = if first { names.next() } else { names.last() };
        match named.map(|(number, _)| number).or_else(|| digits(text)) {
            Some(number) if (self.min..=self.max).contains(&number) => Ok(number),
            Some(_) => Err(format!("{text} is not between {} and {}", self.min, self.max)),
            None if text.is_empty() => Err("a range in it has only one end".into()),
            None => Err(format!("{text} is not known")),
        }
    }

    /// Returns whether it is a day that depends on the month: the last day or workday, the workday nearest to a day, or
    /// the last or nth of a weekday.
    fn is_special(&self, part: &str) -> bool {
        let part = part.to_ascii_uppercase();
        let number = |text: &str| self.number(text, true).is_ok();
        match self.name {
            "day of the month" => part == "L" || part == "LW" || part.strip_suffix('W').is_some_and(number),
            "day of the week" => match part.split_once('#') {
                Some((day, nth)) => number(day) && matches!(nth, "1" | "2" | "3" | "4" | "5"),
                None => part.strip_suffix('L').is_some_and(number),
            },
            _ => false,
        }
    }
}

/// Reads a number of up to four digits, without a sign.
fn digits(text: &str) -> Option<u16> {
    let plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn an_expression_that_means_something_else_than_it_says_is_refused_with_its_field() {
        for (cron, field, reason) in [
            ("", "fields", "0"),
            ("* * * *", "fields", "4"),
            ("0 * * * * *", "fields", "6"),
            ("@reboot", "fields", "1"),
            ("60 * * * *", "minute", "60"),
            ("99999 * * * *", "minute", "99999"),
            ("*/61 * * * *", "minute", "60"),
            ("*/0 * * * *", "minute", "60"),
            ("*/ * * * *", "minute", "60"),
            ("*/-5 * * * *", "minute", "60"),
            ("10-20/15 * * * *", "minute", "11"),
            ("*/5/2 * * * *", "minute", "60"),
            ("5/15 * * * *", "minute", "range"),
            ("1,,2 * * * *", "minute", "comma"),
            (",1 * * * *", "minute", "comma"),
            ("1, * * * *", "minute", "comma"),
            ("5-1 * * * *", "minute", "5-1"),
            ("1- * * * *", "minute", "one end"),
            ("-5 * * * *", "minute", "one end"),
            ("1-2-3 * * * *", "minute", "2-3"),
            ("*,5 * * * *", "minute", "*"),
            ("+5 * * * *", "minute", "+5"),
            ("? * * * *", "minute", "?"),
            ("JAN * * * *", "minute", "JAN"),
            ("0 24 * * *", "hour", "24"),
            ("0 */25 * * *", "hour", "24"),
            ("0 2h * * *", "hour", "2h"),
            ("0 0 0 * *", "day of the month", "0"),
            ("0 0 ? * *", "day of the month", "?"),
            ("0 0 32W * *", "day of the month", "32W"),
            ("0 0 1JAN * *", "day of the month", "1JAN"),
            ("0 0 31 2 *", "day of the month", ""),
            ("0 0 30,31 2 *", "day of the month", ""),
            ("0 0 1 0 *", "month", "0"),
            ("0 0 1 13 *", "month", "13"),
            ("0 0 1 MAI *", "month", "MAI"),
            ("0 0 1 JANUARY *", "month", "JANUARY"),
            ("0 0 1 MON *", "month", "MON"),
            ("0 0 * * 8", "day of the week", "8"),
            ("0 0 * * ?", "day of the week", "?"),
            ("0 0 * * LUN", "day of the week", "LUN"),
            ("0 0 * * FRI-MON", "day of the week", "FRI-MON"),
            ("0 0 * * 5#6", "day of the week", "5#6"),
            ("0 0 * * +1", "day of the week", "+1"),
            ("0 0 * * */8", "day of the week", "7"),
        ] {
            let fault = read(cron).expect_err(cron);
            assert!(fault.reason.contains(field) && fault.reason.contains(reason), "{cron}: {fault:?}");
            assert!(fault.hint.contains('`'), "{cron}: {fault:?}");
        }
    }

    #[test]
    fn an_expression_of_lists_ranges_and_steps_is_read() {
        for cron in [
            "* * * * *",
            " 30  2\t* * 1-5 ",
            "00 08-18/2 * * *",
            "*/60 */24 * * *",
            "0,15,30-45/5 2,3 1-7 jan-Mar,12 mon,WED-fri",
            "0 0 29 2 *",
            "0 0 31 * 0,7",
            "0 0 L * *",
            "0 0 LW,15w * *",
            "0 0 * * 5L,1#2",
            "0 0 * * SAT-SUN",
            "0 0 * * SUN-TUE",
            "0 0 31 2 1",
            "@daily",
            "@Hourly",
        ] {
            assert!(read(cron).is_ok(), "{cron}: {:?}", read(cron));
        }
    }
}
