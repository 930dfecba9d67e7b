//! What happens to files between two runs (S14.2, S14.3): input that changes after a run has finished or stopped, tables, output that is missing, cut or
//! edited, and a second process on one state directory. What cannot be gone on from is refused with the file, what differs and what to do, and nothing
//! that was written is touched.

mod process;

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use process::{DEADLINE, Ended, Tidemill, epochs};

const PIPELINE: &str = r#"
[pipeline]
name = "between"
epoch = { max_rows = 4 }

[sources.x]
kind = "file"
path = "in/*.ndjson"
schema = { id = "int64", ts = "timestamp_ms", code = "string" }
event_time = "ts"
key = "id"

[sources.y]
kind = "file"
path = "y.csv"
schema = { id = "int64", ts = "timestamp_ms" }
event_time = "ts"

[sources.z]
kind = "file"
path = "z.parquet"
event_time = "ts"

[tables.places]
kind = "file"
path = "places.csv"
key = "code"

[streams.placed]
from = "x"
join = [{ table = "places", on = "code = places.code" }]

[sinks.placed]
kind = "file"
from = "placed"
path = "${OUT}/placed.ndjson"

[sinks.parts]
kind = "parquet"
from = "x"
path = "${OUT}/parts"
max_rows = 4
"#;

/// A folder with the pipeline and its inputs, which may be changed.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let line = |id: usize| format!("{{\"id\":{id},\"ts\":\"2024-01-01T00:{id:02}:00Z\",\"code\":\"{}\"}}\n", ["BOS", "JFK"][id % 2]);
        let file = |ids: std::ops::Range<usize>| ids.map(line).collect::<String>();
        place.write("p.toml", PIPELINE);
        place.write("in/a.ndjson", &file(10..20));
        place.write("in/b.ndjson", &file(20..30));
        place.write("in/none.ndjson", "\n");
        // With a row that is quarantined, and lines that are none at the end.
        place.write("y.csv", "id,ts\r\n1,2024-01-01T00:10:30Z\r\nmany,\"\r\n\"\r\n2,2024-01-01T00:20:30Z\r\n\r\n\r\n");
        place.write("places.csv", "code,city\nBOS,Boston\nJFK,New York\n");
        place.write_parquet(5);
        place
    }

    /// After a run that went to its end; its summary.
    fn finished() -> (Self, String) {
        let place = Self::new();
        let first = place.run("run", &[]);
        assert_eq!(first.code, Some(0), "{}", first.err);
        (place, first.out)
    }

    /// After a run that stopped behind five epochs, with parts that are closed and one that is open.
    fn stopped() -> Self {
        let (place, _) = Self::finished();
        let bindings = place.run("bindings", &[]).out;
        place.write("five.ndjson", &bindings.split_inclusive('\n').take(5).collect::<String>());
        fs::remove_dir_all(place.path("out")).unwrap();
        fs::remove_dir_all(place.path("state")).unwrap();
        let stopped = place.run("run", &["--bindings", "five.ndjson"]);
        assert_eq!((stopped.code, epochs(&place.path("state"))), (Some(0), 5), "{}", stopped.err);
        let parts = place.parts();
        assert!(parts.iter().any(|name| name.ends_with(".parquet")) && parts.iter().any(|name| name.ends_with(".tmp")), "{parts:?}");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// `z.parquet` with so many rows.
    fn write_parquet(&self, rows: i64) {
        let id: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(0..rows));
        let times = (0..rows).map(|row| 1_704_067_200_000 + 300_000 * row);
        let ts: ArrayRef = std::sync::Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"));
        let batch = RecordBatch::try_from_iter_with_nullable([("id", id, false), ("ts", ts, false)]).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(self.path("z.parquet")).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn modified(&self, name: &str) -> SystemTime {
        fs::metadata(self.path(name)).unwrap().modified().unwrap()
    }

    fn set_modified(&self, name: &str, time: SystemTime) {
        File::options().write(true).open(self.path(name)).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    /// Names of the parts that are there.
    fn parts(&self) -> Vec<String> {
        let mut parts: Vec<String> = fs::read_dir(self.path("out/parts"))
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        parts.sort();
        parts
    }

    /// All outputs by name, as readers find them: without what is still being written.
    fn outputs(&self) -> BTreeMap<String, Vec<u8>> {
        let parts = self.parts().into_iter().filter(|name| !name.ends_with(".tmp"));
        let mut found: BTreeMap<String, Vec<u8>> =
            parts.map(|name| (name.clone(), fs::read(self.path("out/parts").join(name)).unwrap())).collect();
        found.extend(fs::read(self.path("out/placed.ndjson")).ok().map(|bytes| ("placed.ndjson".to_string(), bytes)));
        found
    }

    /// Runs a command in the folder.
    fn run(&self, command: &str, more: &[&str]) -> Ended {
        let mut arguments = vec![command, "p.toml", "--state-dir", "state"];
        arguments.extend(more);
        let output = Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .args(&arguments)
            .env("OUT", "out")
            .env("TIDEMILL_WORKERS", "2")
            .env_remove("TIDEMILL_STATE_DIR")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr), command: arguments.join(" ") }
    }

    /// The next run is refused: its last two lines name the file in full, say what differs and what to do. Outputs stay as they are.
    fn assert_refused(&self, file: &str, says: &str) {
        let before = self.outputs();
        let ended = self.run("run", &[]);
        assert_eq!(ended.code, Some(65), "{file} {says}: {}{}", ended.out, ended.err);
        let lines: Vec<&str> = ended.err.lines().collect();
        let [.., cause, help] = lines[..] else { panic!("{}", ended.err) };
        assert!(cause.starts_with("error: ") && cause.contains(says), "{says} is expected in: {cause}");
        assert!(file.is_empty() || cause.contains(&*self.path(file).to_string_lossy()), "{file} is expected in: {cause}");
        assert!(help.starts_with("help: ") && help.contains("--fresh"), "{help}");
        assert!(self.outputs() == before, "{says}: outputs were touched");
    }

    /// The next run finds the run finished and prints its summary again.
    fn assert_finished(&self, summary: &str, what: &str) {
        let again = self.run("run", &[]);
        assert_eq!((again.code, again.out.as_str()), (Some(0), summary), "{what}: {}", again.err);
        assert!(again.err.contains("finished already"), "{what}: {}", again.err);
    }
}

