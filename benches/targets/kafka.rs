//! W through a real Kafka, beside a bare loop that consumes the same records and produces the same bytes in transactions.
//!
//! The node is one of `tests/kafka/broker.sh`, or `TIDEMILL_TEST_KAFKA=host:port`. Times of throughput are from the start of the process to the last output
//! that a `read_committed` reader sees; latency is from the scheduled arrival of a record to that.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};

use crate::cluster::{self, Kafka, Sender};
use crate::events::Events;
use crate::measured::Fallible;
use crate::{Bench, Line, W, changed, rate};

const PARTITIONS: i32 = 4;
/// Records of a transaction, of both, where records wait.
const TOGETHER: usize = 16_384;
/// Records a second where latency is measured, and for how long.
const PACE: f64 = 20_000.0;
const SECONDS: f64 = 10.0;
/// Seconds at the begin that do not count.
const WARM_UP: f64 = 2.0;
const DEADLINE: Duration = Duration::from_secs(300);

fn said(what: &str) -> impl Fn(KafkaError) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// A committed reader of a topic from its beginning.
fn reader(kafka: &Kafka, topic: &str) -> Fallible<BaseConsumer> {
    let mut config = kafka.config();
    config.set("group.id", "bench").set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("fetch.wait.max.ms", "5").create().map_err(said("consumer"))?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).map_err(said(topic))?;
    }
    consumer.assign(&list).map_err(said(topic))?;
    Ok(consumer)
}

/// Reads `count` records, until the time is up or what makes them is not `alive`.
fn read(consumer: &BaseConsumer, count: usize, mut alive: impl FnMut() -> Fallible<()>, mut each: impl FnMut(&[u8])) -> Fallible<()> {
    let (began, mut seen) = (Instant::now(), 0);
    while seen < count {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                each(message.payload().unwrap_or_default());
                seen += 1;
            }
            Some(Err(error)) if !matches!(error, KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure)) => {
                return Err(error.to_string());
            }
            _ if began.elapsed() > DEADLINE => return Err(format!("{seen} of {count} records came within {} s", DEADLINE.as_secs())),
            _ => alive()?,
        }
    }
    Ok(())
}

/// W from `input` to `output`, alone.
fn pipeline(name: &str, brokers: &str, input: &str, output: &str) -> Fallible<String> {
    let text = W.split("[sinks.statistics]").next().unwrap_or_default();
    let text = changed(text, "name = \"w\"\nepoch = { every = \"0ms\" }", &format!("name = \"{name}\"\nepoch = {{ every = \"0ms\" }}"))?;
    let text = changed(&text, "[sources.transactions]\nkind = \"file\"\npath = \"${W_INPUT}\"", &{
        format!("[kafka]\nbrokers = \"{brokers}\"\n\n[sources.transactions]\nkind = \"kafka\"\ntopic = \"{input}\"\nstart = \"earliest\"")
    })?;
    changed(&text, "[sinks.predictions]\nkind = \"file\"", &format!("[sinks.predictions]\nkind = \"kafka\"\ntopic = \"{output}\""))
        .and_then(|text| changed(&text, "path = \"${W_OUTPUT}\"\n", ""))
}

/// `tidemill run` of a pipeline that ends when it is dropped.
struct Running {
    child: Child,
    messages: PathBuf,
}

impl Running {
    fn start(bench: &Bench, kafka: &Kafka, name: &str, text: &str) -> Fallible<Self> {
        kafka.create(&format!("{name}.quarantine"), 1);
        let file = bench.path(&format!("{name}.toml"));
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut command = Command::new(&bench.binary);
        command.arg("run").arg(&file).args(["-q", "-w", "1", "--fresh", "--state-dir"]).arg(bench.path(&format!("{name}-state")));
        let messages = bench.path(&format!("{name}.log"));
        let log = std::fs::File::create(&messages).map_err(|error| error.to_string())?;
        let child = command.stdout(Stdio::null()).stderr(log).spawn().map_err(|error| error.to_string())?;
        Ok(Self { child, messages })
    }

