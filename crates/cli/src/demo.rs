//! `demo`: copies a Mediaflow library into MediaValet, on this machine. Only the two DAM systems are not real: they are
//! simulators, and they count independently what they received.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline::{
    Runtime,
    core::{Diagnostic, Error, ErrorKind, Result, RunId, Timestamp},
    engine::{Ledger, Run},
    operations::{
        Caller, FlowChoice, FlowFile,
        run_queries::GetRun,
        runs::{RunName, RunRequest, StartRun},
    },
    store::write_private_file,
};
use trunkline_sandbox::{Faults, Options, Report, Sandbox};

use crate::{
    args,
    output::{Output, exit, exit_code},
    progress_display,
    run_text::lines,
    sandbox,
};

const FLOW: &str = include_str!("../flows/mediaflow-to-mediavalet.json");
const FLOW_FILE: &str = "mediaflow-to-mediavalet.json";
const FLOW_NAME: &str = "mediaflow-to-mediavalet";
/// Short enough that a run of a few seconds refreshes its tokens.
const TOKEN_LIFETIME: Duration = Duration::from_secs(2);

/// The settings of the simulators, stored in the data directory so that they can be started again after a kill.
#[derive(Serialize, Deserialize)]
struct DemoState {
    address: SocketAddr,
    files: u64,
    faults: f64,
    started_at: Timestamp,
}

impl DemoState {
    fn folder(data: &Path) -> PathBuf {
        data.join("demo")
    }

    fn options(&self, data: &Path) -> Options {
        Options {
            bind: self.address,
            files: self.files,
            refusals: true,
            processing: Duration::from_millis(100),
            token_lifetime: TOKEN_LIFETIME,
            faults: Faults { rate: self.faults, ..Faults::default() },
            state: Some(DemoState::folder(data).join("state")),
            ..Options::default()
        }
    }
}

/// Where a demo keeps its connections and its run: a directory of its own, unless the user has named one.
pub(crate) struct Place {
    data: PathBuf,
    is_own: bool,
}

impl Place {
    /// Returns the directory that the user has named, or a new one that only this user can read.
    ///
    /// # Errors
    ///
    /// `store` if no directory can be created.
    pub(crate) fn new(given: Option<PathBuf>) -> Result<Place> {
        if let Some(data) = given {
            return Ok(Place { data, is_own: false });
        }
        let parent = std::env::temp_dir();
        let made = tempfile::Builder::new().prefix("trunkline-demo-").tempdir_in(&parent);
        let data = made.map_err(|error| unwritable(&parent, error))?.keep();
        Ok(Place { data, is_own: true })
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the key file of a directory of its own, which goes with it.
    pub(crate) fn key_file(&self) -> Option<PathBuf> {
        self.is_own.then(|| self.data.join("key"))
    }

    /// Returns how a command names this directory.
    fn command(&self) -> String {
        match self.key_file() {
            Some(key) => format!("trunkline --data {} --key-file {}", self.data.display(), key.display()),
            None => format!("trunkline --data {}", self.data.display()),
        }
    }

    /// Removes a directory of its own, unless it is wanted.
    fn end(self, keep: bool, output: &Output) {
        if !self.is_own {
            return;
        }
        if keep {
            return output.info(&format!("The data of the demo is kept: `{} runs` lists its run.", self.command()));
        }
        if let Err(error) = fs::remove_dir_all(&self.data) {
            output.warn(&format!("the data directory {} of the demo cannot be removed: {error}", self.data.display()));
        }
    }
}

fn unwritable(folder: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("{} cannot be written: {error}", folder.display()))
        .hint("choose another data directory with --data")
}

/// The figures that `demo --json` prints.
#[derive(Serialize)]
struct Figures {
    run: RunId,
    status: &'static str,
    files: u64,
    done: u64,
    skipped: u64,
    failed: u64,
    digest_mismatches: u64,
    duplicates: u64,
    bytes: u64,
    seconds: f64,
    token_refreshes: u64,
}

pub(crate) async fn demo(runtime: &Runtime, place: Place, arguments: args::Demo, output: &Output) -> Result<ExitCode> {
    let keep = arguments.keep;
    let ended = copy(runtime, &place, arguments, output).await;
    // What has failed can be looked at.
    let has_failed = !matches!(ended, Ok(code) if code == ExitCode::from(exit::DONE));
    place.end(keep || has_failed, output);
    ended
}

