//! `direct_link.export`: the one answer of the API that is a file and no JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{Action, ActionEntry, Context, Effect, FileRef, Result, async_trait, submit};
use trunkline_rest::{Client, generic};

use crate::MediaValet;

/// The action.
pub struct Export;

/// There is nothing to choose.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {}

/// The zip, for another step's input.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # File
    file: FileRef,
}

#[async_trait]
impl Action for Export {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "direct_link.export";
    const TITLE: &'static str = "Export all direct links";
    const GROUP: &'static str = "Direct links";
    const ABOUT: &'static str = "Hands a zip with the list of all direct links to later steps by reference; `not_found` if \
        there are none. Does not keep a copy: MediaValet makes it anew whenever it is opened.";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Option<&'static str> = Some("GET /directlinks/export");

    async fn run(client: &Client, _: Input, cx: &Context) -> Result<Output> {
        let name = Some("direct-links.zip".to_owned());
        let mut file = generic::file(client, generic::Target::path("/directlinks/export"), name, cx).await?;
        // The next zip may have another size.
        file.size = None;
        Ok(Output { file })
    }
}

submit! { ActionEntry::of::<Export>() }
