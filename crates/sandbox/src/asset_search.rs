//! Search as the reference describes it: words are ANDed, `OR` and `NOT`, exact phrases, `*` at either end of a word;
//! filters of the form `Field OP value`; containers; pages by count and offset. What is not described is refused.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::asset::Asset;
use crate::asset_filter::Filter;
use crate::categories::{known, subtree};
use crate::http::Call;
use crate::mediavalet::{Gate, Outcome, Refusal, Reply, guid, paging, query_paging};
use crate::mediavalet_rows::asset_row;

/// Fields a search can be limited to; those marked false are known and empty here.
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

struct Query {
    terms: Vec<Vec<Term>>,
    fields: Vec<&'static str>,
    filter: Option<Filter>,
    /// Any of these categories.
    within: Option<Vec<Uuid>>,
    newest_first: bool,
    deleted: bool,
    offset: usize,
    count: usize,
}

/// A word or phrase to look for, lower case.
#[derive(Debug)]
struct Term {
    text: String,
    negated: bool,
    open_start: bool,
    open_end: bool,
}

pub(crate) fn by_query(app: &App, gate: &Gate, call: &Call) -> Outcome {
    let mut body = serde_json::Map::new();
    for (name, value) in &call.query {
        let value = match (name.to_ascii_lowercase().as_str(), value.as_str()) {
            ("includesoftdeleted", "true" | "false") => json!(value == "true"),
            _ => json!(value),
        };
        body.insert(name.clone(), value);
    }
    by_body(app, gate, &Value::Object(body))
}

pub(crate) fn by_body(app: &App, gate: &Gate, body: &Value) -> Outcome {
    let members = body.as_object().ok_or_else(|| Refusal::new(400, "The body has to be an object"))?;
    let member = |name: &str| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let text = |name: &str| match member(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.trim()),
        Some(_) => Err(Refusal::new(400, format!("{name} has to be a string"))),
    };
    let (offset, count) = paging(member("offset"), member("count"))?;
    let newest_first = match text("sort")? {
        "" => false,
        sort if sort.eq_ignore_ascii_case("record.createdAt D") => true,
        sort => return Err(Refusal::new(400, format!("The sort order {sort:?} is not known"))),
    };
    let filter = match text("filters")? {
        "" => None,
        filter => Some(Filter::parse(filter).map_err(|problem| Refusal::new(400, problem))?),
    };
    let within = match text("containerFilter")? {
        "" => None,
        filter => Some(container(app, filter)?),
    };
    let query = Query {
        terms: terms(text("search")?)?,
        fields: fields(text("searchFields")?)?,
        filter,
        within,
        newest_first,
        deleted: member("includeSoftDeleted").and_then(Value::as_bool).unwrap_or(false),
        offset,
        count,
    };
    Ok(run(app, gate, &query))
}

pub(crate) fn of_category(app: &App, gate: &Gate, call: &Call, id: Uuid) -> Outcome {
    known(app, id)?;
    let (offset, count) = query_paging(call)?;
    let query = Query {
        terms: Vec::new(),
        fields: fields("")?,
        filter: None,
        within: Some(vec![id]),
        newest_first: false,
        deleted: call.query_any_case("includeSoftDeleted") == Some("true"),
        offset,
        count,
    };
    Ok(run(app, gate, &query))
}

fn run(app: &App, gate: &Gate, query: &Query) -> Reply {
    let now = crate::state::now();
    let (total, shown) = app.state.with(|world| {
        let matches = |asset: &&Asset| {
            asset.current.is_some()
                && (query.deleted || asset.deleted_at.is_none())
                && query.within.as_ref().is_none_or(|within| asset.categories.iter().any(|id| within.contains(id)))
                && query.filter.as_ref().is_none_or(|filter| filter.matches(asset, now))
                && (query.terms.is_empty()
                    || query.terms.iter().any(|all| all.iter().all(|term| found(world, asset, term, &query.fields))))
        };
        let mut found: Vec<&Asset> = world.assets.values().filter(matches).collect();
        if query.newest_first {
            found.sort_by_key(|asset| std::cmp::Reverse(asset.created_at));
        }
        let shown: Vec<(Asset, Option<u64>)> = found
            .iter()
            .skip(query.offset)
            .take(query.count)
            .map(|asset| {
                let blob = asset.current.as_ref().and_then(|file| world.blobs.get(&file.id));
                let size = blob.and_then(|blob| blob.content.as_ref()).map(|content| content.size);
                ((*asset).clone(), size)
            })
            .collect();
        (found.len(), shown)
    });
    let rows: Vec<Value> = shown.iter().map(|(asset, size)| asset_row(app, gate, asset, *size)).collect();
    let count = Some((total, query.offset, rows.len()));
    Reply { count, ..Reply::new(200, json!({ "assetCount": total, "assets": rows })) }
}

