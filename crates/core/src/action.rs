//! What a flow can do: [`Action`] is the face authors write, [`AnyAction`] the one the engine holds.

use std::{any::Any, marker::PhantomData};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Connector, Context, Diagnostic, Error, ErrorKind, Result, schema_of};

/// What calling an action again would do. Retry and engine obey it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// The same call again leaves the same state.
    Idempotent,
    /// The same call again makes a second thing: never repeated after an unclear failure.
    Create,
    /// Takes something away; gone already counts as done.
    Delete,
}

impl Effect {
    /// Whether an attempt that may or may not have arrived can simply be made again.
    pub fn repeatable(self) -> bool {
        self != Effect::Create
    }
}

/// One action of a connector, for its author: typed input and output, one function.
///
/// An action that fits a row of an operation table needs no type of its own.
#[async_trait]
pub trait Action: Send + Sync + 'static {
    /// Whose action it is.
    type Connector: Connector;
    /// What it takes. Doc comments become the form: `# Title` first, then the description.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// What later steps can refer to.
    type Output: Serialize + JsonSchema + Send;
    /// `resource.verb`, such as `asset.upload`.
    const NAME: &'static str;
    /// A few words for a menu.
    const TITLE: &'static str;
    /// The heading it stands under in a menu.
    const GROUP: &'static str = "";
    /// One or two sentences: what it does, what it does not.
    const ABOUT: &'static str = "";
    /// What calling it again would do.
    const EFFECT: Effect;
    /// `METHOD /path` if it stands for one call of the vendor's API that no row can describe.
    const ROUTE: Option<&'static str> = None;
    /// The OAuth scopes it needs beside those of its connector.
    const SCOPES: &'static [&'static str] = &[];

    /// What calling it again with this input would do, where that is less than [`Action::EFFECT`] says.
    fn effect(_input: &Value) -> Effect {
        Self::EFFECT
    }

    /// Does it.
    async fn run(client: &ClientOf<Self>, input: Self::Input, cx: &Context) -> Result<Self::Output>;

    /// Finds out whether an attempt that ended unclear took effect: its output if it did, `None` if it can safely be run
    /// again. Without one, a `Create` that ended unclear waits for a person.
    async fn reconcile(_client: &ClientOf<Self>, _input: Self::Input, _cx: &Context) -> Result<Option<Self::Output>> {
        Err(unreconcilable(Self::NAME))
    }
}

type ClientOf<A> = <<A as Action>::Connector as Connector>::Client;

fn unreconcilable(action: &str) -> Error {
    Error::new(
        ErrorKind::UnknownOutcome,
        format!("{action} has no way to find out whether an earlier attempt took effect"),
    )
    .hint("look in the system itself; nothing is repeated on its own")
}

/// A connector's client, for those who do not know its type.
pub type AnyClient = dyn Any + Send + Sync;

/// What there is to know about an action without running it.
#[derive(Clone, Debug, Serialize)]
pub struct ActionSpec {
    /// `resource.verb`, unique within the connector.
    pub name: String,
    /// A few words for a menu.
    pub title: String,
    /// The heading it stands under in a menu.
    pub group: String,
    /// One or two sentences.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What calling it again would do.
    pub effect: Effect,
    /// `METHOD /path` if the action is one call of a vendor's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Whether `each` can go through its items page by page.
    pub lists: bool,
    /// The OAuth scopes it needs beside those of its connector.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// JSON Schema (draft 2020-12) of the input.
    pub input: Value,
    /// JSON Schema of the output; `true` where the shape is not known.
    pub output: Value,
}

/// One page of a list, and where the next one begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The items in the order of the service.
    pub items: Vec<Value>,
    /// What to pass to get the next page, opaque to everybody but the action; `None` after the last one.
    pub next: Option<Value>,
    /// Why items may be missing, if the list seems to have changed since the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maybe_incomplete: Option<String>,
}

/// One action of a connector, for the engine: JSON in, JSON out.
#[async_trait]
pub trait AnyAction: Send + Sync {
    /// What it is.
    fn spec(&self) -> &ActionSpec;

    /// See [`Action::effect`].
    fn effect(&self, _input: &Value) -> Effect {
        self.spec().effect
    }

