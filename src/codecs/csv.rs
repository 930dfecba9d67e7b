//! CSV (RFC 4180) to Arrow rows through the `csv` crate: quoted fields, doubled quotes, line breaks inside quotes.
//!
//! An empty field of a nullable column is null; of a required string it is the empty string; of any other required column it is poison. Lists and structs
//! are JSON inside a field. Records are where the reader of the file says they are; should the `csv` crate see other boundaries (a bare carriage
//! return), the record alone is read again and refused if it is not exactly one.

use std::io::Read;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::data::{DeclaredColumn, LogicalType};
use crate::error::{Error, Result};

use super::{
    Assembly, Codec, CodecSpec, ColumnBuffer, CsvHeader, DecodedChunk, EventTimeFrom, Fault, Payload, RawChunk, RowBuffers, TextChunk,
    Values, decode_value,
};
use super::{
    NumberFault, base64, bounds_in_words, date, decimal, decimal_as_float, float32, float64, in_bounds, integer, is_allowed, timestamp,
    timestamp_number, type_name,
};

/// Decodes the records of CSV files.
pub(super) struct CsvCodec {
    spec: Arc<CodecSpec>,
    rows: RowBuffers,
}

/// What a reader is given first: a line end, which is passed over. Without it a byte order mark that begins a record would be taken for that of a file
/// where the record is the first of a part, and for data elsewhere.
const BEFORE: &[u8] = b"\n";

/// A reader over a part of a chunk.
fn reader(data: &[u8]) -> ::csv::Reader<impl Read> {
    ::csv::ReaderBuilder::new().has_headers(false).flexible(true).buffer_capacity(16 << 10).from_reader(BEFORE.chain(data))
}

impl CsvCodec {
    pub fn new(spec: Arc<CodecSpec>) -> Self {
        let rows = RowBuffers::new(&spec.schema.columns);
        Self { spec, rows }
    }

    /// Reads the records from `first` on in one run; returns the record at which the run broke off, if it did.
    fn run(&mut self, text: &TextChunk, header: &CsvHeader, first: usize, assembly: &mut Assembly) -> Result<Option<usize>> {
        let outside = || Error::internal("a record lies outside its chunk");
        let begin = text.spans.get(first).map_or(0, |span| span.start as usize);
        let stop = text.spans.last().map_or(0, |span| span.end as usize);
        let mut reader = reader(text.data.get(begin..stop).ok_or_else(outside)?);
        let mut record = ::csv::ByteRecord::new();
        for (index, span) in text.spans.iter().enumerate().skip(first) {
            let (start, end) = (span.start as usize, span.end as usize);
            let bytes = text.data.get(start..end).ok_or_else(outside)?;
            let read = reader.read_byte_record(&mut record);
            let position = begin + (reader.position().byte() as usize).saturating_sub(BEFORE.len());
            let next = text.spans.get(index + 1).map_or(stop, |span| span.start as usize);
            let aligned = matches!(read, Ok(true)) && position >= end && position <= next.max(end);
            assembly.record(span.offset, bytes.len(), xxh3_64(bytes));
            let outcome = if aligned { self.record(bytes, header, &record) } else { self.lone(bytes, header) };
            match outcome {
                Ok(time) => assembly.used(time),
                Err(fault) => assembly.rejected(*fault),
            }
            if !aligned {
                return Ok(Some(index + 1));
            }
        }
        Ok(None)
    }

    /// Reads a record on its own.
    fn lone(&mut self, bytes: &[u8], header: &CsvHeader) -> Result<i64, Box<Fault>> {
        let mut reader = reader(bytes);
        let (mut record, mut more) = (::csv::ByteRecord::new(), ::csv::ByteRecord::new());
        let read = reader.read_byte_record(&mut record);
        if !matches!(read, Ok(true)) || !matches!(reader.read_byte_record(&mut more), Ok(false)) {
            return Err(Fault::decode("the record is broken by a bare carriage return"));
        }
        self.record(bytes, header, &record)
    }

