//! The simulator of the Mediaflow API.
//!
//! It has the calls that are documented in public, and no others. Every success response is an array, which is empty if
//! nothing is found. Errors are objects with `status` and `error`.

use serde_json::{Map, Value, json};

use super::files;
use super::formats::{FORMATS, Format};
use super::rows::{CUSTOMER, FOLDERS, Folder, USER, file_row, is_of_type, object, select};
use crate::app::App;
use crate::http::{self, ApiError, Call, HttpResponse};
use crate::library::SourceFile;
use crate::state::{Event, LoginServer, timestamp};

// The fields of a row if the request does not select fields.
const FOLDER_DEFAULT: &[&str] = &["name", "type", "parent"];
const FILE_DEFAULT: &[&str] = &["name", "filename", "type"];
const LICENSE_DEFAULT: &[&str] = &["rightsExists", "rightsInformation", "useFrom", "useTo"];
const FORMAT_DEFAULT: &[&str] = &["name", "filetype"];
const DOWNLOAD_DEFAULT: &[&str] = &["format", "filetype", "expiresIn", "downloadURL"];
const ANY: &[&str] = &["any"];

/// The result of a handler.
type ApiResult = Result<Value, ApiError>;

/// Serves the API.
pub(crate) async fn serve(app: &App, mut call: Call) -> HttpResponse {
    if call.segments.iter().any(|segment| segment == "oauth2") {
        return failure(400, "get a token from the login host with POST; a secret in a URL is not accepted");
    }
    let token = call.bearer().or(call.query("access_token")).unwrap_or_default();
    let Some(owner) = app.state.with(|state| state.valid_access_token(LoginServer::Mediaflow, token)) else {
        let mut response = failure(401, "The access token is missing, wrong or expired");
        http::set(&mut response, "www-authenticate", "Bearer error=\"invalid_token\"");
        return response;
    };
    let result =
        if call.method == axum::http::Method::POST { post(app, &mut call, &owner.user).await } else { get(app, &call) };
    match result {
        Ok(value) => http::json(200, &value),
        Err(error) => failure(error.status, &error.message),
    }
}

/// Returns an error response in the form of the API.
fn failure(status: u16, text: &str) -> HttpResponse {
    http::json(status, &json!({ "status": status, "error": text }))
}

/// Serves a GET request.
fn get(app: &App, call: &Call) -> ApiResult {
    let (method, path) = call.route();
    if method != "GET" {
        return Err(ApiError::new(405, "Method not allowed"));
    }
    let fields = call.query("fields");
    let rows = |rows: Vec<Map<String, Value>>, default: &[&str]| -> ApiResult {
        Ok(rows.into_iter().map(|row| select(row, fields, default)).collect())
    };
    match path.as_slice() {
        ["folders" | "folder"] => rows(FOLDERS.map(Folder::row).to_vec(), FOLDER_DEFAULT),
        ["foldertree"] => {
            let (private, public) = (flag(call, "private")?, flag(call, "public")?);
            let shown = FOLDERS.iter().filter(|folder| if folder.private { private } else { public });
            rows(shown.map(|folder| folder.row()).collect(), &["name", "depth", "type", "hasChildren"])
        }
        ["folder" | "folders", id] => {
            rows(Folder::by_id(number(id)?).map(Folder::row).into_iter().collect(), FOLDER_DEFAULT)
        }
        ["folders" | "folder", id, "children"] => {
            let folder = Folder::by_id(number(id)?);
            rows(folder.into_iter().flat_map(Folder::children).map(Folder::row).collect(), FOLDER_DEFAULT)
        }
        ["folder" | "folders", id, "files"] => {
            let Some(folder) = Folder::by_id(number(id)?) else { return Ok(json!([])) };
            let wanted = file_type(call)?;
            let files = app.library.all().filter(|file| folder.contains(file) && is_of_type(file, wanted));
            Ok(files.map(|file| select(file_row(app, &file), fields, FILE_DEFAULT)).collect())
        }
        ["file", "latest"] => {
            let wanted = file_type(call)?;
            let page = positive(call, "page", 1)?;
            let per_page = positive(call, "per_page", 20)?;
            let files = app.library.all().rev().filter(|file| is_of_type(file, wanted));
            let shown = files.skip((page - 1).saturating_mul(per_page)).take(per_page);
            Ok(shown.map(|file| select(file_row(app, &file), fields, FILE_DEFAULT)).collect())
        }
        ["file" | "files", id, rest @ ..] => match app.library.by_id(number(id)?) {
            Some(file) => of_file(app, call, &file, rest),
            None if is_file_route(rest) => Ok(json!([])),
            None => Err(no_such_path()),
        },
        ["formats" | "format"] => rows(FORMATS.map(format_row).to_vec(), FORMAT_DEFAULT),
        ["format" | "formats", id] => {
            let id = number(id)?;
            let format = FORMATS.iter().find(|format| format.id == id);
            rows(format.map(|format| format_row(*format)).into_iter().collect(), FORMAT_DEFAULT)
        }
        ["marks"] => {
            let mark = |number: i64| object(json!({ "id": number, "mark": number, "name": format!("Mark {number}") }));
            rows((1..=6).map(mark).collect(), ANY)
        }
        ["users", "me"] | ["me"] => {
            let modules = ["ai_assisted_search_default", "ai_generated_keywords", "video_player_themes"];
            let user = json!({ "id": USER, "activeModules": modules, "customerId": CUSTOMER });
            rows(vec![object(user)], &["customerId"])
        }
        ["player", "theme"] => {
            Ok(json!([{ "themeId": "1", "name": "Standard", "isDefault": true, "settings": { "autoPlay": false } }]))
        }
        _ => Err(no_such_path()),
    }
}

