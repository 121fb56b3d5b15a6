//! Blob storage like Azure's: one signed URL per blob, single puts of up to 64 MiB, blocks and block lists.
//!
//! Bytes are hashed and discarded; only staged blocks are on disk until their list is committed. A request with a
//! credential header is rejected, because a shared access signature needs no other credential.

use std::sync::PoisonError;

use axum::http::Method;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use data_encoding::HEXLOWER;
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::archive;
use crate::app::{App, content, sign, source_file};
use crate::http::{self, Call, HttpResponse};
use crate::state::{Blob, Content, Event, create_folder, now, private_file};

/// The largest size of one put and of one block, in bytes.
const MAX_PUT: u64 = 64 * 1024 * 1024;
/// The largest number of staged blocks of one blob.
const MAX_BLOCKS: usize = 50_000;

/// Returns an error response in the form of Azure.
pub(crate) fn error(status: u16, code: &str, text: &str) -> HttpResponse {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
    );
    let mut response = http::response(status, "application/xml", body);
    http::set(&mut response, "x-ms-error-code", code);
    response
}

/// Returns the response to a put that was carried out.
fn created() -> HttpResponse {
    let mut response = http::empty(201);
    let now = jiff::Timestamp::now();
    http::set(&mut response, "etag", &format!("\"0x{:016X}\"", now.as_nanosecond()));
    http::set(&mut response, "last-modified", &now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    http::set(&mut response, "x-ms-request-id", &Uuid::new_v4().to_string());
    http::set(&mut response, "x-ms-version", "2024-11-04");
    response
}

/// Serves the blob storage.
pub(crate) async fn serve(app: &App, mut call: Call) -> HttpResponse {
    if let Err(response) = check_request(app, &call) {
        return *response;
    }
    let (method, path) = call.route();
    let media_id = |text: &str| Uuid::try_parse(text).ok();
    let comp = call.query("comp").map(str::to_owned);
    match (method, path.as_slice(), comp.as_deref()) {
        ("GET", ["library", id], None) => original(app, &call, media_id(id)),
        ("GET", ["library", id], Some("blocklist")) => block_list(app, media_id(id)),
        ("GET", ["renditions", id, _], None) => match media_id(id).and_then(|id| source_file(app, id)) {
            Some(file) => content(app, &call, &file, 99, file.size.min(20_000), "image/jpeg"),
            None => error(404, "BlobNotFound", "The specified blob does not exist."),
        },
        ("GET", ["packages", id], None) => match media_id(id).and_then(|id| archive::archive(app, id)) {
            Some(zip) => archive::zip_content(&call, zip),
            None => error(404, "BlobNotFound", "The specified blob does not exist."),
        },
        ("PUT", ["library", id], comp) => {
            let id = media_id(id);
            put(app, &mut call, id, comp).await
        }
        _ => error(405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb."),
    }
}

/// Checks what every request needs: no credential header, a valid signature that has not expired, and the permission
/// for the method. The error is the response to send.
fn check_request(app: &App, call: &Call) -> Result<(), Box<HttpResponse>> {
    if ["authorization", "ocp-apim-subscription-key"].iter().any(|name| call.headers.contains_key(*name)) {
        app.count_leak();
        let text = "A signed URL must be used without credential headers.";
        return Err(Box::new(error(400, "InvalidAuthenticationInfo", text)));
    }
    let (expiry, permissions) = (call.query("se").unwrap_or_default(), call.query("sp").unwrap_or_default());
    let failed = || Err(Box::new(error(403, "AuthenticationFailed", "Server failed to authenticate the request.")));
    if call.query("sig") != Some(sign(app, &["blob", &call.path, expiry, permissions]).as_str()) {
        return failed();
    }
    let expiry = expiry.parse::<jiff::Timestamp>().map_or(0, |at| at.as_millisecond());
    if expiry <= now() {
        return failed();
    }
    let needed = if matches!(call.method, Method::GET | Method::HEAD) { "r" } else { "w" };
    if permissions.contains(needed) {
        return Ok(());
    }
    let text = "This request is not authorized to perform this operation.";
    Err(Box::new(error(403, "AuthorizationPermissionMismatch", text)))
}

/// Serves the original of a blob. Its bytes are generated again, so they have to be those of a source file.
fn original(app: &App, call: &Call, media: Option<Uuid>) -> HttpResponse {
    match media.and_then(|media| source_file(app, media)) {
        Some(file) => content(app, call, &file, 0, file.size, file.media_type()),
        None => error(404, "BlobNotFound", "The specified blob does not exist."),
    }
}

/// Checks a put, then stores a blob, a block or a block list.
async fn put(app: &App, call: &mut Call, media: Option<Uuid>, comp: Option<&str>) -> HttpResponse {
    let declared = call.header("content-length").and_then(|text| text.parse::<u64>().ok());
    let rejected = match declared {
        None => Some(error(411, "MissingContentLengthHeader", "The Content-Length header is required.")),
        Some(length) if length > MAX_PUT => Some(error(413, "RequestBodyTooLarge", "The request body is too large.")),
        Some(_) if comp.is_none() && call.header("x-ms-blob-type") != Some("BlockBlob") => Some(http::empty(400)),
        Some(_) => None,
    };
    let rejected = rejected.or_else(|| {
        let url_number =
            call.query("number").and_then(|number| number.parse().ok()).filter(|_| comp == Some("block"))?;
        let code =
            app.fault_injector.generator.lock().unwrap_or_else(PoisonError::into_inner).reject_block(url_number)?;
        Some(error(403, code, "Server failed to authenticate the request."))
    });
    let known = media.filter(|media| app.state.with(|state| state.media.contains_key(media)));
    let rejected = rejected.or_else(|| known.is_none().then(|| error(404, "BlobNotFound", "There is no such upload.")));
    let (None, Some(media)) = (&rejected, known) else {
        return rejected.unwrap_or_else(|| http::empty(404));
    };
    match comp {
        None => put_blob(app, call, media).await,
        Some("block") => put_block(app, call, media).await,
        Some("blocklist") => commit(app, call, media).await,
        Some(_) => error(400, "InvalidQueryParameterValue", "The value of comp is not supported."),
    }
}

/// Returns the name of a media file.
fn filename_of(app: &App, media: Uuid) -> String {
    app.state.with(|state| {
        let asset = state.media.get(&media).and_then(|id| state.asset(*id));
        let file = asset.and_then(|asset| asset.pending.iter().chain(&asset.current).find(|file| file.id == media));
        file.map(|file| file.filename.clone()).unwrap_or_default()
    })
}

/// Returns the response to a request whose body cannot be read.
fn body_error(problem: &dyn std::fmt::Display) -> HttpResponse {
    error(400, "InvalidInput", &format!("The request body broke off: {problem}"))
}

async fn put_blob(app: &App, call: &mut Call, media: Uuid) -> HttpResponse {
    let mut comparer = app.library.comparer(&filename_of(app, media));
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut body = std::mem::take(&mut call.body).into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(problem) => return body_error(&problem),
        };
        hash.update(&chunk);
        comparer.update(&chunk);
        size += chunk.len() as u64;
    }
    let content = Content { size, sha256: HEXLOWER.encode(&hash.finalize()), same_as: comparer.finish() };
    commit_content(app, media, content, Vec::new());
    created()
}

