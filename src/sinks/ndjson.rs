//! NDJSON: one JSON object a line, fields in the order of the sink's columns, no spaces. Equal rows give equal bytes.

use arrow::datatypes::SchemaRef;

use super::{Encoded, Encoder, Encoding, JsonColumn, JsonRows, SinkRows};

/// Rows to lines.
pub struct LineEncoder {
    rows: JsonRows,
    /// Bytes per row of the batch before: only a capacity.
    expected: usize,
}

impl LineEncoder {
    /// An encoder for output columns of `schema`; the error names the column that cannot be written.
    pub fn new(schema: &SchemaRef) -> Result<Self, String> {
        Ok(Self { rows: JsonRows::new(schema)?, expected: 32 })
    }
}

impl Encoder for LineEncoder {
    fn encode(&mut self, rows: &SinkRows<'_>) -> Result<Encoding, String> {
        let arrays = self.rows.columns(rows.columns)?;
        let columns = arrays.iter().map(JsonColumn::new).collect::<Result<Vec<_>, _>>()?;
        let count = rows.columns.num_rows();
        let mut bytes = Vec::with_capacity(count * (self.expected + self.expected / 8 + 1));
        let mut ends = Vec::with_capacity(count);
        let mut non_finite = 0;
        for row in 0..count {
            self.rows.write(&columns, row, &mut bytes, &mut non_finite);
            bytes.push(b'\n');
            ends.push(bytes.len() as u32);
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err("one epoch of one sink is over 4 GiB; lower `max_rows` or `max_bytes` of the epoch".into());
        }
        self.expected = bytes.len().checked_div(count).unwrap_or(self.expected);
        Ok(Encoding { encoded: Encoded::Lines { bytes, ends }, non_finite })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use arrow::datatypes::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn lines(batch: &RecordBatch) -> (Vec<String>, u64) {
        let mut encoder = LineEncoder::new(&batch.schema()).unwrap();
        let encoding = encoder.encode(&SinkRows { columns: batch, times: &[], by: None }).unwrap();
        let Encoded::Lines { bytes, ends } = encoding.encoded else { panic!("lines") };
        let text = String::from_utf8(bytes).unwrap();
        let mut start = 0;
        let lines = ends.iter().map(|end| {
            let line = text[start..*end as usize].strip_suffix('\n').unwrap().to_owned();
            start = *end as usize;
            line
        });
        (lines.collect(), encoding.non_finite)
    }

    fn every_type() -> RecordBatch {
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.5), None, Some(f64::NAN)]), None, Some(vec![])]);
        let inner: Fields = vec![Field::new("a", DataType::Int64, true), Field::new("b \"", DataType::Utf8, true)].into();
        let structure = StructArray::new(
            inner,
            vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(StringArray::from(vec![Some("x"), None, Some("y")]))],
            Some(vec![true, false, true].into()),
        );
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("bool", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("i32", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(7)]))),
            ("i64", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(i64::MIN), None]))),
            ("u64", Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))),
            ("i8", Arc::new(Int8Array::from(vec![-8, 0, 1]))),
            ("f32", Arc::new(Float32Array::from(vec![0.1, f32::NEG_INFINITY, -0.0]))),
            ("f64", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), Some(f64::INFINITY), None]))),
            ("dec", Arc::new(Decimal128Array::from(vec![12_345, -1, 0]).with_precision_and_scale(10, 2).unwrap())),
            ("text", Arc::new(StringArray::from(vec![Some("é\n\"\\"), Some(""), None]))),
            ("view", Arc::new(StringViewArray::from(vec!["a", "b", "a string longer than twelve bytes"]))),
            ("bytes", Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0, 255][..]), None, Some(b"abc")]))),
            ("date", Arc::new(Date32Array::from(vec![0, -1, 11_323]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 1_500_000, -1]).with_timezone("UTC"))),
            ("list", Arc::new(list)),
            ("struct", Arc::new(structure)),
            ("none", Arc::new(NullArray::new(3))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
    }

    #[test]
    fn every_type_reads_back_through_serde_json() {
        let (lines, non_finite) = lines(&every_type());
        let rows: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            rows[0],
            json!({"bool": true, "i32": i32::MIN, "i64": i64::MAX, "u64": u64::MAX, "i8": -8, "f32": 0.1, "f64": 0.30000000000000004,
                "dec": 123.45, "text": "é\n\"\\", "view": "a", "bytes": "AP8=", "date": "1970-01-01", "at": "1970-01-01T00:00:00Z",
                "list": [1.5, null, null], "struct": {"a": 1, "b \"": "x"}, "none": null})
        );
        assert_eq!(rows[1]["at"], "1970-01-01T00:00:01.500Z");
        assert_eq!(rows[1]["f64"], Value::Null);
        assert_eq!(rows[1]["struct"], Value::Null);
        assert_eq!(rows[1]["list"], Value::Null);
        assert_eq!(rows[2]["at"], "1969-12-31T23:59:59.999999Z");
        assert_eq!(rows[2]["date"], "2001-01-01");
        assert_eq!(rows[2]["list"], json!([]));
        assert!(lines[2].contains(r#""f32":-0.0,"#) && lines[2].contains(r#""dec":0.00,"#), "{}", lines[2]);
        assert_eq!(non_finite, 3);
    }

    #[test]
    fn slices_write_what_the_whole_batch_writes() {
        let batch = every_type();
        let (whole, _) = lines(&batch);
        for row in 0..3 {
            assert_eq!(lines(&batch.slice(row, 1)).0, whole[row..=row]);
        }
        assert!(lines(&batch.slice(0, 0)).0.is_empty());
    }

    #[test]
    fn a_type_without_text_is_refused_by_name() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("x", DataType::Interval(IntervalUnit::DayTime), true)]));
        assert!(LineEncoder::new(&schema).err().unwrap().contains("`x`"));
    }
}
