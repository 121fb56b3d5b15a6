//! MediaValet's asset search, as the reference describes it.
//!
//! A search has words (all have to match), `OR` and `NOT`, exact phrases, and `*` at either end of a word. It can be
//! limited by filters of the form `Field OP value` and by containers, and is paged by count and offset. Everything that
//! the reference does not describe is rejected.

use serde_json::{Value, json};
use uuid::Uuid;

use super::asset_filter::Filter;
use super::categories::{check_exists, subtree};
use super::response::{ApiResponse, ApiResult, AuthContext, PageRange, RecordCount, guid, paging, query_paging};
use super::rows::asset_row;
use crate::app::App;
use crate::http::{ApiError, Call};
use crate::state::Asset;

/// The fields that a search can be limited to, and whether the simulator has values for them.
const FIELDS: [(&str, bool); 16] = [
    ("fileName", true),
    ("title", true),
    ("description", true),
    ("keywords", true),
    ("attributes", true),
    ("category", true),
    ("categories", true),
    ("categoryNames", true),
    ("categoryIds", true),
    ("categoryAncestorNames", false),
    ("comments", false),
    ("cognitiveBackgroundColor", false),
    ("cognitiveForegroundColor", false),
    ("cognitiveDominantColors", false),
    ("cognitiveTextInImage", false),
    ("cognitiveTags", false),
];

/// A parsed search.
struct Query {
    /// Alternatives of terms. At least one alternative has to match with all its terms.
    terms: Vec<Vec<Term>>,
    fields: Vec<&'static str>,
    filter: Option<Filter>,
    /// If present, an asset has to be in at least one of these categories.
    categories: Option<Vec<Uuid>>,
    newest_first: bool,
    include_deleted: bool,
    offset: usize,
    count: usize,
}

/// A word or phrase to search for, in lower case.
#[derive(Debug)]
struct Term {
    text: String,
    negated: bool,
    /// Whether the term may start in the middle of a word.
    open_start: bool,
    /// Whether the term may end in the middle of a word.
    open_end: bool,
}

/// Searches by query parameters (`GET /assets`).
pub(crate) fn by_query(app: &App, auth: &AuthContext, call: &Call) -> ApiResult {
    let mut body = serde_json::Map::new();
    for (name, value) in &call.query {
        let value = match (name.to_ascii_lowercase().as_str(), value.as_str()) {
            ("includesoftdeleted", "true" | "false") => json!(value == "true"),
            _ => json!(value),
        };
        body.insert(name.clone(), value);
    }
    by_body(app, auth, &Value::Object(body))
}

/// Searches by a JSON body (`POST /assets/search`).
pub(crate) fn by_body(app: &App, auth: &AuthContext, body: &Value) -> ApiResult {
    let members = body.as_object().ok_or_else(|| ApiError::new(400, "The body has to be an object"))?;
    let member = |name: &str| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let text = |name: &str| match member(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.trim()),
        Some(_) => Err(ApiError::new(400, format!("{name} has to be a string"))),
    };
    let PageRange { offset, count } = paging(member("offset"), member("count"))?;
    let newest_first = match text("sort")? {
        "" => false,
        sort if sort.eq_ignore_ascii_case("record.createdAt D") => true,
        sort => return Err(ApiError::new(400, format!("Unknown sort order {sort:?}"))),
    };
    let filter = match text("filters")? {
        "" => None,
        filter => Some(Filter::parse(filter).map_err(|problem| ApiError::new(400, problem))?),
    };
    let categories = match text("containerFilter")? {
        "" => None,
        filter => Some(container_categories(app, filter)?),
    };
    let query = Query {
        terms: terms(text("search")?)?,
        fields: fields(text("searchFields")?)?,
        filter,
        categories,
        newest_first,
        include_deleted: member("includeSoftDeleted").and_then(Value::as_bool).unwrap_or(false),
        offset,
        count,
    };
    Ok(run(app, auth, &query))
}

/// Lists the assets of a category.
pub(crate) fn of_category(app: &App, auth: &AuthContext, call: &Call, id: Uuid) -> ApiResult {
    check_exists(app, id)?;
    let PageRange { offset, count } = query_paging(call)?;
    let query = Query {
        terms: Vec::new(),
        fields: fields("")?,
        filter: None,
        categories: Some(vec![id]),
        newest_first: false,
        include_deleted: call.query_any_case("includeSoftDeleted") == Some("true"),
        offset,
        count,
    };
    Ok(run(app, auth, &query))
}

/// Runs a search and returns the page it asks for.
fn run(app: &App, auth: &AuthContext, query: &Query) -> ApiResponse {
    let now = crate::state::now();
    let (total, shown) = app.state.with(|state| {
        let selected = |asset: &&Asset| {
            asset.current.is_some()
                && (query.include_deleted || asset.deleted_at.is_none())
                && query.categories.as_ref().is_none_or(|wanted| asset.categories.iter().any(|id| wanted.contains(id)))
                && query.filter.as_ref().is_none_or(|filter| filter.matches(asset, now))
                && (query.terms.is_empty()
                    || query.terms.iter().any(|all| all.iter().all(|term| matches(state, asset, term, &query.fields))))
        };
        let mut found: Vec<&Asset> = state.assets.values().filter(selected).collect();
        if query.newest_first {
            found.sort_by_key(|asset| std::cmp::Reverse(asset.created_at));
        }
        let shown: Vec<(Asset, Option<u64>)> = found
            .iter()
            .skip(query.offset)
            .take(query.count)
            .map(|asset| {
                let blob = asset.current.as_ref().and_then(|file| state.blobs.get(&file.id));
                let size = blob.and_then(|blob| blob.content.as_ref()).map(|content| content.size);
                ((*asset).clone(), size)
            })
            .collect();
        (found.len(), shown)
    });
    let rows: Vec<Value> = shown.iter().map(|(asset, size)| asset_row(app, auth, asset, *size)).collect();
    let count = Some(RecordCount { total, start: query.offset, returned: rows.len() });
    ApiResponse { count, ..ApiResponse::new(200, json!({ "assetCount": total, "assets": rows })) }
}

