//! Routes and their parameters. A parameter is data: it becomes exactly one segment of the path, or the call is refused
//! before anything is sent. An input that declares it may hold several segments, see [`Slashes`](super::Slashes).
//!
//! The finished URL is compared with the route.

use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result};
use url::Url;

use super::path_value::{Slashes, segments_of};

/// One segment of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Fixed(String),
    Parameter(String),
}

/// The path of a route: `/assets/{assetId}/filename`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Segment>);

impl Path {
    /// Parses the path of a route.
    ///
    /// # Errors
    ///
    /// The byte at which the path is wrong, and a message.
    pub(crate) fn parse(text: &str) -> Result<Path, (usize, String)> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err((0, "the path of a route begins with /".into()));
        };
        let mut segments = Vec::new();
        let mut at = 1;
        for part in rest.split('/').filter(|_| !rest.is_empty()) {
            let segment = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) if is_name(name) => Segment::Parameter(name.to_owned()),
                Some(name) => return Err((at, format!("`{name}` is not the name of an input"))),
                // To some services, a slash at the end makes another path.
                None if part.is_empty() && at == text.len() => Segment::Fixed(String::new()),
                None if part.is_empty() => return Err((at, "a route cannot have an empty segment".into())),
                None if part.contains(['{', '}']) => {
                    return Err((at, format!("`{part}`: a parameter is a whole segment, such as /{{assetId}}/")));
                }
                None if part == "." || part == ".." || !part.chars().all(is_fixed) => {
                    return Err((at, format!("`{part}` cannot be a segment of a route")));
                }
                None => Segment::Fixed(part.to_owned()),
            };
            if segments.contains(&segment) && matches!(segment, Segment::Parameter(_)) {
                return Err((at, format!("{part} occurs twice in the route")));
            }
            segments.push(segment);
            at += part.len() + 1;
        }
        Ok(Path(segments))
    }

    /// Returns the names of the parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Fixed(_) => None,
        })
    }

    /// Makes the URL below `base` with the values of the parameters.
    ///
    /// # Errors
    ///
    /// `invalid_input` for a value that is missing or cannot be a part of the path.
    pub(crate) fn fill<'a>(
        &self,
        base: &Url,
        mut value: impl FnMut(&str) -> (Option<&'a Value>, Slashes),
    ) -> Result<Url> {
        let mut segments = Vec::with_capacity(self.0.len());
        for segment in &self.0 {
            match segment {
                Segment::Fixed(fixed) => segments.push(fixed.clone()),
                Segment::Parameter(name) => {
                    let (value, slashes) = value(name);
                    segments.extend(segments_of(name, value, slashes)?);
                }
            }
        }
        let mut url = base.clone();
        url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), segments.join("/")));
        verify(&url, base, &segments)?;
        Ok(url)
    }
}

/// Returns whether this can be the name of an input.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn is_fixed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:@!$'()*+,;=".contains(c)
}

