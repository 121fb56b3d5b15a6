//! Web pages in the place of files. A service that wants a sign-in, or a proxy, sends a page with status 200.
//!
//! A page is a file if something says that a page was meant: the URL or the name of the file has the extension of one,
//! or the response names its file. A page without any of these is not saved as the file.

use http::HeaderMap;
use url::Url;

use super::file_name::{extension, file_name};
use crate::transport::ContentType;

/// Returns whether a response is a web page although nothing says that the file is one.
pub(super) fn is_unexpected_page(url: &Url, headers: &HeaderMap) -> bool {
    let last = url.path_segments().and_then(|mut all| all.next_back()).unwrap_or_default();
    ContentType::of(headers).is_html() && !is_page_name(last) && file_name(headers).is_none()
}

/// Returns whether a response from a signed URL is a web page although the URL names another kind of file. A signed URL
/// needs no sign-in, and its storage seldom names the file.
pub(super) fn is_contradicted_page(url: &Url, headers: &HeaderMap) -> bool {
    let last = url.path_segments().and_then(|mut all| all.next_back()).unwrap_or_default();
    let is_other = extension(last).is_some_and(|extension| mime_guess::from_ext(extension).first().is_some());
    is_other && is_unexpected_page(url, headers)
}

/// Returns whether this is the name of a web page.
pub(crate) fn is_page_name(name: &str) -> bool {
    extension(name).is_some_and(|extension| {
        mime_guess::from_ext(extension)
            .iter()
            .any(|kind| matches!(kind.essence_str(), "text/html" | "application/xhtml+xml"))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn a_page_is_a_file_only_if_something_says_so() {
        for (path, kind, disposition, of_api, of_storage) in [
            ("/files/7", "text/html", "", true, false),
            ("/files/7", "text/html; charset=utf-8", "inline", true, false),
            ("/boat.jpg", "TEXT/HTML", "", true, true),
            ("/boat.jpg", "application/xhtml+xml", "", true, true),
            ("/", "text/html", "", true, false),
            ("/report.html", "text/html", "", false, false),
            ("/report.HTM", "text/html", "", false, false),
            ("/report.xhtml", "application/xhtml+xml", "", false, false),
            ("/files/7", "text/html", "attachment; filename=a.html", false, false),
            ("/boat.jpg", "image/jpeg", "", false, false),
            ("/files/7", "text/plain", "", false, false),
            ("/files/7", "", "", false, false),
        ] {
            let url = Url::parse("https://api.example.com").unwrap().join(path).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
            let found = (is_unexpected_page(&url, &headers), is_contradicted_page(&url, &headers));
            assert_eq!(found, (of_api, of_storage), "{path} {kind} {disposition}");
        }
    }
}
