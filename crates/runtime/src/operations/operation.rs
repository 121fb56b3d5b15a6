//! The two faces of an operation, as of an action: typed for code that knows it, and JSON for doors that are made of
//! the whole list.

use std::{marker::PhantomData, sync::OnceLock};

use futures::{StreamExt, stream::BoxStream};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use trunkline_core::{Effect, Error, ErrorKind, Result, Schema, async_trait, schema_of, written_schema_of};

use super::{Caller, Role};
use crate::Runtime;

/// One verb of the product with one output, such as `runs.cancel`.
#[async_trait]
pub trait Operation: Send + Sync + 'static {
    /// The input. Its doc comments become the descriptions of its schema.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// The output.
    type Output: Serialize + JsonSchema + Send + 'static;
    /// The name in the form `noun.verb`.
    const NAME: &'static str;
    /// One sentence on what the operation does.
    const ABOUT: &'static str;
    /// The lowest role that may use the operation.
    const ROLE: Role;
    /// The effect of using the operation again with the same input.
    const EFFECT: Effect;

    /// Carries out the operation. [`Runtime::execute`] has checked the role of the caller.
    ///
    /// # Errors
    ///
    /// Those that the operation documents.
    async fn run(runtime: &Runtime, caller: &Caller, input: Self::Input) -> Result<Self::Output>;

    /// Returns the entity tag of the document that the output is, or that the operation has saved, if there is one.
    fn etag(_output: &Self::Output) -> Option<&str> {
        None
    }
}

/// One verb of the product whose output is a stream, such as `runs.events`.
#[async_trait]
pub trait StreamOperation: Send + Sync + 'static {
    /// The input, see [`Operation::Input`].
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// An element of the stream.
    type Item: Serialize + JsonSchema + Send + 'static;
    /// The name, see [`Operation::NAME`].
    const NAME: &'static str;
    /// One sentence on what the operation does.
    const ABOUT: &'static str;
    /// The lowest role that may use the operation.
    const ROLE: Role;
    /// The effect of using the operation again with the same input.
    const EFFECT: Effect;

    /// Opens the stream. It ends after its first error. Dropping it ends the operation.
    ///
    /// # Errors
    ///
    /// Those that the operation documents.
    async fn open(runtime: &Runtime, caller: &Caller, input: Self::Input) -> Result<OutputStream<Self::Item>>;
}

/// The output of a [`StreamOperation`].
pub type OutputStream<T> = BoxStream<'static, Result<T>>;

/// The input of an operation that takes none: an empty object.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// The description of an operation: everything that is known without using it.
#[derive(Clone, Debug, Serialize)]
pub struct OperationSpec {
    /// The name in the form `noun.verb`.
    pub name: &'static str,
    /// One sentence on what the operation does.
    pub about: &'static str,
    /// The lowest role that may use the operation.
    pub role: Role,
    /// The effect of using the operation again with the same input.
    pub effect: Effect,
    /// Whether the output is a stream.
    pub streams: bool,
    /// JSON Schema (draft 2020-12) of the input.
    pub input: Value,
    /// JSON Schema of the output; for a stream, of one element.
    pub output: Value,
}

/// The output of an operation as JSON.
pub enum OperationOutput {
    /// The whole output, and the entity tag of the document that it is.
    Value(Value, Option<String>),
    /// The elements of a stream.
    Stream(OutputStream<Value>),
}

/// An operation without its types.
#[async_trait]
pub trait AnyOperation: Send + Sync {
    /// Returns the description.
    fn spec(&self) -> &OperationSpec;

    /// Returns the schemas of the input and of the output, with references to the definitions of these generators. A
    /// document that describes many operations has each definition once.
    fn schemas(
        &self,
        inputs: &mut SchemaGenerator,
        outputs: &mut SchemaGenerator,
    ) -> (schemars::Schema, schemars::Schema);

    /// Carries out the operation with an input in JSON.
    ///
    /// # Errors
    ///
    /// `permission` if the role of the caller is too low, `invalid_input` if the input does not fit its schema, or
    /// those of the operation.
    async fn execute(&self, runtime: &Runtime, caller: &Caller, input: Value) -> Result<OperationOutput>;
}

/// Returns an operation without its types.
pub(super) fn single<O: Operation>() -> Box<dyn AnyOperation> {
    Box::new(Single::<O> { spec: OnceLock::new(), operation: PhantomData })
}

/// Returns an operation whose output is a stream without its types.
pub(super) fn streaming<O: StreamOperation>() -> Box<dyn AnyOperation> {
    Box::new(Streaming::<O> { spec: OnceLock::new(), operation: PhantomData })
}

