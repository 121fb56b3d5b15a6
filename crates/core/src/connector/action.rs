//! Actions: the operations that a flow can call on a connector.
//!
//! An action has two faces. Connector authors implement [`Action`], with typed input and output. The engine holds
//! [`AnyAction`], which is object safe and takes and returns JSON. [`any_action`] turns the first into the second, and
//! an [`ActionEntry`] registers it.

use std::marker::PhantomData;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{client::wrong_client, package::Package};
use crate::{AnyClient, Connector, Context, Diagnostic, Error, ErrorKind, NextStep, Result, form_schema, schema_of};

/// The effect of calling an action a second time with the same input. Retries and the engine obey it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The call changes nothing.
    Read,
    /// A second call leaves the same state as the first.
    Idempotent,
    /// A second call creates a second object, so the call is never repeated after an unclear failure.
    Create,
    /// The call removes something. An object that is already gone counts as removed.
    Delete,
}

impl Effect {
    /// Returns whether a call may be repeated when it is not known if an earlier attempt took effect.
    pub fn repeatable(self) -> bool {
        self != Effect::Create
    }
}

/// One action of a connector, as its author writes it: typed input, typed output and one function.
///
/// An action that fits a row of an operation table needs no type of its own.
#[async_trait]
pub trait Action: Send + Sync + 'static {
    /// The connector that the action belongs to.
    type Connector: Connector;
    /// The input. Its doc comments become the form: a first line `# Title`, then the description.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// The output, which later steps can refer to.
    type Output: Serialize + JsonSchema + Send;
    /// The name in the form `resource.verb`, such as `asset.upload`.
    const NAME: &'static str;
    /// A title of a few words, for menus.
    const TITLE: &'static str;
    /// The heading in menus under which the action is listed.
    const GROUP: &'static str = "";
    /// One or two sentences on what the action does and what it does not do.
    const ABOUT: &'static str = "";
    /// The effect of calling the action again.
    const EFFECT: Effect;
    /// `METHOD /path` if the action is a single call of the vendor's API that no row can describe.
    const ROUTE: Option<&'static str> = None;
    /// The OAuth scopes that the action needs in addition to those of its connector.
    const SCOPES: &'static [&'static str] = &[];
    /// Whether [`Action::reconcile`] finds out if an earlier attempt took effect. The check of a flow warns of creates
    /// without a look-up where they are retried.
    const LOOKS_UP: bool = false;

    /// Returns the effect of calling the action again with this input. An author overrides it where some inputs are
    /// safer to repeat than [`Action::EFFECT`] says.
    fn effect(_input: &Value) -> Effect {
        Self::EFFECT
    }

    /// Runs the action with the connector's client and returns its output.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]. [`Error::retryable`] says whether the call may be repeated; `unknown_outcome` says that the
    /// call may have taken effect.
    async fn run(client: &ClientOf<Self>, input: Self::Input, cx: &Context) -> Result<Self::Output>;

    /// Finds out whether an earlier attempt with an unknown outcome took effect. Returns its output if it did, or
    /// `None` if the action can safely be run again.
    ///
    /// # Errors
    ///
    /// `unknown_outcome` if it cannot be found out. The default implementation always returns that error, so that a
    /// `Create` with an unknown outcome waits for an operator.
    async fn reconcile(_client: &ClientOf<Self>, _input: Self::Input, _cx: &Context) -> Result<Option<Self::Output>> {
        Err(unreconcilable(Self::NAME))
    }
}

type ClientOf<A> = <<A as Action>::Connector as Connector>::Client;

fn unreconcilable(action: &str) -> Error {
    let message = format!("{action} has no way to find out whether an earlier attempt took effect");
    Error::new(ErrorKind::UnknownOutcome, message)
        .hint("look in the system itself; the call is not repeated automatically")
}

/// The description of an action: everything that is known without running it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ActionSpec {
    /// The name in the form `resource.verb`, unique within the connector.
    pub name: String,
    /// A title of a few words, for menus.
    pub title: String,
    /// The heading in menus under which the action is listed.
    pub group: String,
    /// One or two sentences on what the action does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The effect of calling the action again.
    pub effect: Effect,
    /// `METHOD /path` if the action is a single call of a vendor's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Whether the action lists items page by page, so that `each` can iterate over them.
    pub lists: bool,
    /// The OAuth scopes that the action needs in addition to those of its connector.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// JSON Schema (draft 2020-12) of the input.
    pub input: Value,
    /// JSON Schema of the output; `true` if the shape is not known.
    pub output: Value,
}

/// One page of a list, with a cursor to the next page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The items, in the order in which the service lists them.
    pub items: Vec<Value>,
    /// The cursor of the next page, opaque to everything but the action; `None` on the last page.
    pub next: Option<Value>,
    /// The reason why items may be missing, if the list seems to have changed since the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maybe_incomplete: Option<String>,
}

/// One action of a connector, as the engine holds it: JSON in, JSON out.
#[async_trait]
pub trait AnyAction: Send + Sync {
    /// Returns the description of the action.
    fn spec(&self) -> &ActionSpec;

    /// Returns where the action is defined, for messages: the path of a Rust type, or a line of a file. Empty if that
    /// is not known, which is the default.
    fn origin(&self) -> String {
        String::new()
    }

