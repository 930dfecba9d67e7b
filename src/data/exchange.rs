//! What crosses workers: values with an address, and Arrow columns that are re-encoded only between processes.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::WorkerIndex;

/// A value on its way to one worker. Progress counts addressed values, not rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addressed<T> {
    /// The worker that is to have it.
    pub to: WorkerIndex,
    /// The value.
    pub body: T,
}

/// A record batch as a message: shared by reference within a process, Arrow IPC between processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns(pub RecordBatch);

impl Columns {
    /// As an Arrow IPC stream.
    pub fn encode(&self) -> Result<Vec<u8>, ArrowError> {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, self.0.schema_ref())?;
        writer.write(&self.0).and_then(|()| writer.finish())?;
        drop(writer);
        Ok(bytes)
    }

    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArrowError> {
        let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
        match reader.next() {
            Some(batch) => batch.map(Self),
            None => Err(ArrowError::IpcError("an Arrow IPC stream without a batch".to_string())),
        }
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encode().map_err(S::Error::custom)?)
    }
}

struct ColumnsVisitor;

impl Visitor<'_> for ColumnsVisitor {
    type Value = Columns;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an Arrow IPC stream with one batch")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Columns, E> {
        Columns::decode(bytes).map_err(E::custom)
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Columns, E> {
        self.visit_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(ColumnsVisitor).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    #[test]
    fn columns_survive_json_and_keep_zero_rows() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        for batch in [batch.clone(), batch.slice(0, 0), batch.slice(1, 1)] {
            let bytes = serde_json::to_vec(&Columns(batch.clone())).unwrap();
            let list: Vec<u8> = serde_json::from_slice(&bytes).unwrap();
            let back = ColumnsVisitor.visit_bytes::<serde_json::Error>(&list).unwrap();
            assert_eq!(back.0, batch);
        }
    }
}