/// Declares operations as a table: the name of each, the function that carries it out with its input and output, the
/// lowest role that may use it, its effect, and the field of its output that is the entity tag of a document. The
/// documentation of an operation is also its description.
macro_rules! operation_table {
    ($(#[doc = $about:literal]
        $operation:ident: $name:literal, $run:ident($input:ty) -> $output:ty, $role:ident, $effect:ident
            $(, $etag:ident)?;)+) => {
        $(
            #[doc = $about]
            pub struct $operation;

            #[trunkline_core::async_trait]
            impl $crate::operations::Operation for $operation {
                type Input = $input;
                type Output = $output;
                const NAME: &'static str = $name;
                const ABOUT: &'static str = $about.trim_ascii_start();
                const ROLE: $crate::operations::Role = $crate::operations::Role::$role;
                const EFFECT: trunkline_core::Effect = trunkline_core::Effect::$effect;

                async fn run(
                    runtime: &$crate::Runtime,
                    _: &$crate::operations::Caller,
                    input: $input,
                ) -> trunkline_core::Result<$output> {
                    $run(runtime, input).await
                }

                $(fn etag(output: &$output) -> Option<&str> {
                    Some(&output.$etag)
                })?
            }
        )+

        /// Returns the operations of the table.
        pub(super) fn table() -> Vec<(&'static str, Box<dyn $crate::operations::AnyOperation>)> {
            vec![$(($name, $crate::operations::operation::single::<$operation>())),+]
        }
    };
}
pub(super) use operation_table;

struct Single<O> {
    spec: OnceLock<OperationSpec>,
    operation: PhantomData<fn() -> O>,
}

struct Streaming<O> {
    spec: OnceLock<OperationSpec>,
    operation: PhantomData<fn() -> O>,
}

#[async_trait]
impl<O: Operation> AnyOperation for Single<O> {
    fn spec(&self) -> &OperationSpec {
        self.spec.get_or_init(|| OperationSpec {
            name: O::NAME,
            about: O::ABOUT,
            role: O::ROLE,
            effect: O::EFFECT,
            streams: false,
            input: schema_of::<O::Input>(),
            output: written_schema_of::<O::Output>(),
        })
    }

    fn schemas(
        &self,
        inputs: &mut SchemaGenerator,
        outputs: &mut SchemaGenerator,
    ) -> (schemars::Schema, schemars::Schema) {
        (O::Input::json_schema(inputs), outputs.subschema_for::<O::Output>())
    }

    async fn execute(&self, runtime: &Runtime, caller: &Caller, input: Value) -> Result<OperationOutput> {
        // Before the input is looked at: what is wrong with it is not for every caller.
        check_role(caller, O::NAME, O::ROLE)?;
        let output = O::run(runtime, caller, read::<O::Input>(self.spec(), input)?).await?;
        let etag = O::etag(&output).map(str::to_owned);
        Ok(OperationOutput::Value(write(O::NAME, &output)?, etag))
    }
}

#[async_trait]
impl<O: StreamOperation> AnyOperation for Streaming<O> {
    fn spec(&self) -> &OperationSpec {
        self.spec.get_or_init(|| OperationSpec {
            name: O::NAME,
            about: O::ABOUT,
            role: O::ROLE,
            effect: O::EFFECT,
            streams: true,
            input: schema_of::<O::Input>(),
            output: written_schema_of::<O::Item>(),
        })
    }

    fn schemas(
        &self,
        inputs: &mut SchemaGenerator,
        outputs: &mut SchemaGenerator,
    ) -> (schemars::Schema, schemars::Schema) {
        (O::Input::json_schema(inputs), outputs.subschema_for::<O::Item>())
    }

    async fn execute(&self, runtime: &Runtime, caller: &Caller, input: Value) -> Result<OperationOutput> {
        check_role(caller, O::NAME, O::ROLE)?;
        let stream = O::open(runtime, caller, read::<O::Input>(self.spec(), input)?).await?;
        Ok(OperationOutput::Stream(stream.map(|item| write(O::NAME, &item?)).boxed()))
    }
}

/// Reads the input of an operation. If it does not fit, its schema says where.
///
/// # Errors
///
/// `invalid_input` with a finding for each member that does not fit.
pub fn read<T: DeserializeOwned>(spec: &OperationSpec, input: Value) -> Result<T> {
    T::deserialize(&input).map_err(|error| {
        let what = format!("the input of {}", spec.name);
        let found = Schema::from(spec.input.clone()).accept(&what, &input).err();
        found.unwrap_or_else(|| Error::new(ErrorKind::InvalidInput, format!("{what} does not fit: {error}")))
    })
}

fn write(operation: &str, output: &impl Serialize) -> Result<Value> {
    serde_json::to_value(output).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("the output of {operation} cannot be written as JSON")).source(error)
    })
}

impl Runtime {
    /// Carries out an operation for a caller.
    ///
    /// # Errors
    ///
    /// `permission` if the role of the caller is too low, or those of the operation.
    pub async fn execute<O: Operation>(&self, caller: &Caller, input: O::Input) -> Result<O::Output> {
        check_role(caller, O::NAME, O::ROLE)?;
        O::run(self, caller, input).await
    }

    /// Opens the stream of an operation for a caller.
    ///
    /// # Errors
    ///
    /// As [`Runtime::execute`].
    pub async fn stream<O: StreamOperation>(&self, caller: &Caller, input: O::Input) -> Result<OutputStream<O::Item>> {
        check_role(caller, O::NAME, O::ROLE)?;
        O::open(self, caller, input).await
    }
}

/// Fails if the role of a caller is too low for an operation.
///
/// # Errors
///
/// `permission` then.
pub(super) fn check_role(caller: &Caller, operation: &str, role: Role) -> Result<()> {
    if caller.role() >= role {
        return Ok(());
    }
    let (name, has, needs) = (caller.name(), caller.role().as_str(), role.as_str());
    let message = format!("{name} may not use {operation}: it needs the role {needs}, and {name} has the role {has}");
    Err(Error::new(ErrorKind::Permission, message))
}
