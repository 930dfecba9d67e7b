//! Sizes as users write them: `16MiB`, `64KiB`, `1GB`, `512B`, or a bare number of bytes.

const UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads a size in bytes; `Err` says what is wrong with it in words.
pub fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let Ok(number) = number.parse::<u64>() else {
        return Err(format!("`{text}` is not a size"));
    };
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(if unit.is_empty() { format!("`{text}` has no unit") } else { format!("`{unit}` is not a unit of size") });
    };
    number.checked_mul(*factor).ok_or_else(|| format!("`{text}` is more than a machine can hold"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        assert_eq!(parse("16MiB"), Ok(16 << 20));
        assert_eq!(parse("1 KB"), Ok(1000));
        assert!(parse("16").is_err() && parse("16mb").is_err() && parse("MiB").is_err() && parse("-1B").is_err());
        assert!(parse("99999999999GiB").is_err());
    }
}
