//! The checks of a flow with the connections that it is bound to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trunkline_core::{ConnectorSpec, Diagnostic, NextStep, Result, Setting, pointer_part};
use trunkline_flow::{Flow, GrantedScopes};
use trunkline_store::ConnectionSummary;

use crate::runtime::Runtime;

impl Runtime {
    /// Checks a flow against the connectors, and against the scopes that the bound connections were granted. Returns
    /// everything that is wrong, also with bindings that the flow does not declare. A binding to a connection that is
    /// missing, or that belongs to another connector, is not checked here but when the flow is started or activated.
    ///
    /// # Errors
    ///
    /// `store` if the connections cannot be read. What is wrong with the flow is not an error but a diagnostic.
    pub async fn check_flow(&self, flow: &Flow, bindings: &BTreeMap<String, String>) -> Result<Vec<Diagnostic>> {
        let known = self.connections().connections().await?;
        let mut granted = GrantedScopes::new();
        for (binding, name) in bindings {
            let connection = known.iter().find(|one| one.name == *name);
            let connector = flow.connections().get(binding);
            let Some((one, connector)) = connection.zip(connector).filter(|(one, connector)| fits(one, connector))
            else {
                continue;
            };
            let document = self.connections().masked_connection(name).await?;
            let scopes = granted_by_server(one).or_else(|| {
                let connector = self.registry().connector(connector).ok()?;
                requested_scopes(&document, &connector.spec().connection)
            });
            granted.extend(scopes.map(|scopes| (binding.clone(), scopes)));
        }
        let mut found = flow.unknown_bindings(bindings.keys());
        found.extend(flow.check_granted(self.registry(), &granted));
        Ok(found)
    }

    /// Fails if anything is wrong with a flow, see [`Runtime::check_flow`].
    pub(crate) async fn accept(&self, flow: &Flow, bindings: &BTreeMap<String, String>) -> Result<()> {
        Diagnostic::accept(&format!("flow {}", flow.name()), &self.check_flow(flow, bindings).await?)
    }

    /// Returns an error for each declared connection that is bound to one that does not exist or does not fit, and if all
    /// are `required`, for each that is not bound. `saved` is the name of a flow that has to be saved again to bind one.
    pub(crate) async fn binding_faults(
        &self,
        flow: &Flow,
        bindings: &BTreeMap<String, String>,
        required: bool,
        saved: Option<&str>,
    ) -> Result<Vec<Diagnostic>> {
        let known = self.connections().connections().await?;
        // Other findings report a connector that does not exist, and a binding with a misspelt name.
        let is_misspelt = bindings.keys().any(|binding| !flow.connections().contains_key(binding));
        let declared = flow.connections().iter().filter(|(_, connector)| self.registry().connector(connector).is_ok());
        let mut found = Vec::new();
        for (binding, connector) in declared {
            let bound = bindings.get(binding).map(|name| (name, known.iter().find(|one| one.name == *name)));
            let message = match bound {
                Some((_, Some(one))) if fits(one, connector) => continue,
                Some((name, Some(one))) => {
                    format!("{name} is a connection to {}, but {binding} needs one to {connector}", one.connector)
                }
                Some((name, None)) => format!("{binding} is bound to {name}, but there is no such connection"),
                None if !required || is_misspelt => continue,
                None => format!("{binding} is not bound to a connection, and needs one to {connector}"),
            };
            let step = match fitting(&known, connector) {
                names if names.is_empty() => NextStep::AddConnection { connector: Some(connector.clone()) },
                connections => NextStep::BindConnection {
                    flow: saved.map(str::to_owned),
                    binding: binding.clone(),
                    connector: Some(connector.clone()),
                    connections,
                },
            };
            found.push(Diagnostic::error(format!("/connections/{}", pointer_part(binding)), message).next(step));
        }
        Ok(found)
    }

    /// Returns which connections there are for an action of this connector.
    pub(crate) async fn connection_choice(&self, connector: &str) -> Result<NextStep> {
        Ok(match fitting(&self.connections().connections().await?, connector) {
            names if names.is_empty() => NextStep::AddConnection { connector: Some(connector.to_owned()) },
            names => format!("name one of the connections to {connector}: {}", names.join(", ")).into(),
        })
    }
}

/// Returns the names of connections to a connector, at most ten.
fn fitting(known: &[ConnectionSummary], connector: &str) -> Vec<String> {
    known.iter().filter(|one| fits(one, connector)).map(|one| one.name.clone()).take(10).collect()
}

/// Returns the scopes that the login server granted, if it did so after the settings were last saved.
fn granted_by_server(connection: &ConnectionSummary) -> Option<BTreeSet<String>> {
    let sign_in = connection.sign_in.as_ref().filter(|one| one.last_success >= Some(connection.updated_at))?;
    Some(sign_in.scopes.clone()?.into_iter().collect())
}

/// Returns the `scopes` of a connection's settings, or `None` if the choice is left to the login server.
fn requested_scopes(document: &Value, schema: &Value) -> Option<BTreeSet<String>> {
    let default = || Setting::all(schema).into_iter().find(|one| one.name == "scopes")?.schema.get("default");
    let scopes = document.get("scopes").or_else(default)?.as_str()?;
    let scopes: BTreeSet<_> = scopes.split_whitespace().map(str::to_owned).collect();
    (!scopes.is_empty()).then_some(scopes)
}

/// Returns whether a connection is one to a connector.
pub(crate) fn fits(connection: &ConnectionSummary, connector: &str) -> bool {
    ConnectorSpec::name_in(&connection.connector) == connector
}