    /// Appends one record and returns its event time.
    fn record(&mut self, bytes: &[u8], header: &CsvHeader, record: &::csv::ByteRecord) -> Result<i64, Box<Fault>> {
        if bytes.len() > self.spec.max_record {
            return Err(Fault::too_large(bytes.len() as u64, self.spec.max_record));
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            return Err(Fault::decode(format!("invalid UTF-8 at byte {}", error.valid_up_to())));
        }
        if record.len() != header.fields {
            return Err(Fault::decode(format!("the record has {} fields, the header has {}", record.len(), header.fields)));
        }
        let outcome = self.fields(header, record);
        let time = match self.spec.event_time {
            EventTimeFrom::Column(column) => self.rows.columns.get(column).and_then(ColumnBuffer::last_time),
            EventTimeFrom::Message => None,
            EventTimeFrom::Nothing => Some(0),
        };
        match (outcome, time) {
            (Ok(()), Some(time)) => {
                self.rows.commit();
                Ok(time)
            }
            (Ok(()), None) => {
                self.rows.rollback();
                Err(Fault::decode("the event time is empty"))
            }
            (Err(mut fault), _) => {
                self.rows.rollback();
                fault.event_time = self.time_of(header, record);
                Err(fault)
            }
        }
    }

    fn fields(&mut self, header: &CsvHeader, record: &::csv::ByteRecord) -> Result<(), Box<Fault>> {
        let mut check = None;
        for (index, (column, buffer)) in self.spec.schema.columns.iter().zip(&mut self.rows.columns).enumerate() {
            let field = header.positions.get(index).copied().flatten();
            let text = field.and_then(|field| record.get(field)).unwrap_or(&[]);
            match append(text, column, buffer) {
                Ok(()) => {}
                Err(Refusal::Check(fault)) => check = check.or(Some(fault)),
                Err(Refusal::Decode(fault)) => return Err(fault),
            }
        }
        check.map_or(Ok(()), Err)
    }

    /// The event time of a record that cannot be used, where it can be read.
    fn time_of(&self, header: &CsvHeader, record: &::csv::ByteRecord) -> Option<i64> {
        let EventTimeFrom::Column(index) = self.spec.event_time else { return None };
        let column = self.spec.schema.columns.get(index)?;
        let text = record.get(header.positions.get(index).copied().flatten()?)?;
        let mut buffer = ColumnBuffer::new(column);
        append(text, column, &mut buffer).ok()?;
        buffer.last_time()
    }
}

/// Why a field is refused.
enum Refusal {
    /// No value of the type; the column is left without one.
    Decode(Box<Fault>),
    /// A value outside its bounds; it was appended.
    Check(Box<Fault>),
}

