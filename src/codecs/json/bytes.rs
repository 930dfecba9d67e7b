//! Reading bytes at a position that may lie behind the end.

/// The byte at `at`; 0, which JSON never has outside of strings, behind the end.
#[inline(always)]
pub(super) fn byte(data: &[u8], at: usize) -> u8 {
    data.get(at).copied().unwrap_or(0)
}

/// Eight bytes from `at`, the first the lowest; zeros behind the end.
#[inline(always)]
pub(super) fn word(data: &[u8], at: usize) -> u64 {
    match data.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last_word(data, at),
    }
}

#[cold]
fn last_word(data: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    let rest = data.get(at..).unwrap_or(&[]);
    bytes[..rest.len().min(8)].copy_from_slice(&rest[..rest.len().min(8)]);
    u64::from_le_bytes(bytes)
}

/// The first position from `at` that is not white space.
#[inline(always)]
pub(super) fn skip_space(data: &[u8], at: usize) -> usize {
    if byte(data, at) > b' ' { at } else { skip_more_space(data, at) }
}

fn skip_more_space(data: &[u8], mut at: usize) -> usize {
    while matches!(byte(data, at), b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
    }
    at
}

/// The position behind `word`, if it stands at `at`.
#[inline(always)]
pub(super) fn literal(data: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    (data.get(at..at + word.len())? == word).then_some(at + word.len())
}
