//! Parameters of header values (RFC 9110 section 5.6.6): `; name=value`, where a value may be a quoted string.
//!
//! The reader is lenient where servers are careless and the meaning is clear: a value without quotes may contain
//! spaces, a parameter may be empty, and a quoted string may lack its end. The page "Headers with parameters have a
//! reader of our own" in `docs/decisions` says which crates were compared with it.

/// Splits a text at the first separator that is not in a quoted string. The second part is without the separator.
pub(crate) fn split_unquoted(text: &str, separator: char) -> (&str, Option<&str>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => return (&text[..at], Some(&text[at + c.len_utf8()..])),
            _ => {}
        }
    }
    (text, None)
}

/// Returns the value of the first parameter with this name, in a text such as `a=1; b="2"`. Case does not matter.
pub(crate) fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = Some(parameters);
    while let Some(text) = rest {
        let (one, after) = split_unquoted(text, ';');
        let named = one.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        if let Some((_, value)) = named {
            return Some(unquoted(value.trim()));
        }
        rest = after;
    }
    None
}

/// Returns the text of a quoted string, or a text without quotes as it is. Only quotes and backslashes need a backslash
/// before them. One before another character is kept: it is most likely part of a Windows path.
fn unquoted(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::new();
    let mut rest = quoted.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some(next @ ('"' | '\\'))) => {
                text.push(*next);
                rest.next();
            }
            ('"', _) => break,
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_quoted_strings_separate_nothing() {
        assert_eq!(split_unquoted(r#"a="x,\",y", b"#, ','), (r#"a="x,\",y""#, Some(" b")));
        assert_eq!(split_unquoted("a, b", ','), ("a", Some(" b")));
        assert_eq!(split_unquoted(r#"a="x, b"#, ','), (r#"a="x, b"#, None));
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let text = r#"; A=1 ; b = "x;y\"z\\" ;; flag; c="C:\a\b"; a=2; d=two words; e="open"#;
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some(r#"x;y"z\"#)),
            ("c", Some(r"C:\a\b")),
            ("d", Some("two words")),
            ("e", Some("open")),
            ("flag", None),
            ("y", None),
        ] {
            assert_eq!(parameter(text, name).as_deref(), value, "{name}");
        }
    }
}
