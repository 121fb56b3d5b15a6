//! The outcomes of a run's items as CSV, for callers that accept nothing else. All pages are one response, which is read
//! from the store as the caller reads it.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, header},
    response::IntoResponse,
};
use futures::{StreamExt, stream};
use trunkline::{
    CsvRecords, ITEM_COLUMNS, Redacted, item_cells,
    operations::{
        Caller, Listed,
        run_queries::{ItemQuery, ListItems},
    },
};
use trunkline_core::Result;
use trunkline_engine::Item;

use crate::{app::App, response::ApiResult};

/// Returns whether a caller accepts CSV and not JSON.
pub(crate) fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds =
        accepted.flat_map(|value| value.split(',')).filter_map(|kind| kind.trim().parse::<mime::Mime>().ok());
    let (csv, json) = kinds.by_ref().fold((false, false), |(csv, json), kind| {
        (csv || kind.essence_str() == mime::TEXT_CSV, json || kind.essence_str() == mime::APPLICATION_JSON)
    });
    csv && !json
}

/// Returns the items of a run from the page of this query on.
pub(crate) async fn items_csv(app: Arc<App>, caller: Caller, query: ItemQuery) -> ApiResult {
    let first = app.runtime.execute::<ListItems>(&caller, query.clone()).await?;
    let heading = CsvRecords::new(false).record(ITEM_COLUMNS.map(Cow::Borrowed)).to_vec();
    let pages = stream::unfold(Some((app, caller, query, Some(first))), async |state| {
        let (app, caller, mut query, page) = state?;
        let page = match page {
            Some(page) => Ok(page),
            None => app.runtime.execute::<ListItems>(&caller, query.clone()).await,
        };
        let text = page.as_ref().map(rows).map_err(Clone::clone);
        query.cursor = page.ok().and_then(|page| page.get().next.clone());
        let more = query.cursor.is_some();
        // A response that breaks off is not taken for a whole list.
        Some((text, more.then_some((app, caller, query, None))))
    });
    let body = stream::iter([Ok(heading)]).chain(pages);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"items.csv\""),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Body::from_stream::<_>(body.map(|text: Result<Vec<u8>>| text))).into_response())
}

fn rows(page: &Redacted<Listed<Item>>) -> Vec<u8> {
    let mut records = CsvRecords::new(false);
    let mut text = Vec::new();
    for item in &page.get().items {
        let hint = item.outcome.error().and_then(|error| error.advice()).map(|advice| advice.to_string());
        let cells = item_cells(item, item.at.to_string(), hint);
        text.extend_from_slice(records.record(cells.map(|cell| Cow::Owned(page.text(|_| cell.into_owned())))));
    }
    text
}
