//! Content codings of responses (RFC 9110 section 8.4). The client asks for gzip, or for no coding, and a server may
//! send another one nevertheless. gzip is decoded, any other coding is refused: its bytes are not those of the resource. So is a
//! transfer coding other than chunked (RFC 9112 section 7), which the transport leaves as it is.
//!
//! This is the only decoder: the server refuses request bodies with a coding. A few bytes can stand for very many, so a
//! body that grows more than texts do is refused while it is decoded.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_compression::tokio::bufread::GzipDecoder;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderName, header};
use tokio_util::io::{ReaderStream, StreamReader};
use trunkline_core::{Error, ErrorKind, Result, Retry};

use super::{excerpt::excerpt, headers::header_text, http_transport::HttpResponse};

/// The most codings of one response. A sender has a reason for one.
const MOST: usize = 2;

/// The most decoded bytes for each byte of the response, from [`ANY_GROWTH`] on. Lists of like items reach about 50.
const MOST_GROWTH: u64 = 100;

/// The decoded bytes up to which a response may grow by any factor.
const ANY_GROWTH: u64 = 1 << 20;

/// Bytes of a piece of a decoded body.
const PIECE: usize = 64 << 10;

/// Returns whether the bytes of a response are a coding of those of its resource. Their positions, length, digest and
/// ETag are then not those of the resource either.
pub(crate) fn is_coded(headers: &HeaderMap) -> bool {
    !codings(headers, header::CONTENT_ENCODING).is_empty() || !transfer_codings(headers).is_empty()
}

/// Returns the transfer codings that the transport does not decode.
fn transfer_codings(headers: &HeaderMap) -> Vec<String> {
    codings(headers, header::TRANSFER_ENCODING).into_iter().filter(|name| name != "chunked").collect()
}

/// Returns the codings in a header in lower case, in the order in which they were applied.
fn codings(headers: &HeaderMap, header: HeaderName) -> Vec<String> {
    let values = headers.get_all(header).iter().map(header_text);
    let names =
        values.flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<Vec<_>>());
    names.filter(|name| !name.is_empty() && name != "identity").collect()
}

/// Returns a response with the bytes of its resource, without the headers of the coding. `host` is for messages.
///
/// # Errors
///
/// `unexpected` for a coding that is not decoded.
pub(crate) fn decoded(host: &str, mut response: HttpResponse) -> Result<HttpResponse> {
    let transfer = transfer_codings(&response.headers);
    let codings = codings(&response.headers, header::CONTENT_ENCODING);
    let unknown = codings.iter().find(|name| !matches!(&***name, "gzip" | "x-gzip"));
    if unknown.is_some() || codings.len() > MOST || !transfer.is_empty() {
        let (what, names) = if transfer.is_empty() { ("content", &codings) } else { ("transfer", &transfer) };
        let named = excerpt(names.join(", ").as_bytes(), &[], &Default::default());
        let message = format!("{host} sent its response in the {what} coding {named}, which was not asked for");
        return Err(Error::new(ErrorKind::Unexpected, message)
            .with("host", host)
            .with("status", response.status.as_u16())
            .hint("the service, or a proxy on the way, must send it as it is or as gzip: report it to its operator"));
    }
    if !codings.is_empty() {
        response.headers.remove(header::CONTENT_ENCODING);
        response.headers.remove(header::CONTENT_LENGTH);
    }
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let count = move |piece: &Bytes| {
        counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
    };
    let coded = response.body.inspect_ok(count).boxed();
    response.body = codings.iter().fold(coded, |body, _| bounded(host.to_owned(), sent.clone(), gunzip(host, body)));
    Ok(response)
}

