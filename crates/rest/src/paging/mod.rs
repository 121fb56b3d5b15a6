//! Lists that are read page by page.

mod link_header;
mod list_changes;
mod page;
mod page_row;

pub(crate) use link_header::next_link;
pub(crate) use page::{PageResponse, Paging};
pub use page_row::PageRow;
