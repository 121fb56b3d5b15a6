//! Pages of actions that list, and the choices of an input that such an action lists.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use trunkline_core::{ActionSpec, Connected, Diagnostic, Error, ErrorKind, OptionsSource, Page, Result, pointer_name};

use super::operation_table;
use crate::{Runtime, runtime::check_lists};

operation_table! {
    /// Returns one page of an action that lists.
    ListActionPage: "actions.pages", pages(ActionPageQuery) -> ActionPage, Operator, Read;
    /// Lists the choices of an input of an action, from the action that its schema names in `x-options`.
    ListOptions: "actions.options", options(OptionsQuery) -> OptionsPage, Editor, Read;
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Which page of an action to read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionPageQuery {
    /// The action, such as `mediavalet.asset.list`.
    pub action: String,
    /// The connection to call it on.
    pub connection: String,
    /// Its input. `actions.get` has its schema.
    #[serde(default)]
    pub input: Map<String, Value>,
    /// The `next` of the previous page, for the same action, connection and input.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A page of an action.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ActionPage {
    /// The items.
    pub items: Vec<Value>,
    /// Where the next page begins; null after the last page. It is valid as long as the service accepts it.
    pub next: Option<String>,
    /// Why the list may lack items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_incomplete: Option<String>,
}

async fn pages(runtime: &Runtime, input: ActionPageQuery) -> Result<ActionPage> {
    let ActionPageQuery { action, connection, input, cursor } = input;
    let (connected, spec) = runtime.connected(&action, &connection).await?;
    let list = List { connected, spec, input: input.into() };
    let binding = list.binding();
    let Page { items, next, maybe_incomplete } = list.page(open_cursor(cursor, &binding)?).await?;
    let redactor = runtime.redactor();
    Ok(ActionPage {
        items: items.iter().map(|item| redactor.redact_json(item)).collect(),
        next: next.map(|next| cursor_of(next, &binding)),
        maybe_incomplete: maybe_incomplete.map(|reason| redactor.redact(&reason).into_owned()),
    })
}

/// An action that lists, on a connection, with an input.
struct List<'a> {
    connected: Connected,
    spec: &'a ActionSpec,
    input: Value,
}

impl List<'_> {
    /// Returns what a cursor of the list is bound to.
    fn binding(&self) -> String {
        let of = json!([self.connected.connector().spec().name, self.spec.name, self.connected.name(), self.input]);
        HEXLOWER.encode(&Sha256::digest(of.to_string())[..16])
    }

    async fn page(&self, from: Option<Value>) -> Result<Page> {
        check_lists(self.spec)?;
        if from.is_some() && !self.spec.lists {
            return Err(no_page());
        }
        self.connected.page(&self.spec.name, self.input.clone(), from, &Runtime::context(&self.connected)).await
    }
}

fn no_page() -> Error {
    invalid("no page of this list begins at this `cursor`")
        .hint("pass the `next` of the previous page, with the same action, connection and input")
}

/// Returns the cursor of a page, which is valid only for the list that it is bound to.
fn cursor_of(at: Value, binding: &str) -> String {
    BASE64URL_NOPAD.encode(json!([binding, at]).to_string().as_bytes())
}

fn open_cursor(cursor: Option<String>, binding: &str) -> Result<Option<Value>> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).map_err(|_| no_page())?;
    match serde_json::from_slice::<(String, Value)>(&bytes) {
        Ok((of, at)) if of == binding => Ok(Some(at)),
        _ => Err(no_page()),
    }
}

/// Which choices to list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsQuery {
    /// The action whose input is filled in, such as `mediavalet.asset.upload`.
    pub action: String,
    /// The connection whose service has the choices.
    pub connection: String,
    /// JSON pointer of the input in the input of the action, such as `/categories/0`.
    pub pointer: String,
    /// The input as far as it is filled in. The choices of an input may depend on others.
    #[serde(default)]
    pub input: Map<String, Value>,
    /// Only choices whose title contains this text, in upper or lower case, or that the service finds by it.
    #[serde(default)]
    pub search: Option<String>,
    /// The `next` of the previous page, for the same choices.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A page of choices.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OptionsPage {
    /// The choices, in the order of the service.
    pub options: Vec<FieldOption>,
    /// Where the next page begins; null after the last page. A page with a search can have no choices although there is a
    /// next one.
    pub next: Option<String>,
    /// The inputs that the choices depend on, as JSON pointers. When one of them changes, they have to be listed again.
    pub depends_on: Vec<String>,
}

/// A choice.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FieldOption {
    /// The value of the input.
    pub value: Value,
    /// The text that people choose by.
    pub title: String,
    /// A text by which choices of one title differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// The most pages of a service that one request searches, if the service does not search itself.
const MOST_PAGES: usize = 10;
/// The number of found choices after which a search does not read another page.
const ENOUGH: usize = 50;
/// The longest text that is searched for, in characters.
const LONGEST_SEARCH: usize = 100;

