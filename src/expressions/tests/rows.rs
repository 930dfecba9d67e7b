//! Evaluation: inputs, single rows against batches, constants, empty batches, fields of structs.

use arrow::array::{Array, StructArray};
use arrow::compute::concat;
use arrow::datatypes::DataType;

use super::*;

#[test]
fn a_row_does_not_depend_on_its_batch() {
    let batch = batch();
    for sql in [
        "10 / n",
        "late and 10 / n > 0",
        "late or 10 / n > 0",
        "case when late then 10 / n end",
        "coalesce(10 / n, 0)",
        "nullif(10 / n, 1)",
        "cast(origin as int)",
        "n + 1 > 5 or delay > 1",
        "sqrt(delay) > 1 and n > 0",
        "delay in (0, 1, 2, 3)",
        "round(price, 1)",
        "upper(origin)",
        "case when n > 5 then n * 2 when late then n end",
        "date_part('hour', at)",
        "delay / 0 > 1",
    ] {
        let expression = compile(sql, &scope()).unwrap();
        let (whole, failed) = expression.evaluate_batch_rows(&batch);
        for cut in 1..=batch.num_rows() {
            let (mut parts, mut failures) = (Vec::new(), Vec::new());
            for start in (0..batch.num_rows()).step_by(cut) {
                let piece = batch.slice(start, cut.min(batch.num_rows() - start));
                let (array, failed) = expression.evaluate_batch_rows(&piece);
                assert_eq!(expression.evaluate_batch(&piece).is_err(), !failed.is_empty(), "{sql}");
                parts.push(array);
                failures.extend(failed.into_iter().map(|(row, reason)| (row + start, reason)));
            }
            let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
            assert_eq!(texts(&concat(&parts).unwrap()), texts(&whole), "{sql}");
            assert_eq!(failures, failed, "{sql}");
        }
    }
}

#[test]
fn many_rows_with_few_failures_fail_alone() {
    let scope = Scope::new(vec![ScopeColumn::new("n", DataType::Int64, false)]);
    let expression = compile("1000 / n", &scope).unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..5000).map(|i| i % 1234)));
    let (array, failed) = expression.evaluate_rows(&[Arc::clone(&column)], 5000);
    assert_eq!(failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1234, 2468, 3702, 4936]);
    assert!(failed.iter().all(|(_, reason)| reason == "division by zero"));
    assert_eq!((array.len(), array.null_count()), (5000, 5));
    assert_eq!(expression.evaluate(&[column], 5000).unwrap_err(), "division by zero");
}

#[test]
fn inputs_are_what_is_read() {
    let compiled = |sql: &str| compile(sql, &scope()).unwrap();
    assert_eq!(compiled("n + delay * n").inputs(), [1, 3]);
    assert_eq!(compiled("delay").as_column(), Some(1));
    assert_eq!(compiled(" (delay) ").as_column(), Some(1));
    assert_eq!(compiled("delay + 0.5").as_column(), None);
    assert_eq!(compiled("1 + 2").inputs(), [0usize; 0]);
    let sum = compiled("n + flight_id");
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![5])), Arc::new(Int64Array::from(vec![7]))];
    assert_eq!((sum.inputs(), sum.sql()), (&[0, 3][..], "n + flight_id"));
    assert_eq!(texts(&sum.evaluate(&columns, 1).unwrap()), ["12"]);
    assert!(sum.evaluate(&columns[..1], 1).is_err());
    let copy = sum.clone();
    std::thread::spawn(move || assert_eq!(copy.data_type(), &DataType::Int64)).join().unwrap();
}

#[test]
fn constants_and_empty_batches() {
    let constant = compile("1 + 2 * 3", &scope()).unwrap();
    assert_eq!(texts(&constant.evaluate(&[], 3).unwrap()), ["7", "7", "7"]);
    let empty = batch().slice(0, 0);
    for sql in ["1", "n + 1", "10 / n", "upper(origin)", "coalesce(n, 1)", "late and n > 1", "date_part('hour', at)", "n"] {
        let (array, failed) = compile(sql, &scope()).unwrap().evaluate_batch_rows(&empty);
        assert_eq!((array.len(), failed.len()), (0, 0), "{sql}");
    }
}

#[test]
fn fields_of_structs_are_read_with_a_dot() {
    let inner: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
    let payload = StructArray::from(vec![(Arc::new(Field::new("amount", DataType::Float64, true)), inner)]);
    let schema = Schema::new(vec![Field::new("payload", payload.data_type().clone(), true)]);
    let scope = Scope::from_schema(&schema);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(payload)]).unwrap();
    let expression = compile("payload.amount * 2", &scope).unwrap();
    assert_eq!(texts(&expression.evaluate_batch(&batch).unwrap()), ["3.0", "null"]);
    let error = compile("payload.amont", &scope).unwrap_err();
    assert_eq!((error.code, error.help.as_str()), ("X002", "did you mean `amount`?"));
}

#[test]
fn wanted_types_are_reached_without_loss_or_refused() {
    let wanted =
        |sql: &str, wanted: &DataType| compile_as(sql, &scope(), wanted).map(|e| texts(&e.evaluate_batch(&batch()).unwrap()).join(" | "));
    assert_eq!(wanted("late", &DataType::Float64).unwrap(), "1.0 | 0.0 | null | 1.0");
    assert_eq!(wanted("delay > 15", &DataType::Int64).unwrap(), "1 | 0 | null | 1");
    assert_eq!(wanted("Delay", &DataType::Int64).unwrap(), "1 | 0 | null | 2147483647");
    assert_eq!(wanted("price", &DataType::Float64).unwrap(), "10.25 | 0.1 | null | -0.01");
    assert_eq!(wanted("1", &DataType::Float64).unwrap(), "1.0 | 1.0 | 1.0 | 1.0");
    assert_eq!(wanted("7", &DataType::Int32).unwrap(), "7 | 7 | 7 | 7");
    assert_eq!(wanted("null", &DataType::Boolean).unwrap(), "null | null | null | null");
    assert_eq!(
        wanted("day", &crate::data::timestamp_type()).unwrap(),
        "2001-03-04T00:00:00Z | 1970-01-01T00:00:00Z | null | 2001-03-03T00:00:00Z"
    );
    assert_eq!(wanted("'2001-01-01'", &DataType::Date32).unwrap(), "2001-01-01 | 2001-01-01 | 2001-01-01 | 2001-01-01");
    for (sql, to) in [
        ("n", DataType::Boolean),
        ("origin", DataType::Float64),
        ("delay", DataType::Int64),
        ("n", DataType::Int32),
        ("at", DataType::Float64),
        ("'x'", DataType::Boolean),
    ] {
        let error = wanted(sql, &to).unwrap_err();
        assert_eq!((error.code, error.help.is_empty()), ("X007", false), "{sql}");
    }
}
