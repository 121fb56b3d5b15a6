//! The names that expressions can refer to, with their values.

use std::{collections::HashMap, sync::Arc};

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value as Dynamic};
use serde_json::Value;

use crate::{typing::infer::ROOTS, values::conversion::to_json};

/// The values that the expressions of a step can refer to. Scopes are nested: each item of an `each` has an inner
/// scope. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scope(Arc<Level>);

#[derive(Debug)]
struct Level {
    outer: Option<Scope>,
    input: Dynamic,
    run: Dynamic,
    /// The tables of the flow. Only the filter `lookup` can read them, expressions cannot.
    tables: Dynamic,
    /// `item`, `items` and `error`, which exist only inside of some steps.
    locals: Vec<(&'static str, Dynamic)>,
    /// The outputs of the steps that ran in this scope.
    steps: std::sync::RwLock<HashMap<Arc<str>, Dynamic>>,
}

impl Scope {
    /// Creates the scope of a run's first steps. `run` is the run's id.
    pub fn new(input: &Value, run: &str, tables: &Value) -> Scope {
        let run = Dynamic::from(Serde(serde_json::json!({ "id": run })));
        Scope(Arc::new(Level {
            outer: None,
            input: Dynamic::from(Serde(input)),
            run,
            tables: Dynamic::from(Serde(tables)),
            locals: Vec::new(),
            steps: Default::default(),
        }))
    }

    /// Returns an inner scope in which the local `name` (`item`, `items` or `error`) has this value.
    pub fn with(&self, name: &'static str, value: &Value) -> Scope {
        let locals = self.0.locals.iter().filter(|(known, _)| *known != name).cloned();
        self.inner(locals.chain([(name, Dynamic::from(Serde(value)))]).collect())
    }

    /// Returns an inner scope in which `item` is the item of this number of the batch in `items`.
    pub fn with_item_of_batch(&self, index: usize) -> Scope {
        let items = self.0.locals.iter().find(|(name, _)| *name == "items");
        let item = items.and_then(|(_, items)| items.get_item_by_index(index).ok()).unwrap_or_default();
        self.inner(self.0.locals.iter().cloned().chain([("item", item)]).collect())
    }

    /// Returns an inner scope. The outputs of its steps are not visible outside until they are [adopted](Self::adopt).
    pub fn branch(&self) -> Scope {
        self.inner(self.0.locals.clone())
    }

    fn inner(&self, locals: Vec<(&'static str, Dynamic)>) -> Scope {
        Scope(Arc::new(Level {
            outer: Some(self.clone()),
            input: self.0.input.clone(),
            run: self.0.run.clone(),
            tables: self.0.tables.clone(),
            locals,
            steps: Default::default(),
        }))
    }

    /// Makes the outputs of the steps of an inner scope visible in this one.
    pub fn adopt(&self, inner: &Scope) {
        let steps = inner.0.steps.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        self.0.steps.write().unwrap_or_else(|poisoned| poisoned.into_inner()).extend(steps);
    }

    /// Makes a step's output visible to the steps after it.
    pub fn set_step(&self, id: &Arc<str>, output: &Value) {
        let output = Dynamic::from(Serde(output));
        self.0.steps.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(id.clone(), output);
    }

    /// Returns the output of a step, if it has one here.
    pub fn output_of(&self, id: &str) -> Option<Value> {
        to_json(&self.step(id)?).ok()
    }

    fn step(&self, id: &str) -> Option<Dynamic> {
        let steps = self.0.steps.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        steps.get(id).cloned().or_else(|| self.0.outer.as_ref()?.step(id))
    }
}

/// The scope as the map of names that expressions are evaluated on.
impl Object for Scope {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Dynamic) -> Option<Dynamic> {
        match key.as_str()? {
            "input" => Some(self.0.input.clone()),
            "run" => Some(self.0.run.clone()),
            "tables" => Some(self.0.tables.clone()),
            "steps" => Some(Dynamic::from_object(Steps(Scope::clone(self)))),
            name => self.0.locals.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&ROOTS)
    }
}

/// The value of the name `steps`.
#[derive(Debug)]
struct Steps(Scope);

impl Object for Steps {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Dynamic) -> Option<Dynamic> {
        self.0.step(key.as_str()?)
    }
}
