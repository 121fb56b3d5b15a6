//! `connection`: make, look at, check, sign in, discover, export, remove.

use std::process::ExitCode;

use axum::{Router, http::Uri, response::Html, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use trunkline::{
    Removal, Runtime,
    core::{Authorization, CheckReport, Connected, Error, ErrorKind, ReauthCause, Result, SignInState, Timestamp},
    rest::Url,
    serve::CALLBACK,
    store::FlowUse,
};

use super::{
    args::ConnectionCommand,
    output::{Output, exit, plain, table, time},
    read,
};

pub(crate) async fn connection(runtime: &Runtime, command: ConnectionCommand, output: &Output) -> Result<ExitCode> {
    match command {
        ConnectionCommand::Add { file, replace } => {
            let text = read(&file)?;
            let document: Value = serde_json::from_str(&text).map_err(|error| {
                let place = format!("{file}:{}:{}", error.line(), error.column());
                Error::new(ErrorKind::InvalidInput, format!("{place}: this is not JSON")).source(error)
            })?;
            let (list, documents) = match document {
                Value::Array(documents) => (true, documents),
                one => (false, vec![one]),
            };
            let names: Vec<_> =
                documents.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect();
            if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
                return Err(Error::new(ErrorKind::Conflict, format!("{file} holds the connection {} twice", twice.1))
                    .hint("give one of them another name"));
            }
            if !replace && let Some(known) = known(runtime, &names).await? {
                return Err(Error::new(ErrorKind::Conflict, format!("there is a connection {known} already"))
                    .hint("give the new one another name, or replace it with --replace"));
            }
            let names = runtime.add_connections(documents).await?;
            let added = if list { json!(names) } else { json!(names.first()) };
            output.show(&json!({ "added": added }), || {
                let lines =
                    names.iter().map(|one| format!("Added {one}. `trunkline connection check {one}` tries it.\n"));
                lines.collect()
            });
        }
        ConnectionCommand::List => {
            let all = runtime.store().connections().await?;
            let now = Timestamp::now();
            output.show(&all, || {
                let rows = all.iter().map(|one| {
                    let sign_in = one.sign_in.as_ref().map_or_else(|| "not yet".to_owned(), |one| stands(&one.at(now)));
                    let runs = one.used_by.iter().map(|used| format!("{} of {}", used.run, used.flow));
                    let runs = if one.used_by.len() > 3 {
                        format!("{} runs", one.used_by.len())
                    } else {
                        runs.collect::<Vec<_>>().join(", ")
                    };
                    let flow = |used: &FlowUse| match used.active {
                        true => used.flow.clone(),
                        false => format!("{} (inactive)", used.flow),
                    };
                    let flows = one.flows.iter().map(flow).collect::<Vec<_>>().join(", ");
                    let connector = match runtime.current_version(&one.connector) {
                        Some(now) => format!("{} (now {now})", one.connector),
                        None => one.connector.clone(),
                    };
                    vec![one.name.clone(), connector, sign_in, time(one.updated_at), flows, runs]
                });
                table(&["Name", "Connector", "Sign-in", "Changed (UTC)", "Used by flows", "Needed by runs"], rows)
            });
        }
        ConnectionCommand::Show { name } => {
            let document = runtime.store().masked_connection(&name).await?;
            output.json(&document);
        }
        ConnectionCommand::Check { name } => {
            let checked = match runtime.connect(&name).await {
                Ok(connected) => connected.check().await,
                Err(error) if error.context("setting").is_some() => CheckReport::from(&error),
                Err(error) => return Err(error),
            };
            let CheckReport { stages, findings } = &checked;
            let answer = json!({ "connection": name, "ok": checked.is_ok(), "stages": stages, "findings": findings });
            output.show(&answer, || {
                let rows = stages.iter().map(|one| [one.stage, &one.target, one.outcome.as_str()]);
                let rows = rows.map(|row| row.map(str::to_owned).to_vec());
                let works = if checked.is_ok() { format!("{name} works.") } else { String::new() };
                format!("{}\n\n{}{works}", table(&["Stage", "Of", "Is"], rows), Output::findings(findings))
            });
            if !checked.is_ok() {
                return Ok(exit::FAULTS.into());
            }
        }
        ConnectionCommand::Authorize { name, port, paste } => {
            authorize(runtime, &name, port, paste, output).await?;
            output.show(&json!({ "authorized": name }), || format!("{name} is signed in."));
        }
        ConnectionCommand::Discover { issuer, into, allow_private_network } => {
            let Some(name) = into else { return discover(&issuer, allow_private_network, output).await };
            let found = trunkline::rest::discover(&issuer, allow_private_network).await?;
            let changed = runtime.apply_discovery(&name, &found).await?;
            output.show(&json!({ "changed": name, "settings": changed }), || {
                let rows = changed.iter().map(|(name, value)| {
                    vec![name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]
                });
                format!(
                    "{}\n{name} has these settings now. `trunkline connection check {name}` tries it.",
                    table(&["Setting", "Is"], rows)
                )
            });
        }
        ConnectionCommand::Export { name, all } => {
            let exported = runtime.export_connections(name.as_deref()).await?;
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
                        "No secret is exported. To be provided in the environment where this is used:\n{}",
                        table(&["Variable", "Is"], rows)
                    )
                });
            }
        }
        ConnectionCommand::Events { name, after } => {
            let events = runtime.store().sign_in_events(name.as_deref(), after).await?;
            output.show(&events, || {
                let rows = events.iter().map(|one| vec![time(one.at), one.connection.clone(), stands(&one.state)]);
                table(&["When (UTC)", "Connection", "Sign-in"], rows)
            });
        }
        ConnectionCommand::Remove { name, force } => {
            if let Removal::TokensNotRevoked(error) = runtime.remove_connection(&name, force).await? {
                output.warn(&format!("{name} is removed, but its login server did not revoke its tokens: {error:?}"));
            }
            output.show(&json!({ "removed": name }), || format!("Removed {name}, with its secrets and tokens."));
        }
    }
    Ok(exit::DONE.into())
}

