//! Lengths of time as users write them: `50ms`, `10m`, `24h`, `7d`, `1h30m`.

use super::Micros;

const UNITS: [(&str, Micros); 7] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000), ("w", 604_800_000_000)];

/// Reads a duration; `Err` says what is wrong with it in words.
pub fn parse(text: &str) -> Result<Micros, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a duration is empty; write a number and a unit, such as 50ms, 10m, 24h or 7d".to_string());
    }
    let mut total: Micros = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let Ok(number) = number.parse::<Micros>() else {
            return Err(format!("`{text}` is not a duration; write a number and a unit, such as 50ms, 10m, 24h or 7d"));
        };
        let Some((_, micros)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` in `{text}` is not a unit of time; the units are us, ms, s, m, h, d and w"));
        };
        total = number
            .checked_mul(*micros)
            .and_then(|span| total.checked_add(span))
            .ok_or_else(|| format!("`{text}` is longer than 292,000 years"))?;
        rest = tail;
    }
    Ok(total)
}

/// Prints a duration in the largest units that are exact: `90m` prints as `1h30m`.
pub fn format(span: Micros) -> String {
    if span == 0 {
        return "0ms".to_string();
    }
    let mut rest = span;
    let mut out = String::new();
    if rest < 0 {
        out.push('-');
        rest = -rest;
    }
    for (name, micros) in UNITS.iter().rev().filter(|(name, _)| *name != "w") {
        if rest >= *micros {
            out.push_str(&format!("{}{name}", rest / micros));
            rest %= micros;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_durations() {
        for (text, micros) in [("50ms", 50_000), ("10m", 600_000_000), ("1h30m", 5_400_000_000), ("0ms", 0), ("7d", 604_800_000_000)] {
            assert_eq!(parse(text), Ok(micros));
            assert_eq!(format(micros), text);
        }
        assert!(parse("10").is_err() && parse("ten minutes").is_err() && parse("").is_err() && parse("5 m").is_err());
        assert!(parse("99999999999999w").is_err());
    }
}
