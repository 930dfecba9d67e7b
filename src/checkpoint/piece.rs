//! What a checkpoint holds, in memory.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whose state it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PieceName {
    /// The component as `plan` prints it, e.g. `features.user`.
    pub component: String,
    /// Its shard (S6.1), where state is kept by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
}

impl fmt::Display for PieceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            None => f.write_str(&self.component),
            Some(shard) => write!(f, "{} shard {shard}", self.component),
        }
    }
}

/// The state of one component, or of one shard of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Whose.
    pub name: PieceName,
    /// Version of the layout of its blocks; the component alone knows what it means.
    pub version: u32,
    /// The state, in an order that the component defines.
    pub blocks: Vec<Block>,
}

/// Bytes that do not change any more.
#[derive(Clone, Debug)]
pub enum Block {
    /// A frozen block of an arena: words, stored little-endian.
    Words(Arc<Vec<u64>>),
    /// Anything else.
    Bytes(Arc<Vec<u8>>),
}

impl Block {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Words(words) => words.len() * 8,
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the bytes as they are stored.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Words(words) => out.extend(words.iter().flat_map(|word| word.to_le_bytes())),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl Piece {
    /// The bytes of each of its blocks, if its layout is the one that is read.
    pub fn of_version(&self, version: u32) -> Result<Vec<Vec<u8>>, String> {
        if self.version == version {
            Ok(self.contents())
        } else {
            Err(format!("it has layout {}, and this build reads layout {version}", self.version))
        }
    }

    /// The bytes of each of its blocks.
    fn contents(&self) -> Vec<Vec<u8>> {
        let bytes = |block: &Block| {
            let mut bytes = Vec::with_capacity(block.len());
            block.put(&mut bytes);
            bytes
        };
        self.blocks.iter().map(bytes).collect()
    }

    /// The bytes of all its blocks, one behind the other.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.blocks.iter().map(Block::len).sum());
        self.blocks.iter().for_each(|block| block.put(&mut bytes));
        bytes
    }
}

/// As it is stored: whoever reads it knows what the bytes mean.
impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.len());
        self.put(&mut bytes);
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes).map(|bytes| Self::Bytes(Arc::new(bytes))).map_err(D::Error::custom)
    }
}

impl PartialEq for Block {
    /// Equal bytes, however they are held.
    fn eq(&self, other: &Self) -> bool {
        let bytes = |block: &Self| {
            let mut bytes = Vec::with_capacity(block.len());
            block.put(&mut bytes);
            bytes
        };
        self.len() == other.len() && bytes(self) == bytes(other)
    }
}