/// How a sign-in stands, in a few words.
fn stands(state: &SignInState) -> String {
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

/// The first of these names that is taken.
async fn known(runtime: &Runtime, names: &[String]) -> Result<Option<String>> {
    let all = runtime.store().connections().await?;
    Ok(names.iter().find(|name| all.iter().any(|known| known.name == **name)).cloned())
}

/// Shows what a login server says of itself: the settings for a connection first, as they are written there.
pub(crate) async fn discover(issuer: &str, private: bool, output: &Output) -> Result<ExitCode> {
    let found = trunkline::rest::discover(issuer, private).await?;
    let offers = |scope: &&str| found.scopes.iter().any(|one| one == scope);
    let scopes: Vec<_> = ["openid", "offline_access"].into_iter().filter(offers).collect();
    let mut settings = found.settings();
    if !scopes.is_empty() {
        settings.insert("scopes".to_owned(), scopes.join(" ").into());
    }
    let answer = json!({
        "settings": settings,
        "userInfoUrl": found.user_info_url,
        "supported": { "scopes": found.scopes, "grants": found.grants },
    });
    output.show(&answer, || {
        let settings = serde_json::to_string_pretty(&settings).unwrap_or_default();
        let url = |url: &Option<Url>| url.as_ref().map_or_else(|| "-".to_owned(), Url::to_string);
        let rows = [
            ["User-info URL", &url(&found.user_info_url)],
            ["Scopes it tells of", &found.scopes.join(" ")],
            ["Grants", &found.grants.join(" ")],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        format!("{}\n\n{}", plain(&settings), table(&["Also there", ""], rows))
    });
    Ok(exit::DONE.into())
}

async fn authorize(runtime: &Runtime, name: &str, port: u16, paste: bool, output: &Output) -> Result<()> {
    let connected = runtime.connect(name).await?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.and_then(|one| Ok((one.local_addr()?, one)));
    let (address, listener) = listener.map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("port {port} cannot be listened on: {error}"))
            .hint("choose another with --port; the address has to be one that is registered at the vendor")
    })?;
    let begun = connected.begin_authorization(&format!("http://{address}{CALLBACK}"))?;
    output.say("Open this address in a browser and sign in:\n");
    // The address goes to standard output also with --json: somebody has to open it.
    if output.is_json() {
        output.json(&json!({ "open": begun.url, "redirect_uri": begun.redirect_uri }));
    } else {
        output.address(&begun.url);
    }
    let own = begun.redirect_uri == format!("http://{address}{CALLBACK}");
    if paste || !own {
        output.say("Then paste the address that the browser came back to, and press Enter:");
        let callback = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        let callback = callback.await.map_err(std::io::Error::other).flatten();
        let callback =
            callback.map_err(|error| Error::new(ErrorKind::InvalidInput, "nothing was pasted").source(error))?;
        return connected.finish_authorization(&begun, callback.trim()).await;
    }
    output.say("Waiting for the browser to come back ...");
    wait_for_browser(listener, &connected, &begun).await
}

/// Serves the callback on loopback (RFC 8252 section 7.3) until a sign-in ended well, or time is up. A call that does not
/// belong to this sign-in does not end it.
async fn wait_for_browser(listener: TcpListener, connected: &Connected, begun: &Authorization) -> Result<()> {
    let (tell, mut callbacks) = mpsc::channel::<String>(8);
    let origin = begun.redirect_uri.trim_end_matches(CALLBACK).to_owned();
    let callback = move |uri: Uri| async move {
        // Who comes after the last one is told the same.
        let _ = tell.try_send(format!("{origin}{uri}"));
        Html("<!doctype html><title>Trunkline</title><p>You can close this page and go back to the terminal.")
    };
    let server = axum::serve(listener, Router::new().route(CALLBACK, get(callback)));
    let finish = async {
        while let Some(callback) = callbacks.recv().await {
            if belongs(begun, &callback) {
                return connected.finish_authorization(begun, &callback).await;
            }
        }
        Err(Error::new(ErrorKind::Auth, "nobody signed in"))
    };
    tokio::select! {
        result = finish => result,
        stopped = server.into_future() => {
            let error = Error::new(ErrorKind::Internal, "the page for the browser to come back to broke down");
            Err(match stopped { Err(cause) => error.source(cause), Ok(()) => error })
        }
        () = tokio::time::sleep(Authorization::LASTS) => {
            Err(Error::new(ErrorKind::Auth, "nobody signed in within 10 minutes").hint("run the command again"))
        }
    }
}

/// Whether a call of the callback answers this sign-in: anybody on this machine can make one.
fn belongs(begun: &Authorization, callback: &str) -> bool {
    let address = callback.parse::<Url>();
    address.is_ok_and(|one| one.query_pairs().any(|(name, value)| name == "state" && value == begun.state.expose()))
}
