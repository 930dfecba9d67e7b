//! Who of the cluster is connected: one seat for each other process, filled by whoever dials and by the listener, until the cluster runs.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::handshake::Verdict;
use super::hello::Hello;
use super::secret::Secret;
use super::sockets;
use crate::error::{Error, Exit, Result};

/// What a process tells process 0 once it is connected with every other.
const READY: u8 = b'R';

/// What process 0 tells every other once all are ready. Nothing but these two is sent between handshake and dataflow.
const GO: u8 = b'G';

/// What this process is, and who is connected with it.
pub struct Roster {
    me: Hello,
    /// Shared by the processes of the cluster.
    pub secret: Secret,
    seats: Mutex<Seats>,
}

/// The part of a roster that changes.
pub struct Seats {
    /// 0 as long as it is not known; process 0 knows it from the beginning.
    pub generation: u64,
    /// One for every process; that of this process stays empty.
    pub seats: Vec<Option<Seat>>,
    /// The dataflow has the connections: nobody can join any more.
    pub running: bool,
    /// Why this process must end.
    pub fatal: Option<Error>,
    announced: bool,
}

/// A connection with another process.
pub struct Seat {
    stream: TcpStream,
    ready: bool,
}

impl Roster {
    /// Nobody is connected yet.
    pub fn new(me: Hello, secret: Secret) -> Self {
        let seats = (0..me.processes).map(|_| None).collect();
        let seats = Seats { generation: me.generation, seats, running: false, fatal: None, announced: false };
        Self { me, secret, seats: Mutex::new(seats) }
    }

    /// The seats, which nobody else changes meanwhile.
    pub fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process says of itself on a new connection.
    pub fn hello(&self) -> Result<Hello> {
        Ok(Hello { generation: self.seats().generation, nonce: random()?, ..self.me.clone() })
    }

    /// The index of this process.
    pub fn process(&self) -> u32 {
        self.me.process
    }
}

impl Seats {
    /// Whether there is a seat for a caller that proved to be of this cluster and runs the same plan.
    pub fn judge(&mut self, caller: &Hello, is_leader: bool) -> Verdict {
        if self.running {
            return Verdict::Taken;
        }
        if self.generation == 0 {
            return Verdict::Early;
        }
        // Only process 0 tells the generation to callers that do not know it.
        if caller.generation != self.generation && !(is_leader && caller.generation == 0) {
            return Verdict::Generation;
        }
        match self.seats.get(caller.process as usize) {
            Some(Some(seat)) if seat.is_alive() => Verdict::Taken,
            _ => Verdict::Welcome,
        }
    }

    /// Seats process `index`, in place of a connection that is gone.
    pub fn seat(&mut self, index: u32, stream: TcpStream) -> std::io::Result<()> {
        sockets::prepare(&stream)?;
        stream.set_nonblocking(true)?;
        if let Some(seat) = self.seats.get_mut(index as usize) {
            *seat = Some(Seat { stream, ready: false });
        }
        if index == 0 {
            self.announced = false;
        }
        Ok(())
    }

    /// Empties the seats of processes that went away. If process 0 did, its generation ends with it: everything starts over.
    pub fn drop_lost(&mut self, me: u32) {
        for seat in &mut self.seats {
            seat.take_if(|seat| !seat.is_alive());
        }
        if me > 0 && self.generation != 0 && self.seats[0].is_none() {
            self.start_over();
        }
    }

    /// Forgets the generation and everybody who belongs to it.
    pub fn start_over(&mut self) {
        self.generation = 0;
        self.seats.iter_mut().for_each(|seat| *seat = None);
    }

    /// Which processes are not connected.
    pub fn missing(&self, me: u32) -> Vec<u32> {
        (0..).zip(&self.seats).filter(|(index, seat)| *index != me && seat.is_none()).map(|(index, _)| index).collect()
    }

    /// Agrees with the other processes that all are connected with all; true once that is so and the dataflow may have the connections.
    pub fn agree(&mut self, me: u32) -> bool {
        if me == 0 {
            for seat in self.seats.iter_mut().flatten().filter(|seat| !seat.ready) {
                seat.ready = seat.hears(READY);
            }
        }
        if !self.missing(me).is_empty() {
            return false;
        }
        if me > 0 {
            let announced = self.announced;
            let Some(leader) = self.seats[0].as_mut() else { return false };
            let says = announced || leader.stream.write_all(&[READY]).is_ok();
            let goes = says && leader.hears(GO);
            self.announced = says;
            self.running = goes;
        } else if self.seats.iter().flatten().all(|seat| seat.ready) {
            // A process that is lost from here on is noticed by the dataflow.
            self.seats.iter_mut().flatten().for_each(|seat| drop(seat.stream.write_all(&[GO])));
            self.running = true;
        }
        self.running
    }

    /// The connections, for the dataflow: one for every process, none with this one.
    pub fn take(&mut self) -> Vec<Option<TcpStream>> {
        self.seats.iter_mut().map(|seat| seat.take().map(|seat| seat.stream)).collect()
    }
}

impl Seat {
    /// Whether the other end has not closed the connection, as far as this end knows.
    fn is_alive(&self) -> bool {
        match self.stream.peek(&mut [0]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Whether the other end said `word`.
    fn hears(&mut self, word: u8) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(1)) && byte[0] == word
    }
}

/// Bytes that nobody can foresee, from the system. None of them reaches an output: they tell connections and starts of the cluster apart.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            Err(Error::new(Exit::Unreachable, format!("the system gives no random bytes: {error}"), "check that /dev/urandom can be read"))
        }
    }
}