    /// Returns the effect of calling the action again with this input, see [`Action::effect`].
    fn effect(&self, _input: &Value) -> Effect {
        self.spec().effect
    }

    /// Returns whether [`AnyAction::reconcile`] finds out if an earlier attempt took effect, see [`Action::LOOKS_UP`].
    fn looks_up(&self) -> bool {
        false
    }

    /// Runs the action, see [`Action::run`].
    ///
    /// # Errors
    ///
    /// Those of [`Action::run`]; `invalid_input` if the input does not fit the action, and `internal` if the client
    /// belongs to another connector.
    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value>;

    /// Returns one page of the list: the first page if `from` is `None`, else the page at that [`Page::next`].
    ///
    /// The default implementation is for actions without paging: an array that the action returns is its only page.
    ///
    /// # Errors
    ///
    /// Those of [`AnyAction::run`], and `config` if the action does not return a list.
    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        debug_assert!(from.is_none(), "a list with a single page has no next page");
        match self.run(client, input, cx).await? {
            Value::Array(items) => Ok(Page { items, ..Page::default() }),
            _ => Err(Error::new(ErrorKind::Config, format!("{} does not list anything", self.spec().name))
                .hint("use an action that lists items, or an expression that returns an array")),
        }
    }

    /// Finds out whether an earlier attempt took effect, see [`Action::reconcile`].
    ///
    /// # Errors
    ///
    /// Those of [`Action::reconcile`].
    async fn reconcile(&self, _client: &AnyClient, _input: Value, _cx: &Context) -> Result<Option<Value>> {
        Err(unreconcilable(&self.spec().name))
    }
}

/// Returns a hand-written action as the engine holds it. Hosts need it to assemble a connector at run time; connector
/// crates submit an [`ActionEntry`] instead.
pub fn any_action<A: Action>() -> Box<dyn AnyAction> {
    Box::new(TypedAction::<A>::new())
}

/// The adapter from [`Action`] to [`AnyAction`].
struct TypedAction<A> {
    spec: ActionSpec,
    action: PhantomData<A>,
}

impl<A: Action> TypedAction<A> {
    fn new() -> Self {
        let mut input = schema_of::<A::Input>();
        if let Some(schema) = input.as_object_mut() {
            // The heading of the form.
            schema.insert("title".to_owned(), A::TITLE.into());
            if schema.contains_key("properties") {
                // A misspelt input is reported as an error instead of being ignored.
                schema.entry("additionalProperties").or_insert(Value::Bool(false));
            }
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
            input: form_schema(input),
            output: schema_of::<A::Output>(),
        };
        TypedAction { spec, action: PhantomData }
    }

    fn client<'a>(&self, client: &'a AnyClient) -> Result<&'a ClientOf<A>> {
        client.downcast_ref().ok_or_else(|| wrong_client(A::NAME))
    }

    fn input(&self, input: Value) -> Result<A::Input> {
        serde_json::from_value(input).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("the input of {} does not fit: {error}", A::NAME))
                .next(NextStep::ShowActionSchema { action: format!("{}.{}", A::Connector::NAME, A::NAME) })
        })
    }
}

fn output<O: Serialize>(action: &str, output: O) -> Result<Value> {
    serde_json::to_value(output)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the output of {action} is not JSON: {error}")))
}

#[async_trait]
impl<A: Action> AnyAction for TypedAction<A> {
    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn origin(&self) -> String {
        std::any::type_name::<A>().to_owned()
    }

    fn effect(&self, input: &Value) -> Effect {
        A::effect(input)
    }

    fn looks_up(&self) -> bool {
        A::LOOKS_UP
    }

    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value> {
        output(A::NAME, A::run(self.client(client)?, self.input(input)?, cx).await?)
    }

    async fn reconcile(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Option<Value>> {
        let earlier = A::reconcile(self.client(client)?, self.input(input)?, cx).await?;
        earlier.map(|earlier| output(A::NAME, earlier)).transpose()
    }
}

/// The actions of an [`ActionEntry`], or every finding on their operation table.
pub type Actions = Result<Vec<Box<dyn AnyAction>>, Vec<Diagnostic>>;

/// A registration of actions: the connector's name and a function that makes the actions. Connector crates pass it to
/// [`submit!`](crate::submit).
#[derive(Clone, Copy)]
pub struct ActionEntry {
    pub(crate) connector: &'static str,
    pub(crate) actions: fn() -> Actions,
    pub(crate) package: Option<Package>,
}

impl ActionEntry {
    /// Returns an entry for one hand-written action.
    pub const fn of<A: Action>() -> Self {
        ActionEntry { connector: A::Connector::NAME, actions: || Ok(vec![any_action::<A>()]), package: None }
    }

    /// Returns an entry for many actions, such as the rows of an operation table. A broken row is a finding.
    pub const fn many<C: Connector>(actions: fn() -> Actions) -> Self {
        ActionEntry { connector: C::NAME, actions, package: None }
    }

    /// Sets the package that registers the actions. [`submit!`](crate::submit) does so.
    #[doc(hidden)]
    pub const fn from_package(self, name: &'static str, version: &'static str) -> Self {
        ActionEntry { package: Some(Package { name, version }), ..self }
    }
}

inventory::collect!(ActionEntry);
