//! `upload`: a file of another step becomes the body of a call, read while it is sent.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Action, Connector, Context, Effect, Error, ErrorKind, FileRef, Result, async_trait};

use super::{
    GROUP,
    target::{Answered, Target, Verb},
};
use crate::{
    Client,
    payload::{Body, FormFile, lock},
    response::{AcceptedResponse, Call, Reads},
};

/// The action.
pub struct UploadAction<C>(PhantomData<fn() -> C>);

/// Which file goes where.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// # File
    /// From a step that hands out files, such as `{{ steps.original.file }}`.
    file: FileRef,
    /// # Method
    #[serde(default)]
    method: Method,
    #[serde(flatten)]
    target: Target,
    /// # Form field
    /// Sends a form (`multipart/form-data`) with the file in this field; without it the file is the whole body.
    form_field: Option<String>,
    /// # Other form fields
    /// Texts by name; with a form field only.
    #[serde(default)]
    form: BTreeMap<String, String>,
}

/// What the service answered, and what it was sent.
#[derive(Serialize, JsonSchema)]
pub struct Sent {
    #[serde(flatten)]
    answered: Answered,
    /// # Size in bytes
    /// Of the file.
    bytes: u64,
    /// # SHA-256
    /// Of the file's bytes that were sent, in lower-case hexadecimal.
    sha256: String,
}

/// How a file is sent.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    /// The same call again leaves the same file: tried again after a failure.
    #[default]
    Put,
    /// The same call again may make a second one: never repeated after an unclear failure.
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

async fn send(
    client: &Client,
    call: Call<'_>,
    verb: Verb,
    target: &Target,
    body: Body,
    cx: &Context,
) -> Result<AcceptedResponse> {
    client.execute(&call, target.request(client, verb, body)?, cx).await
}

/// Posts a file for the action `name`, as the whole body or in this field of a form, and gives the answer's body back.
pub async fn post_file(
    client: &Client,
    (name, effect): (&str, Effect),
    target: &Target,
    file: FileRef,
    form_field: Option<String>,
    cx: &Context,
) -> Result<Value> {
    let route = target.route(Verb::Post);
    let call = Call { name, route: &route, effect, reads: Reads::Text };
    let form = form_field.map(|field| FormFile { field, fields: Vec::new() });
    Ok(send(client, call, Verb::Post, target, Body::file(file, form, Arc::default(), cx), cx).await?.body)
}

#[async_trait]
impl<C: Connector<Client = Client>> Action for UploadAction<C> {
    type Connector = C;
    type Input = Input;
    type Output = Sent;
    const NAME: &'static str = "upload";
    const TITLE: &'static str = "Send a file";
    const GROUP: &'static str = GROUP;
    const ABOUT: &'static str = "Sends a file of another step to a path below the endpoint URL, as the whole body or in a \
        form, without holding it in memory.";
    const EFFECT: Effect = Effect::Create;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Sent> {
        if input.form_field.is_none() && !input.form.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "other form fields need a form field for the file")
                .with("input", "formField")
                .hint("name the field that takes the file"));
        }
        let form = input.form_field.map(|field| FormFile { field, fields: input.form.into_iter().collect() });
        let verb = input.method.verb();
        let route = input.target.route(verb);
        let call = Call { name: Self::NAME, route: &route, effect: verb.effect(), reads: Reads::Text };
        let seen = Arc::default();
        let body = Body::file(input.file, form, Arc::clone(&seen), cx);
        let answered = send(client, call, verb, &input.target, body, cx).await?.into();
        let seen = lock(&seen);
        Ok(Sent { answered, bytes: seen.bytes, sha256: seen.sha256() })
    }

    async fn reconcile(_: &Client, input: Input, _: &Context) -> Result<Option<Sent>> {
        if input.method.verb().effect().repeatable() {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::UnknownOutcome, "whether an earlier attempt of this upload arrived cannot be known")
            .hint("look in the system itself before you send it again"))
    }
}
