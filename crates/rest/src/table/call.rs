//! What the client has to know of a call to make it and to read its response.

use trunkline_core::{Effect, TextPlaces};

use super::input::Input;

/// The facts about an operation that the layers of the client need.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Name of the action, for messages.
    pub(crate) name: &'a str,
    /// `METHOD /path/{parameter}`.
    pub(crate) route: &'a str,
    pub(crate) effect: Effect,
    pub(crate) expects: ExpectedBody,
    /// The statuses of an error that mean that a list has ended.
    pub(crate) ends: &'a [u16],
    /// The inputs that a response may name.
    pub(crate) inputs: &'a [Input],
    /// The places in the response that are declared as text, see [`trunkline_core::read_json_as`].
    pub(crate) texts: &'a TextPlaces,
}

/// The body that a successful response has to have. Any other one is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedBody {
    /// JSON. An empty body is accepted after a change, or if the status is 204.
    Json,
    /// JSON, or an empty body.
    JsonOrEmpty,
    /// A text, or JSON if the content type says so; not a web page, which usually comes from a proxy on the way.
    Text,
    /// Any text.
    Any,
    /// Any body, as a text in which bytes that are not text are replaced.
    Bytes,
}
