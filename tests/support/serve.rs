//! Starts `trunkline serve` as a process, and calls its API.
#![allow(clippy::unwrap_used)]

use std::{fs, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};
use trunkline_testkit::process::TestProcess;

use crate::{Cli, CommandOutput, LONG, finish, http, until};

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Serve {
    /// Its process.
    pub process: Child,
    /// Base URL, such as `http://127.0.0.1:40009`.
    pub address: String,
    /// Token of its API.
    pub token: String,
    /// Client that calls the API.
    pub http: reqwest::Client,
}

impl Serve {
    /// Starts a server on a free port.
    pub async fn start(cli: &Cli) -> Serve {
        Serve::with(cli, &["--listen", "127.0.0.1:0"]).await
    }

    /// Starts a server with these arguments, and waits until it listens.
    pub async fn with(cli: &Cli, arguments: &[&str]) -> Serve {
        Serve::logging(cli, arguments, Stdio::inherit()).await
    }

    /// Starts a server with these arguments and its standard error sent to `log`, and waits until it listens.
    pub async fn logging(cli: &Cli, arguments: &[&str], log: impl Into<Stdio>) -> Serve {
        let arguments = [&["serve", "--json"], arguments].concat();
        let mut process = cli.command(&arguments).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.as_mut().unwrap());
        let mut line = String::new();
        tokio::time::timeout(LONG, lines.read_line(&mut line)).await.unwrap().unwrap();
        let about: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let token = fs::read_to_string(about["token_file"].as_str().unwrap()).unwrap();
        Serve { process, address: about["address"].as_str().unwrap().to_owned(), token, http: http() }
    }

    /// Returns the URL of a path of the server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Sends a GET request to the API. Returns status and body of the response.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.http.get(self.url(path)).bearer_auth(&self.token).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Sends a POST request with a JSON body to the API. Returns status and body of the response.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.http.post(self.url(path)).bearer_auth(&self.token).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Reads the health of the server, without a token. Returns status and body of the response.
    pub async fn health(&self) -> (u16, Value) {
        let response = self.http.get(self.url("/health")).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Starts a run of a saved flow, and returns the id of the run.
    pub async fn run(&self, flow: &str, input: &Value) -> String {
        let (status, body) = self.post(&format!("/rest/v1/flows/{flow}/runs"), &json!({ "input": input })).await;
        assert_eq!(status, 202, "{body}");
        body["run"].as_str().unwrap().to_owned()
    }

    /// Waits until a run has ended, and returns the run.
    pub async fn ended(&self, run: &str) -> Value {
        until("the end of the run", async || {
            let (_, body) = self.get(&format!("/rest/v1/runs/{run}")).await;
            (body["status"] != "running").then_some(body)
        })
        .await
    }

    /// Returns all runs, oldest first.
    pub async fn runs(&self) -> Vec<Value> {
        let (_, mut runs) = self.get("/rest/v1/runs?limit=500").await;
        let runs = runs["items"].as_array_mut().unwrap();
        runs.reverse();
        std::mem::take(runs)
    }

    /// Sends its process a signal, such as `-TERM`.
    #[cfg(unix)]
    pub fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Stops the server with SIGTERM, as a service manager does.
    pub async fn stop(self) -> CommandOutput {
        self.signal("-TERM");
        finish(self.process).await
    }

    /// Kills the server, as a crash does.
    pub async fn kill(self) {
        TestProcess::from(self.process).kill().await;
    }
}

/// Saves a flow, and asserts that it is accepted.
pub async fn save(cli: &Cli, flow: &Value) -> Value {
    add(cli, flow, &[]).await.expect(0).json()
}

/// Saves a flow in place of an earlier version, as active unless `arguments` say otherwise. Each connection that it
/// declares is bound to the connection that has the name of the connector. Returns the output of the command.
pub async fn add(cli: &Cli, flow: &Value, arguments: &[&str]) -> CommandOutput {
    let name = flow["name"].as_str().unwrap();
    let file = cli.write(&format!("{name}.json"), &flow.to_string());
    let bindings = flow["connections"].as_object().into_iter().flatten();
    let bindings =
        bindings.map(|(binding, connector)| format!("--connection={binding}={}", connector.as_str().unwrap()));
    let bindings: Vec<_> = bindings.collect();
    let bindings: Vec<_> = bindings.iter().map(String::as_str).collect();
    let active: &[&str] = if arguments.contains(&"--inactive") { &[] } else { &["--activate"] };
    cli.run(&[&["flow", "add", &file, "--replace", "--json"], &bindings[..], active, arguments].concat()).await
}
