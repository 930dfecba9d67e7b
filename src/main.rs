//! The command line; no logic.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidemill::error::{Error, Exit, Result};
use tidemill::plan;
use tidemill::runtime::{self, BenchOptions, Cluster, Outcome, RunOptions, TopicsOptions};
use tidemill::telemetry::{self, LogFormat};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Streaming features, online learning and predictions from one TOML file: exactly once and reproducible.
#[derive(Parser)]
#[command(
    name = "tidemill",
    version,
    after_help = "Exit codes: 0 done · 2 usage · 65 data or state unusable · 69 dependency unreachable · 70 bug · 71 limit · 74 I/O · 75 start again · 76 fenced · 77 refused credentials · 78 pipeline file wrong"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a pipeline file and print everything that is wrong with it.
    #[command(
        after_help = "Example:\n  tidemill check pipelines/flights.toml\n  KAFKA_BROKERS=broker:9092 tidemill check pipelines/flights-kafka.toml"
    )]
    Check {
        /// The pipeline file.
        file: PathBuf,
    },
    /// Print the plan: order, schemas, features, bounds on state, outputs.
    #[command(
        after_help = "Example:\n  tidemill plan pipelines/flights.toml\n  tidemill plan --dot pipelines/flights.toml | dot -Tsvg > plan.svg"
    )]
    Plan {
        /// The pipeline file.
        file: PathBuf,
        /// As JSON.
        #[arg(long, conflicts_with = "dot")]
        json: bool,
        /// As a Graphviz graph.
        #[arg(long)]
        dot: bool,
    },
    /// Run a pipeline to its end, or until Ctrl-C; a stopped run goes on where it was committed.
    #[command(
        after_help = "Examples:\n  tidemill run pipelines/flights.toml\n  tidemill run pipelines/flights.toml -w 2 --fresh\n  tidemill run FILE -w 2 -n 2 -p 0 --hosts 10.0.0.1:2101,10.0.0.2:2101   (and -p 1 on the other machine)"
    )]
    Run(RunArgs),
    /// Run the [[tests]] of a pipeline file.
    #[command(after_help = "Example:\n  tidemill test pipelines/flights.toml\n  tidemill test pipelines/flights.toml --only late")]
    Test {
        /// The pipeline file.
        file: PathBuf,
        /// Only tests whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Measure a pipeline as it is: records a second, latency, processor time, memory, and what each component takes.
    #[command(
        after_help = "Examples:\n  tidemill bench pipelines/flights.toml                              as fast as it goes, to the end of its input\n  tidemill bench pipelines/fraud.toml --seconds 30                   a live pipeline, for half a minute\n  tidemill bench pipelines/flights.toml --rate 20000 --seconds 5     latency: 20,000 records a second from memory\n\nWith --rate every source becomes live. Its records are read into memory first, as many as the time needs and there are: when they are used up, the bench ends. They arrive at even intervals, merged by event time, and epochs close as `epoch = { every = … }` says. Latency counts from the scheduled arrival, however far behind the pipeline is; the first fifth (at most 2 s) is a warm-up and counted apart.\n\nNothing of yours is changed: progress, models and outputs go to a folder in $TMPDIR that is removed at the end, so commits are as fast as the disk there. Kafka topics are read from their beginning and never written: a Kafka sink becomes an NDJSON file in that folder."
    )]
    Bench(BenchArgs),
    /// Recompute one prediction from what was committed: inputs, contributions, parameters used.
    #[command(after_help = "Example:\n  tidemill explain pipelines/flights.toml 1234567")]
    Explain {
        /// The pipeline file.
        file: PathBuf,
        /// Value of the record's `key` column.
        key: String,
        /// Which model; the first one in byte order of names unless given.
        #[arg(long)]
        model: Option<String>,
        /// State directory of the run.
        #[arg(long, env = "TIDEMILL_STATE_DIR")]
        state_dir: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the progress records that a pipeline has committed, one JSON object a line, for `run --bindings`.
    #[command(
        after_help = "Example:\n  tidemill bindings pipelines/flights.toml > bindings.ndjson\n  tidemill run copy.toml --bindings bindings.ndjson   (copy.toml: the same pipeline with another name and other sink paths)"
    )]
    Bindings {
        /// The pipeline file.
        file: PathBuf,
        /// State directory of the run.
        #[arg(long, env = "TIDEMILL_STATE_DIR")]
        state_dir: Option<PathBuf>,
    },
    /// The Kafka topics of a pipeline: which there are, and making those that are missing.
    Topics {
        #[command(subcommand)]
        command: TopicsCommand,
    },
}

