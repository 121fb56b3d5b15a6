//! Requests and responses, as all services read and write them.

mod api_error;
mod call;
mod range;
pub(crate) mod request_log;
mod response;
mod service;

pub(crate) use api_error::ApiError;
pub(crate) use call::{Call, find, form};
pub(crate) use range::ranged;
pub(crate) use response::{HttpResponse, empty, html, json, response, set};
pub(crate) use service::Service;