/// Ends a body with an error when it is too much longer than what was sent for it.
fn bounded(
    host: String,
    sent: Arc<AtomicU64>,
    decoded: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Bytes>> {
    let mut length = 0;
    let mut check = move |piece: Bytes| {
        length += piece.len() as u64;
        let sent = sent.load(Ordering::Relaxed);
        match length > ANY_GROWTH.max(sent.saturating_mul(MOST_GROWTH)) {
            true => Err(inflated(&host, sent)),
            false => Ok(piece),
        }
    };
    decoded.map(move |piece| piece.and_then(&mut check)).boxed()
}

fn inflated(host: &str, sent: u64) -> Error {
    let message = format!(
        "the response of {host} becomes more than {MOST_GROWTH} times as long when it is decoded: {sent} bytes become \
         more than {ANY_GROWTH}"
    );
    Error::new(ErrorKind::Limit, message).with("host", host).hint(
        "request fewer items per page; if the service is not known to send such responses, report it to its operator",
    )
}

fn gunzip(host: &str, coded: BoxStream<'static, Result<Bytes>>) -> BoxStream<'static, Result<Bytes>> {
    let host = host.to_owned();
    let decoded = async move {
        let mut coded = Box::pin(coded.peekable());
        // A response without a body, such as one to HEAD, has the header of the coding and none of its bytes.
        if coded.as_mut().peek().await.is_none() {
            return futures::stream::empty().boxed();
        }
        let mut decoder = GzipDecoder::new(StreamReader::new(coded.map_err(io::Error::other)));
        decoder.multiple_members(true);
        ReaderStream::with_capacity(decoder, PIECE).map_err(move |error| damaged(&host, error)).boxed()
    };
    futures::stream::once(decoded).flatten().boxed()
}

/// Returns the error of the connection that ended a body, or the error for bytes that are not gzip.
fn damaged(host: &str, error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(cut) => cut.clone(),
        None => {
            Error::new(ErrorKind::Unavailable, format!("the response of {host} cannot be decoded from gzip: {error}"))
                .retry(Retry::Backoff)
                .with("host", host)
                .hint("try again; if it persists, report it to the vendor: the response is cut off, or is not gzip")
        }
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::write::GzipEncoder;
    use http::{HeaderValue, StatusCode};
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(plain).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }

    fn response(codings: &[&str], body: Vec<u8>) -> HttpResponse {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
        }
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        // In pieces of seven bytes, as they may arrive.
        let pieces: Vec<_> = body.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        HttpResponse { status: StatusCode::OK, headers, body: futures::stream::iter(pieces).boxed() }
    }

    async fn read(codings: &[&str], body: Vec<u8>) -> Result<Vec<u8>> {
        let response = decoded("api.example", response(codings, body))?;
        assert!(!is_coded(&response.headers));
        Ok(response.body.try_collect::<Vec<_>>().await?.concat())
    }

    #[tokio::test]
    async fn gzip_is_decoded_in_all_forms_of_its_header() {
        let plain = "hello ".repeat(50_000).into_bytes();
        let (once, none) = (gzip(&plain).await, Vec::new());
        let twice = gzip(&once).await;
        let members = [gzip(&plain[..100]).await, gzip(&plain[100..]).await].concat();
        for (codings, body, expected) in [
            (&[][..], &plain, &plain),
            (&["identity"], &plain, &plain),
            (&["", " , "], &plain, &plain),
            (&["gzip"], &once, &plain),
            (&["GZIP"], &once, &plain),
            (&["x-gzip"], &once, &plain),
            (&["identity, gzip"], &once, &plain),
            (&["gzip, gzip"], &twice, &plain),
            (&["gzip", "gzip"], &twice, &plain),
            (&["gzip"], &members, &plain),
            (&["gzip"], &none, &none),
        ] {
            assert!(read(codings, body.clone()).await.unwrap() == *expected, "{codings:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_grows_too_much_is_refused_while_it_is_decoded() {
        let long = usize::try_from(3 * ANY_GROWTH).unwrap();
        let noise: Vec<u8> = (0..long as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let zeros = vec![0; long];
        let (coded, noisy) = (gzip(&zeros).await, gzip(&noise).await);
        let (twice, few) = (gzip(&coded).await, gzip(&zeros[..long / 3]).await);
        assert!((coded.len() as u64) * MOST_GROWTH < zeros.len() as u64);
        for (codings, body) in [(&["gzip"][..], &coded), (&["gzip", "gzip"], &twice)] {
            let error = read(codings, body.clone()).await.unwrap_err();
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::Limit, Retry::Never), "{codings:?}");
            assert!(error.message().contains("100 times") && error.message().contains("1048576"), "{error}");
        }
        // A short body may grow by any factor, and a long one by the factor of data.
        assert_eq!(read(&["gzip"], few).await.unwrap().len(), long / 3);
        assert!(read(&["gzip"], noisy).await.unwrap() == noise);
        // The sabotage twin: without the check, all of it is decoded.
        let body = response(&[], coded).body;
        let all: Vec<_> = gunzip("api.example", body).try_collect().await.unwrap();
        assert!(all.concat() == zeros);
    }

    #[tokio::test]
    async fn other_codings_are_refused_by_name() {
        for coding in
            ["br", "deflate", "zstd", "compress", "aws-chunked", "gzip, br", "br, gzip", "utf-8", "gzip,gzip,gzip"]
        {
            let error = read(&[coding], b"x".to_vec()).await.unwrap_err();
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unexpected, Retry::Never), "{coding}");
            assert!(error.message().contains("content coding"), "{error:?}");
        }
    }

    #[test]
    fn a_transfer_coding_is_refused_unless_it_is_chunked() {
        for (coding, refused) in [
            ("chunked", false),
            ("Identity", false),
            ("gzip, chunked", true),
            ("GZIP", true),
            ("deflate, chunked", true),
        ] {
            let mut response = response(&[], b"x".to_vec());
            response.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static(coding));
            assert_eq!(is_coded(&response.headers), refused, "{coding}");
            let error = decoded("api.example", response).err();
            assert_eq!(error.is_some_and(|error| error.message().contains("transfer coding")), refused, "{coding}");
        }
    }

    #[tokio::test]
    async fn damaged_gzip_is_an_error_and_never_a_short_body() {
        let good = gzip(&b"hello ".repeat(500)).await;
        let mut changed = good.clone();
        let at = changed.len() - 6;
        changed[at] ^= 1;
        for bad in
            [good[..good.len() - 1].to_vec(), good[..12].to_vec(), good[..3].to_vec(), changed, b"hello".to_vec()]
        {
            let error = read(&["gzip"], bad).await.unwrap_err();
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff));
        }
    }

    /// The sabotage twin: without the coding's header, the coded bytes would be taken for the resource.
    #[tokio::test]
    async fn without_the_decoder_the_coded_bytes_arrive() {
        let coded = gzip(b"hello").await;
        assert_eq!(read(&[], coded.clone()).await.unwrap(), coded);
    }
}
