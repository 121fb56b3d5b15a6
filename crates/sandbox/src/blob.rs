//! Blob storage in the manner of Azure: one signed URL a blob, single puts of up to 64 MB, blocks and block lists. Bytes
//! are hashed and forgotten; only staged blocks lie on disk until their list is committed. A credential header is
//! refused: a shared access signature travels alone.

use std::sync::PoisonError;

use axum::http::Method;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::App;
use crate::asset::{Blob, Content};
use crate::downloads;
use crate::files;
use crate::http::{self, Answer, Call};
use crate::library::{SourceFile, hex};
use crate::signature::sign;
use crate::state::{Event, now};

/// Most bytes of one put, and of one block.
const MAX_PUT: u64 = 64 * 1024 * 1024;
/// Most blocks of one blob.
const MAX_BLOCKS: usize = 50_000;

pub(crate) fn error(status: u16, code: &str, text: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
    );
    let mut response = http::answer(status, "application/xml", body);
    http::set(&mut response, "x-ms-error-code", code);
    response
}

fn created() -> Answer {
    let mut response = http::empty(201);
    let now = jiff::Timestamp::now();
    http::set(&mut response, "etag", &format!("\"0x{:016X}\"", now.as_nanosecond()));
    http::set(&mut response, "last-modified", &now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    http::set(&mut response, "x-ms-request-id", &Uuid::new_v4().to_string());
    http::set(&mut response, "x-ms-version", "2024-11-04");
    response
}

pub(crate) async fn serve(app: &App, mut call: Call) -> Answer {
    match refuse(app, &call) {
        None => {}
        Some(refusal) => {
            http::drain(call.body).await;
            return refusal;
        }
    }
    let (method, path) = call.route();
    let media = |text: &str| Uuid::try_parse(text).ok();
    let comp = call.query("comp").map(str::to_owned);
    match (method, path.as_slice(), comp.as_deref()) {
        ("GET", ["library", id], None) => original(app, &call, media(id)),
        ("GET", ["library", id], Some("blocklist")) => block_list(app, media(id)),
        ("GET", ["renditions", id, _], None) => match media(id).and_then(|id| source(app, id)) {
            Some(file) => files::content(app, &call, &file, 99, file.size.min(20_000), "image/jpeg"),
            None => error(404, "BlobNotFound", "The specified blob does not exist."),
        },
        ("GET", ["packages", id], None) => match media(id).and_then(|id| downloads::bytes(app, id)) {
            Some(zip) => files::bytes(&call, zip),
            None => error(404, "BlobNotFound", "The specified blob does not exist."),
        },
        ("PUT", ["library", id], comp) => {
            let id = media(id);
            put(app, &mut call, id, comp).await
        }
        _ => error(405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb."),
    }
}

/// The checks every request has to pass: no credentials, a signature, not expired, the permission for the method.
fn refuse(app: &App, call: &Call) -> Option<Answer> {
    if ["authorization", "ocp-apim-subscription-key"].iter().any(|name| call.headers.contains_key(*name)) {
        app.count_leak();
        return Some(error(400, "InvalidAuthenticationInfo", "A signed URL is used without any credential header."));
    }
    let (expiry, permissions) = (call.query("se").unwrap_or_default(), call.query("sp").unwrap_or_default());
    let failed = || Some(error(403, "AuthenticationFailed", "Server failed to authenticate the request."));
    if call.query("sig") != Some(sign(app, &["blob", &call.path, expiry, permissions]).as_str()) {
        return failed();
    }
    let expiry = expiry.parse::<jiff::Timestamp>().map_or(0, |at| at.as_millisecond());
    if expiry <= now() {
        return failed();
    }
    let needed = if matches!(call.method, Method::GET | Method::HEAD) { "r" } else { "w" };
    (!permissions.contains(needed)).then(|| {
        error(403, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation.")
    })
}

/// The source file a blob's bytes are known to be equal to.
pub(crate) fn source(app: &App, media: Uuid) -> Option<SourceFile> {
    let (content, filename) = app.state.with(|world| {
        let content = world.blobs.get(&media)?.content.clone()?;
        let asset = world.media.get(&media).and_then(|id| world.asset(*id));
        Some((content, asset.map(|asset| asset.filename().to_owned()).unwrap_or_default()))
    })?;
    if let Some(index) = content.same_as {
        return Some(app.library.file(index));
    }
    app.library
        .by_filename(&filename)
        .filter(|file| file.size == content.size && app.library.digest(file.index) == content.sha256)
}

fn original(app: &App, call: &Call, media: Option<Uuid>) -> Answer {
    match media.and_then(|media| source(app, media)) {
        Some(file) => files::content(app, call, &file, 0, file.size, file.media_type()),
        None => error(404, "BlobNotFound", "The specified blob does not exist."),
    }
}

async fn put(app: &App, call: &mut Call, media: Option<Uuid>, comp: Option<&str>) -> Answer {
    let declared = call.header("content-length").and_then(|text| text.parse::<u64>().ok());
    let refusal = match declared {
        None => Some(error(411, "MissingContentLengthHeader", "The Content-Length header is needed.")),
        Some(length) if length > MAX_PUT => Some(error(413, "RequestBodyTooLarge", "The request body is too large.")),
        Some(_) if comp.is_none() && call.header("x-ms-blob-type") != Some("BlockBlob") => Some(http::empty(400)),
        Some(_) => None,
    };
    let refusal = refusal.or_else(|| {
        let address = call.query("number").and_then(|number| number.parse().ok()).filter(|_| comp == Some("block"))?;
        let code = app.guard.dice.lock().unwrap_or_else(PoisonError::into_inner).refuse_block(address)?;
        Some(error(403, code, "Server failed to authenticate the request."))
    });
    let known = media.filter(|media| app.state.with(|world| world.media.contains_key(media)));
    let refusal = refusal.or_else(|| known.is_none().then(|| error(404, "BlobNotFound", "There is no such upload.")));
    let (None, Some(media)) = (&refusal, known) else {
        http::drain(std::mem::take(&mut call.body)).await;
        return refusal.unwrap_or_else(|| http::empty(404));
    };
    match comp {
        None => put_blob(app, call, media).await,
        Some("block") => put_block(app, call, media).await,
        Some("blocklist") => commit(app, call, media).await,
        Some(_) => error(400, "InvalidQueryParameterValue", "The value of comp is not supported."),
    }
}

fn filename_of(app: &App, media: Uuid) -> String {
    app.state.with(|world| {
        let asset = world.media.get(&media).and_then(|id| world.asset(*id));
        let file = asset.and_then(|asset| asset.pending.iter().chain(&asset.current).find(|file| file.id == media));
        file.map(|file| file.filename.clone()).unwrap_or_default()
    })
}

fn broken(problem: &dyn std::fmt::Display) -> Answer {
    error(400, "InvalidInput", &format!("The request body broke off: {problem}"))
}

async fn put_blob(app: &App, call: &mut Call, media: Uuid) -> Answer {
    let mut comparer = app.library.comparer(&filename_of(app, media));
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut body = std::mem::take(&mut call.body).into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(problem) => return broken(&problem),
        };
        hash.update(&chunk);
        comparer.update(&chunk);
        size += chunk.len() as u64;
    }
    let content = Content { size, sha256: hex(&hash.finalize()), same_as: comparer.finish() };
    keep(app, media, content, Vec::new());
    created()
}

/// Writes committed content down, and forgets what was staged.
fn keep(app: &App, media: Uuid, content: Content, committed: Vec<(String, u64)>) {
    if let Some(index) = content.same_as {
        app.library.remember_digest(index, &content.sha256);
    }
    let blob = Blob { content: Some(content), committed, ..Blob::new(media) };
    app.state.with(|world| world.record(Event::Blob(blob)));
    let _ = std::fs::remove_dir_all(app.state.blocks(media));
}

async fn put_block(app: &App, call: &mut Call, media: Uuid) -> Answer {
    let id = call.query("blockid").unwrap_or_default().to_owned();
    let bytes = BASE64_STANDARD.decode(&id).ok().filter(|bytes| !bytes.is_empty() && bytes.len() <= 64);
    let others = app.state.with(|world| {
        let blob = world.blobs.get(&media)?;
        let first = blob.staged.keys().next().or(blob.committed.first().map(|(id, _)| id)).cloned();
        Some((first, blob.staged.len()))
    });
    let (first, count) = others.unwrap_or_default();
    let refusal = if bytes.is_none() {
        Some("The blockid is not the base64 form of 1 to 64 bytes.")
    } else if first.is_some_and(|first| first.len() != id.len()) {
        Some("The ids of all blocks of a blob have to be of the same length.")
    } else if count >= MAX_BLOCKS {
        Some("The blob has too many blocks that are not committed.")
    } else {
        None
    };
    if let Some(text) = refusal {
        http::drain(std::mem::take(&mut call.body)).await;
        return error(400, "InvalidBlobOrBlock", text);
    }
    let folder = app.state.blocks(media);
    match spool(std::mem::take(&mut call.body), &folder, &hex(id.as_bytes())).await {
        Ok(size) => {
            app.state.with(|world| world.record(Event::Block { blob: media, id, size }));
            created()
        }
        Err(problem) => broken(&problem),
    }
}

async fn spool(body: axum::body::Body, folder: &std::path::Path, name: &str) -> std::io::Result<u64> {
    tokio::fs::create_dir_all(folder).await?;
    let arriving = folder.join(format!("{}.part", Uuid::new_v4().simple()));
    let mut file = tokio::io::BufWriter::with_capacity(1 << 20, tokio::fs::File::create(&arriving).await?);
    let mut body = body.into_data_stream();
    let mut size = 0;
    while let Some(chunk) = body.next().await {
        let written = match chunk {
            Ok(chunk) => {
                size += chunk.len() as u64;
                file.write_all(&chunk).await
            }
            Err(problem) => Err(std::io::Error::other(problem)),
        };
        if let Err(problem) = written {
            let _ = tokio::fs::remove_file(&arriving).await;
            return Err(problem);
        }
    }
    file.flush().await?;
    tokio::fs::rename(&arriving, folder.join(name)).await?;
    Ok(size)
}

async fn commit(app: &App, call: &mut Call, media: Uuid) -> Answer {
    let text = match call.bytes().await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(problem) => return broken(&problem),
    };
    let Some(list) = parse_list(&text) else {
        return error(400, "InvalidXmlDocument", "The body is not a block list.");
    };
    let blob = app.state.with(|world| world.blobs.get(&media).cloned()).unwrap_or_else(|| Blob::new(media));
    let same = blob.content.is_some()
        && blob.staged.is_empty()
        && blob.committed.iter().map(|(id, _)| id).eq(list.iter().map(|(_, id)| id));
    if same {
        return created();
    }
    let staged = list
        .iter()
        .map(|(kind, id)| blob.staged.get(id).filter(|_| *kind != Listed::Committed).map(|size| (id.clone(), *size)));
    let Some(committed) = staged.collect::<Option<Vec<_>>>() else {
        return error(400, "InvalidBlockList", "The specified block list is invalid.");
    };
    let folder = app.state.blocks(media);
    let paths: Vec<_> = committed.iter().map(|(id, _)| folder.join(hex(id.as_bytes()))).collect();
    let mut comparer = app.library.comparer(&filename_of(app, media));
    let hashed = tokio::task::spawn_blocking(move || -> std::io::Result<Content> {
        use std::io::Read as _;
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
        for path in paths {
            let mut file = std::fs::File::open(path)?;
            loop {
                let length = file.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                hash.update(&buffer[..length]);
                comparer.update(&buffer[..length]);
                size += length as u64;
            }
        }
        Ok(Content { size, sha256: hex(&hash.finalize()), same_as: comparer.finish() })
    });
    match hashed.await {
        Ok(Ok(content)) => {
            keep(app, media, content, committed);
            created()
        }
        _ => error(400, "InvalidBlockList", "A block of the list is gone."),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Latest,
    Uncommitted,
    Committed,
}

/// The entries of a block list document, or `None` when it is none.
fn parse_list(text: &str) -> Option<Vec<(Listed, String)>> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let text = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>")?.1.trim(),
        None => text,
    };
    if text.replace(' ', "") == "<BlockList/>" {
        return Some(Vec::new());
    }
    let mut rest = text.strip_prefix("<BlockList>")?.strip_suffix("</BlockList>")?.trim();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = rest.strip_prefix('<')?.split_once('>')?;
        let kind = match tag {
            "Latest" => Listed::Latest,
            "Uncommitted" => Listed::Uncommitted,
            "Committed" => Listed::Committed,
            _ => return None,
        };
        let (id, after) = after.split_once(&format!("</{tag}>"))?;
        entries.push((kind, id.trim().to_owned()));
        rest = after.trim();
    }
    Some(entries)
}

fn block_list(app: &App, media: Option<Uuid>) -> Answer {
    let blob = media.and_then(|media| app.state.with(|world| world.blobs.get(&media).cloned()));
    let Some(blob) = blob else { return error(404, "BlobNotFound", "The specified blob does not exist.") };
    let rows = |blocks: &mut dyn Iterator<Item = (&String, &u64)>| -> String {
        blocks.map(|(id, size)| format!("<Block><Name>{id}</Name><Size>{size}</Size></Block>")).collect()
    };
    let committed = rows(&mut blob.committed.iter().map(|(id, size)| (id, size)));
    let staged = rows(&mut blob.staged.iter());
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList><CommittedBlocks>{committed}</CommittedBlocks>\
         <UncommittedBlocks>{staged}</UncommittedBlocks></BlockList>"
    );
    http::answer(200, "application/xml", body)
}
