//! The action `request`: any method and path of the service.

use std::marker::PhantomData;

use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use trunkline_core::{Action, Connector, Context, Effect, Error, ErrorKind, Result, TextPlaces, async_trait};

use super::call::{CallResponse, GROUP, body};
use crate::{
    client::Client,
    table::{Call, ExpectedBody, Target, Verb},
};

/// The action `request`, for the connector `C`.
pub struct RequestAction<C>(PhantomData<fn() -> C>);

/// The call, and the form of its response.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// # Method
    #[serde(default)]
    method: Verb,
    #[serde(flatten)]
    target: Target,
    /// # Body
    /// JSON, or a text if the content type is not JSON.
    body: Option<Value>,
    /// # Content type
    #[serde(default = "json")]
    content_type: String,
    /// # Effect
    /// The effect of the call, which decides whether it may be repeated. If absent, it follows from the method: GET and
    /// HEAD read, PUT is idempotent, DELETE deletes, POST and PATCH create. A `create` is never repeated after an
    /// unclear failure.
    effect: Option<Effect>,
    /// # Response
    #[serde(default, rename = "answer")]
    response: ResponseForm,
}

fn json() -> String {
    "application/json".to_owned()
}

/// The form that the response has to have.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ResponseForm {
    /// JSON or an empty body; anything else is an error.
    #[default]
    Json,
    /// A text of any kind, unchanged.
    Text,
}

impl Input {
    fn effect(&self) -> Effect {
        MethodAndEffect { method: self.method, effect: self.effect }.effect()
    }
}

/// The members of an input that decide the effect of the call.
#[derive(Deserialize)]
struct MethodAndEffect {
    #[serde(default)]
    method: Verb,
    effect: Option<Effect>,
}

impl MethodAndEffect {
    fn effect(&self) -> Effect {
        self.effect.unwrap_or(self.method.effect())
    }
}

#[async_trait]
impl<C: Connector<Client = Client>> Action for RequestAction<C> {
    type Connector = C;
    type Input = Input;
    type Output = CallResponse;
    const NAME: &'static str = "request";
    const TITLE: &'static str = "Call any path";
    const GROUP: &'static str = GROUP;
    const ABOUT: &'static str = "For calls that no other action makes: any method and path below the endpoint URL, with the \
        sign-in and limits of the connection. Values belong in `parameters`, where they cannot change the path.";
    // The most careful effect: the effect of a call depends on its input.
    const EFFECT: Effect = Effect::Create;

    fn effect(input: &Value) -> Effect {
        MethodAndEffect::deserialize(input).map_or(Self::EFFECT, |input| input.effect())
    }

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<CallResponse> {
        let (body, content_type) = body(Self::NAME, input.body.as_ref(), &input.content_type, input.target.lists)?;
        let mut request = input.target.request(&client.0.base, &client.0.headers, input.method, body)?;
        request.headers.extend(content_type.map(|content_type| (CONTENT_TYPE, content_type)));
        let expects = match input.response {
            ResponseForm::Json => ExpectedBody::JsonOrEmpty,
            ResponseForm::Text => ExpectedBody::Any,
        };
        let route = input.target.route(input.method);
        let call = Call {
            name: Self::NAME,
            route: &route,
            effect: input.effect(),
            expects,
            ends: &[],
            inputs: &[],
            texts: &TextPlaces::default(),
        };
        let accepted = client.execute(&call, request, cx).await?;
        Ok(accepted.into())
    }

    async fn reconcile(_: &Client, input: Input, _: &Context) -> Result<Option<CallResponse>> {
        if input.effect().repeatable() {
            return Ok(None);
        }
        Err(Error::new(
            ErrorKind::UnknownOutcome,
            "it is not known whether an earlier attempt of this call took effect",
        )
        .hint("look in the system itself; set `effect` if the call may be repeated"))
    }
}