#[test]
fn a_finished_run_refuses_input_that_has_changed_and_accepts_it_when_it_is_put_back() {
    let (place, summary) = Place::finished();
    let put_back: Vec<(&str, Vec<u8>)> = ["in/a.ndjson", "in/b.ndjson", "in/none.ndjson", "y.csv", "z.parquet"]
        .map(|name| (name, fs::read(place.path(name)).unwrap()))
        .into();
    let in_text = |name: &str, from: &str, to: &str| {
        let text = place.read(name);
        assert!(text.contains(from), "{from}");
        place.write(name, &text.replacen(from, to, 1));
    };
    let line = "{\"id\":40,\"ts\":\"2024-01-01T00:40:00Z\",\"code\":\"BOS\"}\n";
    let grow = |name: &str| place.write(name, &(place.read(name) + line));
    let cut = |name: &str, rows: usize| place.write(name, &place.read(name).split_inclusive('\n').take(rows).collect::<String>());
    let changes: &[(&str, &dyn Fn(), &str)] = &[
        ("in/a.ndjson", &|| in_text("in/a.ndjson", "\"id\":12", "\"id\":92"), "its records from byte"),
        ("in/b.ndjson", &|| in_text("in/b.ndjson", "\"id\":29,", "\"id\": 29,"), "are others"),
        ("in/b.ndjson", &|| grow("in/b.ndjson"), "it goes on with a record at byte"),
        ("in/b.ndjson", &|| cut("in/b.ndjson", 9), "it ends at byte"),
        ("in/a.ndjson", &|| cut("in/a.ndjson", 0), "it ends at byte 0"),
        ("in/none.ndjson", &|| grow("in/none.ndjson"), "it goes on with a record at byte 1"),
        ("in/a.ndjson", &|| in_text("in/a.ndjson", "\n", "\n\n"), "are others"),
        ("y.csv", &|| in_text("y.csv", "00:20:30", "00:20:31"), "its records from byte"),
        ("y.csv", &|| in_text("y.csv", "many", "more"), "its records from byte"),
        ("y.csv", &|| in_text("y.csv", "id,ts", "if,ts"), "no column"),
        ("z.parquet", &|| place.write_parquet(4), "it ends at row 4, and had records up to 5"),
        ("z.parquet", &|| place.write_parquet(6), "it goes on with a record at row 5"),
        ("in/c.ndjson", &|| place.write("in/c.ndjson", ""), "is a file of `sources.x` now, and was none"),
        ("in/none.ndjson", &|| fs::remove_file(place.path("in/none.ndjson")).unwrap(), "was a file of `sources.x`"),
        ("in/a.ndjson", &|| fs::rename(place.path("in/a.ndjson"), place.path("in/0.ndjson")).unwrap(), "was a file of `sources.x`"),
    ];
    for (file, change, says) in changes {
        change();
        place.assert_refused(file, says);
        place.assert_refused(file, says);
        for (name, bytes) in &put_back {
            fs::write(place.path(name), bytes).unwrap();
        }
        for new in ["in/c.ndjson", "in/0.ndjson"] {
            let _ = fs::remove_file(place.path(new));
        }
        place.assert_finished(&summary, says);
    }
    grow("in/a.ndjson");
    assert_eq!(place.run("run", &["--fresh"]).code, Some(0));
    assert!(place.read("out/placed.ndjson").contains("\"id\":40"));
}

