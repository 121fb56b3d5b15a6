//! `trunkline serve`: the real binary, called as browsers, hosts and senders of webhooks call it, and killed as machines do.
#![allow(clippy::unwrap_used)]

mod access;
mod clock;
mod events;
mod fairness;
mod runs;
mod sign_in;
mod webhooks;

use std::{fs, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};
use trunkline_tests::{Answer, Cli, LONG, finish, http, until};

/// A server at work; dropped, it is killed.
pub(crate) struct Serve {
    pub(crate) process: Child,
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
}

impl Serve {
    pub(crate) async fn start(cli: &Cli) -> Serve {
        Serve::with(cli, &["--listen", "127.0.0.1:0"]).await
    }

    pub(crate) async fn with(cli: &Cli, arguments: &[&str]) -> Serve {
        let arguments = [&["serve", "--json"], arguments].concat();
        let mut process = cli.command(&arguments).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.as_mut().unwrap());
        let mut line = String::new();
        tokio::time::timeout(LONG, lines.read_line(&mut line)).await.unwrap().unwrap();
        let about: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let token = fs::read_to_string(about["token_file"].as_str().unwrap()).unwrap();
        Serve { process, address: about["address"].as_str().unwrap().to_owned(), token, http: http() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// An answer of the API, with its status.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.url(path)).bearer_auth(&self.token).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.http.post(self.url(path)).bearer_auth(&self.token).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Starts a run of a kept flow.
    pub(crate) async fn run(&self, flow: &str, input: &Value) -> String {
        let (status, told) = self.post(&format!("/rest/v1/flows/{flow}/runs"), &json!({ "input": input })).await;
        assert_eq!(status, 202, "{told}");
        told["run"].as_str().unwrap().to_owned()
    }

    /// Waits until a run is over.
    pub(crate) async fn ended(&self, run: &str) -> Value {
        until("the end of the run", async || {
            let (_, told) = self.get(&format!("/rest/v1/runs/{run}")).await;
            (told["status"] != "running").then_some(told)
        })
        .await
    }

    /// All runs, oldest first.
    pub(crate) async fn runs(&self) -> Vec<Value> {
        let (_, mut runs) = self.get("/rest/v1/runs").await;
        let runs = runs.as_array_mut().unwrap();
        runs.reverse();
        std::mem::take(runs)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Ends it as a service manager does.
    pub(crate) async fn stop(self) -> Answer {
        self.signal("-TERM");
        finish(self.process).await
    }

    /// Ends it as a crash does.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Keeps a flow of this document.
pub(crate) async fn keep(cli: &Cli, flow: &Value) -> Value {
    add(cli, flow, &[]).await.expect(0).json()
}

pub(crate) async fn add(cli: &Cli, flow: &Value, arguments: &[&str]) -> Answer {
    let name = flow["name"].as_str().unwrap();
    let file = cli.write(&format!("{name}.json"), &flow.to_string());
    cli.run(&[&["flow", "add", &file, "--replace", "--json"], arguments].concat()).await
}
