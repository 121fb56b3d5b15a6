//! What a run gets from a webhook's request: its query, its headers, and its body by what the request declares.
//!
//! | body | what the run gets |
//! | --- | --- |
//! | JSON | its value; an empty body is null |
//! | a form | an object of texts; a name that occurs several times has a list |
//! | a form with files | the same; a file is an object, see [`file`] |
//! | text of another kind: XML, CSV, NDJSON, .. | a text |
//! | anything else | a file |

use std::borrow::Cow;

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mime::Mime;
use percent_encoding::percent_decode;
use serde_json::{Map, Value, error::Category, json};
use trunkline_core::{Error, ErrorKind, RepeatedMember, Result, memory_of_json, read_json};

use crate::{request, response::ErrorResponse};

/// Types of bodies that are files even if their bytes could be read as text.
const FILE_TYPES: [&str; 9] = ["audio", "font", "gzip", "image", "model", "octet-stream", "pdf", "video", "zip"];

/// Returns the body of a request as the run gets it.
///
/// # Errors
///
/// Status 400 if the body is not what its type says.
pub(crate) async fn content(headers: &HeaderMap, body: &Bytes) -> Result<Value, ErrorResponse> {
    let declared = request::header(headers, "content-type")?.map(str::trim).filter(|declared| !declared.is_empty());
    let Some(declared) = declared else { return Ok(undeclared(body)?) };
    let kind: Mime = declared.parse().map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("the content type {declared} cannot be read: {error}"))
    })?;
    match (kind.type_().as_str(), kind.subtype().as_str()) {
        ("application", "x-www-form-urlencoded") => Ok(pairs(body, &kind)?),
        ("multipart", "form-data") => Ok(form_data(declared, body).await?),
        _ if is_json(&kind) => Ok(json(body, &kind)?),
        _ if is_file(&kind) => Ok(file(None, Some(&kind), body)),
        ("text", _) => Ok(text(body, &kind)?.into_owned().into()),
        // XML declares its charset in itself, or as text does.
        _ if kind.get_param(mime::CHARSET).is_some() => Ok(text(body, &kind)?.into_owned().into()),
        _ => Ok(text(body, &kind).map_or_else(|_| file(None, Some(&kind), body), |text| text.into_owned().into())),
    }
}

/// The memory of a member of a form, in bytes: its name, its value and their place.
const FORM_MEMBER: u64 = 350;

/// Returns the memory in bytes that a body takes once it is values, estimated before it is read.
pub(crate) fn memory(headers: &HeaderMap, body: &[u8]) -> u64 {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|declared| declared.to_str().ok()?.parse::<Mime>().ok());
    // A text is decoded, and a file is written in base64.
    let bytes = 3 * body.len() as u64;
    match &declared {
        Some(kind) if kind.essence_str() == mime::APPLICATION_WWW_FORM_URLENCODED => {
            bytes + FORM_MEMBER * body.iter().filter(|byte| **byte == b'&').count() as u64
        }
        Some(kind) if !is_json(kind) && (is_file(kind) || kind.type_() == mime::TEXT) => bytes,
        _ => bytes + memory_of_json(body),
    }
}

/// Returns the query of a request as the run gets it: an object of texts. A name that occurs several times has a list.
///
/// # Errors
///
/// `invalid_input` if it is not UTF-8.
pub(crate) fn query(query: &str) -> Result<Value> {
    pairs(query.as_bytes(), &mime::APPLICATION_WWW_FORM_URLENCODED)
}

/// Returns the selected headers, by their names in lower case. The values of a header that occurs several times are
/// joined (RFC 9110, section 5.3).
pub(crate) fn headers(headers: &HeaderMap, selected: &[String]) -> Value {
    let value = |name: &String| {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| header_text(value.as_bytes())).collect();
        (!values.is_empty()).then(|| (name.to_lowercase(), values.join(", ").into()))
    };
    selected.iter().filter_map(value).collect::<Map<_, _>>().into()
}

/// Returns the text of a header. Bytes that are not UTF-8 are Latin-1, the former charset of headers (RFC 9110, section
/// 5.5).
fn header_text(value: &[u8]) -> Cow<'_, str> {
    str::from_utf8(value).map_or_else(|_| WINDOWS_1252.decode_without_bom_handling(value).0, Cow::from)
}

fn is_json(kind: &Mime) -> bool {
    ["application/json", "text/json", "application/x-json", "application/csp-report"].contains(&kind.essence_str())
        || kind.suffix() == Some(mime::JSON)
}

fn is_file(kind: &Mime) -> bool {
    kind.suffix() != Some(mime::XML)
        && [kind.type_(), kind.subtype()].iter().any(|name| FILE_TYPES.contains(&name.as_str()))
}

/// Returns a body without a content type: JSON if it is JSON, else text, else a file.
///
/// # Errors
///
/// `invalid_input` if it is JSON with a member that occurs twice or with a number that cannot be kept, `limit` if it is
/// nested too deep.
fn undeclared(body: &[u8]) -> Result<Value> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    if let Ok(text) = text(body, &mime::APPLICATION_JSON) {
        match read_json(text.as_bytes(), RepeatedMember::Refused) {
            Ok(value) => return Ok(value),
            // A text that only looks like a number stays a text.
            Err(error)
                if (error.classify() == Category::Data || error.kind() == ErrorKind::Limit)
                    && text.trim_start().starts_with(['{', '[']) =>
            {
                return Err(Error::new(error.kind(), format!("the body is JSON that cannot be used: {error}")));
            }
            Err(_) => {}
        }
    }
    Ok(text(body, &mime::TEXT_PLAIN).map_or_else(|_| file(None, None, body), |text| text.into_owned().into()))
}