#[test]
fn a_finished_run_reads_only_input_that_does_not_look_as_it_did() {
    let (place, summary) = Place::finished();
    let looked = place.read("state/inputs.json");
    place.assert_finished(&summary, "left alone");
    assert_eq!(place.read("state/inputs.json"), looked);

    // Touched: read again, found equal, and remembered as it looks now.
    let time = place.modified("in/a.ndjson");
    place.set_modified("in/a.ndjson", time + Duration::from_secs(60));
    place.assert_finished(&summary, "touched");
    let now = place.read("state/inputs.json");
    assert_ne!(now, looked);
    place.assert_finished(&summary, "touched before");
    assert_eq!(place.read("state/inputs.json"), now);

    // Length and time are believed: whoever sets the clock back for a changed file is not found out, since nobody reads it.
    let text = place.read("in/b.ndjson");
    let time = place.modified("in/b.ndjson");
    place.write("in/b.ndjson", &text.replace("JFK", "BOS"));
    place.set_modified("in/b.ndjson", time);
    place.assert_finished(&summary, "as long as before, and with its time");

    // Where nothing is remembered, everything is read.
    fs::remove_file(place.path("state/inputs.json")).unwrap();
    place.assert_refused("in/b.ndjson", "are others");
    place.write("in/b.ndjson", &text);
    fs::rename(place.path("in/b.ndjson"), place.path("b")).unwrap();
    place.assert_refused("", "`sources.x` (");
    fs::rename(place.path("b"), place.path("in/b.ndjson")).unwrap();
    place.assert_finished(&summary, "nothing was remembered");
    assert!(place.path("state/inputs.json").exists());
}

#[test]
fn a_table_or_a_list_of_files_that_has_changed_is_refused_by_a_stopped_and_by_a_finished_run() {
    for place in [Place::stopped(), Place::finished().0] {
        let table = place.read("places.csv");
        place.write("places.csv", &table.replace("Boston", "boston"));
        place.assert_refused("", "has changed since the run in");
        place.assert_refused("", "`tables.places` (");
        place.write("places.csv", &table);
        place.write("in/c.ndjson", "");
        place.assert_refused("in/c.ndjson", "is a file of `sources.x` now, and was none in the run in");
        fs::remove_file(place.path("in/c.ndjson")).unwrap();
        fs::rename(place.path("in/b.ndjson"), place.path("b")).unwrap();
        place.assert_refused("in/b.ndjson", "was a file of `sources.x` in the run in");
        fs::rename(place.path("b"), place.path("in/b.ndjson")).unwrap();
        assert_eq!(place.run("run", &[]).code, Some(0));
    }
}

#[test]
fn a_stopped_run_names_the_input_that_is_not_what_it_read() {
    let place = Place::stopped();
    let text = place.read("in/a.ndjson");
    place.write("in/a.ndjson", &text.replacen("BOS", "JFK", 1));
    place.assert_refused("in/a.ndjson", "does not hold the same records at positions 0..");
    place.write("in/a.ndjson", &text[..60]);
    place.assert_refused("in/a.ndjson", "ends before position");
    place.write("in/a.ndjson", &text);
    assert_eq!(place.run("run", &[]).code, Some(0));
}

