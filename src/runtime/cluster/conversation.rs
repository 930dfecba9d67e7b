//! A handshake over a socket, with a deadline: a caller that says nothing, or says it slowly, holds up nobody.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::handshake::{Handshake, Step};
use super::refusal::Refusal;
use crate::time::clock;

/// How long a handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why a handshake came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// One end refused the other.
    Refused(Refusal),
    /// The connection did not last.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Broken(how) => f.write_str(how),
        }
    }
}

/// Sends `out` and goes on until the handshake needs a decision, accepts or refuses.
pub fn converse(stream: &mut TcpStream, handshake: &mut Handshake, mut out: Vec<u8>, until: Instant) -> Result<Step, Failure> {
    let mut buffer = [0; 1024];
    loop {
        say(stream, &out, until)?;
        out.clear();
        let wanted = handshake.wants().min(buffer.len());
        stream.set_read_timeout(Some(left(until)?)).map_err(broken)?;
        let read = match stream.read(&mut buffer[..wanted]) {
            Ok(0) => return Err(Failure::Broken("it closed the connection".to_string())),
            Ok(read) => read,
            Err(error) => return Err(broken(error)),
        };
        match handshake.receive(&buffer[..read], &mut out) {
            Ok(Step::Wait) => {}
            Ok(step) => return say(stream, &out, until).map(|()| step),
            Err(refusal) => {
                // Best effort: whoever is refused may be gone already.
                let _ = say(stream, &out, until);
                return Err(Failure::Refused(refusal));
            }
        }
    }
}

/// Sends `bytes`.
pub fn say(stream: &mut TcpStream, bytes: &[u8], until: Instant) -> Result<(), Failure> {
    stream.set_write_timeout(Some(left(until)?)).map_err(broken)?;
    stream.write_all(bytes).map_err(broken)
}

fn left(until: Instant) -> Result<Duration, Failure> {
    let left = until.saturating_duration_since(clock::now());
    if left.is_zero() { Err(too_slow()) } else { Ok(left) }
}

fn too_slow() -> Failure {
    Failure::Broken(format!("it took longer than {} s to say who it is", HANDSHAKE.as_secs()))
}

fn broken(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => too_slow(),
        _ => Failure::Broken(format!("the connection broke: {error}")),
    }
}
