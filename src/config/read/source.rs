//! `[sources.NAME]`

use crate::config::check;
use crate::config::codes;
use crate::config::declaration::{Format, KafkaStart, Source, SourceKind, Spanned};
use crate::config::schema;
use crate::config::table::Table;
use crate::config::value::{Bound, Node};
use crate::time::Micros;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Generator,
    Kafka,
}

const FILE_KEYS: [&str; 1] = ["path"];
const GENERATOR_KEYS: [&str; 4] = ["generator", "seed", "rows", "rate"];
const KAFKA_KEYS: [&str; 3] = ["topic", "start", "idle_timeout"];
const HOUR: Micros = 3_600_000_000;

/// A source of any kind.
pub(super) fn read(table: &Table<'_>) -> Option<Source> {
    let kind = table
        .need("kind", "\"file\"")
        .and_then(|node| node.choice(&[("kafka", Kind::Kafka), ("file", Kind::File), ("generator", Kind::Generator)], &[]));
    let kind = kind.map(|kind| kind.value);
    let read_kind = match kind {
        Some(Kind::File) => read_file(table),
        Some(Kind::Generator) => read_generator(table),
        Some(Kind::Kafka) => read_kafka(table),
        None => {
            table.ignore(&FILE_KEYS);
            table.ignore(&GENERATOR_KEYS);
            table.ignore(&KAFKA_KEYS);
            table.ignore(&["format"]);
            None
        }
    };
    for (own, keys, kind_name) in
        [(Kind::File, &FILE_KEYS[..], "file"), (Kind::Generator, &GENERATOR_KEYS[..], "generator"), (Kind::Kafka, &KAFKA_KEYS[..], "kafka")]
    {
        if kind.is_some_and(|kind| kind != own) {
            table.foreign(keys, &format!("it is a key of sources of kind = \"{kind_name}\""));
        }
    }
    let schema = read_schema(table, kind, read_kind.as_ref());
    let event_time = match kind {
        Some(Kind::File | Kind::Generator) => table.need_text("event_time", "\"departed_at\""),
        _ => table.text("event_time", "\"departed_at\""),
    };
    let lateness = table.duration("lateness", "\"10m\"").map_or(0, |lateness| lateness.value);
    let ahead = table.duration("ahead", "\"1h\"").map_or(HOUR, |ahead| ahead.value);
    let key = table.text("key", "\"flight_id\"");
    let dedup = table.positive_duration("dedup", "\"1h\"");
    check::dedup(table, dedup.as_ref());
    let format = match &read_kind {
        Some(SourceKind::File { format, .. }) if !table.has("schema") => Some(format.value),
        _ => None,
    };
    check::event_time(table.cx, schema.as_ref(), event_time.as_ref(), format);
    check::key(table.cx, schema.as_ref(), key.as_ref());
    let max_record = table.size("max_record", "\"1MiB\"").unwrap_or(1 << 20);
    table.later("follow", "a file source reads what is there when it starts; for records that keep arriving use kind = \"kafka\"");
    Some(Source { kind: read_kind?, schema, event_time, lateness, ahead, key, dedup, max_record })
}

fn read_schema(table: &Table<'_>, kind: Option<Kind>, read: Option<&SourceKind>) -> Option<Spanned<crate::data::DeclaredSchema>> {
    const EXAMPLE: &str = "{ id = \"int64\", at = \"timestamp_ms\", delay = \"float64?\" }";
    if kind == Some(Kind::Generator) {
        table.foreign(&["schema"], "a generator knows its own columns: leave `schema` out");
        return None;
    }
    let format = match read {
        Some(SourceKind::File { format, .. }) => Some(format.value),
        Some(SourceKind::Kafka { .. }) => Some(Format::Json),
        _ => None,
    };
    let needed = matches!(format, Some(Format::Json));
    let node = if needed { table.need("schema", EXAMPLE) } else { table.get("schema", EXAMPLE) };
    schema::read(&node?)
}

fn read_file(table: &Table<'_>) -> Option<SourceKind> {
    let path = table.need_text("path", "\"data/departures.ndjson\"");
    let format = read_format(table, path.as_ref());
    Some(SourceKind::File { path: path?, format: format? })
}

fn read_generator(table: &Table<'_>) -> Option<SourceKind> {
    table.foreign(&["format"], "a generator makes rows, it reads no format: leave `format` out");
    let generator = table.need_text("generator", "\"transactions\"");
    let seed = table.whole("seed", "7", 0, u64::MAX).map_or(0, |seed| seed.value);
    let rows = table.whole("rows", "100000", 1, u64::MAX).map(|rows| rows.value);
    let rate = table.number("rate", "1000.0", Bound::Positive);
    Some(SourceKind::Generator { generator: generator?, seed, rows, rate })
}

fn read_kafka(table: &Table<'_>) -> Option<SourceKind> {
    let topic = table.need_text("topic", "\"departures\"");
    let format = table.get("format", "\"json\"").map(|node| {
        node.choice(
            &[("json", ())],
            &[
                ("avro", "send JSON and write format = \"json\""),
                ("protobuf", "send JSON and write format = \"json\""),
                ("debezium-json", "send plain JSON records and write format = \"json\""),
                ("csv", "Kafka messages are read as JSON: write format = \"json\""),
                ("parquet", "Kafka messages are read as JSON: write format = \"json\""),
            ],
        )
    });
    let start = table
        .get("start", "\"earliest\"")
        .map(|node| node.choice(&[("earliest", KafkaStart::Earliest), ("latest", KafkaStart::Latest)], &[]))
        .map_or(Some(KafkaStart::Earliest), |start| start.map(|start| start.value));
    let idle_timeout = table.positive_duration("idle_timeout", "\"30s\"").map_or(30_000_000, |idle| idle.value);
    if format == Some(None) {
        return None;
    }
    Some(SourceKind::Kafka { topic: topic?, start: start?, idle_timeout })
}

/// `format`, or what the ending of `path` says.
pub(super) fn read_format(table: &Table<'_>, path: Option<&Spanned<String>>) -> Option<Spanned<Format>> {
    if let Some(node) = table.get("format", "\"json\"") {
        return choose_format(&node);
    }
    let path = path?;
    let ending =
        path.value.rsplit(['/', '\\']).next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
    let value = match ending.as_deref() {
        Some("json" | "ndjson" | "jsonl") => Format::Json,
        Some("csv") => Format::Csv,
        Some("parquet") => Format::Parquet,
        _ => {
            let message = format!("the format of `{}` does not follow from its ending", path.value);
            let help = "add `format = \"json\"`, \"csv\" or \"parquet\"; endings that speak for themselves are .ndjson, .jsonl, .json, .csv and .parquet";
            table.cx.report(crate::diagnostic::Diagnostic::error(codes::UNKNOWN_FORMAT, path.span.clone(), message).help(help));
            return None;
        }
    };
    Some(Spanned { value, span: path.span.clone() })
}

fn choose_format(node: &Node<'_>) -> Option<Spanned<Format>> {
    node.choice(
        &[("json", Format::Json), ("ndjson", Format::Json), ("csv", Format::Csv), ("parquet", Format::Parquet)],
        &[
            ("avro", "convert the file to Parquet or NDJSON"),
            ("protobuf", "convert the file to Parquet or NDJSON"),
            ("debezium-json", "write the rows as plain NDJSON and use format = \"json\""),
        ],
    )
}