/// Records the committed content of a blob and deletes its staged blocks.
fn commit_content(app: &App, media: Uuid, content: Content, committed: Vec<(String, u64)>) {
    if let Some(index) = content.same_as {
        app.library.remember_digest(index, &content.sha256);
    }
    let blob = Blob { content: Some(content), committed, ..Blob::new(media) };
    app.state.with(|state| state.record(Event::Blob(blob)));
    let _ = std::fs::remove_dir_all(app.state.blocks(media));
}

async fn put_block(app: &App, call: &mut Call, media: Uuid) -> HttpResponse {
    let id = call.query("blockid").unwrap_or_default().to_owned();
    let bytes = BASE64_STANDARD.decode(&id).ok().filter(|bytes| !bytes.is_empty() && bytes.len() <= 64);
    let staged = app.state.with(|state| {
        let blob = state.blobs.get(&media)?;
        let first = blob.staged.keys().next().or(blob.committed.first().map(|(id, _)| id)).cloned();
        Some((first, blob.staged.len()))
    });
    let (first, count) = staged.unwrap_or_default();
    let rejected = if bytes.is_none() {
        Some("The blockid is not the base64 form of 1 to 64 bytes.")
    } else if first.is_some_and(|first| first.len() != id.len()) {
        Some("All block ids of a blob have to have the same length.")
    } else if count >= MAX_BLOCKS {
        Some("The blob has too many uncommitted blocks.")
    } else {
        None
    };
    if let Some(text) = rejected {
        return error(400, "InvalidBlobOrBlock", text);
    }
    let folder = app.state.blocks(media);
    match write_block(std::mem::take(&mut call.body), &folder, &HEXLOWER.encode(id.as_bytes())).await {
        Ok(size) => {
            app.state.with(|state| state.record(Event::Block { blob: media, id, size }));
            created()
        }
        Err(problem) => body_error(&problem),
    }
}

