//! Bodies of requests: bytes in memory, or a file.
//!
//! A file is read while it is sent and never held in memory as a whole. Its size and digests are checked before its
//! last piece is sent, so that a server never takes a changed or truncated file for a complete one.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, timeout_at};
use trunkline_core::{Context, Digest, Error, ErrorKind, FileRef, FileStream, Result};

use super::{
    digests::{Digests, declared_digests},
    http_transport::HttpBody,
    multipart::FormFile,
};

/// The body of a request.
#[derive(Clone)]
pub(crate) enum Body {
    Bytes(Bytes),
    /// A body that contains the headers of the credentials. It is written again for each attempt.
    Signed(Arc<dyn Fn(&HeaderMap) -> Bytes + Send + Sync>),
    /// A file. It is opened again for each attempt.
    File(Arc<dyn Fn() -> BoxFuture<'static, Result<Payload>> + Send + Sync>),
}

impl Body {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Body::Bytes(bytes) if bytes.is_empty())
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Body::File(_))
    }

    /// Makes a body of a file, or of a form with the file in it. `sent` takes the digests of the bytes of the last
    /// attempt.
    pub(crate) fn file(file: FileRef, form: Option<FormFile>, sent: Arc<Mutex<Digests>>, cx: &Context) -> Body {
        let cx = cx.clone();
        Body::File(Arc::new(move || {
            let (cx, file, form, sent) = (cx.clone(), file.clone(), form.clone(), sent.clone());
            Box::pin(async move {
                let stream = cx.open(&file, 0).await?;
                let digests = Digests::for_checking(&declared_digests(&file, &stream));
                Payload::of(&file, stream, form, digests, sent)
            })
        }))
    }

    /// Makes the payload of one attempt, which has these headers as its credentials.
    ///
    /// # Errors
    ///
    /// The error of the source if a file cannot be opened.
    pub(crate) async fn payload(&self, credentials: &HeaderMap) -> Result<Payload> {
        match self {
            Body::Bytes(bytes) => Ok(bytes.clone().into()),
            Body::Signed(make) => Ok(make(credentials).into()),
            Body::File(open) => open().await,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "nothing" } else { "a body" })
    }
}

/// A body that is ready to be sent, once.
pub(crate) struct Payload {
    pub(crate) body: Option<HttpBody>,
    /// Headers that describe the body.
    pub(crate) headers: HeaderMap,
    pub(crate) progress: UploadProgress,
    /// The error that ended the reading of the source, if there was one.
    pub(crate) read_error: Arc<OnceLock<Error>>,
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        Payload {
            body: (!bytes.is_empty()).then_some(HttpBody::Bytes(bytes)),
            headers,
            progress: UploadProgress::default(),
            read_error: Arc::default(),
        }
    }
}

impl Payload {
    /// Makes a payload of the stream of a file. `sent` takes the digests of the bytes that were sent so far; `empty`
    /// are those of no bytes.
    ///
    /// # Errors
    ///
    /// `conflict` if an empty file has another digest than the declared one, `invalid_input` if the file does not fit
    /// into a form.
    pub(crate) fn of(
        file: &FileRef,
        stream: FileStream,
        form: Option<FormFile>,
        empty: Digests,
        sent: Arc<Mutex<Digests>>,
    ) -> Result<Payload> {
        let (progress, read_error) = (UploadProgress::default(), Arc::new(OnceLock::new()));
        let recorder = progress.clone();
        let check = StreamCheck {
            name: file.name.clone(),
            size: file.size.or(stream.size),
            declared: declared_digests(file, &stream),
            read_error: read_error.clone(),
            sent,
        };
        if check.size == Some(0) {
            // An empty body is sent without reading the stream.
            empty.check(&check.name, &check.declared)?;
        }
        *lock(&check.sent) = empty;
        let size = check.size;
        let bytes = stream.bytes.inspect(move |_| recorder.record());
        let body = check.apply(bytes);
        let mut headers = HeaderMap::new();
        let kind = file.media_type.as_deref().unwrap_or("application/octet-stream");
        let Some(form) = form else {
            let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
            headers.insert(header::CONTENT_TYPE, kind);
            if let Some(size) = size {
                headers.insert(header::CONTENT_LENGTH, size.into());
            }
            return Ok(Payload { body: Some(HttpBody::Stream(body.boxed())), headers, progress, read_error });
        };
        let frame = form.frame(&file.name, kind);
        // A media type with a line break would end the header of the file's part.
        let unfit = |_| {
            Error::new(ErrorKind::InvalidInput, format!("the file {} does not fit into a form", file.name))
                .hint("correct its media type")
        };
        HeaderValue::from_str(kind).map_err(unfit)?;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&frame.content_type).map_err(unfit)?);
        if let Some(size) = size {
            headers.insert(header::CONTENT_LENGTH, (frame.head.len() as u64 + size + frame.tail.len() as u64).into());
        }
        let piece = |bytes| futures::stream::once(async { Ok(bytes) });
        let body = piece(frame.head).chain(body).chain(piece(frame.tail)).boxed();
        Ok(Payload { body: Some(HttpBody::Stream(body)), headers, progress, read_error })
    }
}

