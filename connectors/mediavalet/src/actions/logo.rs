//! `org_unit.set_logo` and `org_unit.set_portal_logo`: send a picture as a logo.
//!
//! MediaValet lists these calls but does not document how the picture is sent. The actions send it as the whole body,
//! or in a form field if the input names one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Action, ActionEntry, Context, Effect, FileRef, Result, async_trait, submit};
use trunkline_rest::{Client, generic};

use crate::MediaValet;

const ABOUT: &str = "Sends a picture from another step. MediaValet does not document the form: the picture is the \
    whole body, unless a form field is given.";

/// The action `org_unit.set_logo`.
pub struct SetLogo;

/// The picture.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Picture
    /// A file from another step, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Form field
    /// Sends the picture in this field of a form.
    form_field: Option<String>,
}

/// The response, which MediaValet does not document.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Response
    answer: Value,
}

#[async_trait]
impl Action for SetLogo {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "org_unit.set_logo";
    const TITLE: &'static str = "Set the logo of the current library";
    const GROUP: &'static str = "Org Unit";
    const ABOUT: &'static str = ABOUT;
    const EFFECT: Effect = Effect::Idempotent;
    const ROUTE: Option<&'static str> = Some("POST /organizationalunits/current/logo");

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let target = generic::Target::path("/organizationalunits/current/logo");
        let (file, form_field) = (input.file, input.form_field);
        let post = generic::FilePost { action: Self::NAME, effect: Self::EFFECT, target: &target, file, form_field };
        Ok(Output { answer: generic::post_file(client, post, cx).await? })
    }
}

submit! { ActionEntry::of::<SetLogo>() }

/// The action `org_unit.set_portal_logo`.
pub struct SetPortalLogo;

/// The picture and the portal.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PortalInput {
    /// # Portal
    #[schemars(length(min = 1))]
    portal: String,
    /// # Picture
    /// A file from another step, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Form field
    /// Sends the picture in this field of a form.
    form_field: Option<String>,
}

#[async_trait]
impl Action for SetPortalLogo {
    type Connector = MediaValet;
    type Input = PortalInput;
    type Output = Output;
    const NAME: &'static str = "org_unit.set_portal_logo";
    const TITLE: &'static str = "Set the logo of a portal";
    const GROUP: &'static str = "Org Unit";
    const ABOUT: &'static str = ABOUT;
    const EFFECT: Effect = Effect::Idempotent;
    const ROUTE: Option<&'static str> = Some("POST /organizationalunits/{portal}/logo");

    async fn run(client: &Client, input: PortalInput, cx: &Context) -> Result<Output> {
        let target = generic::Target::path("/organizationalunits/{portal}/logo").parameter("portal", input.portal);
        let (file, form_field) = (input.file, input.form_field);
        let post = generic::FilePost { action: Self::NAME, effect: Self::EFFECT, target: &target, file, form_field };
        Ok(Output { answer: generic::post_file(client, post, cx).await? })
    }
}

submit! { ActionEntry::of::<SetPortalLogo>() }
