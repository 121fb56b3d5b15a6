//! The filters expressions have, and no others: each bounded in what it can cost.
//!
//! | filter | gives |
//! | --- | --- |
//! | `default(x)` | `x` where the value is missing or null |
//! | `upper`, `lower`, `trim` | the text changed so |
//! | `length` | how many characters, items or members |
//! | `first`, `last` | that item of a list |
//! | `join(separator)` | a list as one text |
//! | `split(separator)` | a text as a list |
//! | `map(path)` | of each item of a list the value at a path such as `file.fileName`; items without it are left out |
//! | `string`, `int` | the value as text, as whole number |
//! | `json` | the value as JSON text |

use minijinja::{Environment, Error, ErrorKind, Value, filters, tests};

use crate::expression::OUTPUT_LIMIT;

pub(crate) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter(
        "default",
        |value: Value, other: Value| {
            if value.is_undefined() || value.is_none() { other } else { value }
        },
    );
    environment.add_filter("upper", |text: String| text.to_uppercase());
    environment.add_filter("lower", |text: String| text.to_lowercase());
    environment.add_filter("trim", |text: String| text.trim().to_owned());
    environment.add_filter("length", filters::length);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("int", filters::int);
    environment.add_filter("string", |value: Value| value.to_string());
    environment.add_filter("join", join);
    environment.add_filter("split", split);
    environment.add_filter("map", map);
    environment.add_filter("json", |value: Value| {
        serde_json::to_string(&value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
    });
    environment.add_test("defined", tests::is_defined);
    environment.add_test("none", tests::is_none);
}

fn join(list: Value, separator: Option<String>) -> Result<String, Error> {
    let separator = separator.unwrap_or_default();
    let mut text = String::new();
    for (index, item) in list.try_iter()?.enumerate() {
        if index > 0 {
            text.push_str(&separator);
        }
        text.push_str(&item.to_string());
        if text.len() > OUTPUT_LIMIT {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("join gives more than {OUTPUT_LIMIT} bytes")));
        }
    }
    Ok(text)
}

fn split(text: String, separator: String) -> Result<Vec<String>, Error> {
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "split needs a separator"));
    }
    Ok(text.split(&separator).map(str::to_owned).collect())
}

fn map(list: Value, path: String) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for item in list.try_iter()? {
        let mut value = item;
        for name in path.split('.') {
            value = if value.is_undefined() || value.is_none() { Value::UNDEFINED } else { value.get_attr(name)? };
        }
        if !value.is_undefined() {
            found.push(value);
        }
    }
    Ok(found)
}
