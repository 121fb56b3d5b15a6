//! Processes that are read and killed. The program of the processes is the test `process` of this file.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use tempfile::TempDir;
use trunkline_testkit::{
    dice::Dice,
    kill::{KillPlan, Killed, Strike},
    process::{TestProcess, test_child},
};

const FILE: &str = "TRUNKLINE_TESTKIT_FILE";
const MOST: &str = "TRUNKLINE_TESTKIT_MOST";

/// Not a test: the program of the processes. It appends numbered lines to a file until there are enough, and continues
/// where the last process has stopped.
#[test]
#[ignore = "the program of the other tests' processes"]
fn process() {
    let path = PathBuf::from(env::var_os(FILE).unwrap());
    let most: usize = env::var(MOST).unwrap().parse().unwrap();
    let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
    for number in lines(&path)..most {
        file.write_all(format!("{number}\n").as_bytes()).unwrap();
        println!("\nwritten {number}");
        thread::sleep(Duration::from_millis(2));
    }
    print!("\nan incomplete line");
    std::io::stdout().flush().unwrap();
    eprintln!("\nall are written");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    println!(": {line}");
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

struct Writer {
    folder: TempDir,
    most: usize,
    checked: usize,
    /// Sabotage: each process begins again.
    forgets: bool,
}

impl Writer {
    fn new(most: usize) -> Writer {
        Writer { folder: tempfile::tempdir().unwrap(), most, checked: 0, forgets: false }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("lines")
    }

    fn process(&self) -> TestProcess {
        let mut command = test_child("kill::process");
        command.env(FILE, self.path()).env(MOST, self.most.to_string());
        TestProcess::spawn(command.stdin(Stdio::piped()).stderr(Stdio::piped()))
    }
}

impl Killed for Writer {
    async fn start(&mut self, _: usize) -> TestProcess {
        if self.forgets {
            fs::remove_file(self.path()).ok();
        }
        self.process()
    }

    async fn progress(&mut self) -> u64 {
        lines(&self.path()) as u64
    }

    async fn check(&mut self, kills: usize) {
        assert!(lines(&self.path()) > self.checked, "no progress before kill {kills}");
        self.checked = lines(&self.path());
    }
}

const PLAN: KillPlan = KillPlan { kills: 4, progress: 1..20, pause: 0..10 };

#[tokio::test]
async fn a_program_is_killed_as_planned_and_continues() {
    let mut writer = Writer::new(2_000);
    let last = PLAN.play(&mut writer).await;
    last.kill().await;
    let (checked, text) = (writer.checked, fs::read_to_string(writer.path()).unwrap());
    assert!((4..1_000).contains(&checked), "{checked}");
    assert!(text.lines().enumerate().all(|(number, line)| line == number.to_string()), "{text}");
}

/// The sabotage twins: a program that forgets its work, and one that ends before its kill.
#[tokio::test]
#[should_panic(expected = "no progress before kill 2")]
async fn a_program_that_forgets_its_work_is_found() {
    let mut writer = Writer { forgets: true, ..Writer::new(2_000) };
    writer.checked = 0;
    // The second process would need fifty lines to get as far as the first.
    let first = KillPlan { kills: 1, progress: 50..51, pause: 0..1 };
    first.play(&mut writer).await.kill().await;
    let process = writer.start(1).await;
    assert!(matches!(process.strike(Duration::ZERO, async || lines(&writer.path()) > 0).await, Strike::Hit));
    writer.check(2).await;
}

#[tokio::test]
#[should_panic(expected = "the process ended before kill 1")]
async fn a_program_that_ends_before_its_kill_is_found() {
    struct Short(Writer);
    impl Killed for Short {
        async fn start(&mut self, kills: usize) -> TestProcess {
            let mut process = self.0.start(kills).await;
            process.send("go").await;
            process
        }
        async fn progress(&mut self) -> u64 {
            self.0.progress().await
        }
        async fn check(&mut self, _: usize) {}
    }
    KillPlan { progress: 50..51, ..PLAN }.play(&mut Short(Writer::new(3))).await;
}

#[tokio::test]
async fn output_is_read_line_by_line_and_an_incomplete_line_does_not_count() {
    let writer = Writer::new(5);
    let mut process = writer.process();
    let second = process.line(|line| line.strip_prefix("written ").filter(|n| *n == "1").map(str::to_owned)).await;
    assert_eq!(second, "1");
    process.error_line(|line| (line == "all are written").then_some(())).await;
    assert!(!process.has_ended() && process.id() > 0);
    let rest: Vec<_> = process.kill_and_read().await.into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(rest, ["written 2", "written 3", "written 4"]);

    let mut process = writer.process();
    process.send("hello").await;
    let all = process.read_to_end().await;
    assert!(all.contains(&"an incomplete line: hello".to_owned()), "{all:?}");
    let mut process = writer.process();
    process.send("hello").await;
    assert!(process.finish().await.expect(0).stdout.contains("incomplete line: hello"));
}

#[test]
fn a_seed_repeats_the_dice() {
    let rolls =
        |seed| (0..100).map(|_| ()).scan(Dice::seeded(seed), |dice, ()| Some(dice.roll(5, 9))).collect::<Vec<_>>();
    assert_eq!(rolls(1), rolls(1));
    assert_ne!(rolls(1), rolls(2));
    assert!((5..9).all(|wanted| rolls(1).contains(&wanted)) && rolls(1).iter().all(|roll| (5..9).contains(roll)));
    assert_eq!(Dice::seeded(1).pause(&(3..4)), Duration::from_millis(3));
}