/// Reads JSON in its charset. An empty body is null.
fn json(body: &[u8], kind: &Mime) -> Result<Value> {
    let text = text(body, kind)?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    // Of a member that occurs twice, the sender and the flow could take different values.
    read_json(text.as_bytes(), RepeatedMember::Refused).map_err(|error| {
        Error::new(error.kind(), format!("the content type is JSON, but the body cannot be read as JSON: {error}"))
    })
}

/// Returns the text of a body, see [`trunkline_rest::text_of_body`].
fn text<'a>(body: &'a [u8], kind: &Mime) -> Result<Cow<'a, str>> {
    trunkline_rest::text_of_body(body, kind.as_ref()).map_err(|reason| {
        let error = Error::new(ErrorKind::InvalidInput, format!("the body is not text of the type {kind}: {reason}"));
        error.hint("declare the charset of the body in its content type, such as `; charset=iso-8859-1`")
    })
}

/// Returns a file: its `name` and `mediaType`, null if they are not known, its `size` in bytes, and its content. That is
/// `text` if the type says so, and `base64` otherwise.
fn file(name: Option<&str>, kind: Option<&Mime>, bytes: &[u8]) -> Value {
    let media_type = kind.map(Mime::essence_str);
    let is_text = |kind: &&Mime| {
        kind.type_() == mime::TEXT || is_json(kind) || kind.subtype() == mime::XML || kind.suffix() == Some(mime::XML)
    };
    match kind.filter(is_text).and_then(|kind| text(bytes, kind).ok()) {
        Some(text) => json!({ "name": name, "mediaType": media_type, "size": bytes.len(), "text": text }),
        None => {
            let base64 = BASE64_STANDARD.encode(bytes);
            json!({ "name": name, "mediaType": media_type, "size": bytes.len(), "base64": base64 })
        }
    }
}

/// Reads the pairs of a query or a form.
fn pairs(form: &[u8], kind: &Mime) -> Result<Value> {
    let mut members = Map::new();
    for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let mut part = || {
            let spaced: Vec<_> =
                parts.next().unwrap_or_default().iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            let bytes: Vec<_> = percent_decode(&spaced).collect();
            // A byte order mark in a value belongs to the value.
            let encoding = kind
                .get_param(mime::CHARSET)
                .map_or(Some(UTF_8), |charset| Encoding::for_label_no_replacement(charset.as_str().as_bytes()));
            let text = encoding.and_then(|encoding| {
                encoding.decode_without_bom_handling_and_without_replacement(&bytes).map(Cow::into_owned)
            });
            text.ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "a name or value of the form or query is not text in its charset")
                    .hint("send the form in UTF-8, or declare its charset in the content type")
            })
        };
        let (name, value) = (part()?, part()?);
        add(&mut members, name, value.into());
    }
    Ok(members.into())
}

/// Adds a value to a form. Several values of one name are a list.
fn add(members: &mut Map<String, Value>, name: String, value: Value) {
    match members.get_mut(&name) {
        None => drop(members.insert(name, value)),
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = json!([first.take(), value]),
    }
}

/// Reads a form with files (RFC 7578).
async fn form_data(content_type: &str, body: &Bytes) -> Result<Value> {
    let invalid = |error: multer::Error| {
        let message = format!("the content type is multipart/form-data, but the body cannot be read as such: {error}");
        Error::new(ErrorKind::InvalidInput, message)
    };
    let boundary = multer::parse_boundary(content_type).map_err(invalid)?;
    let whole = body.clone();
    let stream = futures::stream::once(async move { Ok::<_, std::convert::Infallible>(whole) });
    let mut parts = multer::Multipart::new(stream, boundary);
    let mut members = Map::new();
    while let Some(part) = parts.next_field().await.map_err(invalid)? {
        let name = part.name().map(str::to_owned);
        // Some senders write the whole path (RFC 7578, section 4.2).
        let last = |path: &str| path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let file_name = trunkline_rest::file_name(part.headers()).or_else(|| part.file_name().map(last));
        let coding = part.headers().get("content-transfer-encoding").map(|coding| header_text(coding.as_bytes()));
        if let Some(coding) = coding.filter(|coding| !is_identity(coding.trim())) {
            let message = format!("a part of the form has the Content-Transfer-Encoding {coding}");
            return Err(Error::new(ErrorKind::InvalidInput, message).hint("send the bytes of the part as they are"));
        }
        let kind = part.content_type().cloned();
        let name = name.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a part of the form has no name"))?;
        let bytes = part.bytes().await.map_err(invalid)?;
        let value = match (file_name, &kind) {
            (Some(name), kind) => file(Some(&name), kind.as_ref(), &bytes),
            (None, Some(kind)) if is_json(kind) => json(&bytes, kind)?,
            (None, kind) => {
                let as_text = text(&bytes, kind.as_ref().unwrap_or(&mime::TEXT_PLAIN));
                as_text.map_or_else(|_| file(None, kind.as_ref(), &bytes), |text| text.into_owned().into())
            }
        };
        add(&mut members, name, value);
    }
    Ok(members.into())
}

/// Returns whether this `Content-Transfer-Encoding` leaves the bytes as they are.
fn is_identity(coding: &str) -> bool {
    ["", "7bit", "8bit", "binary"].iter().any(|known| coding.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests;