/// Compares a stream with the size and the digests that its file declares, and keeps the error that ended it.
struct StreamCheck {
    name: String,
    size: Option<u64>,
    declared: Vec<Digest>,
    read_error: Arc<OnceLock<Error>>,
    sent: Arc<Mutex<Digests>>,
}

impl StreamCheck {
    fn apply(
        self,
        bytes: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        futures::stream::try_unfold((Box::pin(bytes), self), |(mut bytes, check)| async move {
            let piece = bytes.next().await.transpose().and_then(|piece| {
                check.check(piece.as_ref())?;
                Ok(piece)
            });
            match piece {
                Ok(piece) => Ok(piece.map(|piece| (piece, (bytes, check)))),
                Err(error) => {
                    // The transport only reports that the body ended early; the cause is kept for it here.
                    let _ = check.read_error.set(error.clone());
                    Err(error)
                }
            }
        })
    }

    /// Checks a piece, or the end, before it is sent. Without its last piece, a server does not take the file for
    /// complete.
    fn check(&self, piece: Option<&Bytes>) -> Result<()> {
        let mut sent = lock(&self.sent);
        sent.update(piece.map(Bytes::as_ref).unwrap_or_default());
        let read = sent.bytes;
        match self.size {
            Some(size) if read > size || (piece.is_none() && read < size) => Err(size_mismatch(&self.name, size, read)),
            Some(size) if read < size => Ok(()),
            None if piece.is_some() => Ok(()),
            _ => sent.check(&self.name, &self.declared),
        }
    }
}

pub(crate) fn lock(digests: &Mutex<Digests>) -> MutexGuard<'_, Digests> {
    digests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error for a source that has another size than it declares: it was changed, or the stream lost bytes.
pub(crate) fn size_mismatch(name: &str, size: u64, read: u64) -> Error {
    Error::new(ErrorKind::Conflict, format!("{name} has {size} bytes, but {read} were read"))
        .hint("it was changed in the meantime: run the item again")
}

/// The time at which the last piece of a body was handed to the transport. A large body may take long; a pause may not.
#[derive(Clone)]
pub(crate) struct UploadProgress(Arc<Mutex<Instant>>);

impl Default for UploadProgress {
    fn default() -> Self {
        UploadProgress(Arc::new(Mutex::new(Instant::now())))
    }
}

impl UploadProgress {
    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits for the work. Returns `None` once no piece was sent for the time `silence`.
    pub(crate) async fn with_idle_timeout<T>(&self, silence: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            let until = self.last() + silence;
            match timeout_at(until, &mut work).await {
                Ok(done) => return Some(done),
                Err(_) if self.last() + silence > until => {}
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_the_wait_and_a_piece_prolongs_it() {
        let second = Duration::from_secs(1);
        let progress = UploadProgress::default();
        assert_eq!(progress.with_idle_timeout(second, std::future::pending::<()>()).await, None);
        let (progress, started) = (UploadProgress::default(), Instant::now());
        let recorder = progress.clone();
        let work = async move {
            for _ in 0..5 {
                tokio::time::sleep(second * 3 / 4).await;
                recorder.record();
            }
        };
        assert_eq!(progress.with_idle_timeout(second, work).await, Some(()));
        assert!(started.elapsed() > second * 3);
    }
}
