//! Reading and writing the little-endian bytes of snapshots. Reading never trusts a length: every error says what was expected.

/// Appends to a byte vector.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// A length, then the bytes.
    pub(super) fn slice(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// Reads from the front of a slice.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(|| format!("{count} bytes expected, {} left", self.0.len()))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn i64(&mut self) -> Result<i64, String> {
        Ok(self.u64()? as i64)
    }

    pub(super) fn f64(&mut self) -> Result<f64, String> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// A count of things that take at least `least` bytes each.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, String> {
        let count = self.u64()?;
        let fits = usize::try_from(count).ok().filter(|count| count.saturating_mul(least.max(1)) <= self.0.len());
        fits.ok_or_else(|| format!("a count of {count} does not fit into the {} bytes left", self.0.len()))
    }

    pub(super) fn slice(&mut self) -> Result<&'a [u8], String> {
        let count = self.count(1)?;
        self.take(count)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", self.0.len())) }
    }
}
