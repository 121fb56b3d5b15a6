//! `connection`: add, list, show, check, sign in, discover, export and remove connections.

use std::process::ExitCode;

use serde_json::{Value, json};
use trunkline::{
    Removal, Runtime,
    core::{CheckReport, Error, ErrorKind, ReauthCause, Result, SignInState, Timestamp},
    rest::Url,
    store::{ConnectionSummary, FlowUse},
};
use trunkline_server::LoopbackCallback;

use crate::{
    args::ConnectionCommand,
    input::read,
    next_step::{describe, worded},
    output::{Output, exit, plain, table, time},
};

/// Runs a `connection` command.
pub(crate) async fn connection(runtime: &Runtime, command: ConnectionCommand, output: &Output) -> Result<ExitCode> {
    match command {
        ConnectionCommand::Add { file, replace } => add(runtime, &file, replace, output).await?,
        ConnectionCommand::List => list(runtime, output).await?,
        ConnectionCommand::Show { name } => output.json(&runtime.connections().masked_connection(&name).await?),
        ConnectionCommand::Check { name } => return check(runtime, &name, output).await,
        ConnectionCommand::Authorize { name, port, paste } => {
            authorize(runtime, &name, port, paste, output).await?;
            output.show(&json!({ "authorized": name }), || format!("{name} is signed in."));
        }
        ConnectionCommand::Discover { issuer, into: None, allow_private_network } => {
            return discover(&issuer, allow_private_network, output).await;
        }
        ConnectionCommand::Discover { issuer, into: Some(name), allow_private_network } => {
            discover_into(runtime, &name, &issuer, allow_private_network, output).await?;
        }
        ConnectionCommand::Export { name, all } => export(runtime, name.as_deref(), all, output).await?,
        ConnectionCommand::Events { name, after } => {
            let events = runtime.connections().sign_in_events(name.as_deref(), after).await?;
            output.show(&events, || {
                let rows = events.iter().map(|one| vec![time(one.at), one.connection.clone(), state_text(&one.state)]);
                table(&["When (UTC)", "Connection", "Sign-in"], rows)
            });
        }
        ConnectionCommand::Remove { name, force } => {
            if let Removal::TokensNotRevoked(error) = runtime.remove_connection(&name, force).await? {
                output.warn(&format!(
                    "{name} is removed, but its login server did not revoke its tokens: {}",
                    describe(&error)
                ));
            }
            output.show(&json!({ "removed": name }), || format!("Removed {name}, with its secrets and tokens."));
        }
    }
    Ok(exit::DONE.into())
}

async fn add(runtime: &Runtime, file: &str, replace: bool, output: &Output) -> Result<()> {
    let text = read(file)?;
    let document: Value = serde_json::from_str(&text).map_err(|error| {
        let location = format!("{file}:{}:{}", error.line(), error.column());
        Error::new(ErrorKind::InvalidInput, format!("{location}: this is not JSON")).source(error)
    })?;
    let (is_list, documents) = match document {
        Value::Array(documents) => (true, documents),
        one => (false, vec![one]),
    };
    let names: Vec<_> = documents.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect();
    if let Some((_, name)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(Error::new(ErrorKind::Conflict, format!("{file} contains the connection {name} twice"))
            .hint("give one of them another name"));
    }
    if !replace && let Some(name) = first_existing(runtime, &names).await? {
        return Err(Error::new(ErrorKind::Conflict, format!("there is already a connection {name}"))
            .hint("give the new one another name, or replace it with --replace"));
    }
    let names = runtime.add_connections(documents).await?;
    let added = if is_list { json!(names) } else { json!(names.first()) };
    output.show(&json!({ "added": added }), || {
        names.iter().map(|one| format!("Added {one}. `trunkline connection check {one}` tries it.\n")).collect()
    });
    Ok(())
}

/// Returns the first of these names that a saved connection has.
async fn first_existing(runtime: &Runtime, names: &[String]) -> Result<Option<String>> {
    let all = runtime.connections().connections().await?;
    Ok(names.iter().find(|name| all.iter().any(|known| known.name == **name)).cloned())
}

async fn list(runtime: &Runtime, output: &Output) -> Result<()> {
    let all = runtime.connections().connections().await?;
    let now = Timestamp::now();
    output.show(&all, || {
        let rows = all.iter().map(|one| list_row(runtime, one, now));
        table(&["Name", "Connector", "Sign-in", "Changed (UTC)", "Used by flows", "Needed by runs"], rows)
    });
    Ok(())
}