/// Copies the library, and shows what was counted.
async fn copy(runtime: &Runtime, place: &Place, arguments: args::Demo, output: &Output) -> Result<ExitCode> {
    let data = place.data();
    if !(0.0..=1.0).contains(&arguments.faults) {
        return Err(Error::new(ErrorKind::InvalidInput, "--faults takes a share from 0 to 1, such as 0.02"));
    }
    let folder = DemoState::folder(data);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
    }
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
    let mut state = DemoState {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        files: arguments.files,
        faults: arguments.faults,
        started_at: Timestamp::now(),
    };
    let sandbox = sandbox::start(state.options(data)).await?;
    state.address = sandbox.address();
    let text = serde_json::to_string(&state).unwrap_or_default();
    write_private_file(&folder.join("sandbox.json"), text.as_bytes()).map_err(|error| unwritable(&folder, error))?;
    output.info(&format!(
        "Simulators of Mediaflow and MediaValet listen at http://{}; the Mediaflow library contains {} files.",
        sandbox.address(),
        arguments.files
    ));
    for mut settings in sandbox.settings() {
        let name = format!("demo-{}", settings["name"].as_str().unwrap_or_default());
        settings["name"] = name.as_str().into();
        runtime.add_connection(settings).await?;
        let found = runtime.connect(&name).await?.check().await.findings;
        Diagnostic::accept(&format!("connection {name}"), &found)?;
        output.info(&format!("Connection {name} is signed in and works."));
    }
    let file = FlowFile { file: FLOW_FILE.to_owned(), document: FLOW.into(), called: BTreeMap::new() };
    let input = json!({ "folder": sandbox.root_folder(), "category": sandbox.category() });
    let connections = [("source", "demo-mediaflow"), ("target", "demo-mediavalet")];
    let connections = connections.map(|(binding, name)| (binding.to_owned(), name.to_owned())).into();
    let since = Instant::now();
    let request = RunRequest { flow: FlowChoice::File(file), input: Some(input), connections, idempotency_key: None };
    let started = runtime.execute::<StartRun>(&Caller::owner(), request).await?;
    output.info(&format!(
        "Run {} of flow {FLOW_NAME} has started. You can kill it: `{} --allow-private-network runs resume {}` continues \
         it.\n",
        started.run,
        place.command(),
        started.run
    ));
    let run = progress_display::watch(runtime, &started.run, output).await?;
    let seconds = since.elapsed().as_secs_f64();
    let report = sandbox.report();
    sandbox.stop().await;
    show(&run, &report, seconds, arguments.files, output);
    let faithful = report.digest_mismatches == 0 && report.duplicates == 0;
    Ok(if faithful { exit_code(run.status) } else { exit::FAILED.into() })
}

fn show(run: &Run, report: &Report, seconds: f64, files: u64, output: &Output) {
    let ledger = run.ledger.values().next().cloned().unwrap_or_else(Ledger::default);
    let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
    let figures = Figures {
        run: run.id.clone(),
        status: run.status.as_str(),
        files,
        done: ledger.done,
        skipped: sum(&ledger.skipped),
        failed: ledger.faults(),
        digest_mismatches: report.digest_mismatches,
        duplicates: report.duplicates,
        bytes: report.bytes,
        seconds: (seconds * 1000.0).round() / 1000.0,
        token_refreshes: report.token_refreshes,
    };
    output.show(&figures, || {
        let rate = report.bytes as f64 / 1e6 / seconds.max(0.001);
        format!(
            "Run {} {} after {seconds:.1} s ({rate:.0} MB/s, tokens refreshed {} times).\n\nLedger:\n{}\n{}",
            run.id,
            run.status.as_str(),
            report.token_refreshes,
            lines(&ledger),
            comparison(report)
        )
    });
    if let (Some(error), false) = (&run.error, output.is_json()) {
        output.error(error);
    }
}

/// Formats what the MediaValet simulator counted.
pub(crate) fn comparison(report: &Report) -> String {
    format!(
        "Counted by the MediaValet simulator:\n  {:>7}  assets, {} of them uploaded ({:.1} MB)\n  {:>7}  with a \
         SHA-256 other than their source's\n  {:>7}  uploaded twice\n",
        report.assets,
        report.uploaded,
        report.bytes as f64 / 1e6,
        report.digest_mismatches,
        report.duplicates
    )
}

/// Starts the simulators again, if the run was started by `demo` and killed together with them.
pub(crate) async fn revive(runtime: &Runtime, data: &Path, run: &str) -> Result<Option<Sandbox>> {
    let run = runtime.execute::<GetRun>(&Caller::owner(), RunName { run: run.to_owned() }).await?.run;
    if !run.connections.values().all(|name| name.starts_with("demo-")) || run.connections.is_empty() {
        return Ok(None);
    }
    let text = fs::read_to_string(DemoState::folder(data).join("sandbox.json")).ok();
    let state: Option<DemoState> = text.and_then(|text| serde_json::from_str(&text).ok());
    match state.filter(|state| state.started_at <= run.started_at) {
        Some(state) => sandbox::start(state.options(data)).await.map(Some),
        None => {
            Err(Error::new(ErrorKind::NotFound, format!("the simulators that run {} worked with are gone", run.id))
                .hint("a later `trunkline demo` has replaced them: start a new demo"))
        }
    }
}
