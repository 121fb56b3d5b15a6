//! What a request carries: bytes that are there, or a file that is read while it is sent and never held whole.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, header};
use reqwest::multipart::{Form, Part};
use tokio::time::{Instant, timeout_at};
use trunkline_core::{Context, Error, ErrorKind, FileRef, FileStream, Result};

use crate::auth::Credentials;

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

    /// The file as it is, or as a part of a form.
    pub(crate) fn file(file: FileRef, form: Option<FormFile>, cx: &Context) -> Body {
        let cx = cx.clone();
        Body::File(Arc::new(move || {
            let (cx, file, form) = (cx.clone(), file.clone(), form.clone());
            Box::pin(async move {
                let stream = cx.open(&file, 0).await?;
                Payload::of(&file, stream, form, |_| {})
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
    /// The bytes of a file's stream as they flow; `see` gets to see each piece.
    pub(crate) fn of(
        file: &FileRef,
        stream: FileStream,
        form: Option<FormFile>,
        mut see: impl FnMut(&Bytes) + Send + 'static,
    ) -> Result<Payload> {
        let (pulse, fault) = (Pulse::default(), Arc::new(OnceLock::new()));
        let beat = pulse.clone();
        let size = file.size.or(stream.size);
        let bytes = stream.bytes.map(move |piece| {
            beat.beat();
            piece.inspect(&mut see)
        });
        let body = reqwest::Body::wrap_stream(whole(bytes, file.name.clone(), size, fault.clone()));
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

/// The stream, held against the size it should have: a file that was changed meanwhile must not pass for the one that was
/// meant, and a stream that cannot be read says why.
fn whole(
    bytes: impl Stream<Item = Result<Bytes>> + Send + 'static,
    name: String,
    size: Option<u64>,
    fault: Arc<OnceLock<Error>>,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let noted = move |error: Error| {
        // The transport only says that it broke: why is kept for the one who asks.
        let _ = fault.set(error.clone());
        error
    };
    futures::stream::try_unfold((Box::pin(bytes), 0), move |(mut bytes, read)| {
        let (name, noted) = (name.clone(), noted.clone());
        async move {
            let piece = bytes.next().await.transpose().map_err(&noted)?;
            let read = read + piece.as_ref().map_or(0, |piece| piece.len() as u64);
            let ended = piece.is_none();
            if let Some(size) = size.filter(|size| read > *size || (ended && read < *size)) {
                return Err(noted(other_size(&name, size, read)));
            }
            Ok(piece.map(|piece| (piece, (bytes, read))))
        }
    })
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