fn found(world: &crate::state::World, asset: &Asset, term: &Term, fields: &[&str]) -> bool {
    let hit = |text: &str| contains(text, term);
    let seen = fields.iter().any(|field| match *field {
        "fileName" => hit(&asset.lower.filename),
        "title" => hit(&asset.lower.title),
        "description" => hit(&asset.lower.description),
        "keywords" => hit(&asset.lower.keywords),
        "attributes" => asset.attributes.values().any(|value| hit(&value.to_lowercase())),
        "categoryIds" => asset.categories.iter().any(|id| hit(&id.to_string())),
        "categories" | "category" | "categoryNames" => {
            let mut names = asset.categories.iter().filter_map(|id| world.categories.get(id));
            names.any(|category| hit(&category.name.to_lowercase()))
        }
        _ => false,
    });
    seen != term.negated
}

/// Whether the text has the term as a whole word or words; an open end may go on.
fn contains(text: &str, term: &Term) -> bool {
    let edge = |open: bool, next: Option<char>| open || next.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(&term.text).any(|(at, matched)| {
        edge(term.open_start, text[..at].chars().next_back())
            && edge(term.open_end, text[at + matched.len()..].chars().next())
    })
}

/// Alternatives of terms that all have to be found; none for a search for everything.
fn terms(search: &str) -> Result<Vec<Vec<Term>>, Refusal> {
    if search.is_empty() || search == "*" {
        return Ok(Vec::new());
    }
    let mut alternatives = vec![Vec::new()];
    let mut negated = false;
    let mut rest = search.trim_start();
    while !rest.is_empty() {
        let (word, phrase, after) = if let Some(inner) = rest.strip_prefix('"') {
            let (phrase, after) =
                inner.split_once('"').ok_or_else(|| Refusal::new(400, "A quotation mark is not closed"))?;
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

fn fields(list: &str) -> Result<Vec<&'static str>, Refusal> {
    if list.is_empty() {
        return Ok(vec!["fileName", "title", "description", "keywords", "categories"]);
    }
    let name = |asked: &str| {
        let known = FIELDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked.trim()));
        known.map(|(name, _)| *name).ok_or_else(|| Refusal::new(400, format!("There is no search field {asked:?}")))
    };
    list.split(',').map(name).collect()
}

/// The categories a container filter names: `(CategoryIds/ANY(c: c EQ 'id'))`, with sub-categories when it goes on with
/// `OR CategoryAncestorIds/ANY(...)`.
fn container(app: &App, filter: &str) -> Result<Vec<Uuid>, Refusal> {
    let wrong = || Refusal::new(400, "The containerFilter is not of a known form");
    let inner = filter.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
    let mut within = Vec::new();
    for part in inner.split(" OR ") {
        let (field, rest) = part.trim().split_once("/ANY(").ok_or_else(wrong)?;
        let test = rest.strip_suffix(')').ok_or_else(wrong)?;
        let words: Vec<&str> = test.split_whitespace().collect();
        let [variable, again, operator, id] = words.as_slice() else { return Err(wrong()) };
        if variable.strip_suffix(':') != Some(*again) || !operator.eq_ignore_ascii_case("EQ") {
            return Err(wrong());
        }
        let id = guid(id.strip_prefix('\'').and_then(|id| id.strip_suffix('\'')).ok_or_else(wrong)?)?;
        match field {
            "CategoryIds" => within.push(id),
            "CategoryAncestorIds" => {
                within.extend(app.state.with(|world| subtree(world, id)).into_iter().filter(|below| *below != id));
            }
            "LightboxIds" => {}
            _ => return Err(wrong()),
        }
    }
    Ok(within)
}