/// Returns whether the asset matches the term in one of the fields, or in none if the term is negated.
fn matches(state: &crate::state::State, asset: &Asset, term: &Term, fields: &[&str]) -> bool {
    let has = |text: &str| contains(text, term);
    let found = fields.iter().any(|field| match *field {
        "fileName" => has(&asset.search_text.filename),
        "title" => has(&asset.search_text.title),
        "description" => has(&asset.search_text.description),
        "keywords" => has(&asset.search_text.keywords),
        "attributes" => asset.attributes.values().any(|value| has(&value.to_lowercase())),
        "categoryIds" => asset.categories.iter().any(|id| has(&id.to_string())),
        "categories" | "category" | "categoryNames" => {
            let mut names = asset.categories.iter().filter_map(|id| state.categories.get(id));
            names.any(|category| has(&category.name.to_lowercase()))
        }
        _ => false,
    });
    found != term.negated
}

/// Returns whether the text contains the term. It has to start and end at the edge of a word, unless that end is open.
fn contains(text: &str, term: &Term) -> bool {
    let edge = |open: bool, next: Option<char>| open || next.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(&term.text).any(|(at, matched)| {
        edge(term.open_start, text[..at].chars().next_back())
            && edge(term.open_end, text[at + matched.len()..].chars().next())
    })
}

/// Parses a search into alternatives of terms. A search for everything has none.
fn terms(search: &str) -> Result<Vec<Vec<Term>>, ApiError> {
    if search.is_empty() || search == "*" {
        return Ok(Vec::new());
    }
    let mut alternatives = vec![Vec::new()];
    let mut negated = false;
    let mut rest = search.trim_start();
    while !rest.is_empty() {
        let (word, phrase, after) = if let Some(inner) = rest.strip_prefix('"') {
            let (phrase, after) =
                inner.split_once('"').ok_or_else(|| ApiError::new(400, "A quotation mark is not closed"))?;
            (phrase, true, after)
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (&rest[..end], false, &rest[end..])
        };
        rest = after.trim_start();
        match (word, phrase) {
            ("OR", false) => alternatives.push(Vec::new()),
            ("AND", false) => {}
            ("NOT", false) => negated = true,
            _ => {
                let text = if phrase { word } else { word.trim_matches('*') };
                let term = Term {
                    text: text.to_lowercase(),
                    negated: std::mem::take(&mut negated),
                    open_start: !phrase && word.starts_with('*'),
                    open_end: !phrase && word.ends_with('*'),
                };
                if let Some(last) = alternatives.last_mut().filter(|_| !text.is_empty()) {
                    last.push(term);
                }
            }
        }
    }
    alternatives.retain(|all| !all.is_empty());
    Ok(alternatives)
}

/// Parses a comma-separated list of search fields. An empty one means the default fields.
fn fields(list: &str) -> Result<Vec<&'static str>, ApiError> {
    if list.is_empty() {
        return Ok(vec!["fileName", "title", "description", "keywords", "categories"]);
    }
    let name = |requested: &str| {
        let known = FIELDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(requested.trim()));
        known.map(|(name, _)| *name).ok_or_else(|| ApiError::new(400, format!("Unknown search field {requested:?}")))
    };
    list.split(',').map(name).collect()
}

/// Returns the categories of a container filter: `(CategoryIds/ANY(c: c EQ 'id'))`, with sub-categories if it continues
/// with `OR CategoryAncestorIds/ANY(...)`.
fn container_categories(app: &App, filter: &str) -> Result<Vec<Uuid>, ApiError> {
    let wrong = || ApiError::new(400, "The containerFilter has an unknown form");
    let inner = filter.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
    let mut categories = Vec::new();
    for part in inner.split(" OR ") {
        let (field, rest) = part.trim().split_once("/ANY(").ok_or_else(wrong)?;
        let test = rest.strip_suffix(')').ok_or_else(wrong)?;
        let words: Vec<&str> = test.split_whitespace().collect();
        let [variable, reference, operator, id] = words.as_slice() else { return Err(wrong()) };
        if variable.strip_suffix(':') != Some(*reference) || !operator.eq_ignore_ascii_case("EQ") {
            return Err(wrong());
        }
        let id = guid(id.strip_prefix('\'').and_then(|id| id.strip_suffix('\'')).ok_or_else(wrong)?)?;
        match field {
            "CategoryIds" => categories.push(id),
            "CategoryAncestorIds" => {
                categories.extend(app.state.with(|state| subtree(state, id)).into_iter().filter(|below| *below != id));
            }
            "LightboxIds" => {}
            _ => return Err(wrong()),
        }
    }
    Ok(categories)
}
