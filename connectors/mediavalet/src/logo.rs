//! `org_unit.set_logo` and `org_unit.set_portal_logo`. MediaValet names the calls and does not publish how the picture is
//! sent: it goes as the whole body, or, should a library want that, in a field of a form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Action, ActionEntry, Context, Effect, FileRef, Result, async_trait, submit};
use trunkline_rest::{Client, generic};

use crate::MediaValet;

const ABOUT: &str = "Sends a picture of another step. How MediaValet wants it is not published: as the whole body, unless a \
    form field is given.";

/// `org_unit.set_logo`.
pub struct SetLogo;

/// Which picture.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Picture
    /// From a step that hands out files, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Form field
    /// Sends a form with the picture in this field.
    form_field: Option<String>,
}

/// What MediaValet says to it; not published.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Answer
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

/// `org_unit.set_portal_logo`.
pub struct SetPortalLogo;

/// Which picture for which portal.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PortalInput {
    /// # Portal
    #[schemars(length(min = 1))]
    portal: String,
    /// # Picture
    /// From a step that hands out files, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Form field
    /// Sends a form with the picture in this field.
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