    /// Does it.
    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value>;

    /// One page of what it lists, from the beginning or from a page's `next`. An action that lists nothing page by page
    /// but answers an array gives that array as its only page.
    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        debug_assert!(from.is_none(), "an only page has no next");
        match self.run(client, input, cx).await? {
            Value::Array(items) => Ok(Page { items, ..Page::default() }),
            _ => Err(Error::new(ErrorKind::Config, format!("{} does not list anything", self.spec().name))
                .hint("use an action that lists, or an expression that gives an array")),
        }
    }

    /// See [`Action::reconcile`].
    async fn reconcile(&self, _client: &AnyClient, _input: Value, _cx: &Context) -> Result<Option<Value>> {
        Err(unreconcilable(&self.spec().name))
    }
}

/// A hand-written action as the engine holds it, for those who put a connector together at run time; others submit an
/// [`ActionEntry`].
pub fn any_action<A: Action>() -> Box<dyn AnyAction> {
    Box::new(Typed::<A>::new())
}

/// The one way from [`Action`] to [`AnyAction`].
struct Typed<A> {
    spec: ActionSpec,
    action: PhantomData<A>,
}

impl<A: Action> Typed<A> {
    fn new() -> Self {
        let mut input = schema_of::<A::Input>();
        if let Some(schema) = input.as_object_mut()
            && schema.contains_key("properties")
        {
            // A misspelt input is a fault, not something to pass over.
            schema.entry("additionalProperties").or_insert(Value::Bool(false));
        }
        let spec = ActionSpec {
            name: A::NAME.into(),
            title: A::TITLE.into(),
            group: A::GROUP.into(),
            about: A::ABOUT.into(),
            effect: A::EFFECT,
            route: A::ROUTE.map(str::to_owned),
            lists: false,
            scopes: A::SCOPES.iter().copied().map(str::to_owned).collect(),
            input,
            output: schema_of::<A::Output>(),
        };
        Typed { spec, action: PhantomData }
    }

    fn client<'a>(&self, client: &'a AnyClient) -> Result<&'a ClientOf<A>> {
        client.downcast_ref().ok_or_else(|| foreign_client(A::NAME))
    }

    fn input(&self, input: Value) -> Result<A::Input> {
        serde_json::from_value(input).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("the input of {} does not fit: {error}", A::NAME))
                .hint(format!("`trunkline schema action {}.{}` shows what it takes", A::Connector::NAME, A::NAME))
        })
    }
}

/// What an action says that was handed the client of another connector.
pub(crate) fn foreign_client(action: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{action} was called with another connector's client"))
}

fn output<O: Serialize>(action: &str, output: O) -> Result<Value> {
    serde_json::to_value(output)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the output of {action} is not JSON: {error}")))
}

#[async_trait]
impl<A: Action> AnyAction for Typed<A> {
    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn effect(&self, input: &Value) -> Effect {
        A::effect(input)
    }

    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value> {
        output(A::NAME, A::run(self.client(client)?, self.input(input)?, cx).await?)
    }

    async fn reconcile(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Option<Value>> {
        let found = A::reconcile(self.client(client)?, self.input(input)?, cx).await?;
        found.map(|found| output(A::NAME, found)).transpose()
    }
}

/// Actions as an entry makes them, or everything that is wrong with their table.
pub type Actions = Result<Vec<Box<dyn AnyAction>>, Vec<Diagnostic>>;

/// What a connector crate submits for its actions: the connector's name, and how to make them.
#[derive(Clone, Copy)]
pub struct ActionEntry {
    pub(crate) connector: &'static str,
    pub(crate) actions: fn() -> Actions,
}

impl ActionEntry {
    /// One hand-written action.
    pub const fn of<A: Action>() -> Self {
        ActionEntry { connector: A::Connector::NAME, actions: || Ok(vec![any_action::<A>()]) }
    }

    /// Many actions at once, such as the rows of an operation table; a broken row is a finding.
    pub const fn many<C: Connector>(actions: fn() -> Actions) -> Self {
        ActionEntry { connector: C::NAME, actions }
    }
}

inventory::collect!(ActionEntry);
