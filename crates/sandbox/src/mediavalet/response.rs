//! What the handlers get from the gateway and return to it, and the pages of lists.

use serde_json::Value;
use uuid::Uuid;

use crate::http::{ApiError, Call};

/// The default number of rows of a page.
const DEFAULT_COUNT: usize = 50;
/// The largest number of rows of a page.
const MAX_COUNT: usize = 1000;

/// The API version and the user of a request, as checked by the gateway.
pub(crate) struct AuthContext {
    /// The minor version: 0, 1 or 2 for 1.0, 1.1 or 1.2.
    pub version: u8,
    pub user: String,
    pub may_write: bool,
}

/// A success response, before it is wrapped in the envelope.
#[derive(Default)]
pub(crate) struct ApiResponse {
    pub status: u16,
    pub payload: Value,
    /// The record count of a list.
    pub count: Option<RecordCount>,
    pub warnings: Vec<String>,
    pub errors: Vec<String>,
}

impl ApiResponse {
    pub(crate) fn new(status: u16, payload: Value) -> ApiResponse {
        ApiResponse { status, payload, ..ApiResponse::default() }
    }
}

/// The member `recordCount` of the envelope.
pub(crate) struct RecordCount {
    pub total: usize,
    /// The index of the first returned record.
    pub start: usize,
    pub returned: usize,
}

/// The part of a list that a request asks for.
pub(crate) struct PageRange {
    pub offset: usize,
    pub count: usize,
}

/// The result of a handler.
pub(crate) type ApiResult = Result<ApiResponse, ApiError>;

/// Parses a GUID in its hyphenated form. Everything else is an error.
pub(crate) fn guid(text: &str) -> Result<Uuid, ApiError> {
    let usual = text.len() == 36;
    let id = usual.then(|| Uuid::try_parse(text).ok()).flatten();
    id.ok_or_else(|| ApiError::new(400, format!("{text:?} is not a GUID")))
}

/// Returns the page that `offset` and `count` ask for. A count above 1000 counts as 1000.
pub(crate) fn paging(offset: Option<&Value>, count: Option<&Value>) -> Result<PageRange, ApiError> {
    let read = |value: Option<&Value>, default: usize, name: &str| match value {
        None | Some(Value::Null) => Ok(default),
        Some(Value::String(text)) => text.parse().map_err(|_| ApiError::new(400, format!("{name} is not a number"))),
        Some(value) => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| ApiError::new(400, format!("{name} is not a number"))),
    };
    let offset = read(offset, 0, "offset")?;
    Ok(PageRange { offset, count: read(count, DEFAULT_COUNT, "count")?.min(MAX_COUNT) })
}

/// Returns the page that the query asks for. The names of its parameters are not case-sensitive.
pub(crate) fn query_paging(call: &Call) -> Result<PageRange, ApiError> {
    let value = |name: &str| call.query_any_case(name).map(Value::from);
    paging(value("offset").as_ref(), value("count").as_ref())
}

/// Returns the requested page of rows as an array.
pub(crate) fn page(call: &Call, rows: Vec<Value>) -> ApiResult {
    let PageRange { offset, count } = query_paging(call)?;
    let total = rows.len();
    let shown: Vec<Value> = rows.into_iter().skip(offset).take(count).collect();
    let count = Some(RecordCount { total, start: offset, returned: shown.len() });
    Ok(ApiResponse { count, ..ApiResponse::new(200, shown.into()) })
}
