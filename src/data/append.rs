//! Appending short byte strings. Most texts, keys and numbers have fewer than 32 bytes, for which calling a general copy costs more than copying:
//! here a fixed number of bytes is appended and what is too much is cut off again, which compiles to a few plain loads and stores.

/// Appends `data[start..end]`, which must lie in `data`; fastest where `data` goes on behind `end`.
#[inline(always)]
pub fn append_part(out: &mut Vec<u8>, data: &[u8], start: usize, end: usize) {
    let behind = out.len() + (end - start);
    match data.get(start..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(window) if end - start <= 16 => {
            out.extend_from_slice(window);
            out.truncate(behind);
        }
        _ => append_short(out, &data[start..end]),
    }
}

/// Appends `text`.
#[inline(always)]
pub fn append_short(out: &mut Vec<u8>, text: &[u8]) {
    let behind = out.len() + text.len();
    // Two pieces that overlap: the first and the last bytes.
    if let (Some(first), Some(last)) = (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        if text.len() <= 32 {
            out.extend_from_slice(first);
            out.truncate(behind - 16);
            out.extend_from_slice(last);
        } else {
            out.extend_from_slice(text);
        }
    } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        out.extend_from_slice(first);
        out.truncate(behind - 8);
        out.extend_from_slice(last);
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        out.extend_from_slice(first);
        out.truncate(behind - 4);
        out.extend_from_slice(last);
    } else {
        text.iter().for_each(|byte| out.push(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_at_every_place_is_appended_as_it_is() {
        let data: Vec<u8> = (0..100).collect();
        for start in 0..data.len() {
            for end in start..=data.len() {
                let (mut part, mut short) = (vec![7], vec![7]);
                append_part(&mut part, &data, start, end);
                append_short(&mut short, &data[start..end]);
                assert_eq!((&part[1..], part[0]), (&data[start..end], 7));
                assert_eq!(part, short);
            }
        }
    }
}
