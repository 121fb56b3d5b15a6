//! `connection`: add, list, show, check, sign in, discover, export and remove connections.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;
use trunkline::{
    FinishedSignIn, Provide, Runtime,
    core::{ConnectorSpec, Error, ErrorKind, ForeignText, ReauthCause, Result, SignInState},
    operations::{
        Caller, Listed, PageQuery,
        catalogue::ConnectorSummary,
        connections::{
            AddConnections, CheckConnection, ConnectionDocuments, ConnectionName, ConnectionRemoval, ConnectionsToAdd,
            ExportConnections, ExportQuery, GetConnection, RemoveConnection,
        },
        sign_ins::{
            ApplyDiscovery, AuthorizeConnection, DiscoverSettings, DiscoveryQuery, DiscoveryTarget, ListSignInEvents,
            SignInEventQuery, SignInRequest,
        },
    },
    rest::Url,
    store::{ConnectionSummary, FlowUse},
};
use trunkline_server::LoopbackCallback;

use crate::{
    args::ConnectionCommand,
    consent::Answers,
    input::{document, named, read},
    lists::{all_connectors, saved_connections},
    next_step::worded,
    output::{Output, exit, list, table, time},
};

/// Runs a `connection` command. `private_network` is whether the operator allows private networks.
pub(crate) async fn connection(
    runtime: &Runtime,
    command: ConnectionCommand,
    private_network: bool,
    output: &Output,
) -> Result<ExitCode> {
    match command {
        ConnectionCommand::Add { file, replace, allow_references } => {
            let connections = match document(named(&file), &read(&file)?)? {
                Value::Array(documents) => ConnectionDocuments::Many(documents),
                one => ConnectionDocuments::One(one),
            };
            add(runtime, ConnectionsToAdd { connections, replace, allow_references }, output).await?;
        }
        ConnectionCommand::List => return list_all(runtime, output).await,
        ConnectionCommand::Show { name } => {
            output.json(&runtime.execute::<GetConnection>(&Caller::owner(), ConnectionName { name }).await?);
        }
        ConnectionCommand::Check { name } => return check(runtime, name, output).await,
        ConnectionCommand::Authorize { name, port, paste } => {
            let finished = authorize(runtime, name, port, paste, output).await?;
            output.show(&finished, || format!("{} is signed in.", ForeignText(&finished.authorized)));
        }
        ConnectionCommand::Discover { issuer, into: None } => {
            discover(runtime, DiscoveryQuery { issuer, allow_private_network: private_network }, output).await?;
        }
        ConnectionCommand::Discover { issuer, into: Some(name) } => {
            let target = DiscoveryTarget { name, issuer, allow_private_network: private_network };
            discover_into(runtime, target, output).await?;
        }
        ConnectionCommand::Export { name, all } => export(runtime, name, all, output).await?,
        ConnectionCommand::Events { name, after } => {
            let page = async |cursor| {
                let query = SignInEventQuery { name: name.clone(), after, limit: Some(PageQuery::MOST), cursor };
                runtime.execute::<ListSignInEvents>(&Caller::owner(), query).await
            };
            let events = Listed::all(page).await?;
            output.show(&events, || {
                let rows = events.iter().map(|one| vec![time(one.at), one.connection.clone(), state_text(&one.state)]);
                list("No connection has signed in yet.", &["When (UTC)", "Connection", "Sign-in"], rows)
            });
        }
        ConnectionCommand::Remove { name, force } => {
            remove(runtime, ConnectionRemoval { name, force, if_match: None }, output).await?
        }
    }
    Ok(exit::DONE.into())
}

async fn add(runtime: &Runtime, input: ConnectionsToAdd, output: &Output) -> Result<()> {
    let allowed = ConnectionsToAdd { allow_references: true, ..input.clone() };
    let added = match runtime.execute::<AddConnections>(&Caller::owner(), input).await {
        Err(error) if error.kind() == ErrorKind::Permission => {
            match output.yes(&format!("{}\nAllow this?", ForeignText(error.message()))) {
                Some(true) => runtime.execute::<AddConnections>(&Caller::owner(), allowed).await?,
                _ => return Err(error),
            }
        }
        added => added?,
    };
    output.warnings(&added.warnings);
    let mut text = String::new();
    for name in added.added.as_slice().iter().filter(|_| !output.is_json()) {
        let shown = ForeignText(name);
        let next = match settings(runtime, name).await?["flows"].as_str() {
            Some("authorization_code") => format!("`trunkline connection authorize {shown}` signs in, in the browser"),
            _ => format!("`trunkline connection check {shown}` tries it"),
        };
        text += &format!("Added {shown}. {next}.\n");
    }
    output.show(&added, || text);
    Ok(())
}