fn list_row(runtime: &Runtime, connection: &ConnectionSummary, now: Timestamp) -> Vec<String> {
    let sign_in = connection.sign_in.as_ref();
    let sign_in = sign_in.map_or_else(|| "not yet".to_owned(), |one| state_text(&one.at(now)));
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
    let connector = match runtime.current_version(&connection.connector) {
        Some(now) => format!("{} (now {now})", connection.connector),
        None => connection.connector.clone(),
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

async fn check(runtime: &Runtime, name: &str, output: &Output) -> Result<ExitCode> {
    let report = match runtime.connect(name).await {
        Ok(connected) => connected.check().await,
        Err(error) if error.setting_pointer().is_some() => CheckReport::of_settings(name, &error),
        Err(error) => return Err(error),
    };
    let CheckReport { stages, findings } = &report;
    let json = json!({ "connection": name, "ok": report.is_ok(), "stages": stages,
        "findings": findings.iter().map(worded).collect::<Vec<_>>() });
    output.show(&json, || {
        let rows = stages.iter().map(|one| [one.stage, &one.target, one.outcome.as_str()]);
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let works = if report.is_ok() { format!("{name} works.") } else { String::new() };
        format!("{}\n\n{}{works}", table(&["Stage", "Target", "Result"], rows), Output::findings(findings))
    });
    Ok(if report.is_ok() { exit::DONE } else { exit::FAULTS }.into())
}

/// Shows what a login server publishes about itself. The settings for a connection come first, in the form of a
/// connection file.
pub(crate) async fn discover(issuer: &str, private: bool, output: &Output) -> Result<ExitCode> {
    let found = trunkline::rest::discover(issuer, private).await?;
    let offers = |scope: &&str| found.scopes.iter().any(|one| one == scope);
    let scopes: Vec<_> = ["openid", "offline_access"].into_iter().filter(offers).collect();
    let mut settings = found.settings();
    if !scopes.is_empty() {
        settings.insert("scopes".to_owned(), scopes.join(" ").into());
    }
    let json = json!({
        "settings": settings,
        "userInfoUrl": found.user_info_url,
        "supported": { "scopes": found.scopes, "grants": found.grants },
    });
    output.show(&json, || {
        let settings = serde_json::to_string_pretty(&settings).unwrap_or_default();
        let url = |url: &Option<Url>| url.as_ref().map_or_else(|| "-".to_owned(), Url::to_string);
        let rows = [
            ["User-info URL", &url(&found.user_info_url)],
            ["Supported scopes", &found.scopes.join(" ")],
            ["Supported grants", &found.grants.join(" ")],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        format!("{}\n\n{}", plain(&settings), table(&["Also published", ""], rows))
    });
    Ok(exit::DONE.into())
}

/// Writes what a login server publishes about itself into the settings of a connection.
async fn discover_into(runtime: &Runtime, name: &str, issuer: &str, private: bool, output: &Output) -> Result<()> {
    let found = trunkline::rest::discover(issuer, private).await?;
    let changed = runtime.apply_discovery(name, &found).await?;
    output.show(&json!({ "changed": name, "settings": changed }), || {
        let rows = changed.iter().map(|(setting, value)| {
            vec![setting.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]
        });
        format!(
            "{}\nThese settings of {name} were changed. `trunkline connection check {name}` tries it.",
            table(&["Setting", "Value"], rows)
        )
    });
    Ok(())
}

/// Prints one connection, or all of them as a list. The variables to provide are listed on standard error.
async fn export(runtime: &Runtime, name: Option<&str>, all: bool, output: &Output) -> Result<()> {
    let exported = runtime.export_connections(name).await?;
    let documents: Vec<_> = exported.iter().map(|one| &one.document).collect();
    if all {
        output.json(&documents);
    } else {
        documents.iter().for_each(|document| output.json(document));
    }
    let provide: Vec<_> = exported.iter().flat_map(|one| &one.provide).collect();
    if !provide.is_empty() {
        output.note(&json!({ "provide": provide }), || {
            let rows = provide
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

async fn authorize(runtime: &Runtime, name: &str, port: u16, paste: bool, output: &Output) -> Result<()> {
    let connected = runtime.connect(name).await?;
    let listener = LoopbackCallback::listen(port).await.map_err(|error| {
        error.hint("choose another with --port; the redirect URI with that port has to be registered at the vendor")
    })?;
    let redirect_uri = listener.redirect_uri();
    let authorization = connected.begin_authorization(&redirect_uri)?;
    output.info("Open this URL in a browser and sign in:\n");
    // With --json, the URL is printed to standard output: the caller has to open it.
    if output.is_json() {
        output.json(&json!({ "open": authorization.url, "redirect_uri": authorization.redirect_uri }));
    } else {
        output.sign_in_url(&authorization.url);
    }
    if paste || authorization.redirect_uri != redirect_uri {
        output.info("Then paste the URL that the browser was redirected to, and press Enter:");
        let callback = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        let callback = callback.await.map_err(std::io::Error::other).flatten();
        let callback =
            callback.map_err(|error| Error::new(ErrorKind::InvalidInput, "no URL was pasted").source(error))?;
        return connected.finish_authorization(&authorization, callback.trim()).await;
    }
    output.info("Waiting for the browser to return ...");
    listener.finish(&connected, &authorization).await
}
