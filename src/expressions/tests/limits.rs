//! Long and deep SQL: an answer or an error in bounded time and stack, never an overflow.

use std::time::{Duration, Instant};

use super::*;

/// Compiles and evaluates on a thread with little stack.
fn outcome(sql: String) -> Result<usize, &'static str> {
    let work = move || {
        let started = Instant::now();
        let expression = compile(&sql, &scope()).map_err(|error| error.code);
        let rows = expression.map(|expression| expression.evaluate_batch_rows(&batch()).0.len());
        assert!(started.elapsed() < Duration::from_secs(20), "{}", &sql[..40]);
        rows
    };
    std::thread::Builder::new().stack_size(512 * 1024).spawn(work).unwrap().join().unwrap()
}

#[test]
fn long_chains_and_lists_compile() {
    for sql in [
        format!("late{}", " and late".repeat(800)),
        format!("n = 1{}", " or n = 5".repeat(500)),
        format!("n in (1{})", ", 2".repeat(1500)),
        format!("delay in (1{})", ", 2".repeat(300)),
        format!("n{}", " + 1".repeat(90)),
        format!("origin{}", " || 'x'".repeat(90)),
        format!("{}n{}", "(".repeat(90), ")".repeat(90)),
        format!("{}n{}", "(1 + ".repeat(40), ")".repeat(40)),
        format!("{}n{}", "abs(".repeat(40), ")".repeat(40)),
        format!("{}1{}", "case when late then ".repeat(90), " else 0 end".repeat(90)),
        format!("{}late", "not ".repeat(90)),
        format!("{}n", "- ".repeat(90)),
        format!("n{}", "::bigint".repeat(90)),
    ] {
        let shown = sql[..20].to_string();
        assert_eq!(outcome(sql), Ok(4), "{shown}");
    }
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    for sql in [
        format!("{}n{}", "(".repeat(5000), ")".repeat(5000)),
        format!("{}n{}", "(".repeat(150), ")".repeat(150)),
        format!("{}n{}", "abs(".repeat(150), ")".repeat(150)),
        format!("{}n{}", "cast(".repeat(50), " as bigint)".repeat(50)),
        format!("n{}", " + 1".repeat(1900)),
        format!("n{}", " + 1".repeat(9000)),
        format!("n{}", "::bigint".repeat(1300)),
        format!("{}n", "- ".repeat(3900)),
        format!("{}1{}", "case when late then ".repeat(300), " else 0 end".repeat(300)),
        format!("{}n{}", "coalesce(".repeat(40), ", 1)".repeat(40)),
        format!("'{}'", "x".repeat(100_000)),
    ] {
        let shown = sql[..20].to_string();
        assert_eq!(outcome(sql), Err("X009"), "{shown}");
    }
}

#[test]
fn malformed_nesting_takes_no_exponential_time() {
    for head in [
        "interval ",
        "interval (",
        "cast(",
        "floor(",
        "position(",
        "substring(",
        "overlay(",
        "try_cast(",
        "array[",
        "exists(",
        "not ",
        "date ",
        "case ",
        "count(distinct ",
        "{",
    ] {
        for tail in ["", "n"] {
            assert!(outcome(format!("{}{tail}", head.repeat(30))).is_err(), "{head}");
            let _ = outcome(format!("{}{tail}{}", head.repeat(8), ")".repeat(8)));
            let _ = outcome(format!("{}{tail} ?{}", head.repeat(8), ")".repeat(8)));
        }
    }
}
