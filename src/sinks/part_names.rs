//! Names of Parquet parts and their folders (S14.3).

use crate::time::Epoch;

/// The folder of null values, as Hive and every reader of its layout know it.
const NULL_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// The folder of a partition value below the sink's path: `name=value`, with everything but letters, digits, `-`, `_`, `.`, `:`, blanks and letters beyond
/// ASCII percent-encoded. `None` is a null value; a sink without partitions has no such folder at all.
pub(crate) fn folder_of(name: &str, value: Option<&str>) -> String {
    let mut folder = escaped(name);
    folder.push('=');
    folder.push_str(&value.map_or_else(|| NULL_VALUE.to_owned(), escaped));
    folder
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || "-_.: ".contains(c) {
            out.push(c);
        } else {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

/// The name of a closed part: first and last epoch and the first eight hexadecimal digits of its sha256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartName {
    /// First epoch with rows in the part.
    pub first: Epoch,
    /// Epoch whose progress record lists the part.
    pub last: Epoch,
    /// Start of the content's sha256.
    pub sha8: String,
}

impl PartName {
    /// The name of a part with this content digest (hexadecimal).
    pub(crate) fn new(first: Epoch, last: Epoch, sha256: &str) -> Self {
        Self { first, last, sha8: sha256.chars().take(8).collect() }
    }

    /// `part-000000000001-000000000042-0a1b2c3d.parquet`
    pub(crate) fn file_name(&self) -> String {
        format!("part-{:012}-{:012}-{}.parquet", self.first.0, self.last.0, self.sha8)
    }

    /// The name of a part that still takes rows.
    pub(crate) fn open_name(first: Epoch) -> String {
        format!("part-{:012}.open.tmp", first.0)
    }

    /// Whether a file of this name was made by this writer, finished or not: only such files are ever deleted.
    pub(crate) fn is_ours(file_name: &str) -> bool {
        let Some(rest) = file_name.strip_prefix("part-") else { return false };
        let digits = |text: &str| text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(first) = rest.strip_suffix(".open.tmp") {
            return digits(first);
        }
        let Some(rest) = rest.strip_suffix(".tmp").unwrap_or(rest).strip_suffix(".parquet") else { return false };
        let fields: Vec<&str> = rest.split('-').collect();
        matches!(fields[..], [first, last, sha8] if digits(first) && digits(last) && sha8.len() == 8 && u32::from_str_radix(sha8, 16).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_one_path_segment_and_values_stay_distinct() {
        assert_eq!(folder_of("date", Some("2001-01-01")), "date=2001-01-01");
        assert_eq!(folder_of("p", None), "p=__HIVE_DEFAULT_PARTITION__");
        assert_eq!(folder_of("p", Some("")), "p=");
        assert_eq!(folder_of("p", Some("a/b=c%..\n")), "p=a%2Fb%3Dc%25..%0A");
        assert_ne!(folder_of("p", Some("a/b")), folder_of("p", Some("a%2Fb")));
        assert_eq!(folder_of("p", Some("Zürich")), "p=Zürich");
    }

    #[test]
    fn only_our_own_names_are_recognised() {
        let name = PartName::new(Epoch(1), Epoch(42), "0a1b2c3d4e");
        assert_eq!(name.file_name(), "part-000000000001-000000000042-0a1b2c3d.parquet");
        for ours in [name.file_name(), format!("{}.tmp", name.file_name()), PartName::open_name(Epoch(7))] {
            assert!(PartName::is_ours(&ours), "{ours}");
        }
        for foreign in [
            "part-1-2-0a1b2c3d.parquet",
            "part-0.parquet",
            "data.parquet",
            "part-000000000001-000000000042-0a1b2c3d.csv",
            "part-x.open.tmp",
        ] {
            assert!(!PartName::is_ours(foreign), "{foreign}");
        }
    }
}
