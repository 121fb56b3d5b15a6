//! A door for fuzz targets: what the readers of headers find in the headers of one response. The readers themselves are
//! private.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use crate::{
    paging::next_link,
    transfer::{content_range, file_name},
    transport::{ContentType, TokenProblem, header_text, retry_after, text},
};

/// What the readers of headers find in one response. Each reader sees all headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderReadings {
    /// The wait that the service asks for.
    pub retry_after: Option<Duration>,
    /// The URL of the next page, or why the header `Link` cannot be read.
    pub next_page: Result<Option<String>, String>,
    /// The code, the description and the scope of the challenge that rejects a token.
    pub challenge: Option<[Option<String>; 3]>,
    /// The name of a downloaded file.
    pub file_name: Option<String>,
    /// The media type and the charset.
    pub content_type: (String, Option<String>),
    /// The first byte and the total size of a part of a file.
    pub content_range: Option<(Option<u64>, Option<u64>)>,
}

impl HeaderReadings {
    /// Reads the headers of a response.
    pub fn of(headers: &HeaderMap) -> HeaderReadings {
        let links = headers.get_all(header::LINK).iter().map(header_text);
        let kind = ContentType::of(headers);
        HeaderReadings {
            retry_after: retry_after(StatusCode::TOO_MANY_REQUESTS, headers, ""),
            next_page: next_link(links),
            challenge: TokenProblem::of(headers).map(|found| [found.code, found.description, found.scope]),
            file_name: file_name(headers),
            content_type: (kind.media_type, kind.charset),
            content_range: content_range(headers),
        }
    }
}

/// Returns the text of a body in the charset that the headers declare, or why it is not text.
///
/// # Errors
///
/// The reason as a text, as the client reports it.
pub fn body_text(headers: &HeaderMap, body: &[u8]) -> Result<String, String> {
    text(body, &ContentType::of(headers)).map(|text| text.into_owned())
}
