//! The first words of a connection between two processes of a cluster: who speaks, of which cluster, plan and generation. Bounded, and refused at the
//! first byte that no process of a cluster would send.

use super::refusal::Refusal;

/// What every hello begins with; no HTTP request, TLS record or SSH banner does.
const MAGIC: [u8; 8] = *b"TIDEMILL";

/// Version of the handshake. A process of another version is refused.
pub const PROTOCOL: u16 = 1;

/// Magic, version, length of the rest.
const HEAD: usize = 12;

/// Longest rest that is read: names of pipelines are far shorter.
const LONGEST: usize = 4096;

/// What a process says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Name of the pipeline.
    pub cluster: String,
    /// Fingerprint of the plan, hexadecimal.
    pub fingerprint: String,
    /// Which process this is.
    pub process: u32,
    /// How many there are.
    pub processes: u32,
    /// Worker threads of each.
    pub workers: u32,
    /// Of the cluster's start; 0 as long as it is not known.
    pub generation: u64,
    /// Never used twice, so that a proof is worth nothing on another connection.
    pub nonce: [u8; 32],
}

impl Hello {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        for number in [self.process, self.processes, self.workers] {
            rest.extend(number.to_be_bytes());
        }
        rest.extend(self.generation.to_be_bytes());
        rest.extend(self.nonce);
        for text in [&self.cluster, &self.fingerprint] {
            rest.extend((text.len() as u16).to_be_bytes());
            rest.extend(text.as_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(PROTOCOL.to_be_bytes());
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// How long the hello that begins with `received` is, as far as that is known; refuses what cannot become one.
    pub fn length(received: &[u8]) -> Result<usize, Refusal> {
        if received.iter().zip(MAGIC).any(|(byte, magic)| *byte != magic) {
            return Err(Refusal::Stranger);
        }
        let mut rest = Reader(received.get(MAGIC.len()..).unwrap_or_default());
        match (rest.u16(), rest.u16()) {
            (Some(version), _) if version != PROTOCOL => Err(Refusal::Protocol(version)),
            (Some(_), Some(length)) if usize::from(length) > LONGEST => Err(Refusal::Malformed("its hello is too long")),
            (Some(_), Some(length)) => Ok(HEAD + usize::from(length)),
            _ => Ok(HEAD),
        }
    }

    /// Reads a whole hello.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if Self::length(bytes)? != bytes.len() || bytes.len() < HEAD {
            return Err(Refusal::Malformed("its hello has another length than it says"));
        }
        let hello = Self::fields(&mut Reader(&bytes[HEAD..])).ok_or(Refusal::Malformed("its hello has fields of wrong lengths"))?;
        let is_name = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_name(&hello.cluster) || !is_digest(&hello.fingerprint) || hello.process >= hello.processes || hello.workers == 0 {
            return Err(Refusal::Malformed("its hello makes no sense"));
        }
        Ok(hello)
    }

    fn fields(rest: &mut Reader<'_>) -> Option<Self> {
        let (process, processes, workers) = (rest.u32()?, rest.u32()?, rest.u32()?);
        let (generation, nonce) = (u64::from_be_bytes(rest.array()?), rest.array()?);
        let (cluster, fingerprint) = (rest.text()?, rest.text()?);
        rest.0.is_empty().then_some(Self { cluster, fingerprint, process, processes, workers, generation, nonce })
    }
}

/// Bytes that are read from the front, never beyond the end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(taken.to_vec()).ok()
    }
}