/// Returns whether the API has a route with these segments after the file id.
fn is_file_route(rest: &[&str]) -> bool {
    matches!(
        rest,
        [] | ["folders" | "checkpermissions" | "license" | "aialttext" | "downloads" | "usage" | "usages"]
            | ["downloads", _]
    )
}

/// Serves a GET request for a file. `rest` are the segments after the file id.
fn of_file(app: &App, call: &Call, file: &SourceFile, rest: &[&str]) -> ApiResult {
    let fields = call.query("fields");
    let one = |row: Value, default: &[&str]| -> ApiResult { Ok(json!([select(object(row), fields, default)])) };
    match rest {
        [] => one(Value::Object(file_row(app, file)), FILE_DEFAULT),
        ["folders"] => {
            let folders = FOLDERS.into_iter().filter(|folder| folder.contains(file));
            Ok(folders.map(|folder| select(folder.row(), fields, FOLDER_DEFAULT)).collect())
        }
        ["checkpermissions"] => {
            let denial = file.denial();
            let expired = if denial == Some("DATE_DENIED") { "RIGHTS_EXPIRED 2025-01-31" } else { "" };
            Ok(json!([{
                "allowDownload": denial.is_none(),
                "allowDownloadReason": denial.unwrap_or_default(),
                "lockWarningMessage": expired,
                "warnFrom": "",
            }]))
        }
        ["license"] => {
            let limited = file.denial() == Some("DATE_DENIED");
            let license = json!({
                "id": file.id,
                "rightsExists": if limited { 2 } else { 0 },
                "rightsInformation": "",
                "licenseInformation": "",
                "downloadWarning": false,
                "lockFile": limited,
                "useFrom": if limited { json!("2024-01-01") } else { Value::Null },
                "useTo": if limited { json!("2025-01-31") } else { Value::Null },
            });
            one(license, LICENSE_DEFAULT)
        }
        ["aialttext"] => match (call.query("check"), call.query("lang")) {
            (Some("1"), _) => Ok(json!({ "validFiletype": file.extension == "jpg", "processed": true })),
            (_, Some("en-GB" | "en-US" | "fi-FI" | "de-DE" | "nb-NO" | "sv-SE")) => {
                let text = (file.extension == "jpg").then(|| format!("A picture, number {}", file.index + 1));
                Ok(json!({ "alttext": text }))
            }
            _ => Err(ApiError::new(400, "check=1 or a known lang is required")),
        },
        ["downloads"] => {
            check_download_allowed(file)?;
            let rows = FORMATS.iter().filter(|format| format.id >= 0);
            Ok(rows.map(|format| select(download_row(app, file, *format), fields, DOWNLOAD_DEFAULT)).collect())
        }
        ["downloads", id] => {
            let id = number(id)?;
            check_download_allowed(file)?;
            let Some(format) = FORMATS.iter().find(|format| format.id == id) else { return Ok(json!([])) };
            one(Value::Object(download_row(app, file, *format)), DOWNLOAD_DEFAULT)
        }
        ["usage" | "usages"] => {
            let usages = app.state.with(|state| state.usages.get(&file.id).cloned()).unwrap_or_default();
            Ok(usages.into_iter().map(|usage| select(object(usage), fields, ANY)).collect())
        }
        _ => Err(no_such_path()),
    }
}

/// Fails with status 403 if the file must not be downloaded.
fn check_download_allowed(file: &SourceFile) -> Result<(), ApiError> {
    match file.denial() {
        None => Ok(()),
        Some(reason) => Err(ApiError::new(403, format!("Download not allowed: {reason}"))),
    }
}

