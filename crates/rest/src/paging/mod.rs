//! Lists that are read page by page.

mod announce;
mod link_header;
mod list_changes;
mod next;
mod page;
mod page_row;
mod position;
mod rule;
mod stated;

pub(crate) use announce::announced_by_header;
pub(crate) use link_header::next_link;
pub(crate) use page::{PageResponse, SET_MULTIPLES};
pub use page_row::{PageKind, PageRow};
pub(crate) use rule::Paging;
