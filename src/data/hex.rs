//! Digests as text.

use std::fmt::Write as _;

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A sha256 from its 64 hexadecimal digits; `None` for anything else.
pub fn sha256_from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut sum = [0; 32];
    for (byte, pair) in sum.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| (digit as char).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back_and_nothing_else_does() {
        let sum: [u8; 32] = std::array::from_fn(|at| (at * 37) as u8);
        assert_eq!(sha256_from_hex(&hex(&sum)), Some(sum));
        assert_eq!(hex(&[0, 0x0f, 0xff]), "000fff");
        for text in ["", "00", &"0".repeat(65), &format!("{}+1", "0".repeat(62)), &"é".repeat(32)] {
            assert_eq!(sha256_from_hex(text), None, "{text}");
        }
    }
}
