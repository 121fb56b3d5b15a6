//! The action `upload`: sends a file of another step as the body of a call. The file is read while it is sent.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Action, Connector, Context, Effect, Error, ErrorKind, FileRef, Result, TextPlaces, async_trait};

use super::call::{CallResponse, GROUP};
use crate::{
    client::Client,
    table::{Call, ExpectedBody, Target, Verb},
    transport::{Body, FormFile, lock},
};

/// The action `upload`, for the connector `C`.
pub struct UploadAction<C>(PhantomData<fn() -> C>);

/// The file and its target.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// # File
    /// A file of an earlier step, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Method
    #[serde(default)]
    method: Method,
    #[serde(flatten)]
    target: Target,
    /// # Form field
    /// Name of the field that takes the file in a form (`multipart/form-data`). If absent, the file is the whole body.
    form_field: Option<String>,
    /// # Other form fields
    /// Texts by name; only together with a form field.
    #[serde(default)]
    form: BTreeMap<String, String>,
}

/// The response of the service, and the size and digest of the file that was sent.
#[derive(Serialize, JsonSchema)]
pub struct UploadResponse {
    #[serde(flatten)]
    response: CallResponse,
    /// # Size in bytes
    /// Size of the file.
    bytes: u64,
    /// # SHA-256
    /// SHA-256 of the bytes that were sent, in lower-case hexadecimal digits.
    sha256: String,
}

/// The method of an upload.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    /// A second call leaves the same file: it is repeated after a failure.
    #[default]
    Put,
    /// A second call may make a second file: it is never repeated after an unclear failure.
    Post,
}

impl Method {
    fn verb(self) -> Verb {
        match self {
            Method::Put => Verb::Put,
            Method::Post => Verb::Post,
        }
    }
}

/// A file to post, for [`post_file`].
pub struct FilePost<'a> {
    /// Name of the action, for messages.
    pub action: &'a str,
    /// The effect of the call, which decides whether it may be repeated.
    pub effect: Effect,
    /// The path to post to.
    pub target: &'a Target,
    /// The file.
    pub file: FileRef,
    /// Name of the field that takes the file in a form (`multipart/form-data`); the file is the whole body if `None`.
    pub form_field: Option<String>,
}

/// Posts a file and returns the body of the response.
///
/// # Errors
///
/// Those of [`Client::call`], and `conflict` if the file has another size or digest than it declares.
pub async fn post_file(client: &Client, post: FilePost<'_>, cx: &Context) -> Result<Value> {
    let FilePost { action, effect, target, file, form_field } = post;
    let route = target.route(Verb::Post);
    let call = Call {
        name: action,
        route: &route,
        effect,
        expects: ExpectedBody::Text,
        ends: &[],
        inputs: &[],
        texts: &TextPlaces::default(),
    };
    let form = form_field.map(|field| FormFile { field, fields: Vec::new() });
    let request =
        target.request(&client.0.base, &client.0.headers, Verb::Post, Body::file(file, form, Arc::default(), cx))?;
    Ok(client.execute(&call, request, cx).await?.body)
}

#[async_trait]
impl<C: Connector<Client = Client>> Action for UploadAction<C> {
    type Connector = C;
    type Input = Input;
    type Output = UploadResponse;
    const NAME: &'static str = "upload";
    const TITLE: &'static str = "Send a file";
    const GROUP: &'static str = GROUP;
    const ABOUT: &'static str = "Sends a file of another step to a path below the endpoint URL, as the whole body or \
        in a form. The file is not held in memory.";
    const EFFECT: Effect = Effect::Create;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<UploadResponse> {
        if input.form_field.is_none() && !input.form.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "other form fields need a form field for the file")
                .with("input", "/formField")
                .hint("name the field that takes the file"));
        }
        let form = input.form_field.map(|field| FormFile { field, fields: input.form.into_iter().collect() });
        let verb = input.method.verb();
        let route = input.target.route(verb);
        let call = Call {
            name: Self::NAME,
            route: &route,
            effect: verb.effect(),
            expects: ExpectedBody::Text,
            ends: &[],
            inputs: &[],
            texts: &TextPlaces::default(),
        };
        let sent = Arc::default();
        let body = Body::file(input.file, form, Arc::clone(&sent), cx);
        let response = client
            .execute(&call, input.target.request(&client.0.base, &client.0.headers, verb, body)?, cx)
            .await?
            .into();
        let sent = lock(&sent);
        Ok(UploadResponse { response, bytes: sent.bytes, sha256: sent.sha256() })
    }

    async fn reconcile(_: &Client, input: Input, _: &Context) -> Result<Option<UploadResponse>> {
        if input.method.verb().effect().repeatable() {
            return Ok(None);
        }
        Err(Error::new(
            ErrorKind::UnknownOutcome,
            "it is not known whether an earlier attempt of this upload took effect",
        )
        .hint("look in the system itself before you send the file again"))
    }
}
