//! `[pipeline]` and `[kafka]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use crate::config::codes;
use crate::config::declaration::{EpochPolicy, Kafka, Pipeline, Spanned};
use crate::config::table::Table;
use crate::config::value::Bound;
use crate::diagnostic::Diagnostic;

/// Keys that people look for here: they say how a process runs, not what the pipeline means.
const FLAGS: [&str; 8] = ["workers", "processes", "hosts", "state", "state_dir", "listen", "log", "log_format"];

/// librdkafka properties that Tidemill sets, because its promise depends on them, each with what to do instead.
const OWNED: [(&str, &str); 19] = [
    ("bootstrap.servers", "write `brokers = \"host:9092\"` in [kafka]"),
    ("metadata.broker.list", "write `brokers = \"host:9092\"` in [kafka]"),
    ("auto.offset.reset", "write `start = \"earliest\"` or \"latest\" in the source"),
    ("allow.auto.create.topics", "remove it and create the topics before they are used"),
    ("group.id", REMOVE),
    ("group.instance.id", REMOVE),
    ("group.protocol", REMOVE),
    ("enable.auto.commit", REMOVE),
    ("enable.auto.offset.store", REMOVE),
    ("isolation.level", REMOVE),
    ("enable.partition.eof", REMOVE),
    ("check.crcs", REMOVE),
    ("transactional.id", REMOVE),
    ("transaction.timeout.ms", REMOVE),
    ("message.timeout.ms", REMOVE),
    ("enable.idempotence", REMOVE),
    ("acks", REMOVE),
    ("request.required.acks", REMOVE),
    ("partitioner", REMOVE),
];
const REMOVE: &str = "remove it: that every record counts exactly once depends on its value";

/// `[pipeline]`: a name and how epochs are cut (S2.1).
pub(super) fn read(root: &Table<'_>) -> Option<Pipeline> {
    let Some(node) = root.get("pipeline", "") else {
        let help = "begin the file with: [pipeline] and, below it, name = \"flights\"";
        root.cx.report(Diagnostic::error(codes::MISSING_KEY, 0..0, "the file has no section [pipeline]").help(help));
        return None;
    };
    let table = node.table("[pipeline]")?;
    let name = table.need_text("name", "\"flights\"");
    if let Some(name) = &name {
        check_name(&table, name);
    }
    let epoch = read_epoch(&table);
    let shards = table.whole("shards", "256", 1, 65_535).map_or(256, |shards| u32::try_from(shards.value).unwrap_or(256));
    let max_quarantine = table.number("max_quarantine", "0.05", Bound::Share);
    table.foreign(&FLAGS, "how a process runs is no part of the pipeline: it is a flag of `tidemill run` or a TIDEMILL_* variable");
    table.finish();
    Some(Pipeline { name: name?, epoch, shards, max_quarantine })
}

fn check_name(table: &Table<'_>, name: &Spanned<String>) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.value.bytes().all(allowed) || name.value.len() > 100 {
        let message = format!("`{}` cannot be the name of a pipeline", name.value);
        let help = "letters, digits, `-` and `_`, at most 100: it names the state directory and topics";
        table.cx.report(Diagnostic::error(codes::BAD_NAME, name.span.clone(), message).help(help));
    }
}

fn read_epoch(table: &Table<'_>) -> EpochPolicy {
    let defaults = EpochPolicy::default();
    let Some(epoch) = table.get("epoch", "{ every = \"50ms\", max_rows = 16384 }").and_then(|node| node.table("`epoch`")) else {
        return defaults;
    };
    let every = epoch.duration("every", "\"50ms\"").map_or(defaults.every, |every| every.value);
    let max_rows = rows(&epoch, "max_rows", "16384", 1 << 31).unwrap_or(defaults.max_rows);
    let max_bytes = epoch.size("max_bytes", "\"16MiB\"").unwrap_or(defaults.max_bytes);
    let in_flight = rows(&epoch, "in_flight", "4", 64).unwrap_or(defaults.in_flight);
    epoch.finish();
    EpochPolicy { every, max_rows, max_bytes, in_flight }
}

fn rows(table: &Table<'_>, key: &'static str, example: &'static str, most: u64) -> Option<usize> {
    table.whole(key, example, 1, most).and_then(|rows| usize::try_from(rows.value).ok())
}

/// `[kafka]`: where brokers are, and librdkafka properties.
pub(super) fn read_kafka(root: &Table<'_>) -> Option<Spanned<Kafka>> {
    let node = root.get("kafka", "")?;
    let table = node.table("[kafka]")?;
    let brokers = table.need_text("brokers", "\"localhost:9092\"");
    let mut options = BTreeMap::new();
    if let Some(map) = table.get("options", "{ \"security.protocol\" = \"SSL\" }").and_then(|node| node.table("`options`")) {
        for (name, node) in map.all("\"value\"") {
            if let Some((_, instead)) = OWNED.iter().find(|(owned, _)| *owned == name.value) {
                let message = format!("Tidemill sets `{}` itself", name.value);
                table.cx.report(Diagnostic::error(codes::OWNED_PROPERTY, name.span.clone(), message).help(*instead));
                continue;
            }
            let value = match node.value {
                DeValue::Boolean(value) => Some(value.to_string()),
                DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_string()),
                DeValue::Table(_) => node.fail(
                    codes::WRONG_TYPE,
                    format!("`{}` is a property name that TOML has split at its dots", name.value),
                    "",
                    "put property names in quotes: \"security.protocol\" = \"SSL\"",
                ),
                _ => node.raw_text().map(|text| text.value),
            };
            if let Some(value) = value {
                options.insert(name.value, value);
            }
        }
    }
    table.finish();
    Some(Spanned { value: Kafka { brokers: brokers?, options }, span: node.span })
}
