//! What the processes of a cluster share and nobody else knows. It is never printed, and never leaves the process: what is sent are proofs of it.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::error::{Error, Exit, Result};

/// The secret itself.
const VARIABLE: &str = "TIDEMILL_CLUSTER_SECRET";

/// A file that holds it.
const FILE_VARIABLE: &str = "TIDEMILL_CLUSTER_SECRET_FILE";

/// Who reads a cluster's traffic can try secrets against it: shorter ones would be found.
const SHORTEST: usize = 16;

/// Length of a proof in bytes.
pub const PROOF: usize = 32;

/// The shared secret; empty only between processes of one machine.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// The secret that the environment gives; without one, `hosts` must all be this machine.
    pub fn from_environment(hosts: &[String]) -> Result<Self> {
        let value = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let file = std::env::var_os(FILE_VARIABLE).filter(|value| !value.is_empty());
        let (bytes, origin) = match (value, file) {
            (Some(value), None) => (value.into_encoded_bytes(), VARIABLE),
            (None, Some(path)) => {
                let path = Path::new(&path);
                (std::fs::read(path).map_err(|error| Error::io("read the secret of the cluster from", path, &error))?, FILE_VARIABLE)
            }
            (Some(_), Some(_)) => return Err(refused(format!("{VARIABLE} and {FILE_VARIABLE} are both set"), "set one of them")),
            (None, None) => return without(hosts),
        };
        let bytes = bytes.trim_ascii();
        if bytes.len() < SHORTEST {
            return Err(refused(format!("the secret that {origin} gives is shorter than {SHORTEST} characters"), MAKE_ONE));
        }
        Ok(Self::new(bytes))
    }

    /// A secret of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// A proof that whoever said `parts` knows the secret: HMAC-SHA256 over them, each after its length.
    pub fn prove(&self, parts: &[&[u8]]) -> [u8; PROOF] {
        self.code(parts).map(|code| code.finalize().into_bytes().into()).unwrap_or_default()
    }

    /// Whether `proof` is the proof of `parts`, in a time that does not depend on where it differs.
    pub fn verifies(&self, parts: &[&[u8]], proof: &[u8]) -> bool {
        self.code(parts).is_some_and(|code| code.verify_slice(proof).is_ok())
    }

    /// Keys of every length are allowed, so there always is a code.
    fn code(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut code = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in parts {
            code.update(&(part.len() as u64).to_be_bytes());
            code.update(part);
        }
        Some(code)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

const MAKE_ONE: &str = "make one with `openssl rand -hex 32` and give it to every process of the cluster";

fn refused(cause: String, help: &str) -> Error {
    Error::new(Exit::Config, cause, help)
}

fn without(hosts: &[String]) -> Result<Secret> {
    match hosts.iter().find(|host| !is_loopback(host)) {
        None => Ok(Secret::new(b"")),
        Some(host) => Err(refused(
            format!("--hosts names {host}, which is not this machine, and {VARIABLE} is not set: anybody could join the cluster"),
            "make a secret with `openssl rand -hex 32` and set TIDEMILL_CLUSTER_SECRET, or a file's path as TIDEMILL_CLUSTER_SECRET_FILE, for every process",
        )),
    }
}

/// Whether `host:port` is this machine for certain, by its spelling.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_does_without_a_secret() {
        let hosts = |text: &str| text.split(',').map(str::to_string).collect::<Vec<_>>();
        assert!(without(&hosts("localhost:2101,127.0.0.1:2102,127.8.8.8:1,[::1]:2103")).is_ok());
        for host in ["10.0.0.1:2101", "localhost.example.org:1", "tidemill-0:2101", "0.0.0.0:2101", "[::]:2101", "2101"] {
            let error = without(&hosts(&format!("localhost:2101,{host}"))).unwrap_err();
            assert!(error.exit == Exit::Config && error.cause.contains(host) && error.help.contains(VARIABLE), "{host}: {error}");
        }
    }

    #[test]
    fn proofs_depend_on_the_secret_and_on_where_parts_end_and_secrets_are_not_shown() {
        let secret = Secret::new(b"0123456789abcdef");
        let proof = secret.prove(&[b"ab", b"c"]);
        assert!(secret.verifies(&[b"ab", b"c"], &proof));
        assert!(
            !secret.verifies(&[b"a", b"bc"], &proof)
                && !secret.verifies(&[b"ab", b"c"], &proof[..31])
                && !secret.verifies(&[b"ab", b"c"], b"")
        );
        assert!(!Secret::new(b"0123456789abcdeg").verifies(&[b"ab", b"c"], &proof) && !Secret::new(b"").verifies(&[b"ab", b"c"], &proof));
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