/// Writes a block to a file of the folder and returns its size. A partial block is deleted.
async fn write_block(body: axum::body::Body, folder: &std::path::Path, name: &str) -> std::io::Result<u64> {
    create_folder(folder)?;
    let partial = folder.join(format!("{}.part", Uuid::new_v4().simple()));
    let file = tokio::fs::File::from_std(private_file().write(true).create_new(true).open(&partial)?);
    let mut file = tokio::io::BufWriter::with_capacity(1 << 20, file);
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
            let _ = tokio::fs::remove_file(&partial).await;
            return Err(problem);
        }
    }
    file.flush().await?;
    tokio::fs::rename(&partial, folder.join(name)).await?;
    Ok(size)
}

/// Commits a block list: the blob becomes the content of its blocks, in their order.
async fn commit(app: &App, call: &mut Call, media: Uuid) -> HttpResponse {
    let text = match call.bytes().await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(problem) => return body_error(&problem),
    };
    let Some(list) = parse_list(&text) else {
        return error(400, "InvalidXmlDocument", "The body is not a block list.");
    };
    let blob = app.state.with(|state| state.blobs.get(&media).cloned()).unwrap_or_else(|| Blob::new(media));
    let same = blob.content.is_some()
        && blob.staged.is_empty()
        && blob.committed.iter().map(|(id, _)| id).eq(list.iter().map(|(_, id)| id));
    if same {
        return created();
    }
    let staged = list.iter().map(|(kind, id)| {
        blob.staged.get(id).filter(|_| *kind != BlockListTag::Committed).map(|size| (id.clone(), *size))
    });
    let Some(committed) = staged.collect::<Option<Vec<_>>>() else {
        return error(400, "InvalidBlockList", "The specified block list is invalid.");
    };
    let folder = app.state.blocks(media);
    let paths: Vec<_> = committed.iter().map(|(id, _)| folder.join(HEXLOWER.encode(id.as_bytes()))).collect();
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
        Ok(Content { size, sha256: HEXLOWER.encode(&hash.finalize()), same_as: comparer.finish() })
    });
    match hashed.await {
        Ok(Ok(content)) => {
            commit_content(app, media, content, committed);
            created()
        }
        _ => error(400, "InvalidBlockList", "A block of the list is missing."),
    }
}

/// The element of a block in a block list. It says where to look for the block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockListTag {
    Latest,
    Uncommitted,
    Committed,
}

/// Parses a block list document. Returns `None` if the text is not one.
fn parse_list(text: &str) -> Option<Vec<(BlockListTag, String)>> {
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
            "Latest" => BlockListTag::Latest,
            "Uncommitted" => BlockListTag::Uncommitted,
            "Committed" => BlockListTag::Committed,
            _ => return None,
        };
        let (id, after) = after.split_once(&format!("</{tag}>"))?;
        entries.push((kind, id.trim().to_owned()));
        rest = after.trim();
    }
    Some(entries)
}

/// Serves the block list of a blob.
fn block_list(app: &App, media: Option<Uuid>) -> HttpResponse {
    let blob = media.and_then(|media| app.state.with(|state| state.blobs.get(&media).cloned()));
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
    http::response(200, "application/xml", body)
}