async fn options(runtime: &Runtime, input: OptionsQuery) -> Result<OptionsPage> {
    let OptionsQuery { action, connection, pointer, input, search, cursor } = input;
    let (_, spec) = runtime.registry().action(&action)?;
    let source = source_of(spec, &pointer)?;
    let search = search.map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    if search.as_ref().is_some_and(|text| text.chars().count() > LONGEST_SEARCH) {
        return Err(invalid(format!("`search` has more than {LONGEST_SEARCH} characters, which is the limit")));
    }
    let mut listed = depended_on(&source, &input.into())?;
    let (connected, spec) = runtime.connected(&source.action, &connection).await?;
    let by_service = source.search.as_ref().zip(search.as_ref());
    listed.extend(by_service.map(|(member, text)| (member.clone(), text.as_str().into())));
    let list = List { connected, spec, input: listed.into() };
    // The text is a part of what a cursor is bound to, also if the service does not get it.
    let binding = format!("{} {}", list.binding(), search.as_deref().unwrap_or_default());
    let (mut from, mut found) = (open_cursor(cursor, &binding)?, Vec::new());
    let filter = search.filter(|_| source.search.is_none());
    for _ in 0..MOST_PAGES {
        let page = recent_page(runtime, &list, from).await?;
        let fits = |one: &FieldOption| filter.as_ref().is_none_or(|text| one.title.to_lowercase().contains(text));
        found.extend(page.items.iter().filter_map(|item| option(&source, item)).filter(fits));
        from = page.next;
        if from.is_none() || filter.is_none() || found.len() >= ENOUGH {
            break;
        }
    }
    let depends_on = source.input.values().map(|pointer| pointer.trim_start_matches('#').to_owned()).collect();
    let redactor = runtime.redactor();
    let redacted = |FieldOption { value, title, about }| FieldOption {
        value: redactor.redact_json(&value),
        title: redactor.redact(&title).into_owned(),
        about: about.map(|about| redactor.redact(&about).into_owned()),
    };
    let options = found.into_iter().map(redacted).collect();
    Ok(OptionsPage { options, next: from.map(|next| cursor_of(next, &binding)), depends_on })
}

/// Returns where the choices of an input come from.
fn source_of(spec: &ActionSpec, pointer: &str) -> Result<OptionsSource> {
    let is_place = |of: &str| {
        let (mut parts, mut given) = (of.split('/'), pointer.split('/'));
        loop {
            match (parts.next(), given.next()) {
                (None, None) => return true,
                // The choices of a list are those of its items.
                (None, Some(index)) if given.next().is_none() && index.parse::<usize>().is_ok() => return true,
                (Some(part), Some(given)) if part == given || (part == "0" && given.parse::<usize>().is_ok()) => {}
                // The list itself stands for its items.
                (Some("0"), None) if parts.next().is_none() => return true,
                _ => return false,
            }
        }
    };
    let found =
        OptionsSource::all(&spec.input).into_iter().find(|(of, _)| is_place(of)).and_then(|(_, source)| source.ok());
    found.ok_or_else(|| {
        let name = pointer_name(pointer.rsplit('/').next().unwrap_or_default());
        invalid(format!("no choices are known for the input {name} of {}", spec.name))
            .hint("only an input whose schema has `x-options` has choices; `pointer` is its JSON pointer in the input")
    })
}

/// Returns the input of the listing action, as far as it depends on other inputs.
fn depended_on(source: &OptionsSource, input: &Value) -> Result<Map<String, Value>> {
    let (mut listed, mut missing) = (Map::new(), Vec::new());
    for (member, pointer) in &source.input {
        let pointer = pointer.trim_start_matches('#');
        match input.pointer(pointer).filter(|value| !value.is_null()) {
            Some(value) => drop(listed.insert(member.clone(), value.clone())),
            None => {
                let message = "the choices depend on this input, and it has no value yet";
                missing.push(Diagnostic::error(format!("/input{pointer}"), message).hint("choose it first"));
            }
        }
    }
    match Diagnostic::into_error("the request", &missing) {
        Some(error) => Err(error.into_kind(ErrorKind::InvalidInput)),
        None => Ok(listed),
    }
}

/// Returns a page of the action that lists choices: one of the last minute, or the one that the service lists now.
async fn recent_page(runtime: &Runtime, list: &List<'_>, from: Option<Value>) -> Result<Page> {
    let key = json!([list.binding(), from]).to_string();
    if let Some(page) = runtime.recent_pages().get(&key, &list.connected) {
        return Ok(page);
    }
    let page = list.page(from).await?;
    runtime.recent_pages().put(key, &list.connected, &page);
    Ok(page)
}

/// Returns the choice that an item is. One without a value is not a choice.
fn option(source: &OptionsSource, item: &Value) -> Option<FieldOption> {
    let value = item.pointer(&source.value).filter(|value| !value.is_null())?.clone();
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let title = item.pointer(&source.title).and_then(text).or_else(|| text(&value))?;
    let about = source.about.as_ref().and_then(|pointer| item.pointer(pointer)).and_then(text);
    Some(FieldOption { value, title, about })
}

#[cfg(test)]
mod tests;
