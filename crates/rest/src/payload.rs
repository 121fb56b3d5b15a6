//! What a request carries: bytes that are there, or a file that is read while it is sent and never held whole.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, header};
use reqwest::multipart::{Form, Part};
use tokio::time::{Instant, timeout_at};
use trunkline_core::{Context, Digest, Error, ErrorKind, FileRef, FileStream, Result};

use crate::{auth::Credentials, digests::Digests, upload::declared};

/// The body of a request.
#[derive(Clone)]
pub(crate) enum Body {
    Bytes(Bytes),
    /// Holds the credentials of each try in itself.
    Signed(Arc<dyn Fn(&Credentials) -> Bytes + Send + Sync>),
    /// Opened anew for each try.
    File(Arc<dyn Fn() -> BoxFuture<'static, Result<Payload>> + Send + Sync>),
}

impl Body {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Body::Bytes(bytes) if bytes.is_empty())
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Body::File(_))
    }

    /// The file as it is, or as a part of a form; afterwards `seen` has the digests of what was sent.
    pub(crate) fn file(file: FileRef, form: Option<FormFile>, seen: Arc<Mutex<Digests>>, cx: &Context) -> Body {
        let cx = cx.clone();
        Body::File(Arc::new(move || {
            let (cx, file, form, seen) = (cx.clone(), file.clone(), form.clone(), seen.clone());
            Box::pin(async move {
                let stream = cx.open(&file, 0).await?;
                let digests = Digests::for_checking(&declared(&file, &stream));
                Payload::of(&file, stream, form, digests, seen)
            })
        }))
    }

    pub(crate) async fn payload(&self, credentials: &Credentials) -> Result<Payload> {
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

/// A form (`multipart/form-data`, RFC 7578) with a file in it.
#[derive(Clone, Debug)]
pub(crate) struct FormFile {
    /// Name of the field that takes the file.
    pub(crate) field: String,
    /// The other fields.
    pub(crate) fields: Vec<(String, String)>,
}

/// A body that is ready to be sent, once.
pub(crate) struct Payload {
    pub(crate) body: Option<reqwest::Body>,
    /// What the body says of itself.
    pub(crate) headers: HeaderMap,
    pub(crate) pulse: Pulse,
    /// Why the source could not be read to its end.
    pub(crate) fault: Arc<OnceLock<Error>>,
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        Payload {
            body: (!bytes.is_empty()).then(|| bytes.into()),
            headers,
            pulse: Pulse::default(),
            fault: Arc::default(),
        }
    }
}

impl Payload {
    /// The bytes of a file's stream as they flow; `seen` has the digests of what has flowed, from none on.
    pub(crate) fn of(
        file: &FileRef,
        stream: FileStream,
        form: Option<FormFile>,
        none: Digests,
        seen: Arc<Mutex<Digests>>,
    ) -> Result<Payload> {
        let (pulse, fault) = (Pulse::default(), Arc::new(OnceLock::new()));
        let beat = pulse.clone();
        let whole = Whole {
            name: file.name.clone(),
            size: file.size.or(stream.size),
            declared: declared(file, &stream),
            fault: fault.clone(),
            seen,
        };
        if whole.size == Some(0) {
            // A body of no length is sent without being looked at.
            none.check(&whole.name, &whole.declared)?;
        }
        *lock(&whole.seen) = none;
        let size = whole.size;
        let bytes = stream.bytes.inspect(move |_| beat.beat());
        let body = reqwest::Body::wrap_stream(whole.of(bytes));
        let mut headers = HeaderMap::new();
        let kind = file.media_type.as_deref().unwrap_or("application/octet-stream");
        let Some(form) = form else {
            let kind = HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
            headers.insert(header::CONTENT_TYPE, kind);
            if let Some(size) = size {
                headers.insert(header::CONTENT_LENGTH, size.into());
            }
            return Ok(Payload { body: Some(body), headers, pulse, fault });
        };
        let part = match size {
            Some(size) => Part::stream_with_length(body, size),
            None => Part::stream(body),
        };
        let odd = |error: reqwest::Error| {
            Error::new(ErrorKind::InvalidInput, format!("the file {} does not fit into a form", file.name))
                .source(error.without_url())
        };
        crate::transport::set_crypto();
        let part = part.file_name(file.name.clone()).mime_str(kind).map_err(odd)?;
        let fields = form.fields.into_iter().fold(Form::new(), |fields, (name, value)| fields.text(name, value));
        // The builder knows how to write a form; only its body and headers are of use.
        #[allow(clippy::disallowed_methods, reason = "it sends nothing")]
        let mut made = reqwest::Client::new()
            .post("http://localhost")
            .multipart(fields.part(form.field, part))
            .build()
            .map_err(odd)?;
        headers.extend(std::mem::take(made.headers_mut()));
        Ok(Payload { body: made.body_mut().take(), headers, pulse, fault })
    }
}

