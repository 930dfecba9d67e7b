//! Snapshots of a model (S15.2). Version 1, little-endian: learned rows, skipped rows by reason (count, then values), number of tensors, and per tensor,
//! in byte order of names: name (length, bytes) and values (length, float64). The spec is not part of it: the plan brings it.

use super::little_endian::{Reader, Writer};
use super::tensors::Tensors;
use super::{LinearSpec, OnlineModel};

/// The version `snapshot` writes; the only one `restore` reads.
pub const VERSION: u32 = 1;

impl OnlineModel {
    /// The whole state, to be restored with the same spec.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u64(self.learned_rows);
        out.u64(self.skipped.len() as u64);
        self.skipped.iter().for_each(|count| out.u64(*count));
        let tensors = self.tensors();
        out.u64(tensors.len() as u64);
        for (name, values) in &tensors {
            out.slice(name.as_bytes());
            out.u64(values.len() as u64);
            values.iter().for_each(|value| out.f64(*value));
        }
        out.0
    }

    /// The model that `snapshot` was taken of: continuing gives the same bits as never having stopped.
    pub fn restore(spec: LinearSpec, version: u32, bytes: &[u8]) -> Result<Self, String> {
        if version != VERSION {
            return Err(format!("snapshot version {version} of a linear model is unknown; this build reads version {VERSION}"));
        }
        let mut model = Self::new(spec);
        let mut read = Reader(bytes);
        model.learned_rows = read.u64()?;
        let reasons = read.count(8)?;
        if reasons != model.skipped.len() {
            return Err(format!("{reasons} reasons for skipped rows, {} expected", model.skipped.len()));
        }
        for count in &mut model.skipped {
            *count = read.u64()?;
        }
        let mut tensors = Tensors::new();
        for _ in 0..read.count(16)? {
            let name = std::str::from_utf8(read.slice()?).map_err(|_| "a tensor's name is not UTF-8".to_string())?.to_string();
            let count = read.count(8)?;
            let values = (0..count).map(|_| read.f64()).collect::<Result<Vec<f64>, String>>()?;
            tensors.insert(name, values);
        }
        read.end()?;
        model.set_tensors(&tensors)?;
        Ok(model)
    }

    /// Estimated memory in bytes.
    pub fn bytes(&self) -> usize {
        let group = size_of::<super::lanes::Group>();
        let optimizer: usize = self.optimizer.state().iter().map(|(_, lanes)| 2 * lanes.len() * group).sum();
        let penalty = self.penalty.as_ref().map_or(0, |penalty| penalty.received.len() * group);
        let names: usize = self.spec.inputs.iter().map(|name| name.len() + size_of::<String>()).sum();
        size_of::<Self>() + 3 * self.weights.len() * group + self.inputs.bytes() + optimizer + penalty + names
    }
}
