//! A real Apache Kafka for the tests: one node that all tests of a run share, topics, and readers that are not Tidemill's code.
//!
//! The node is Java's own (`broker.sh`). It ends with the test process, however that ends: a shell that waits for the end of its input kills it.
//! `TIDEMILL_TEST_KAFKA=host:port` names a running cluster to use in its place; `TIDEMILL_REQUIRE_KAFKA=1` makes a missing Java or Maven a failure.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// No single step of a test takes longer.
pub const DEADLINE: Duration = Duration::from_secs(120);

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/broker.sh");

/// Waits until `done` gives something; asks every 20 ms, fails after `DEADLINE` with what was waited for.
pub fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Why the suite does not run, said once where nobody swallows it; `None` if it runs.
fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let installed = Command::new(SCRIPT).arg("install").stdin(Stdio::null()).output().unwrap();
        if installed.status.success() {
            return None;
        }
        let said = String::from_utf8_lossy(&installed.stderr);
        let why = said.lines().last().unwrap_or_default().to_string();
        // Past the test harness, which shows what passing tests print to nobody.
        let line = format!("not run: Java and Maven are needed for the tests against a real Kafka ({why})\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        Some(line)
    });
    if let Some(line) = missing {
        assert!(std::env::var_os("TIDEMILL_REQUIRE_KAFKA").is_none_or(|required| required != "1"), "{line}");
    }
    missing.as_deref()
}

/// The class path of Java's tools.
fn class_path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Command::new(SCRIPT).arg("classpath").output().unwrap();
        String::from_utf8(path.stdout).unwrap().trim().to_string()
    })
}

/// One node of our own.
pub struct Node {
    /// For clients, for the controller, and for clients with SASL.
    ports: [u16; 3],
    folder: PathBuf,
    pid: u32,
    /// Its input: the node ends with it.
    watchers: Vec<Child>,
}

impl Node {
    /// A new, empty node; `None` where it cannot run.
    pub fn start() -> Option<Self> {
        if missing().is_some() {
            return None;
        }
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(listeners);
        let folder = tempfile::Builder::new().prefix("tidemill-kafka-").tempdir().unwrap().keep();
        let mut node = Self { ports, folder, pid: 0, watchers: Vec::new() };
        node.up();
        Some(node)
    }

