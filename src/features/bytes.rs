//! Little-endian bytes of snapshots (S15): writing is appending, reading never trusts a length.

/// Appends a 64-bit word.
#[inline]
pub fn put(out: &mut Vec<u8>, word: u64) {
    out.extend_from_slice(&word.to_le_bytes());
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an optional string.
pub fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    put(out, u64::from(text.is_some()));
    if let Some(text) = text {
        put_bytes(out, text.as_bytes());
    }
}

/// Reads what the functions above wrote.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next word.
    pub fn word(&mut self) -> Result<u64, String> {
        let Some((head, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err("the snapshot ends too early".to_string());
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*head))
    }

    /// The next word as a length: at most one element per `width` remaining bytes.
    pub fn length(&mut self, width: usize) -> Result<usize, String> {
        let length = self.word()?;
        if length > (self.rest.len() / width.max(1)) as u64 {
            return Err("the snapshot names a length that it does not have".to_string());
        }
        Ok(length as usize)
    }

    /// The next bytes written by `put_bytes`.
    pub fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.length(1)?;
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(head)
    }

    /// The next string written by `put_text`.
    pub fn text(&mut self) -> Result<Option<Box<str>>, String> {
        if self.word()? == 0 {
            return Ok(None);
        }
        std::str::from_utf8(self.bytes()?).map(|text| Some(text.into())).map_err(|_| "the snapshot holds broken text".to_string())
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}
