//! The handshake of one connection, for both ends, without any input or output of its own: bytes in, bytes out, and in the end a peer or a refusal.
//!
//! ```text
//! dials                                   listens
//! hello ────────────────────────────────►
//!       ◄──────────────────────────────── hello
//! proof ────────────────────────────────►            HMAC-SHA256 over both hellos
//!       ◄──────────────────────────────── answer, proof of it
//! ```
//!
//! Whoever listens tells a caller nothing that could help to find the secret before the caller has proved that it knows it. What a hello says
//! counts only once it is proved: a stranger can end a connection, never a process.

use super::hello::Hello;
use super::refusal::Refusal;
use super::secret::{PROOF, Secret};

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Dialled the address of this process.
    Dials(u32),
    /// Was dialled.
    Listens,
}

/// Where the handshake stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Wait,
    /// A process that listens must decide, by [`Handshake::answer`], whether it takes the caller.
    Judge(Hello),
    /// The other end is a process of this cluster; its hello.
    Accepted(Hello),
}

/// What a process that listens decides about a caller that is a process of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a place.
    Welcome = 0,
    /// The cluster has that process already.
    Taken = 1,
    /// It belongs to another generation.
    Generation = 2,
    /// This process does not know yet which generation starts.
    Early = 3,
}

/// Answers that are no verdict: the caller finds the reason itself, by the hello of this end or by the proof that is missing.
const REFUSED: u8 = 255;

const CALLER: &[u8] = b"tidemill cluster: the caller";
const LISTENER: &[u8] = b"tidemill cluster: the listener";

#[derive(Debug, PartialEq, Eq)]
enum State {
    Hello,
    Proof(Hello),
    Judging(Hello),
    Answer(Hello),
    Over,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Handshake {
    role: Role,
    secret: Secret,
    mine: Hello,
    /// Both hellos as they were sent, the caller's first.
    said: [Vec<u8>; 2],
    received: Vec<u8>,
    state: State,
}

impl Handshake {
    /// Begins; what goes to the other end is appended to `out`.
    pub fn begin(role: Role, mine: Hello, secret: Secret, out: &mut Vec<u8>) -> Self {
        let hello = mine.encode();
        let said = match role {
            Role::Dials(_) => {
                out.extend(&hello);
                [hello, Vec::new()]
            }
            Role::Listens => [Vec::new(), hello],
        };
        Self { role, secret, mine, said, received: Vec::new(), state: State::Hello }
    }

    /// How many bytes may be read next at most: what follows the handshake on the connection is not its own.
    pub fn wants(&self) -> usize {
        let whole = match &self.state {
            State::Hello => Hello::length(&self.received).unwrap_or_default(),
            State::Proof(_) => PROOF,
            State::Answer(_) => 1 + PROOF,
            State::Judging(_) | State::Over => 0,
        };
        whole.saturating_sub(self.received.len())
    }

    /// Takes bytes of the other end, at most as many as [`Self::wants`]; what goes back is appended to `out`, also with a refusal.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Step, Refusal> {
        let taken =
            if bytes.len() > self.wants() { Err(Refusal::Malformed("it says more than it was asked")) } else { self.take(bytes, out) };
        if taken.is_err() {
            self.state = State::Over;
        }
        taken
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Step, Refusal> {
        self.received.extend(bytes);
        if self.state == State::Hello {
            self.check_head(out)?;
        }
        if self.wants() > 0 {
            return Ok(Step::Wait);
        }
        let received = std::mem::take(&mut self.received);
        match std::mem::replace(&mut self.state, State::Over) {
            State::Hello => self.hear(received, out),
            State::Proof(theirs) => self.check_caller(theirs, &received, out),
            State::Answer(theirs) => self.check_answer(theirs, &received),
            State::Judging(_) | State::Over => Err(Refusal::Malformed("it says more than it was asked")),
        }
    }

    /// Refuses at the first wrong byte; a caller of another version learns which one this end has.
    fn check_head(&self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let checked = Hello::length(&self.received);
        if let (Err(Refusal::Protocol(_)), Role::Listens) = (&checked, self.role) {
            out.extend(&self.said[1]);
        }
        checked.map(drop)
    }

    fn hear(&mut self, received: Vec<u8>, out: &mut Vec<u8>) -> Result<Step, Refusal> {
        let theirs = Hello::decode(&received)?;
        match self.role {
            Role::Dials(_) => {
                self.said[1] = received;
                out.extend(self.secret.prove(&[CALLER, &self.said[0], &self.said[1]]));
                self.state = State::Answer(theirs);
            }
            Role::Listens => {
                self.said[0] = received;
                out.extend(&self.said[1]);
                self.state = State::Proof(theirs);
            }
        }
        Ok(Step::Wait)
    }

    fn check_caller(&mut self, theirs: Hello, proof: &[u8], out: &mut Vec<u8>) -> Result<Step, Refusal> {
        if !self.secret.verifies(&[CALLER, &self.said[0], &self.said[1]], proof) {
            out.push(REFUSED);
            out.extend([0; PROOF]);
            return Err(Refusal::Secret);
        }
        if let Some(refusal) = Refusal::between(&self.mine, &theirs, |index| index > self.mine.process) {
            self.say(REFUSED, out);
            return Err(refusal);
        }
        self.state = State::Judging(theirs.clone());
        Ok(Step::Judge(theirs))
    }

    /// Decides about the caller of [`Step::Judge`].
    pub fn answer(&mut self, verdict: Verdict, out: &mut Vec<u8>) {
        if let State::Judging(_) = self.state {
            self.say(verdict as u8, out);
            self.state = State::Over;
        }
    }

    fn say(&self, answer: u8, out: &mut Vec<u8>) {
        out.push(answer);
        out.extend(self.secret.prove(&[LISTENER, &[answer], &self.said[0], &self.said[1]]));
    }

    fn check_answer(&self, theirs: Hello, received: &[u8]) -> Result<Step, Refusal> {
        let (answer, proof) = received.split_at(1);
        if !self.secret.verifies(&[LISTENER, answer, &self.said[0], &self.said[1]], proof) {
            return Err(Refusal::Secret);
        }
        let expected = |index| self.role == Role::Dials(index);
        if let Some(refusal) = Refusal::between(&self.mine, &theirs, expected) {
            return Err(refusal);
        }
        match answer {
            [answer] if *answer == Verdict::Welcome as u8 => {
                // Who dials without a generation takes that of the other end, which must know one.
                let agreed = theirs.generation != 0 && (self.mine.generation == 0 || self.mine.generation == theirs.generation);
                if agreed { Ok(Step::Accepted(theirs)) } else { Err(Refusal::Generation) }
            }
            [answer] if *answer == Verdict::Taken as u8 => Err(Refusal::Taken),
            [answer] if *answer == Verdict::Generation as u8 => Err(Refusal::Generation),
            [answer] if *answer == Verdict::Early as u8 => Err(Refusal::Early),
            _ => Err(Refusal::Malformed("it refuses without a reason that this process knows")),
        }
    }
}