/// Checks that a URL has the server and the path of `base`, and then exactly these segments.
fn verify(url: &Url, base: &Url, segments: &[String]) -> Result<()> {
    let own = base.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty());
    let mut expected: Vec<&str> = own.chain(segments.iter().map(String::as_str)).collect();
    if segments.is_empty() {
        // The route `/` ends in a slash.
        expected.push("");
    }
    let found: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    let server = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let nothing_else = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if found == expected && server(url) == server(base) && nothing_else {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "the inputs would change the path or the host of the URL")
        .hint("nothing was sent; look for unusual characters in the ids"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use serde_json::json;

    fn base() -> Url {
        Url::parse("https://api.example.com/1").unwrap()
    }

    fn route() -> Path {
        Path::parse("/assets/{id}/keywords").unwrap()
    }

    fn fill(value: &Value) -> Result<Url> {
        fill_with(value, Slashes::Refuse)
    }

    fn fill_with(value: &Value, slashes: Slashes) -> Result<Url> {
        route().fill(&base(), |_| (Some(value), slashes))
    }

    /// Values that try to leave their segment, in every encoding known to us.
    const HOSTILE: &[&str] = &[
        "",
        ".",
        "..",
        "...",
        " ",
        "\t",
        ". .",
        ".. ",
        " ..",
        "/",
        "\\",
        "a/b",
        "a\\b",
        "../x",
        "..\\x",
        "../../users",
        "/etc/passwd",
        "//evil.example/x",
        "\\\\evil.example\\x",
        "https://evil.example/",
        "%2e",
        "%2e%2e",
        "%2E%2E",
        ".%2e",
        "%2e.",
        "%252e%252e",
        "%25252e%25252e",
        "%2f",
        "%2F",
        "a%2fb",
        "%5c",
        "%5C",
        "a%5cb",
        "%252f",
        "%255c",
        "%25252f",
        "%2e%2e%2f",
        "..%2f",
        "..%5c",
        "%2e%2e/",
        "..%c0%af",
        "%c0%ae%c0%ae",
        "%c1%9c",
        "%e0%80%af",
        "%f0%80%80%af",
        "\u{ff0f}",
        "a\u{ff0f}b",
        "\u{ff3c}",
        "\u{ff0e}\u{ff0e}",
        "\u{2024}\u{2024}",
        "\u{2025}",
        "\u{2026}",
        "\u{2044}",
        "\u{2215}",
        "\u{fe68}",
        "%ef%bc%8f",
        "%ef%bc%8e%ef%bc%8e",
        "%u002f",
        "%u002e%u002e",
        "%uff0f",
        "%u2215",
        "a\0b",
        "%00",
        "a%00b",
        "a\r\nHost: evil",
        "%0d%0a",
        "%250d%250a",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}x",
        "..;",
        "..;a=b",
        ".;x",
        ";",
        ";a=b",
        "%2e%2e;",
        "..%3b",
        "%20",
        "%252525252525252541",
        "\u{1b}[31m",
    ];

    #[test]
    fn refuses_hostile_values_before_anything_is_sent() {
        assert!(HOSTILE.len() >= 60);
        for value in HOSTILE {
            let error = fill(&json!(value)).expect_err(&format!("{value:?} was accepted"));
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{value:?}");
            assert!(error.message().contains("id"), "{value:?}: {error}");
        }
        assert!(fill(&json!("x".repeat(3000))).is_err());
        assert!(fill(&json!(1.5)).is_err() && fill(&json!([1])).is_err() && fill(&Value::Null).is_err());
    }

    /// The sabotage twin: the URLs that the usual ways of building one make of the same values.
    #[test]
    fn without_the_check_the_host_or_the_route_changes() {
        let naive = |value: &str| Url::parse(&format!("https://api.example.com/1/assets/{value}/keywords")).unwrap();
        assert_eq!(naive("../../users").path(), "/users/keywords");
        assert_eq!(naive("%2e%2e").path(), "/1/keywords");
        let mut pushed = base();
        pushed.path_segments_mut().unwrap().extend(["assets", "..", "keywords"]);
        assert_eq!(pushed.path(), "/1/assets/keywords", "the id is dropped without an error");
        assert_eq!(base().join("//evil.example/x").unwrap().host_str(), Some("evil.example"));
        // The comparison of the finished URL would notice it, too.
        let segments = ["assets".into(), "%2e%2e".into(), "keywords".into()];
        assert!(verify(&naive("%2e%2e"), &base(), &segments).is_err());
        assert!(verify(&Url::parse("https://api.example.com/1/").unwrap(), &base(), &[]).is_ok());
        assert!(verify(&Url::parse("https://evil.example/1/").unwrap(), &base(), &[]).is_err());
        assert!(verify(&Url::parse("https://u@api.example.com/1/").unwrap(), &base(), &[]).is_err());
        assert!(verify(&Url::parse("http://api.example.com/1/").unwrap(), &base(), &[]).is_err());
    }

    #[test]
    fn keywords_are_encoded_as_data() {
        for (value, path) in [
            ("red & blue", "/1/assets/red%20%26%20blue/keywords"),
            ("#1 ?", "/1/assets/%231%20%3F/keywords"),
            ("Mölndal", "/1/assets/M%C3%B6lndal/keywords"),
            ("100%", "/1/assets/100%25/keywords"),
            ("50%zz", "/1/assets/50%25zz/keywords"),
            ("a;b=c", "/1/assets/a%3Bb%3Dc/keywords"),
            ("v1.2", "/1/assets/v1.2/keywords"),
            (".hidden", "/1/assets/.hidden/keywords"),
        ] {
            assert_eq!(fill(&json!(value)).unwrap().path(), path);
        }
        assert_eq!(fill(&json!(-1)).unwrap().path(), "/1/assets/-1/keywords");
        let error = fill(&json!("AC/DC")).unwrap_err();
        assert!(error.advice().unwrap().contains("slash"), "{error:?}");
    }

    #[test]
    fn slashes_are_sent_as_declared() {
        let filled = |value: &str, slashes| fill_with(&json!(value), slashes);
        for (value, kept, encoded) in [
            ("8/6/d/5/boat.jpg", "8/6/d/5/boat.jpg", "8%2F6%2Fd%2F5%2Fboat.jpg"),
            ("boat", "boat", "boat"),
            ("a b/ö?/#1", "a%20b/%C3%B6%3F/%231", "a%20b%2F%C3%B6%3F%2F%231"),
            ("samples/v1.2/.hidden", "samples/v1.2/.hidden", "samples%2Fv1.2%2F.hidden"),
            ("100%/x", "100%25/x", "100%25%2Fx"),
            ("a@b/c;d=e", "a%40b/c%3Bd%3De", "a%40b%2Fc%3Bd%3De"),
        ] {
            let path = |slashes| filled(value, slashes).unwrap().path().to_owned();
            assert_eq!(path(Slashes::Keep), format!("/1/assets/{kept}/keywords"));
            assert_eq!(path(Slashes::Encode), format!("/1/assets/{encoded}/keywords"));
        }
        for slashes in [Slashes::Keep, Slashes::Encode] {
            let hostile = HOSTILE.iter().filter(|value| **value != "a/b").map(|value| (*value).to_owned());
            let within =
                HOSTILE.iter().flat_map(|value| [format!("a/{value}"), format!("{value}/a"), format!("a/{value}/b")]);
            // Within one segment, parts may be empty.
            let tame = ["", "a", "b", "x", "etc", "passwd", "https:", "evil.example"];
            let tame = |value: &String| value.contains('/') && value.split('/').all(|part| tame.contains(&part));
            let refused = hostile.chain(within.filter(|value| !value.contains("a/a/b") && !value.contains("a/b/")));
            for value in refused.filter(|value| slashes == Slashes::Keep || !tame(value)) {
                assert!(filled(&value, slashes).is_err(), "{value:?} was accepted");
            }
            for value in ["//..", "../", "a//./b", "https://..%2f", "", &"x/".repeat(2000)] {
                assert!(filled(value, slashes).is_err(), "{value:?} was accepted");
            }
        }
        for (value, encoded) in [
            ("https://www.example.com/", "https%3A%2F%2Fwww.example.com%2F"),
            ("s3://b/k", "s3%3A%2F%2Fb%2Fk"),
            ("/a", "%2Fa"),
            ("a/", "a%2F"),
            ("a//b", "a%2F%2Fb"),
            ("/", "%2F"),
        ] {
            assert!(filled(value, Slashes::Keep).is_err(), "{value:?} was accepted");
            let path = filled(value, Slashes::Encode).unwrap().path().to_owned();
            assert_eq!(path, format!("/1/assets/{encoded}/keywords"));
        }
    }

    /// The sabotage twin: with its slashes as they are and without the check, a value leaves the route.
    #[test]
    fn slashes_without_the_check_change_the_route() {
        let naive = |value: &str| Url::parse(&format!("https://api.example.com/1/assets/{value}/keywords")).unwrap();
        assert_eq!(naive("a/../../users").path(), "/1/users/keywords");
        assert_eq!(naive("a/%2e%2e/b").path(), "/1/assets/b/keywords");
    }

    #[test]
    fn routes_are_parsed_or_refused() {
        assert_eq!(
            Path::parse("/").unwrap().fill(&base(), |_| (None, Slashes::Refuse)).unwrap().as_str(),
            "https://api.example.com/1/"
        );
        assert_eq!(
            Path::parse("/a/").unwrap().fill(&base(), |_| (None, Slashes::Refuse)).unwrap().as_str(),
            "https://api.example.com/1/a/"
        );
        let root = Url::parse("https://api.example.com").unwrap();
        assert_eq!(
            Path::parse("/").unwrap().fill(&root, |_| (None, Slashes::Refuse)).unwrap().as_str(),
            "https://api.example.com/"
        );
        for broken in
            ["assets", "/a//b", "/a/..", "/a///", "/a/{}", "/a/{b c}", "/a/x{b}", "/a?b=c", "/{a}/{a}", "/%2f"]
        {
            assert!(Path::parse(broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn a_value_is_one_segment_or_refused(value in "\\PC*|[./%\\\\2eEfF5cu0;]{1,12}|[a-z0-9 .%&#?/]{1,20}") {
            if let Ok(url) = fill(&json!(value)) {
                let segments: Vec<_> = url.path_segments().unwrap().collect();
                prop_assert_eq!(segments.len(), 4);
                prop_assert_eq!(percent_decode_str(segments[2]).decode_utf8().unwrap(), value.as_str());
                prop_assert_eq!((segments[0], segments[1], segments[3]), ("1", "assets", "keywords"));
                prop_assert_eq!(url.host_str(), Some("api.example.com"));
            }
        }

        #[test]
        fn a_value_with_slashes_stays_in_its_place(value in "[a-z0-9./ö%]{1,12}|[./%2eEfF5c]{1,12}", keep: bool) {
            let slashes = if keep { Slashes::Keep } else { Slashes::Encode };
            if let Ok(url) = fill_with(&json!(value), slashes) {
                let segments: Vec<_> = url.path_segments().unwrap().collect();
                let parts = if keep { value.split('/').count() } else { 1 };
                prop_assert_eq!(segments.len(), 3 + parts);
                let joined = segments[2..2 + parts].join("/");
                prop_assert_eq!(percent_decode_str(&joined).decode_utf8().unwrap(), value.as_str());
                prop_assert_eq!((segments[0], segments[1], segments[2 + parts]), ("1", "assets", "keywords"));
            }
        }
    }
}