    /// An error with what the run has printed, once it has ended.
    fn alive(&mut self) -> Fallible<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(format!("tidemill ended:\n{}", std::fs::read_to_string(&self.messages).unwrap_or_default())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Consumes `input` and produces as many of `outputs`, in turn, in transactions of what is there, at most `TOGETHER`; until `stop`, or all are through.
fn bare(kafka: &Kafka, input: &str, output: &str, outputs: &[Vec<u8>], stop: &AtomicBool) -> Fallible<()> {
    let consumer = reader(kafka, input)?;
    let mut config = kafka.config();
    config.set("transactional.id", output).set("linger.ms", "5").set("compression.codec", "lz4");
    let sender = Sender(config.create().map_err(said("producer"))?);
    sender.0.init_transactions(DEADLINE).map_err(said("transactions"))?;
    let mut done = 0;
    while done < outputs.len() && !stop.load(Ordering::Relaxed) {
        let mut open = false;
        let before = done;
        let mut wait = Duration::from_millis(20);
        while done - before < TOGETHER && done < outputs.len() {
            let Some(message) = consumer.poll(wait) else { break };
            message.map_err(said(input))?;
            if !std::mem::replace(&mut open, true) {
                sender.0.begin_transaction().map_err(said("begin"))?;
            }
            sender.send(output, -1, None, Some(&outputs[done]));
            done += 1;
            wait = Duration::ZERO;
        }
        if open {
            sender.0.commit_transaction(DEADLINE).map_err(said("commit"))?;
        }
    }
    Ok(())
}

fn fill(kafka: &Kafka, topic: &str, input: &Path) -> Fallible<usize> {
    let sender = kafka.producer();
    let mut count = 0;
    for line in BufReader::new(std::fs::File::open(input).map_err(|error| error.to_string())?).split(b'\n') {
        sender.send(topic, partition(count), None, Some(&line.map_err(|error| error.to_string())?));
        count += 1;
        sender.0.poll(Duration::ZERO);
    }
    sender.flush();
    Ok(count)
}

/// Partitions take turns.
fn partition(record: usize) -> i32 {
    (record % PARTITIONS as usize) as i32
}

/// Throughput.
fn throughput(bench: &Bench, kafka: &Kafka) -> Fallible<Line> {
    let input = kafka.name("w-in");
    kafka.create(&input, PARTITIONS);
    let count = fill(kafka, &input, &bench.input("kafka", Events::w(bench.events.min(1_000_000)))?)?;
    let mut best = (0.0f64, 0.0f64);
    for round in 0..bench.rounds {
        eprintln!("round {} of {}: through Kafka", round + 1, bench.rounds);
        let (own, loops) = (kafka.name("w-own"), kafka.name("w-bare"));
        kafka.create(&own, PARTITIONS);
        kafka.create(&loops, PARTITIONS);
        let mut outputs = Vec::with_capacity(count);
        let began = Instant::now();
        let mut running = Running::start(bench, kafka, &own, &pipeline(&own, &kafka.brokers, &input, &own)?)?;
        read(&reader(kafka, &own)?, count, || running.alive(), |payload| outputs.push(payload.to_vec()))?;
        best.0 = best.0.max(count as f64 / began.elapsed().as_secs_f64());
        drop(running);
        let (began, consumer) = (Instant::now(), reader(kafka, &loops)?);
        std::thread::scope(|scope| {
            let producing = scope.spawn(|| bare(kafka, &input, &loops, &outputs, &AtomicBool::new(false)));
            read(&consumer, count, || Ok(()), |_| {})?;
            producing.join().map_err(|_| "a thread panicked".to_string())?
        })?;
        best.1 = best.1.max(count as f64 / began.elapsed().as_secs_f64());
    }
    let measure = "W through Kafka against bare consume and transactional produce of the same bytes";
    let measured = format!("{:.0} % ({} of {})", 100.0 * best.0 / best.1, rate(best.0), rate(best.1));
    Ok(Line::new(measure, "≥ 60 %", measured, Some(best.0 >= 0.6 * best.1)))
}

/// Sends events at an even pace while `through` takes them to `output`; latencies of what comes there, in microseconds.
fn paced<A: FnMut() -> Fallible<()>>(
    kafka: &Kafka,
    lines: &[Vec<u8>],
    input: &str,
    output: &str,
    through: impl FnOnce() -> Fallible<A>,
) -> Fallible<Histogram<u64>> {
    kafka.create(input, PARTITIONS);
    kafka.create(output, PARTITIONS);
    let (consumer, mut alive) = (reader(kafka, output)?, through()?);
    let sender = kafka.producer();
    let mut latencies = Histogram::new_with_bounds(1, DEADLINE.as_micros() as u64, 3).map_err(|error| error.to_string())?;
    // A first record, so that everything is connected before time counts.
    sender.send(input, 0, None, Some(&lines[0]));
    sender.flush();
    read(&consumer, 1, &mut alive, |_| {})?;
    let began = Instant::now();
    let arrival = |index: usize| began + Duration::from_secs_f64(index as f64 / PACE);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for (index, line) in lines.iter().enumerate().skip(1) {
                if let Some(early) =
                    arrival(index).checked_duration_since(Instant::now()).filter(|early| *early > Duration::from_micros(300))
                {
                    sender.0.poll(Duration::ZERO);
                    std::thread::sleep(early);
                }
                sender.send(input, partition(index), None, Some(line));
            }
            sender.flush();
        });
        let mut odd = 0;
        read(&consumer, lines.len() - 1, &mut alive, |payload| match number(payload) {
            Some(index) if index as f64 >= WARM_UP * PACE => {
                let took = Instant::now().saturating_duration_since(arrival(index));
                latencies.saturating_record(took.as_micros().try_into().unwrap_or(u64::MAX));
            }
            Some(_) => {}
            None => odd += 1,
        })?;
        if odd > 0 {
            return Err(format!("{odd} outputs have no event_id"));
        }
        sending.join().map_err(|_| "a thread panicked".to_string())
    })?;
    Ok(latencies)
}

