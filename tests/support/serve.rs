//! `trunkline serve` as a process, and its API.
#![allow(clippy::unwrap_used)]

use std::{fs, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use crate::{Answer, Cli, LONG, finish, http, until};

/// A server at work; dropped, it is killed.
#[derive(Debug)]
pub struct Serve {
    /// Its process.
    pub process: Child,
    /// Where it listens, such as `http://127.0.0.1:40009`.
    pub address: String,
    /// What opens its API.
    pub token: String,
    /// What calls it.
    pub http: reqwest::Client,
}

impl Serve {
    /// Starts one on a free port.
    pub async fn start(cli: &Cli) -> Serve {
        Serve::with(cli, &["--listen", "127.0.0.1:0"]).await
    }

    /// Starts one with these arguments and waits until it listens.
    pub async fn with(cli: &Cli, arguments: &[&str]) -> Serve {
        Serve::logging(cli, arguments, Stdio::inherit()).await
    }

    /// The same with its standard error sent there.
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

    /// The address of a path of it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// An answer of the API, with its status.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.http.get(self.url(path)).bearer_auth(&self.token).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The same for a call with a body.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.http.post(self.url(path)).bearer_auth(&self.token).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// What it says of its health to anybody.
    pub async fn health(&self) -> (u16, Value) {
        let answer = self.http.get(self.url("/health")).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Starts a run of a kept flow.
    pub async fn run(&self, flow: &str, input: &Value) -> String {
        let (status, told) = self.post(&format!("/rest/v1/flows/{flow}/runs"), &json!({ "input": input })).await;
        assert_eq!(status, 202, "{told}");
        told["run"].as_str().unwrap().to_owned()
    }

    /// Waits until a run is over.
    pub async fn ended(&self, run: &str) -> Value {
        until("the end of the run", async || {
            let (_, told) = self.get(&format!("/rest/v1/runs/{run}")).await;
            (told["status"] != "running").then_some(told)
        })
        .await
    }

    /// All runs, oldest first.
    pub async fn runs(&self) -> Vec<Value> {
        let (_, mut runs) = self.get("/rest/v1/runs").await;
        let runs = runs.as_array_mut().unwrap();
        runs.reverse();
        std::mem::take(runs)
    }

    /// Sends its process a signal, such as `-TERM`.
    #[cfg(unix)]
    pub fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Ends it as a service manager does.
    pub async fn stop(self) -> Answer {
        self.signal("-TERM");
        finish(self.process).await
    }

    /// Ends it as a crash does.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Keeps a flow of this document.
pub async fn keep(cli: &Cli, flow: &Value) -> Value {
    add(cli, flow, &[]).await.expect(0).json()
}

/// Keeps a flow of this document in place of an earlier one; what the command says.
pub async fn add(cli: &Cli, flow: &Value, arguments: &[&str]) -> Answer {
    let name = flow["name"].as_str().unwrap();
    let file = cli.write(&format!("{name}.json"), &flow.to_string());
    cli.run(&[&["flow", "add", &file, "--replace", "--json"], arguments].concat()).await
}
