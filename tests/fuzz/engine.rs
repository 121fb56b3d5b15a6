//! Runs a fuzz target: first the inputs of its corpus, then changed ones until the time is over.
//!
//! A target takes bytes, and panics if one of its properties does not hold. Apart from that, each input must be done
//! within a second, and the process may not need more than a fixed amount of memory. The seed is printed; with `SEED`
//! and the same corpus a run is repeated. The last input is in a file before it is tried, for a fault that ends the
//! process.

use std::{
    any::Any,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use trunkline_tests::{Dice, memory, project};

use super::mutate::{LONGEST, Mutator};

/// The most time for one input. An input that takes longer is tried again, since another process may have had the
/// processor.
const MOST_TIME: Duration = Duration::from_secs(1);
/// The time after which an input is not waited for any longer.
const HANG: Duration = Duration::from_secs(30);
/// The most memory of the process, in KiB. Two targets run at the same time.
const MOST_MEMORY: u64 = 384 * 1024;
/// The stack of a target: that of a worker thread of the server.
const STACK: usize = 2 << 20;

/// What is wrong with an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Panic,
    Slow,
    Hang,
    Memory,
}

/// A fault, and the input that shows it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) fault: Fault,
    pub(crate) input: Vec<u8>,
    pub(crate) why: String,
}

/// A target with its inputs.
#[derive(Clone)]
pub(crate) struct Fuzz {
    pub(crate) name: &'static str,
    pub(crate) target: fn(&[u8]),
    pub(crate) corpus: Vec<Vec<u8>>,
    pub(crate) time: Duration,
    pub(crate) most_memory: u64,
}

impl Fuzz {
    /// A target with the inputs of `tests/corpus` and of these folders of the project.
    pub(crate) fn new(name: &'static str, folders: &[&str], target: fn(&[u8])) -> Fuzz {
        let own = format!("tests/corpus/{name}");
        let mut corpus = Vec::new();
        for folder in [&[&*own], folders].concat() {
            let mut files: Vec<_> =
                fs::read_dir(project().join(folder)).unwrap().map(|one| one.unwrap().path()).collect();
            files.sort();
            let files = files.into_iter().filter(|path| path.is_file());
            corpus.extend(files.map(|path| fs::read(path).unwrap()).filter(|input| input.len() <= LONGEST));
        }
        assert!(corpus.len() >= 5, "{name} has only {} inputs", corpus.len());
        let seconds = env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(2);
        Fuzz { name, target, corpus, time: Duration::from_secs(seconds), most_memory: MOST_MEMORY }
    }

    /// Runs the target, and fails the test with what it finds.
    pub(crate) fn check(self) {
        let (name, folder) = (self.name, folder());
        if let Some(found) = self.run() {
            let file = folder.join(format!("{name}.found"));
            fs::write(&file, &found.input).unwrap();
            let excerpt = found.input[..found.input.len().min(600)].escape_ascii();
            panic!("{name}: {:?}: {}\n{}\n{excerpt}", found.fault, found.why, file.display());
        }
    }

    /// Runs the target until its time is over. Returns the first fault.
    pub(crate) fn run(self) -> Option<Found> {
        let state = Arc::new(Mutex::new((Vec::new(), Instant::now())));
        let (sender, result) = mpsc::channel();
        let (of_worker, name) = (state.clone(), self.name);
        // The seed is printed by the thread of the test, whose output the test shows.
        let dice = Dice::default();
        let work = move || sender.send(self.work(&of_worker, dice)).unwrap();
        let worker = thread::Builder::new().stack_size(STACK).spawn(work).unwrap();
        loop {
            match result.recv_timeout(Duration::from_millis(100)) {
                Ok((tried, found)) => {
                    println!("{name}: {tried} inputs");
                    worker.join().unwrap();
                    return found;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let (input, began) = state.lock().unwrap().clone();
                    if began.elapsed() > HANG {
                        let why = format!("it takes longer than {HANG:?}");
                        return Some(Found { fault: Fault::Hang, input, why });
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: the thread of the target has ended"),
            }
        }
    }

    /// Tries inputs. Returns their number, and the first fault.
    fn work(self, state: &Mutex<(Vec<u8>, Instant)>, dice: Dice) -> (u64, Option<Found>) {
        let last = folder().join(format!("{}.last", self.name));
        let (mut tried, begun) = (0, Instant::now());
        let mut mutator = Mutator::new(self.corpus.clone(), dice);
        let mut corpus = self.corpus.iter().cloned();
        loop {
            let input = match corpus.next() {
                Some(input) => input,
                None if begun.elapsed() > self.time => return (tried, None),
                None => mutator.next(),
            };
            if let Some((fault, why)) = self.attempt(&input, state, &last) {
                return (tried, Some(Found { fault, input, why }));
            }
            tried += 1;
        }
    }

    /// Tries an input, a second and a third time if it is slow.
    fn attempt(&self, input: &[u8], state: &Mutex<(Vec<u8>, Instant)>, last: &Path) -> Option<(Fault, String)> {
        fs::write(last, input).unwrap();
        let mut slowest = Duration::ZERO;
        for _ in 0..3 {
            let began = Instant::now();
            *state.lock().unwrap() = (input.to_vec(), began);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.target)(input))) {
                return Some((Fault::Panic, message(&*panic)));
            }
            let peak = memory::status(std::process::id(), "VmHWM").unwrap_or_default();
            if peak > self.most_memory {
                let limit = self.most_memory;
                return Some((Fault::Memory, format!("the process needs {peak} KiB, more than {limit} KiB")));
            }
            slowest = began.elapsed();
            if slowest < MOST_TIME {
                return None;
            }
        }
        Some((Fault::Slow, format!("it takes {slowest:?}, three times in a row longer than {MOST_TIME:?}")))
    }
}

/// Returns the folder for inputs that show a fault.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