/// What a stream is held against: a file that was changed meanwhile must not pass for the one that was meant, and a stream
/// that cannot be read says why.
struct Whole {
    name: String,
    size: Option<u64>,
    declared: Vec<Digest>,
    fault: Arc<OnceLock<Error>>,
    seen: Arc<Mutex<Digests>>,
}

impl Whole {
    fn of(
        self,
        bytes: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        futures::stream::try_unfold((Box::pin(bytes), self), |(mut bytes, whole)| async move {
            let piece = bytes.next().await.transpose().and_then(|piece| {
                whole.check(piece.as_ref())?;
                Ok(piece)
            });
            match piece {
                Ok(piece) => Ok(piece.map(|piece| (piece, (bytes, whole)))),
                Err(error) => {
                    // The transport only says that it broke: why is kept for the one who asks.
                    let _ = whole.fault.set(error.clone());
                    Err(error)
                }
            }
        })
    }

    /// Sees each piece before it is sent: without the last one nobody takes the file for whole.
    fn check(&self, piece: Option<&Bytes>) -> Result<()> {
        let mut seen = lock(&self.seen);
        seen.update(piece.map(Bytes::as_ref).unwrap_or_default());
        let read = seen.bytes;
        match self.size {
            Some(size) if read > size || (piece.is_none() && read < size) => Err(other_size(&self.name, size, read)),
            Some(size) if read < size => Ok(()),
            None if piece.is_some() => Ok(()),
            _ => seen.check(&self.name, &self.declared),
        }
    }
}

pub(crate) fn lock(seen: &Mutex<Digests>) -> MutexGuard<'_, Digests> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is said of a source that turns out to have another size: it was changed, or its reader lost something.
pub(crate) fn other_size(name: &str, size: u64, read: u64) -> Error {
    Error::new(ErrorKind::Conflict, format!("{name} has {size} bytes, but {read} were read"))
        .hint("it was changed meanwhile: run the item again")
}

/// When the last piece of a body was sent on its way: a long body may take its time, silence may not.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<Mutex<Instant>>);

impl Default for Pulse {
    fn default() -> Self {
        Pulse(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Pulse {
    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits for the work, at most so long after the last beat: `None` if it fell silent.
    pub(crate) async fn within<T>(&self, silence: Duration, work: impl Future<Output = T>) -> Option<T> {
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
    async fn silence_ends_the_wait_and_a_beat_prolongs_it() {
        let second = Duration::from_secs(1);
        let pulse = Pulse::default();
        assert_eq!(pulse.within(second, std::future::pending::<()>()).await, None);
        let (pulse, beating) = (Pulse::default(), Instant::now());
        let beat = pulse.clone();
        let work = async move {
            for _ in 0..5 {
                tokio::time::sleep(second * 3 / 4).await;
                beat.beat();
            }
        };
        assert_eq!(pulse.within(second, work).await, Some(()));
        assert!(beating.elapsed() > second * 3);
    }
}