fn format_row(format: Format) -> Map<String, Value> {
    object(json!({
        "id": format.id, "name": format.name, "suffix": format.suffix, "filetype": format.file_type,
        "width": format.width, "height": format.height, "keepRatio": format.keep_ratio,
    }))
}

fn download_row(app: &App, file: &SourceFile, format: Format) -> Map<String, Value> {
    let filetype = if format.id == 0 { file.extension } else { format.file_type };
    object(json!({
        "id": format.id,
        "format": format.name,
        "watermark": false,
        "isPreview": false,
        "filetype": filetype,
        "expiresIn": files::LIFETIME,
        "downloadURL": files::download_url(app, file, format.id),
        "downloadWarning": false,
    }))
}

/// Serves a POST request.
async fn post(app: &App, call: &mut Call, user: &str) -> ApiResult {
    let segments = call.segments.clone();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    if !matches!(path.as_slice(), ["search", "file"] | ["file" | "files", _, "usage" | "usages"]) {
        return Err(no_such_path());
    }
    if call.content_type() != "application/json" {
        return Err(ApiError::new(400, "POST needs Content-Type: application/json"));
    }
    let body = call.json().await.map_err(|text| ApiError::new(400, text))?;
    match path.as_slice() {
        ["search", "file"] => search(app, call, &body),
        ["files", "multiple", "usages"] => {
            let ids = body["id"].as_array().ok_or_else(|| ApiError::new(400, "id has to be an array of file ids"))?;
            let ids = ids.iter().map(|id| id.as_i64().ok_or_else(|| ApiError::new(400, "an id is not an integer")));
            report_usage(app, &ids.collect::<Result<Vec<_>, _>>()?, &body, user)
        }
        [_, id, _] => report_usage(app, &[number(id)?], &body, user),
        _ => Err(no_such_path()),
    }
}

/// Finds the files whose title or file name contains all words of the search term.
fn search(app: &App, call: &Call, body: &Value) -> ApiResult {
    let term = body["searchTerm"].as_str().ok_or_else(|| ApiError::new(400, "searchTerm is required"))?.to_lowercase();
    let lang = body["lang"].as_str().unwrap_or_default();
    if !["sv-SE", "en-GB", "fi-FI", "nb-NO", "de-DE"].contains(&lang) {
        return Err(ApiError::new(400, "lang is required, in a form like en-GB"));
    }
    let words: Vec<&str> = term.split_whitespace().collect();
    let found = app.library.all().filter(|file| {
        let text = format!("{} {}", file.title, file.filename).to_lowercase();
        !words.is_empty() && words.iter().all(|word| text.contains(word))
    });
    Ok(found.map(|file| select(file_row(app, &file), call.query("fields"), FILE_DEFAULT)).collect())
}

/// Records a usage of each file in the form in which it is returned, or removes it.
fn report_usage(app: &App, ids: &[i64], body: &Value, user: &str) -> ApiResult {
    for name in ["contact", "date", "project"] {
        if body[name].as_str().is_none_or(str::is_empty) {
            return Err(ApiError::new(400, format!("{name} is required")));
        }
    }
    if !body["types"].is_array() || !body["web"].is_object() {
        return Err(ApiError::new(400, "types and web are required"));
    }
    if ids.iter().any(|id| app.library.by_id(*id).is_none()) {
        return Err(ApiError::new(404, "No such file"));
    }
    let removed = body["removed"].as_bool().unwrap_or(body["removed"] == "true");
    for id in ids {
        let usage = json!({
            "contact": body["contact"], "project": body["project"], "publishDate": body["date"],
            "type": "WEB", "url": body["web"]["page"],
            "created": timestamp(crate::state::now()), "createdBy": { "name": user },
        });
        app.state.with(|state| state.record(Event::Usage { file: *id, usage, removed }));
    }
    Ok(json!([]))
}

fn no_such_path() -> ApiError {
    ApiError::new(404, "No such resource")
}

fn number(text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| ApiError::new(400, "the id is not an integer"))
}

fn flag(call: &Call, name: &str) -> Result<bool, ApiError> {
    match call.query(name) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(ApiError::new(400, format!("{name} has to be true or false"))),
    }
}

fn file_type(call: &Call) -> Result<&str, ApiError> {
    match call.query("type") {
        None => Ok("any"),
        Some(kind @ ("any" | "image" | "video" | "sound" | "file")) => Ok(kind),
        Some(_) => Err(ApiError::new(400, "type has to be any, image, video, sound or file")),
    }
}

fn positive(call: &Call, name: &str, default: usize) -> Result<usize, ApiError> {
    let text = call.query(name).map(str::parse::<usize>).unwrap_or(Ok(default));
    text.ok().filter(|number| *number > 0).ok_or_else(|| ApiError::new(400, format!("{name} is not a positive number")))
}