/// Returns the document of a connection, without its secrets.
async fn settings(runtime: &Runtime, name: &str) -> Result<Value> {
    let name = ConnectionName { name: name.to_owned() };
    Ok(runtime.execute::<GetConnection>(&Caller::owner(), name).await?.document)
}

async fn list_all(runtime: &Runtime, output: &Output) -> Result<ExitCode> {
    let (all, connectors) = (saved_connections(runtime).await?, all_connectors(runtime).await?);
    let mut rows = Vec::new();
    for one in all.iter().filter(|_| !output.is_json()) {
        let sign_in = match &one.sign_in {
            _ if one.damaged.is_some() => "damaged".to_owned(),
            Some(sign_in) => state_text(&sign_in.at(runtime.now())),
            None => {
                let settings = settings(runtime, &one.name).await?;
                if settings["authentication"] == "oauth2" { "not yet" } else { "none needed" }.to_owned()
            }
        };
        rows.push(list_row(&connectors, one, sign_in));
    }
    output.show(&all, || {
        let none = "There are no connections. `trunkline connection add FILE` adds one.";
        list(none, &["Name", "Connector", "Sign-in", "Changed (UTC)", "Used by flows", "Needed by runs"], rows)
    });
    Ok(output.damaged("connections", all.len(), all.iter().filter_map(|one| one.damaged.as_ref())))
}

async fn remove(runtime: &Runtime, input: ConnectionRemoval, output: &Output) -> Result<()> {
    let removed = runtime.execute::<RemoveConnection>(&Caller::owner(), input).await?;
    let name = &removed.removed;
    if let Some(error) = &removed.tokens_not_revoked {
        let why = output.describe(error);
        output.warn(&format!("{name} is removed, but its login server did not revoke its tokens: {why}"));
    }
    output.show(&worded(&removed), || format!("Removed {}, with its secrets and tokens.", ForeignText(name)));
    Ok(())
}

fn list_row(connectors: &[ConnectorSummary], connection: &ConnectionSummary, sign_in: String) -> Vec<String> {
    let runs = if connection.used_by.len() > 3 {
        format!("{} runs", connection.used_by.len())
    } else {
        let runs = connection.used_by.iter().map(|used| format!("{} of {}", used.run, used.flow));
        runs.collect::<Vec<_>>().join(", ")
    };
    let flow = |used: &FlowUse| match used.active {
        true => used.flow.clone(),
        false => format!("{} (inactive)", used.flow),
    };
    let flows = connection.flows.iter().map(flow).collect::<Vec<_>>().join(", ");
    let current = connectors.iter().find(|one| one.name == ConnectorSpec::name_in(&connection.connector));
    let connector = match current {
        Some(now) if now.id != connection.connector => format!("{} (now {})", connection.connector, now.id),
        _ => connection.connector.clone(),
    };
    vec![connection.name.clone(), connector, sign_in, time(connection.updated_at), flows, runs]
}

/// Describes the state of a sign-in in a few words.
fn state_text(state: &SignInState) -> String {
    match state {
        SignInState::Ok => "ok".to_owned(),
        SignInState::Refreshing { until } => format!("refreshing until {}", time(*until)),
        SignInState::Backoff { until, reason } => format!("backoff until {}: {reason}", time(*until)),
        SignInState::ReauthRequired { cause, reason } => {
            let cause = match cause {
                ReauthCause::Revoked => "revoked",
                ReauthCause::Interrupted => "interrupted",
                ReauthCause::Expired => "expired",
            };
            format!("reauth_required, {cause}: {reason}")
        }
    }
}

async fn check(runtime: &Runtime, name: String, output: &Output) -> Result<ExitCode> {
    let report = runtime.execute::<CheckConnection>(&Caller::owner(), ConnectionName { name }).await?;
    output.show(&worded(&report), || {
        let rows = report.stages.iter().map(|one| [one.stage, &one.target, one.outcome.as_str()]);
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let works = if report.ok { format!("{} works.", ForeignText(&report.connection)) } else { String::new() };
        format!("{}\n\n{}{works}", table(&["Stage", "Target", "Result"], rows), Output::findings(&report.findings))
    });
    Ok(if report.ok { exit::DONE } else { exit::FAULTS }.into())
}