/// The number behind `"event_id":`.
fn number(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?.split_once("\"event_id\":")?.1;
    text[..text.find(|letter: char| !letter.is_ascii_digit())?].parse().ok()
}

/// Latency.
fn latency(bench: &Bench, kafka: &Kafka) -> Fallible<Vec<Line>> {
    let input = bench.input("kafka-paced", Events { gap: 1_000.0 / PACE * 40.0, ..Events::w((PACE * (WARM_UP + SECONDS)) as u64) })?;
    let file = std::fs::File::open(input).map_err(|error| error.to_string())?;
    let lines: Vec<Vec<u8>> =
        BufReader::new(file).split(b'\n').collect::<Result<_, _>>().map_err(|error: std::io::Error| error.to_string())?;
    eprintln!("paced through Kafka");
    let [input, own, loops_input, loops] = ["paced-in", "paced-own", "paced-bare-in", "paced-bare"].map(|name| kafka.name(name));
    let own = paced(kafka, &lines, &input, &own, || {
        let mut running = Running::start(bench, kafka, &own, &pipeline(&own, &kafka.brokers, &input, &own)?)?;
        Ok(move || running.alive())
    })?;
    let (stop, outputs) = (AtomicBool::new(false), lines.clone());
    let loops = std::thread::scope(|scope| {
        let latencies = paced(kafka, &lines, &loops_input, &loops, || {
            scope.spawn(|| bare(kafka, &loops_input, &loops, &outputs, &stop));
            Ok(|| Ok(()))
        });
        stop.store(true, Ordering::Relaxed);
        latencies
    })?;
    let ms = |latencies: &Histogram<u64>, quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
    let [own50, own99, bare50, bare99] = [ms(&own, 0.5), ms(&own, 0.99), ms(&loops, 0.5), ms(&loops, 0.99)];
    let measured = format!("× {:.1} (p50 {own50:.1} ms, p99 {own99:.1} ms; bare {bare50:.1} ms, {bare99:.1} ms)", own99 / bare99);
    let aim = format!("p50 {own50:.1} ms, p99 {own99:.1} ms");
    Ok(vec![
        Line::new("p99 through Kafka, 20 k events/s, against the bare loop", "≤ 2.5 ×", measured, Some(own99 <= 2.5 * bare99)),
        Line::new("latency through Kafka, 20 k events/s", "aim p50 ≤ 40 ms, p99 ≤ 100 ms", aim, Some(own50 <= 40.0 && own99 <= 100.0)),
    ])
}

/// W through Kafka: throughput and latency.
pub fn kafka(bench: &Bench) -> Fallible<Vec<Line>> {
    let Some(kafka) = cluster::kafka() else {
        return Ok(vec![Line::new("W through Kafka", "≥ 60 % of the bare loop", "not run: Java and Maven are needed".to_string(), None)]);
    };
    let mut lines = vec![throughput(bench, &kafka)?];
    lines.extend(latency(bench, &kafka)?);
    Ok(lines)
}
