//! Holds the input that a trigger gives each run against the input that the flow declares. A trigger whose input does not
//! fit would never start a run.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use trunkline_core::{Diagnostic, Schema, pointer_part};

use crate::{
    check::{checker::Checker, open_schema::open},
    document::Flow,
    expression::Node,
    trigger::{EventTrigger, Trigger},
    typing::{
        names::Names,
        schema_algebra::{self, of_kinds},
    },
    values::json_kinds::Kinds,
};

impl Checker<'_> {
    /// Checks that the connector declares an event, and the filter of the trigger. Returns the schema of the event.
    pub(super) fn event(&mut self, flow: &Flow, event: &EventTrigger) -> Value {
        let connector = flow.connections().get(event.binding()).and_then(|name| self.registry.connector(name).ok());
        let schema = match connector.map(|connector| connector.event(event.name())) {
            Some(Ok(spec)) => spec.schema.clone(),
            Some(Err(error)) => {
                let one = Diagnostic::from(&error);
                self.report([Diagnostic { pointer: "/trigger/event".to_owned(), ..one }]);
                Value::Bool(true)
            }
            None => Value::Bool(true),
        };
        if let Some(filter) = event.filter() {
            let members = json!({ "event": schema, "delivery": { "type": "string" } });
            let names = Names::new(Cow::Owned(json!({ "type": "object", "properties": members })), flow.tables());
            self.template(filter, &of_kinds(Kinds::BOOLEAN), &names);
        }
        schema
    }

    /// Reports members of the trigger's input that the flow does not allow, or declares with another type. Adds the
    /// others to the input of a run.
    pub(super) fn trigger_members(&mut self, flow: &Flow, trigger: &Trigger, item: Value, input: &mut Value) {
        let kind = trigger.kind();
        for (name, shape) in trigger.input(item) {
            if !flow.input_may_have(&name) {
                if !trigger.may_omit(&name) {
                    let message = format!(
                        "the {kind} gives each run the member {name}, which `input` does not allow: no run can start"
                    );
                    let hint = format!("declare {name} in the `properties` of `input`, or allow other members there");
                    self.report([Diagnostic::error("/input/additionalProperties", message).hint(hint)]);
                }
                continue;
            }
            let Some(Value::Object(properties)) = input.get_mut("properties") else { continue };
            let declared = properties.insert(name.clone(), shape.clone()).unwrap_or(Value::Bool(true));
            if let Some(reason) = schema_algebra::mismatch(&shape, &declared) {
                let message = format!("{name} of the {kind} does not fit, so no run can start: {reason}");
                let found = Diagnostic::error(format!("/input/properties/{}", pointer_part(&name)), message);
                self.report([found.hint(format!("declare {name} as the {kind} gives it, or leave it out"))]);
            }
        }
    }
}

impl Flow {
    /// Returns why no run of the flow's trigger can start with the input that is saved with it: required members that
    /// neither the trigger nor the saved input nor a default gives, and saved members that do not fit.
    pub fn check_saved_input(&self, saved: &Map<String, Value>) -> Vec<Diagnostic> {
        let (Some(trigger), Some(schema)) = (self.trigger(), self.input()) else { return Vec::new() };
        let given = trigger.input(Value::Bool(true)).into_iter().map(|(name, _)| name);
        let given: Vec<_> = given.filter(|name| self.input_may_have(name)).collect();
        let known = saved.iter().filter(|(name, _)| !given.contains(name));
        let node = known.map(|(name, value)| (name.clone(), Node::Literal(value.clone())));
        // What the trigger gives is known only when it starts a run.
        let node = Node::Object(node.chain(given.iter().map(|name| (name.clone(), Node::Invalid))).collect());
        let mut input = saved.clone();
        input.extend(given.into_iter().map(|name| (name, json!(null))));
        let (kind, schema) = (trigger.kind(), Schema::from(open(&schema.before_defaults(), &node)));
        let explained = |one: Diagnostic| {
            let message = format!("no run of the {kind} can start with the saved input: {}", one.message);
            let declared = format!("/input/properties{}", one.pointer);
            let pointer = if self.document().pointer(&declared).is_some() { declared } else { "/input".to_owned() };
            let hint = "save the member with the flow as a part of its input, or give it a default";
            Diagnostic { pointer, message, ..one }.hint(hint)
        };
        schema.check(&input.into()).into_iter().map(explained).collect()
    }
}