#[derive(Subcommand)]
enum TopicsCommand {
    /// Print the topics that a pipeline reads and writes, and make the missing ones: outputs, quarantine, progress; inputs only if asked.
    #[command(
        after_help = "Examples:\n  tidemill topics init pipelines/flights-kafka.toml --dry-run               only look\n  tidemill topics init pipelines/flights-kafka.toml --partitions 8\n  tidemill topics init pipelines/flights-kafka.toml --inputs\n\nA missing input is mostly a misspelt name: without --inputs it is left missing, and the exit code is 69."
    )]
    Init(TopicsInitArgs),
}

#[derive(Args)]
struct TopicsInitArgs {
    /// The pipeline file.
    file: PathBuf,
    /// Only print; make nothing.
    #[arg(long)]
    dry_run: bool,
    /// Make missing input topics too.
    #[arg(long)]
    inputs: bool,
    /// Partitions of each topic that is made; the progress topic always has one.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// Replication factor of each topic that is made; default: as the brokers choose.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    replication: Option<i32>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RunArgs {
    /// The pipeline file.
    file: PathBuf,
    /// Worker threads of each process; default: the number of CPUs, at most 8.
    #[arg(short, long, env = "TIDEMILL_WORKERS")]
    workers: Option<usize>,
    /// Number of processes of the cluster.
    #[arg(short = 'n', long, default_value_t = 1, env = "TIDEMILL_PROCESSES")]
    processes: usize,
    /// Which of them this is, from 0.
    #[arg(short = 'p', long, default_value_t = 0, env = "TIDEMILL_PROCESS")]
    process: usize,
    /// Addresses of all processes, host:port, separated by commas; default: localhost:2101 and the ports after it.
    #[arg(long, value_delimiter = ',', env = "TIDEMILL_HOSTS")]
    hosts: Vec<String>,
    /// Where progress, models and summaries are kept; default: .tidemill/<pipeline>.
    #[arg(long, env = "TIDEMILL_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Start over and replace the outputs.
    #[arg(long)]
    fresh: bool,
    /// Cut epochs exactly as this export of `tidemill bindings` says, and end after them.
    #[arg(long)]
    bindings: Option<PathBuf>,
    /// Least time between two checkpoints of the state, which a start goes on from; `0s`: as often as can be, and the next
    /// epoch waits for it; `never`: a start replays from the first epoch.
    #[arg(long, default_value = "10s", env = "TIDEMILL_CHECKPOINT_EVERY")]
    checkpoint_every: String,
    /// No progress while running.
    #[arg(short, long)]
    quiet: bool,
    /// Summary as JSON.
    #[arg(long)]
    json: bool,
    /// Log lines as JSON; the default where standard error is no terminal.
    #[arg(long, env = "TIDEMILL_LOG_FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// Serialise between threads as between processes (for tests).
    #[arg(long, hide = true)]
    serialized: bool,
}

#[derive(Args)]
struct BenchArgs {
    /// The pipeline file.
    file: PathBuf,
    /// Records a second, all sources together: measures latency.
    #[arg(long)]
    rate: Option<f64>,
    /// How long to measure; default: 10 with --rate or a live source, else to the end of the input.
    #[arg(long)]
    seconds: Option<f64>,
    /// Worker threads; default: the number of CPUs, at most 8.
    #[arg(short, long, env = "TIDEMILL_WORKERS")]
    workers: Option<usize>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    runtime::install_panic_hook();
    match dispatch(cli.command) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit as u8)
        }
    }
}

fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Check { file } => check(&file),
        Command::Plan { file, json, dot } => {
            let plan = runtime::load(&file)?;
            print!(
                "{}",
                if json {
                    format!("{:#}\n", plan::json(&plan))
                } else if dot {
                    plan::dot(&plan)
                } else {
                    plan::explain(&plan)
                }
            );
            Ok(Exit::Done)
        }
        Command::Run(args) => run(args),
        Command::Bench(args) => bench(args),
        Command::Test { file, only, json } => test(&file, only.as_deref(), json),
        Command::Explain { file, key, model, state_dir, json } => {
            let plan = runtime::load(&file)?;
            for explained in runtime::explain(&plan, &reading(state_dir), &key, model.as_deref())? {
                print!("{}", if json { explained.json() } else { explained.text() });
            }
            Ok(Exit::Done)
        }
        Command::Bindings { file, state_dir } => {
            let plan = runtime::load(&file)?;
            print!("{}", runtime::bindings_text(&plan, &reading(state_dir))?);
            Ok(Exit::Done)
        }
        Command::Topics { command: TopicsCommand::Init(args) } => init_topics(&args),
    }
}

fn check(file: &std::path::Path) -> Result<Exit> {
    let checked = runtime::check(file)?;
    eprint!("{}", checked.report);
    match &checked.plan {
        Some(plan) => {
            println!("{} is a valid pipeline: {}", file.display(), plan::headline(plan));
            Ok(Exit::Done)
        }
        None => {
            eprintln!("{}", checked.headline);
            Ok(Exit::Config)
        }
    }
}

fn run(args: RunArgs) -> Result<Exit> {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let json = args.log_format.as_deref().map_or(!terminal, |format| format == "json");
    telemetry::init(if json { LogFormat::Json } else { LogFormat::Text });
    let plan = runtime::load(&args.file)?;
    let workers = args.workers.unwrap_or_else(default_workers);
    let cluster = Cluster::new(workers, args.processes, args.process, args.hosts, args.serialized)?;
    let checkpoint_every = match args.checkpoint_every.as_str() {
        "never" => None,
        text => Some(runtime::interval(text)?),
    };
    let options = RunOptions {
        cluster,
        state_dir: args.state_dir,
        fresh: args.fresh,
        bindings: args.bindings,
        quiet: args.quiet,
        signals: true,
        checkpoint_every,
    };
    let file = args.file.display().to_string();
    let show = |summary: &runtime::Summary| if args.json { summary.json() } else { summary.text(&file) };
    match runtime::run(plan, &options)? {
        Outcome::Finished(summary) => print!("{}", show(&summary)),
        Outcome::Stopped(summary) => {
            print!("{}", show(&summary));
            eprintln!("stopped; run the same command again to go on");
        }
        Outcome::AlreadyFinished(summary) => {
            print!("{}", show(&summary));
            eprintln!("this run had finished already; add --fresh to start over and replace its outputs");
        }
        Outcome::Followed => {}
    }
    Ok(Exit::Done)
}

fn bench(args: BenchArgs) -> Result<Exit> {
    let plan = runtime::load(&args.file)?;
    let quiet = !std::io::IsTerminal::is_terminal(&std::io::stderr());
    let workers = args.workers.unwrap_or_else(default_workers);
    let report = runtime::bench(plan, &BenchOptions { rate: args.rate, seconds: args.seconds, workers, quiet })?;
    print!("{}", if args.json { report.json() } else { report.text() });
    Ok(Exit::Done)
}

fn init_topics(args: &TopicsInitArgs) -> Result<Exit> {
    let plan = runtime::load(&args.file)?;
    let TopicsInitArgs { dry_run, inputs, partitions, replication, .. } = *args;
    let report = runtime::init_topics(&plan, &TopicsOptions { dry_run, inputs, partitions, replication })?;
    print!("{}", if args.json { report.json() } else { report.text() });
    report.problem.map_or(Ok(Exit::Done), Err)
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(8))
}

fn test(file: &std::path::Path, only: Option<&str>, json: bool) -> Result<Exit> {
    let plan = runtime::load(file)?;
    let outcomes = runtime::run_tests(&plan, only)?;
    print!("{}", runtime::test_report(&outcomes, json));
    if outcomes.is_empty() {
        return Err(Error::new(Exit::Usage, "no test ran", "add [[tests]] to the file, or change --only"));
    }
    Ok(if outcomes.iter().all(runtime::TestOutcome::passed) { Exit::Done } else { Exit::Data })
}

fn reading(state_dir: Option<PathBuf>) -> RunOptions {
    RunOptions {
        cluster: Cluster::threads(1),
        state_dir,
        fresh: false,
        bindings: None,
        quiet: true,
        signals: false,
        checkpoint_every: None,
    }
}