    /// Starts the node, again after `kill`, and waits until it answers.
    pub fn up(&mut self) {
        let watch = r#""$0" start "$1" "$2" "$4" "$3" & node=$!; cat >/dev/null; kill -9 $node; rm -rf "$4""#;
        let mut watcher = Command::new("bash")
            .args(["-c", watch, SCRIPT])
            .args(self.ports.map(|port| port.to_string()))
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = watcher.stdout.take().unwrap();
        self.watchers.push(watcher);
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let line = heard.recv_timeout(DEADLINE).expect("Kafka does not start; see kafka.log in its folder");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "READY", "{line}");
        self.pid = words[2].parse().unwrap();
        let brokers = self.brokers();
        until("the node answers", || Kafka::at(&brokers).is_up().then_some(()));
    }

    /// kill -9.
    pub fn kill(&self) {
        signal(self.pid, "KILL");
    }

    /// host:port.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// host:port for clients that name themselves, as `tidemill` with the password `right`.
    pub fn sasl(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// A cluster that tests talk to, and names that no other test uses.
pub struct Kafka {
    pub brokers: String,
}

/// The cluster that all tests share; `None` where none can run.
pub fn kafka() -> Option<Kafka> {
    static NODE: OnceLock<Option<Node>> = OnceLock::new();
    if let Ok(brokers) = std::env::var("TIDEMILL_TEST_KAFKA") {
        return if missing().is_some() { None } else { Some(Kafka { brokers }) };
    }
    NODE.get_or_init(Node::start).as_ref().map(|node| Kafka { brokers: node.brokers() })
}

/// Waits for a future that threads of the client complete.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    until("an answer of the admin client", || match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub offset: i64,
    pub timestamp: i64,
    pub headers: BTreeMap<String, String>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Seen {
    /// A header that holds a number.
    pub fn number(&self, header: &str) -> u64 {
        self.headers[header].parse().unwrap()
    }

    /// The value as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }
}

impl Kafka {
    /// The cluster at `brokers`.
    pub fn at(brokers: &str) -> Self {
        Self { brokers: brokers.to_string() }
    }

    /// A name that no other test, and no earlier run, uses.
    pub fn name(&self, what: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let at = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        format!("{what}-{}-{at}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// For clients of this cluster.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        config
    }

    fn is_up(&self) -> bool {
        let consumer: BaseConsumer = self.config().create().unwrap();
        consumer.fetch_metadata(None, Duration::from_secs(2)).is_ok_and(|metadata| !metadata.brokers().is_empty())
    }

    fn admin(&self) -> (AdminClient<DefaultClientContext>, AdminOptions) {
        (self.config().create().unwrap(), AdminOptions::new().operation_timeout(Some(Duration::from_secs(30))))
    }

    /// Creates a topic.
    pub fn create(&self, topic: &str, partitions: i32) {
        let (admin, options) = self.admin();
        let topics = [NewTopic::new(topic, partitions, TopicReplication::Fixed(1))];
        wait(admin.create_topics(&topics, &options)).unwrap()[0].as_ref().unwrap();
        until("the topic is there", || (self.partitions(topic) == partitions).then_some(()));
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let (admin, options) = self.admin();
        wait(admin.create_partitions(&[NewPartitions::new(topic, partitions)], &options)).unwrap()[0].as_ref().unwrap();
        until("the partition is there", || (self.partitions(topic) == partitions as i32).then_some(()));
    }

    /// Deletes what lies before `offset`, as retention does.
    pub fn expire(&self, topic: &str, partition: i32, offset: i64) {
        let (admin, options) = self.admin();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        wait(admin.delete_records(&list, &options)).unwrap();
    }

    fn partitions(&self, topic: &str) -> i32 {
        let consumer: BaseConsumer = self.config().create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
        metadata.topics()[0].partitions().len() as i32
    }

    /// Sender of plain, idempotent messages.
    pub fn producer(&self) -> Sender {
        Sender(self.config().set("linger.ms", "5").set("enable.idempotence", "true").create().unwrap())
    }

    /// All committed records of a topic by partition, up to its present end.
    pub fn read(&self, topic: &str) -> Vec<Vec<Seen>> {
        let mut config = self.config();
        config.set("group.id", "witness").set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.set("enable.auto.commit", "false").set("auto.offset.reset", "error").create().unwrap();
        let count = self.partitions(topic);
        let mut list = TopicPartitionList::new();
        (0..count).for_each(|partition| list.add_partition_offset(topic, partition, Offset::Beginning).unwrap());
        consumer.assign(&list).unwrap();
        let (mut seen, mut ended) = (vec![Vec::new(); count as usize], 0);
        let begun = Instant::now();
        while ended < count {
            assert!(begun.elapsed() < DEADLINE, "{topic} is not read to its end");
            match consumer.poll(Duration::from_secs(1)) {
                None => {}
                Some(Ok(message)) => {
                    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
                        (header.key.to_string(), String::from_utf8(header.value.unwrap().to_vec()).unwrap())
                    };
                    seen[message.partition() as usize].push(Seen {
                        offset: message.offset(),
                        timestamp: message.timestamp().to_millis().unwrap(),
                        headers: message.headers().map_or_else(BTreeMap::new, |headers| headers.iter().map(header).collect()),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                    });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))) => {}
                Some(Err(error)) => panic!("{topic}: {error}"),
            }
        }
        seen
    }

    /// Committed records of all partitions.
    pub fn count(&self, topic: &str) -> usize {
        self.read(topic).iter().map(Vec::len).sum()
    }

    /// Java's console consumer, `read_committed`, from the beginning, for as long as the process runs; what it prints goes to `file`.
    pub fn console(&self, topic: &str, file: &Path) -> Console {
        let mut java = Command::new("java");
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path()]);
        java.args(["org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", &self.brokers, "--topic", topic]);
        java.args(["--from-beginning", "--isolation-level", "read_committed"]);
        for what in ["key", "partition", "offset", "headers", "timestamp"] {
            java.args(["--formatter-property", &format!("print.{what}=true")]);
        }
        let out = std::fs::File::create(file).unwrap();
        let child = java.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn().unwrap();
        Console { child, file: file.to_path_buf() }
    }
}

/// A Java reader that is running.
pub struct Console {
    child: Child,
    file: PathBuf,
}

impl Console {
    /// Whole lines so far.
    pub fn lines(&self) -> usize {
        std::fs::read(&self.file).unwrap().iter().filter(|byte| **byte == b'\n').count()
    }

    /// Ends it: what it has seen, by partition, with offset and the rest of each line.
    pub fn end(mut self) -> BTreeMap<u32, Vec<Seen>> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let text = std::fs::read_to_string(&self.file).unwrap();
        let mut seen: BTreeMap<u32, Vec<Seen>> = BTreeMap::new();
        // CreateTime:978307440000	Partition:0	Offset:0	epoch:1,generation:2	11	{"flight_id":11,...}
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let part: Vec<&str> = line.splitn(6, '\t').collect();
            let [time, partition, offset, headers, key, value] = part[..] else { panic!("{line}") };
            let number = |text: &str, name: &str| text.strip_prefix(name).and_then(|text| text.parse::<i64>().ok()).expect(text);
            let headers = headers.split(',').map(|header| header.split_once(':').unwrap());
            seen.entry(number(partition, "Partition:") as u32).or_default().push(Seen {
                offset: number(offset, "Offset:"),
                timestamp: number(time, "CreateTime:"),
                headers: headers.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
                key: (key != "null").then(|| key.as_bytes().to_vec()),
                value: (value != "null").then(|| value.as_bytes().to_vec()),
            });
        }
        seen
    }
}

/// Sends messages.
pub struct Sender(pub BaseProducer);

impl Sender {
    /// Queues a message, waiting where the queue is full; partition −1 is one of the client's choice.
    pub fn send(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        (record.key, record.payload) = (key, value);
        while let Err((error, back)) = self.0.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            record = back;
            self.0.poll(Duration::from_millis(5));
        }
    }

    /// Waits until everything has arrived.
    pub fn flush(&self) {
        self.0.flush(DEADLINE).unwrap();
        assert_eq!(self.0.in_flight_count(), 0);
    }
}
