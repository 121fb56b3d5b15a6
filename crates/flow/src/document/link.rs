//! Links a flow with the flows that it calls.

use std::{collections::BTreeMap, sync::Arc};

use trunkline_core::Diagnostic;

use crate::{
    document::flow::Flow,
    steps::{reader::unknown_binding, step::FlowCall},
};

/// The deepest nesting of flows that call flows.
const MAX_CALLS: usize = 8;
/// The largest number of flows that a flow calls, directly or through others.
const MAX_FLOWS: usize = 100;

impl Flow {
    /// Returns the flow together with the flows that it calls, directly or through others. `find` returns a flow by
    /// name.
    ///
    /// # Errors
    ///
    /// A finding at each step whose call cannot work: `find` has no flow of that name, flows call each other in a
    /// circle or too deep, or a connection binding of the called flow has no counterpart of the same connector.
    pub fn link(&self, find: &dyn Fn(&str) -> Option<Flow>) -> Result<Flow, Vec<Diagnostic>> {
        let (flow, found) = self.link_readable(find);
        if found.is_empty() { Ok(flow) } else { Err(found) }
    }

    /// Like [`Flow::link`], for a check: a call that cannot work does not hide what is wrong with the others. The flow
    /// is linked with all flows but those, and must not be run if there are findings.
    pub fn link_readable(&self, find: &dyn Fn(&str) -> Option<Flow>) -> (Flow, Vec<Diagnostic>) {
        let mut linker = Linker { find, chain: Vec::new(), depths: BTreeMap::new(), linked: BTreeMap::new() };
        let mut found = Vec::new();
        linker.chain.push(self.name().to_owned());
        for call in &self.inner.calls {
            if let Err(one) = linker.follow(self, call) {
                found.push(Diagnostic { pointer: format!("{}{}", call.pointer, one.pointer), ..one });
            }
        }
        let linked = Flow { inner: self.inner.clone(), linked: Arc::new(linker.linked) };
        (linked, Diagnostic::bounded(found))
    }
}

/// Follows calls from flow to flow.
struct Linker<'a> {
    find: &'a dyn Fn(&str) -> Option<Flow>,
    /// The names of the flows from the first one down to the caller.
    chain: Vec<String>,
    /// For each flow whose calls have all been followed, how many levels of calls are below it.
    depths: BTreeMap<String, usize>,
    linked: BTreeMap<String, Flow>,
}

impl Linker<'_> {
    /// Follows a call and returns how many levels of calls it leads to. A finding's pointer is relative to the step of
    /// the first flow.
    fn follow(&mut self, caller: &Flow, call: &FlowCall) -> Result<usize, Diagnostic> {
        let name = &call.flow;
        // A fault further down is shown at the call that leads there.
        let is_first = self.chain.len() == 1;
        let place = |pointer: &'static str| if is_first { pointer } else { "/call" };
        let error = |pointer, message: String| Diagnostic::error(place(pointer), message);
        if self.chain.contains(name) {
            let message = format!("{} calls {name}: a flow cannot call itself", self.chain.join(" calls "));
            return Err(error("/call", message).hint("remove one of these calls"));
        }
        let Some(flow) = self.linked.get(name).cloned().or_else(|| (self.find)(name)) else {
            let message = format!("{} calls {name}, and there is no flow of that name", caller.name());
            return Err(error("/call", message));
        };
        for binding in call.named_bindings() {
            if !flow.connections().contains_key(binding) {
                let found = unknown_binding(&format!("the flow {name}"), binding, flow.connections().keys());
                return Err(Diagnostic { pointer: place("/connections").to_owned(), ..found });
            }
        }
        for (binding, connector) in flow.connections() {
            let bound_to = call.binding_for(binding);
            if caller.connections().get(bound_to) != Some(connector) {
                let message =
                    format!("the flow {name} needs a connection to {connector} for its connection binding {binding}");
                let hint = format!(
                    "bind it to a binding of {} with that connector: \"connections\": {{ \"{binding}\": .. }}",
                    caller.name()
                );
                return Err(error("/call", message).hint(hint));
            }
        }
        if !self.depths.contains_key(name) {
            if self.linked.len() >= MAX_FLOWS {
                let message = format!("the flow calls more than {MAX_FLOWS} flows, directly or through others");
                return Err(Diagnostic::over_limit(place("/call"), message).hint("divide it into several flows"));
            }
            self.chain.push(name.clone());
            let mut deepest = 0;
            for call in &flow.inner.calls {
                deepest = deepest.max(self.follow(&flow, call)?);
            }
            self.chain.pop();
            self.depths.insert(name.clone(), deepest);
            self.linked.insert(name.clone(), flow);
        }
        let depth = 1 + self.depths.get(name).copied().unwrap_or_default();
        if depth + self.chain.len() > MAX_CALLS + 1 {
            let message = format!("flows call flows more than {MAX_CALLS} levels deep, by way of {name}");
            return Err(Diagnostic::over_limit("/call", message)
                .hint("put the steps of one of them into the flow that calls it"));
        }
        Ok(depth)
    }
}
