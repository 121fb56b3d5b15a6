//! `direct_link.export`: the only call of the API whose response is a file instead of JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{Action, ActionEntry, Context, Effect, FileRef, Result, async_trait, submit};
use trunkline_rest::{Client, generic};

use crate::MediaValet;

/// The action `direct_link.export`.
pub struct Export;

/// The empty input.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {}

/// The zip file, for the input of another step.
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
    const ABOUT: &'static str = "Returns a reference to a zip file with the list of all direct links for later steps; \
        `not_found` if there are none. No copy is kept: MediaValet makes a new zip file each time the reference is \
        opened.";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Option<&'static str> = Some("GET /directlinks/export");

    async fn run(client: &Client, _: Input, cx: &Context) -> Result<Output> {
        let name = Some("direct-links.zip".to_owned());
        let mut file = generic::file(client, generic::Target::path("/directlinks/export"), name, cx).await?;
        // The next zip file may have another size.
        file.size = None;
        Ok(Output { file })
    }
}

submit! { ActionEntry::of::<Export>() }