/// Shows what a login server publishes about itself. The settings for a connection come first, in the form of a
/// connection file.
async fn discover(runtime: &Runtime, query: DiscoveryQuery, output: &Output) -> Result<()> {
    let found = runtime.execute::<DiscoverSettings>(&Caller::owner(), query).await?;
    output.show(&found, || {
        let settings = serde_json::to_string_pretty(&found.settings).unwrap_or_default();
        let url = |url: &Option<Url>| url.as_ref().map_or_else(|| "-".to_owned(), Url::to_string);
        let rows = [
            ["User-info URL", &url(&found.user_info_url)],
            ["Supported scopes", &found.supported.scopes.join(" ")],
            ["Supported grants", &found.supported.grants.join(" ")],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        format!("{settings}\n\n{}", table(&["Also published", ""], rows))
    });
    Ok(())
}

/// Writes what a login server publishes about itself into the settings of a connection.
async fn discover_into(runtime: &Runtime, target: DiscoveryTarget, output: &Output) -> Result<()> {
    let changed = runtime.execute::<ApplyDiscovery>(&Caller::owner(), target).await?;
    output.warnings(&changed.warnings);
    output.show(&changed, || {
        let rows = changed.settings.iter().map(|(setting, value)| {
            vec![setting.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]
        });
        let (table, name) = (table(&["Setting", "Value"], rows), ForeignText(&changed.changed));
        format!("{table}\nThese settings of {name} were changed. `trunkline connection check {name}` tries it.")
    });
    Ok(())
}

/// What the user has to set where an export is used, on standard error.
#[derive(Serialize)]
struct ToProvide<'a> {
    provide: Vec<&'a Provide>,
}

/// Prints one connection, or all of them as a list. The variables to provide are listed on standard error.
async fn export(runtime: &Runtime, name: Option<String>, all: bool, output: &Output) -> Result<()> {
    let exported = runtime.execute::<ExportConnections>(&Caller::owner(), ExportQuery { name }).await?;
    let documents: Vec<_> = exported.iter().map(|one| &one.document).collect();
    if all {
        output.json(&documents);
    } else {
        documents.iter().for_each(|document| output.json(document));
    }
    let to_provide = ToProvide { provide: exported.iter().flat_map(|one| &one.provide).collect() };
    if !to_provide.provide.is_empty() {
        output.note(&to_provide, || {
            let rows = to_provide
                .provide
                .iter()
                .map(|one| vec![one.env.clone(), format!("{} of connection {}", one.setting, one.connection)]);
            format!(
                "No secret is exported. Set these environment variables where the export is used:\n{}",
                table(&["Variable", "Value"], rows)
            )
        });
    }
    Ok(())
}

async fn authorize(runtime: &Runtime, name: String, port: u16, paste: bool, output: &Output) -> Result<FinishedSignIn> {
    let listener = LoopbackCallback::listen(port).await.map_err(|error| {
        error.hint("choose another with --port; the redirect URI with that port has to be registered at the vendor")
    })?;
    let redirect_uri = listener.redirect_uri();
    let request = SignInRequest { name, redirect_uri: redirect_uri.clone() };
    let started = runtime.execute::<AuthorizeConnection>(&Caller::owner(), request).await?;
    output.info("Open this URL in a browser and sign in:\n");
    // With --json, the URL is printed to standard output: the caller has to open it.
    if output.is_json() {
        output.json(&started);
    } else {
        output.sign_in_url(&started.open);
    }
    if !paste && started.redirect_uri == redirect_uri {
        output.info("Waiting for the browser to return ...");
        return listener.finish(runtime).await;
    }
    output.info("Then paste the URL that the browser was redirected to, and press Enter:");
    let callback = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let callback = callback.await.map_err(std::io::Error::other).flatten();
    let callback = callback.map_err(|error| Error::new(ErrorKind::InvalidInput, "no URL was pasted").source(error))?;
    runtime.finish_sign_in(callback.trim()).await?.ok_or_else(|| {
        Error::new(ErrorKind::Auth, "the URL does not end this sign-in: it belongs to another one, or to none")
            .hint("run the command again, and use the same browser for the whole sign-in")
    })
}
