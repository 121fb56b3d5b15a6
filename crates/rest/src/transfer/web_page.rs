//! Web pages in the place of files. A service that wants a sign-in, or a proxy, sends a page with status 200.
//!
//! A page is a file if something says that a page was meant: the URL or the name of the file has the extension of one,
//! or the response names its file. A page without any of these is not saved as the file.

use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use url::Url;

use super::file_name::{extension, file_name};
use crate::transport::{ContentType, HttpResponse};

/// What to do about a page in the place of a file.
pub(super) const HINT: &str = "it may be a page to sign in: open it in a browser, and check the credentials of the connection; \
                               if the file is a web page, give it a name that ends in .html";

/// Looks at the first bytes of a response that declares no type. If they begin a web page, it gets the type of one.
pub(super) async fn typed(mut response: HttpResponse) -> HttpResponse {
    if !ContentType::of(&response.headers).is_absent() {
        return response;
    }
    let Some(first) = response.body.next().await else { return response };
    if first.as_ref().is_ok_and(|bytes| begins_page(bytes)) {
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    }
    response.body = stream::iter([first]).chain(response.body).boxed();
    response
}

/// Returns whether a file begins as a web page does, after a byte order mark and white space.
fn begins_page(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let begins = |tag: &&str| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()));
    ["<!doctype html", "<html", "<head", "<body"].iter().any(begins)
}

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
    fn the_first_bytes_of_a_page_are_known() {
        for page in
            ["<!DOCTYPE html><html>", "<html lang=en>", "\u{feff}\r\n <!doctype HTML>", "<HEAD><title>", "<body>x"]
        {
            assert!(begins_page(page.as_bytes()), "{page}");
        }
        for file in
            ["", "<", "<!DOCTYPE svg", "<?xml version='1.0'?><svg/>", "<svg>", "%PDF-1.7", "a <html>", "{\"a\": 1}"]
        {
            assert!(!begins_page(file.as_bytes()), "{file}");
        }
    }

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
