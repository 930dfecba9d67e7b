//! The address of this process in `--hosts`, for the life of the process: processes of the cluster get their seats while it starts; everybody else,
//! and everybody later, is refused without holding up or disturbing anything.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::conversation::{Failure, HANDSHAKE, converse, say};
use super::handshake::{Handshake, Role, Step, Verdict};
use super::refusal::Refusal;
use super::roster::Roster;
use crate::error::{Error, Exit, Result};
use crate::time::clock;

/// Callers that are heard at the same time; more are turned away until one of them is done.
const MOST_CALLERS: usize = 64;

/// A process that was just killed may hold its address for a moment.
const BIND_FOR: Duration = Duration::from_secs(3);

/// At most one refusal is logged in this time.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Listens on `host` and takes callers into `roster`, on threads of their own.
pub fn listen(host: &str, roster: Arc<Roster>) -> Result<()> {
    let listener = bind(host)?;
    let doorkeeper = Arc::new(Doorkeeper { roster, callers: AtomicUsize::new(0), refused: Mutex::default() });
    let accept = move || {
        loop {
            match listener.accept() {
                Ok((stream, from)) => doorkeeper.clone().receive(stream, from),
                // Too many open files, or a caller that was gone again: neither is a reason to stop listening.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    };
    std::thread::Builder::new()
        .name("cluster".to_string())
        .spawn(accept)
        .map(drop)
        .map_err(|error| Error::new(Exit::Limit, format!("a thread cannot be started: {error}"), "raise the limit on threads"))
}

fn bind(host: &str) -> Result<TcpListener> {
    let began = clock::now();
    loop {
        match TcpListener::bind(host) {
            Ok(listener) => return Ok(listener),
            Err(_) if clock::now().duration_since(began) < BIND_FOR => std::thread::sleep(Duration::from_millis(100)),
            Err(error) => {
                let cause = format!("this process cannot listen on its address {host}: {error}");
                let help = "check --hosts and -p: each address must belong to the machine of its process, with a port that nobody else has";
                return Err(Error::new(Exit::Unreachable, cause, help));
            }
        }
    }
}

/// Hears callers.
struct Doorkeeper {
    roster: Arc<Roster>,
    callers: AtomicUsize,
    refused: Mutex<Refused>,
}

/// When a refusal was logged last, and how many were not since.
#[derive(Default)]
struct Refused {
    logged: Option<Instant>,
    unlogged: u64,
}

impl Doorkeeper {
    fn receive(self: Arc<Self>, stream: TcpStream, from: SocketAddr) {
        if self.callers.fetch_add(1, Ordering::SeqCst) >= MOST_CALLERS {
            self.callers.fetch_sub(1, Ordering::SeqCst);
            return self.log(from, "too many callers at once");
        }
        let hear = move || {
            match stream.set_nonblocking(false) {
                Ok(()) => self.hear(stream, from),
                Err(error) => self.log(from, &error.to_string()),
            }
            self.callers.fetch_sub(1, Ordering::SeqCst);
        };
        // Without a thread the caller is turned away by the drop of its connection, and may call again.
        let _ = std::thread::Builder::new().name("caller".to_string()).spawn(hear);
    }

    fn hear(&self, mut stream: TcpStream, from: SocketAddr) {
        if let Err(failure) = self.admit(&mut stream) {
            self.log(from, &failure.to_string());
            if let Failure::Refused(refusal) = failure {
                let mut seats = self.roster.seats();
                // A process of this cluster with another plan ends both, but nobody who comes late ends a cluster that runs.
                if !seats.running && seats.fatal.is_none() {
                    seats.fatal = refusal.ends_both();
                }
            }
        }
    }

    fn admit(&self, stream: &mut TcpStream) -> Result<(), Failure> {
        let until = clock::now() + HANDSHAKE;
        let mine = self.roster.hello().map_err(|error| Failure::Broken(error.cause))?;
        let mut out = Vec::new();
        let mut handshake = Handshake::begin(Role::Listens, mine, self.roster.secret.clone(), &mut out);
        let Step::Judge(caller) = converse(stream, &mut handshake, std::mem::take(&mut out), until)? else {
            return Err(Failure::Refused(Refusal::Stranger));
        };
        let mut seats = self.roster.seats();
        let verdict = seats.judge(&caller, self.roster.process() == 0);
        handshake.answer(verdict, &mut out);
        say(stream, &out, until)?;
        match verdict {
            Verdict::Welcome => {
                let stream = stream.try_clone().and_then(|stream| seats.seat(caller.process, stream));
                stream.map_err(|error| Failure::Broken(error.to_string()))?;
                tracing::info!(process = caller.process, "a process of the cluster is connected");
                Ok(())
            }
            Verdict::Taken => Err(Failure::Refused(Refusal::Taken)),
            Verdict::Generation => Err(Failure::Refused(Refusal::Generation)),
            Verdict::Early => Err(Failure::Refused(Refusal::Early)),
        }
    }

    fn log(&self, from: SocketAddr, reason: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if refused.logged.is_some_and(|logged| now.duration_since(logged) < LOG_EVERY) {
            refused.unlogged += 1;
            return;
        }
        tracing::warn!(%from, unlogged = refused.unlogged, "refused a connection to the cluster: {reason}");
        *refused = Refused { logged: Some(now), unlogged: 0 };
    }
}