#[test]
fn an_output_that_is_not_what_was_written_ends_a_resumed_run_and_a_finished_one() {
    let whole = Place::finished().0.outputs();
    for place in [Place::stopped(), Place::finished().0] {
        let lines = fs::read(place.path("out/placed.ndjson")).unwrap();
        let stopped = lines.len() < whole["placed.ndjson"].len();
        assert!(whole["placed.ndjson"].starts_with(&lines));
        let put = |bytes: &[u8]| fs::write(place.path("out/placed.ndjson"), bytes).unwrap();

        fs::remove_file(place.path("out/placed.ndjson")).unwrap();
        place.assert_refused("out/placed.ndjson", "was written by this run and is gone");
        put(&lines[..lines.len() - 1]);
        place.assert_refused("out/placed.ndjson", &format!("has {} bytes where {} were written", lines.len() - 1, lines.len()));
        let mut edited = lines.clone();
        edited[lines.len() / 2] ^= 1;
        put(&edited);
        place.assert_refused("out/placed.ndjson", "was changed since it was written");
        put(&lines);

        let part = format!("out/parts/{}", place.parts()[0]);
        let bytes = fs::read(place.path(&part)).unwrap();
        fs::write(place.path(&part), &bytes[..bytes.len() - 1]).unwrap();
        place.assert_refused(&part, "is not the file that sinks.parts wrote");
        // A part that was taken away is missed with a word, and not made again.
        fs::remove_file(place.path(&part)).unwrap();
        // What nobody recorded is cut off and deleted.
        put(&[&lines[..], b"{\"torn"].concat());
        let unrecorded = format!("out/parts/part-{:012}-{:012}-00000000.parquet", 1, 1);
        fs::write(place.path(&unrecorded), &bytes).unwrap();
        let ended = place.run("run", &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.err.contains("is gone; it will not be written again"), "{}", ended.err);
        assert_eq!(ended.err.contains("resuming"), stopped, "{}", ended.err);
        let mut expected = whole.clone();
        assert!(expected.remove(Path::new(&part).file_name().unwrap().to_str().unwrap()).is_some());
        let now = place.outputs();
        assert_eq!(now.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(now == expected);
    }
}

/// A pipeline that runs until it is stopped.
const ENDLESS: &str = r#"
[pipeline]
name = "endless"
epoch = { every = "20ms" }

[sources.payments]
kind = "generator"
generator = "card_transactions"
rate = 500.0
event_time = "ts"

[sinks.payments]
kind = "file"
from = "payments"
path = "${OUT}/payments.ndjson"
"#;

#[test]
fn of_two_processes_on_one_state_directory_the_second_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let [pipeline, state, out] = ["endless.toml", "state", "out"].map(|name| folder.path().join(name).to_string_lossy().into_owned());
    fs::write(&pipeline, ENDLESS).unwrap();
    let start = |said: &str, more: &[&str]| {
        let arguments = [&["run", &*pipeline, "--state-dir", &*state, "-q"], more].concat();
        Tidemill::start(&arguments, &[("OUT", &*out)], &folder.path().join(said))
    };
    let (mut first, began) = (start("first", &[]), Instant::now());
    while epochs(Path::new(&state)) < 2 {
        assert!(first.is_running() && began.elapsed() < DEADLINE, "{}", fs::read_to_string(folder.path().join("first.err")).unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    for more in [&[][..], &["--fresh"]] {
        let second = start("second", more).wait();
        assert_eq!(second.code, Some(75), "{}", second.err);
        let holder = fs::read_to_string(Path::new(&state).join("lock")).unwrap();
        let says = format!("process {} is already running this pipeline with the state directory {state}", holder.trim());
        assert!(second.err.contains(&says) && second.err.contains("help: wait until it ends"), "{}", second.err);
    }
    let committed = epochs(Path::new(&state));
    while epochs(Path::new(&state)) < committed + 2 {
        assert!(first.is_running() && began.elapsed() < DEADLINE, "the first goes on undisturbed");
        std::thread::sleep(Duration::from_millis(5));
    }
    first.signal("INT");
    first.wait().expect(0).unwrap_or_else(|found| panic!("{found}"));
    let rows = fs::read_to_string(format!("{out}/payments.ndjson")).unwrap();
    for (row, line) in rows.lines().enumerate() {
        assert!(line.starts_with(&format!("{{\"transaction_id\":{row},")), "row {row} is {line}");
    }
}