/// Appends one field to its column.
fn append(text: &[u8], column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Result<(), Refusal> {
    let shown = || String::from_utf8_lossy(text.get(..40).unwrap_or(text)).into_owned();
    let decode = |what: &str| Refusal::Decode(Fault::decode(format!("field `{}`: `{}` is {what}", column.name, shown())));
    let number = |fault: NumberFault| match fault {
        NumberFault::Malformed => decode(&format!("no {}", type_name(&column.kind))),
        _ => decode(&format!("{} for {}", fault.describe(), type_name(&column.kind))),
    };
    if text.is_empty() {
        if column.nullable {
            buffer.push_null();
            return Ok(());
        }
        if !matches!(column.kind, LogicalType::String | LogicalType::Bytes) {
            return Err(Refusal::Decode(Fault::decode(format!("field `{}`: empty, but it is required", column.name))));
        }
    }
    let mut inside = true;
    match (&column.kind, &mut buffer.values) {
        (LogicalType::Bool, Values::Bool(values)) => values.push(match text {
            _ if text.eq_ignore_ascii_case(b"true") => true,
            _ if text.eq_ignore_ascii_case(b"false") => false,
            _ => return Err(decode("neither true nor false")),
        }),
        (LogicalType::Int32, Values::Int32(values)) => {
            let value = integer(text).and_then(|value| i32::try_from(value).map_err(|_| NumberFault::Range)).map_err(number)?;
            inside = in_bounds(column, f64::from(value));
            values.push(value);
        }
        (LogicalType::Int64, Values::Int64(values)) => {
            let value = integer(text).map_err(number)?;
            inside = in_bounds(column, value as f64);
            values.push(value);
        }
        (LogicalType::Float32, Values::Float32(values)) => {
            let value = float32(text).map_err(number)?;
            inside = in_bounds(column, f64::from(value));
            values.push(value);
        }
        (LogicalType::Float64, Values::Float64(values)) => {
            let value = float64(text).map_err(number)?;
            inside = in_bounds(column, value);
            values.push(value);
        }
        (LogicalType::Decimal(precision, scale), Values::Decimal(values)) => {
            let value = decimal(text, *precision, *scale).map_err(number)?;
            inside = in_bounds(column, decimal_as_float(value, *scale));
            values.push(value);
        }
        (LogicalType::Date, Values::Date(values)) => values.push(date(text).ok_or_else(|| decode("no date YYYY-MM-DD"))?),
        (LogicalType::Timestamp(unit), Values::Timestamp(values)) => {
            let value = timestamp(text).or_else(|| timestamp_number(text, *unit).ok());
            values.push(value.ok_or_else(|| decode("neither an RFC 3339 timestamp nor an epoch number"))?);
        }
        (LogicalType::String, Values::Text { ends, bytes }) => {
            let text = std::str::from_utf8(text).map_err(|_| decode("not UTF-8"))?;
            inside = is_allowed(column, text);
            bytes.extend_from_slice(text.as_bytes());
            ends.push(bytes.len() as i32);
        }
        (LogicalType::Bytes, Values::Binary { ends, bytes }) => {
            if !base64(text, bytes) {
                return Err(decode("no base64"));
            }
            ends.push(bytes.len() as i32);
        }
        _ => {
            let outcome = decode_value(text, column, buffer);
            return outcome
                .map_err(|fault| if fault.reason == crate::data::Reason::Check { Refusal::Check(fault) } else { Refusal::Decode(fault) });
        }
    }
    buffer.nulls.append_non_null();
    match (inside, &column.kind) {
        (true, _) => Ok(()),
        (false, LogicalType::String) => {
            Err(Refusal::Check(Fault::check(format!("field `{}`: `{}` is none of the values allowed", column.name, shown()))))
        }
        (false, _) => Err(Refusal::Check(Fault::check(format!("field `{}`: {} is {}", column.name, shown(), bounds_in_words(column))))),
    }
}

impl Codec for CsvCodec {
    fn decode(&mut self, chunk: RawChunk) -> Result<DecodedChunk> {
        let mut assembly = Assembly::new(&self.spec, &chunk);
        let Payload::Text(text) = &chunk.payload else {
            return Err(Error::internal("other than text was handed to the CSV codec"));
        };
        let header = text.header.clone().ok_or_else(|| Error::internal("a CSV chunk came without its header"))?;
        if let (Some(cut), Some(span)) = (text.cut, text.spans.first()) {
            assembly.record(span.offset, usize::try_from(cut.size).unwrap_or(usize::MAX), cut.digest);
            assembly.rejected(*Fault::too_large(cut.size, self.spec.max_record));
        } else {
            let mut next = Some(0);
            while let Some(first) = next.filter(|first| *first < text.spans.len()) {
                next = self.run(text, &header, first, &mut assembly)?;
            }
        }
        let rows = self
            .rows
            .finish(&self.spec.arrow)
            .map_err(|error| Error::internal(format!("decoded CSV columns do not fit together: {error}")))?;
        Ok(assembly.finish(rows, chunk.payload))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int64Type};

    use super::*;
    use crate::codecs::{Span, build};
    use crate::data::{DeclaredSchema, Reason, TimestampUnit};
    use crate::ids::{PartitionIndex, SourceIndex};

    fn spec() -> Arc<CodecSpec> {
        let mut amount = DeclaredColumn::new("amount", LogicalType::Float64, true);
        amount.minimum = Some(0.0);
        let columns = vec![
            DeclaredColumn::new("id", LogicalType::Int64, false),
            DeclaredColumn::new("at", LogicalType::Timestamp(TimestampUnit::Second), false),
            amount,
            DeclaredColumn::new("note", LogicalType::String, true),
        ];
        CodecSpec::new(SourceIndex(0), DeclaredSchema { columns, closed: false }, EventTimeFrom::Column(1), 100)
    }

    fn decode(records: &[&str]) -> DecodedChunk {
        let (mut data, mut spans) = (Vec::new(), Vec::new());
        for record in records {
            let start = data.len();
            data.extend_from_slice(record.as_bytes());
            spans.push(Span { offset: 1000 + start as u64, start: start as u32, end: data.len() as u32 });
            data.extend_from_slice(b"\r\n");
        }
        let header = Some(Arc::new(CsvHeader { fields: 5, positions: vec![Some(0), Some(2), Some(1), Some(4)] }));
        let end = 1000 + data.len() as u64;
        let payload = Payload::Text(TextChunk { data: Arc::new(data), spans, cut: None, header });
        build("csv", spec()).unwrap().decode(RawChunk { partition: PartitionIndex(0), end, payload }).unwrap()
    }

    #[test]
    fn quotes_nulls_and_line_breaks_inside_quotes() {
        let chunk = decode(&["1,2.5,10,x,\"a \"\"b\"\", c\r\nd\"", "2,,1970-01-01T00:00:11Z,x,", "+003,1e1,12.5,,plain"]);
        assert!(chunk.rejected.is_empty(), "{:?}", chunk.rejected);
        assert_eq!(chunk.times, [10_000_000, 11_000_000, 12_500_000]);
        assert_eq!(chunk.rows.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
        assert!(chunk.rows.column(2).is_null(1) && chunk.rows.column(2).as_primitive::<Float64Type>().value(2) == 10.0);
        assert_eq!(chunk.rows.column(3).as_string::<i32>().value(0), "a \"b\", c\r\nd");
        assert!(chunk.rows.column(3).is_null(1));
    }

    #[test]
    fn poison_is_named_and_the_rest_is_used() {
        let long = format!("1,2,3,x,{}", "y".repeat(200));
        let records = [
            "1,2,3,x,ok",
            "1,2,3,x",
            ",2,3,x,n",
            "1,NaN,3,x,n",
            "1,-4,3,x,n",
            "1,2,soon,x,n",
            "1,2\r3,3,x,n",
            &long,
            "9223372036854775808,2,3,x,n",
            "7,1,4,x,ok",
        ];
        let chunk = decode(&records);
        assert_eq!(chunk.rows.num_rows(), 2);
        assert_eq!(chunk.rows.num_rows() + chunk.rejected.len(), records.len());
        let reasons: Vec<(Reason, &str)> = chunk.rejected.iter().map(|r| (r.reason, r.detail.as_str())).collect();
        assert_eq!(reasons[0], (Reason::Decode, "the record has 4 fields, the header has 5"));
        assert_eq!(reasons[1], (Reason::Decode, "field `id`: empty, but it is required"));
        assert_eq!(reasons[2], (Reason::Decode, "field `amount`: `NaN` is no float64"));
        assert_eq!(reasons[3], (Reason::Check, "field `amount`: -4 is below the minimum 0"));
        assert_eq!(chunk.rejected[3].event_time, Some(3_000_000));
        assert_eq!(reasons[4], (Reason::Decode, "field `at`: `soon` is neither an RFC 3339 timestamp nor an epoch number"));
        assert_eq!(reasons[5].0, Reason::Decode);
        assert_eq!(reasons[6].0, Reason::TooLarge);
        assert_eq!(reasons[7], (Reason::Decode, "field `id`: `9223372036854775808` is out of range for int64"));
        assert_eq!(chunk.row_of.as_ref().unwrap()[0], 0);
        assert_eq!(chunk.row(9), Some(1));
        assert_eq!(chunk.raw.original(&chunk.rejected[1]).as_deref(), Some(records[2].as_bytes()));
    }
    #[test]
    fn a_byte_order_mark_belongs_to_its_record_wherever_that_stands() {
        let marked = "\u{feff}1,2,3,x,n";
        for records in [&[marked, "1,2,3,x,ok"][..], &["1,2,3,x,ok", marked], &["1,2\r3,3,x,n", marked, "1,2,3,x,ok"]] {
            let chunk = decode(records);
            assert_eq!(chunk.rows.num_rows(), 1);
            let fault = chunk.rejected.iter().find(|fault| chunk.raw.original(fault).as_deref() == Some(marked.as_bytes()));
            assert_eq!(fault.map(|fault| fault.detail.as_str()), Some("field `id`: `\u{feff}1` is no int64"));
        }
    }
}
