//! `request`: any method and path of the service.

use std::marker::PhantomData;

use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use trunkline_core::{Action, Connector, Context, Effect, Error, ErrorKind, Result, async_trait};

use super::{
    GROUP,
    target::{Answered, Target, Verb, body},
};
use crate::{
    Client,
    response::{Call, Reads},
};

/// The action.
pub struct RequestAction<C>(PhantomData<fn() -> C>);

/// What to call, and how its answer is read.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// # Method
    #[serde(default)]
    method: Verb,
    #[serde(flatten)]
    target: Target,
    /// # Body
    /// JSON; a text if the content type is another.
    body: Option<Value>,
    /// # Content type
    #[serde(default = "json")]
    content_type: String,
    /// # Effect
    /// What making the call again would do. Follows from the method if absent: GET and HEAD read, PUT is idempotent, DELETE
    /// deletes, POST and PATCH create. A `create` is never repeated after an unclear failure.
    effect: Option<Effect>,
    /// # Answer
    #[serde(default)]
    answer: Form,
}

fn json() -> String {
    "application/json".to_owned()
}

/// What the answer has to be.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Form {
    /// JSON or nothing; anything else is an error.
    #[default]
    Json,
    /// A text of any kind, as it is.
    Text,
}

impl Input {
    fn effect(&self) -> Effect {
        Said { method: self.method, effect: self.effect }.effect()
    }
}

/// What an input says of its effect.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    method: Verb,
    effect: Option<Effect>,
}

impl Said {
    fn effect(&self) -> Effect {
        self.effect.unwrap_or(self.method.effect())
    }
}

#[async_trait]
impl<C: Connector<Client = Client>> Action for RequestAction<C> {
    type Connector = C;
    type Input = Input;
    type Output = Answered;
    const NAME: &'static str = "request";
    const TITLE: &'static str = "Call any path";
    const GROUP: &'static str = GROUP;
    const ABOUT: &'static str = "For what no other action does: sends any method and path below the endpoint URL, with the \
        connection's sign-in and limits. Values belong into `parameters`, where they cannot change the path.";
    // The most careful one; what a call really does is known of its input only.
    const EFFECT: Effect = Effect::Create;

    fn effect(input: &Value) -> Effect {
        Said::deserialize(input).map_or(Self::EFFECT, |said| said.effect())
    }

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Answered> {
        let (sent, kind) = body(Self::NAME, input.body.as_ref(), &input.content_type)?;
        let mut request = input.target.request(client, input.method, sent)?;
        request.headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        let reads = match input.answer {
            Form::Json => Reads::Maybe,
            Form::Text => Reads::Anything,
        };
        let route = input.target.route(input.method);
        let call = Call { name: Self::NAME, route: &route, effect: input.effect(), reads };
        let answer = client.execute(&call, request, cx).await?;
        Ok(answer.into())
    }

    async fn reconcile(_: &Client, input: Input, _: &Context) -> Result<Option<Answered>> {
        if input.effect().repeatable() {
            return Ok(None);
        }
        Err(Error::new(
            ErrorKind::UnknownOutcome,
            "whether an earlier attempt of this call took effect cannot be known",
        )
        .hint("look in the system itself; say `effect` if the call may be repeated"))
    }
}
