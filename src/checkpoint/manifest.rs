//! The list of what a checkpoint consists of.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::piece::PieceName;
use crate::data::{hex, sha256_from_hex};
use crate::time::Epoch;

/// The format that this build writes and reads.
pub const FORMAT: u32 = 1;
/// How names of objects end.
pub(super) const MANIFEST: &str = ".manifest";
/// See [`MANIFEST`].
pub(super) const SEGMENT: &str = ".segment";

/// sha256 of a block.
pub(super) type Sum = [u8; 32];

/// Which run a checkpoint belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `[pipeline] name`
    pub pipeline: String,
    /// Of the plan (S1.3), hexadecimal.
    pub fingerprint: String,
    /// `SEMANTICS_VERSION` of the engine that wrote it.
    pub semantics: u32,
    /// Which start of the pipeline wrote it.
    pub generation: u64,
    /// State is that after this epoch.
    pub epoch: Epoch,
    /// Number of shards (S6.1).
    pub shards: u32,
}

/// A checkpoint as a progress record names it. Nothing else makes one real.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// State is that after this epoch.
    pub epoch: Epoch,
    /// The manifest's name in the store.
    pub manifest: String,
    /// Of the manifest's bytes, hexadecimal.
    pub sha256: String,
}

/// What a checkpoint consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format of the checkpoint.
    pub format: u32,
    /// Whose it is.
    pub origin: Origin,
    /// Names of the segments that blocks lie in.
    pub segments: Vec<String>,
    /// The pieces, in order of their names.
    pub pieces: Vec<PieceRef>,
}

/// Where a piece lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PieceRef {
    /// Whose state.
    pub name: PieceName,
    /// Version of its layout.
    pub version: u32,
    /// Its blocks.
    pub blocks: Vec<BlockRef>,
}

/// Where a block lies; in JSON `[sha256, segment, at, length]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Of its bytes.
    pub sha256: Sum,
    /// Position among the manifest's segments.
    pub segment: u32,
    /// Where its bytes begin in the segment.
    pub at: u64,
    /// How many there are.
    pub length: u64,
}

impl Manifest {
    /// Its bytes.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    /// Reads what `encode` wrote. The error says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let format = serde_json::from_slice::<Format>(bytes).map_err(|error| error.to_string())?.format;
        if format != FORMAT {
            return Err(format!("it has format {format}, and this build reads format {FORMAT}"));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let odd = manifest.segments.iter().find(|name| !is_object(name, SEGMENT));
        if let Some(name) = odd {
            return Err(format!("`{name}` is no name of a segment"));
        }
        let mut blocks = manifest.pieces.iter().flat_map(|piece| &piece.blocks);
        if blocks.any(|block| block.segment as usize >= manifest.segments.len() || block.at.checked_add(block.length).is_none()) {
            return Err("a block lies nowhere".to_string());
        }
        if manifest.pieces.windows(2).any(|pair| pair[0].name >= pair[1].name) {
            return Err("its pieces are not in order".to_string());
        }
        Ok(manifest)
    }

    /// Bytes of its blocks, those that occur twice counted twice.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().flat_map(|piece| &piece.blocks).map(|block| block.length).sum()
    }
}

/// Whether `name` is that of an object that ends with `kind`: twelve digits, `-`, sixteen hexadecimal digits. Anything else is not ours.
pub(super) fn is_object(name: &str, kind: &str) -> bool {
    let Some((epoch, sum)) = name.strip_suffix(kind).and_then(|stem| stem.split_once('-')) else { return false };
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    epoch.len() >= 12 && epoch.bytes().all(|byte| byte.is_ascii_digit()) && sum.len() == 16 && sum.bytes().all(hexadecimal)
}

/// The name of an object of `epoch` with this content.
pub(super) fn object_name(epoch: Epoch, content: &Sum, kind: &str) -> String {
    format!("{:012}-{}{kind}", epoch.0, hex(&content[..8]))
}

pub(super) fn sum(bytes: &[u8]) -> Sum {
    Sha256::digest(bytes).into()
}

impl Serialize for BlockRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (hex(&self.sha256), self.segment, self.at, self.length).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BlockRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (sha256, segment, at, length) = <(std::borrow::Cow<'de, str>, u32, u64, u64)>::deserialize(deserializer)?;
        let sha256 = sha256_from_hex(&sha256).ok_or_else(|| D::Error::custom("a sha256 has 64 hexadecimal digits"))?;
        Ok(Self { sha256, segment, at, length })
    }
}
