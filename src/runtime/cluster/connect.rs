//! The start of a cluster: every process is connected with every other, or the process ends with an error that names who is missing.
//!
//! A process dials all that are before it in `--hosts` and is dialled by all after it. Process 0 gives every start of the cluster a number of its own,
//! the generation; the others learn it from process 0 first and refuse each other when it differs, so that what is left of a former start joins no new
//! one. Whoever loses process 0 before the dataflow begins starts over. The dataflow begins when process 0 knows that all are connected with all.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conversation::{Failure, HANDSHAKE, converse};
use super::handshake::{Handshake, Role, Step};
use super::hello::Hello;
use super::listener::listen;
use super::refusal::Refusal;
use super::roster::{Roster, random};
use super::secret::Secret;
use crate::error::{Error, Exit, Result};
use crate::time::clock;

/// What a process of a cluster is.
pub struct Member {
    /// The pipeline's name.
    pub cluster: String,
    /// Of its plan.
    pub fingerprint: String,
    /// Which process of `hosts` it is.
    pub process: usize,
    /// Worker threads of each process.
    pub workers: usize,
    /// Address of every process.
    pub hosts: Vec<String>,
    /// Shared with the others.
    pub secret: Secret,
}

/// How long a process waits for others.
#[derive(Clone, Copy)]
pub struct Patience {
    /// For all of them to be there.
    pub start: Duration,
    /// While the cluster says that it has this process already: a connection that broke without a word is noticed within 10 s.
    pub taken: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { start: Duration::from_secs(120), taken: Duration::from_secs(15) }
    }
}

/// Between two looks at who is there, and between two calls of somebody who is not.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CALL_EVERY: Duration = Duration::from_millis(200);

/// How long the system may try to reach an address.
const REACH: Duration = Duration::from_secs(2);

/// How often a process that waits says for whom.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The connections with all processes of the cluster, by index; none with this one.
pub fn gather(member: &Member, patience: Patience) -> Result<Vec<Option<TcpStream>>> {
    let generation = if member.process == 0 { u64::from_be_bytes(random()?).max(1) } else { 0 };
    let me = Hello {
        cluster: member.cluster.clone(),
        fingerprint: member.fingerprint.clone(),
        process: member.process as u32,
        processes: member.hosts.len() as u32,
        workers: member.workers as u32,
        generation,
        nonce: [0; 32],
    };
    let roster = Arc::new(Roster::new(me, member.secret.clone()));
    let now = clock::now();
    listen(&member.hosts[member.process], roster.clone())?;
    let reasons = vec![String::new(); member.hosts.len()];
    let mut start = Start { member, patience, roster, began: now, said: now, called: None, taken: None, reasons };
    loop {
        if let Some(streams) = start.step()? {
            return Ok(streams);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

struct Start<'a> {
    member: &'a Member,
    patience: Patience,
    roster: Arc<Roster>,
    began: Instant,
    /// When somebody was told for whom this process waits.
    said: Instant,
    called: Option<Instant>,
    /// Since when the cluster says that it has this process already.
    taken: Option<Instant>,
    /// Why the last call of each process failed.
    reasons: Vec<String>,
}

impl Start<'_> {
    /// Looks at who is there, and calls who should be; the connections once all are connected with all.
    fn step(&mut self) -> Result<Option<Vec<Option<TcpStream>>>> {
        let (me, now) = (self.roster.process(), clock::now());
        let missing = {
            let mut seats = self.roster.seats();
            if let Some(error) = seats.fatal.take() {
                return Err(error);
            }
            seats.drop_lost(me);
            if seats.agree(me) {
                tracing::info!(
                    processes = self.member.hosts.len(),
                    generation = seats.generation,
                    "all processes of the cluster are connected"
                );
                return Ok(Some(seats.take()));
            }
            seats.missing(me)
        };
        if now.duration_since(self.began) > self.patience.start {
            return Err(self.too_late(&missing));
        }
        if now.duration_since(self.said) > SAY_EVERY {
            self.said = now;
            tracing::info!("waiting for {}", self.named(&missing));
        }
        if self.called.is_none_or(|called| now.duration_since(called) >= CALL_EVERY) {
            self.called = Some(now);
            for index in missing.into_iter().filter(|index| *index < me) {
                self.call(index)?;
            }
        }
        Ok(None)
    }

    /// Calls process `index`, and process 0 before all others: it alone tells the generation.
    fn call(&mut self, index: u32) -> Result<()> {
        if index > 0 && self.roster.seats().generation == 0 {
            return Ok(());
        }
        let host = &self.member.hosts[index as usize];
        match dial(&self.roster, index, host)? {
            Ok((theirs, stream)) => {
                let mut seats = self.roster.seats();
                if index == 0 {
                    seats.generation = theirs.generation;
                }
                if seats.generation == theirs.generation && seats.seat(index, stream).is_ok() {
                    self.taken = None;
                }
                Ok(())
            }
            Err(failure) => {
                self.reasons[index as usize] = failure.to_string();
                if let Failure::Refused(refusal) = failure { self.refused(&refusal, host) } else { Ok(()) }
            }
        }
    }

    fn refused(&mut self, refusal: &Refusal, host: &str) -> Result<()> {
        if let Some(error) = refusal.ends_caller(host) {
            return Err(error);
        }
        match refusal {
            Refusal::Generation => self.roster.seats().start_over(),
            Refusal::Taken => {
                let since = *self.taken.get_or_insert(clock::now());
                if clock::now().duration_since(since) >= self.patience.taken {
                    let cause = format!(
                        "the process at {host} is connected with another process {} of pipeline {}",
                        self.member.process, self.member.cluster
                    );
                    return Err(Error::new(Exit::Config, cause, "give each process its own -p, and start each of them once"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Processes by index and address, with what is known about why they are not there.
    fn named(&self, missing: &[u32]) -> String {
        let name = |index: &u32| {
            let (host, reason) = (&self.member.hosts[*index as usize], &self.reasons[*index as usize]);
            if reason.is_empty() { format!("process {index} ({host})") } else { format!("process {index} ({host}: {reason})") }
        };
        match missing {
            [] => "the others to be connected with each other".to_string(),
            missing => missing.iter().map(name).collect::<Vec<_>>().join(", "),
        }
    }

    fn too_late(&self, missing: &[u32]) -> Error {
        let (hosts, seconds) = (self.member.hosts.join(", "), self.patience.start.as_secs());
        let cause =
            format!("the processes at {hosts} did not find each other within {seconds} s: this one waits for {}", self.named(missing));
        let help = "start every process with the same --hosts and its own -p; look at the message of the process that ended first";
        Error::new(Exit::Unreachable, cause, help)
    }
}

/// Calls the process at `host`.
fn dial(roster: &Roster, index: u32, host: &str) -> Result<Result<(Hello, TcpStream), Failure>> {
    let (mine, mut out) = (roster.hello()?, Vec::new());
    let mut handshake = Handshake::begin(Role::Dials(index), mine, roster.secret.clone(), &mut out);
    let shaken = reach(host).map_err(|error| Failure::Broken(error.to_string())).and_then(|mut stream| {
        match converse(&mut stream, &mut handshake, out, clock::now() + HANDSHAKE)? {
            Step::Accepted(theirs) => Ok((theirs, stream)),
            Step::Wait | Step::Judge(_) => Err(Failure::Refused(Refusal::Stranger)),
        }
    });
    Ok(shaken)
}

fn reach(host: &str) -> std::io::Result<TcpStream> {
    let mut failed = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, REACH) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
