//! S10.6: the label may not reach an input of its own prediction.

use super::{FLIGHTS, errors, planned, shown, world};
use crate::plan::memory::Memory;
use crate::plan::tests::check;

/// The mistake itself: `delay` is the arrival delay, known only on landing, but the one stream has it at departure.
const LEAKY: &str = r#"
[pipeline]
name = "leaky"
epoch = { max_rows = 1000 }
[sources.flights]
kind = "file"
path = "flights.parquet"
event_time = "departed_at"
key = "flight_id"
[features.airport]
from = "flights"
entity = "origin"
windows = ["1h", "24h"]
aggregates = { delay_mean = "avg(delay)", flown = "count(*)" }
[models.late]
kind = "logistic_regression"
from = "flights"
lookup = { here = { view = "airport", key = "origin" } }
features = ["here.*", "distance"]
label = "delay > 15"
"#;

fn flights() -> Memory {
    world().with(
        "flights.parquet",
        "",
        &["flight_id int64", "departed_at timestamp", "origin string", "destination string", "distance float64", "delay float64?"],
    )
}

/// The leaks of `text`, each as its path.
fn paths(text: &str) -> Vec<String> {
    let found = errors(text, &flights());
    found.into_iter().map(|error| error.strip_prefix("P017 the label leaks into an input: ").map(str::to_string).unwrap_or(error)).collect()
}

fn leaky(from: &str, to: &str) -> String {
    assert!(LEAKY.contains(from), "{from}");
    LEAKY.replace(from, to)
}

#[test]
fn aggregates_of_the_outcome_over_departures_are_refused_with_the_path_and_the_remedy() {
    assert_eq!(paths(LEAKY), ["models.late input 'here.delay_mean_1h' <- features.airport.delay_mean (avg(delay)) <- flights.delay"]);
    let (_, diagnostics) = check(LEAKY, &flights());
    let report = shown(LEAKY, &diagnostics);
    assert!(report.contains("include_current = false on features.airport"), "{report}");
    assert!(report.contains("feed features.airport from that stream"), "{report}");
    assert!(report.contains("features = [\"here.*\""), "{report}");
}

#[test]
fn a_stream_label_over_the_same_records_is_no_way_around() {
    let text =
        leaky("label = \"delay > 15\"", "label = { stream = \"flights\", on = \"flight_id\", value = \"delay > 15\", within = \"12h\" }");
    assert_eq!(paths(&text).len(), 1);
    let through_another = text.replace("stream = \"flights\"", "stream = \"landed\"")
        + "[streams.landed]\nfrom = \"flights\"\nwhere = \"delay is not null\"\n";
    assert_eq!(
        paths(&through_another),
        ["models.late input 'here.delay_mean_1h' <- features.airport.delay_mean (avg(delay)) <- flights.delay"]
    );
    let without_current = through_another.replace("windows = [\"1h\", \"24h\"]", "windows = [\"1h\"]\ninclude_current = false");
    assert_eq!(paths(&without_current).len(), 1, "known only when the label's stream brings it");
}

#[test]
fn a_column_of_the_outcomes_name_in_the_rows_is_the_outcome() {
    let source = "[sources.departures]\nkind = \"file\"\npath = \"departures.parquet\"";
    let text = FLIGHTS.replace(source, "[sources.departures]\nkind = \"file\"\npath = \"flights.parquet\"");
    let over_departures = text.replace("from = \"arrivals\"", "from = \"departures\"");
    let expected = [
        "models.late input 'here.delay_mean_1h' <- features.airport.delay_mean (avg(delay)) <- departures.delay",
        "models.late input 'here.late_1h' <- features.airport.late (count(*) filter (where delay > 15)) <- departures.delay",
        "models.late input 'there.late_1h' <- features.airport.late (count(*) filter (where delay > 15)) <- departures.delay",
        "models.late input 'busy' <- derive busy (here.late_1h / here.landed_1h) <- features.airport.late (count(*) filter (where delay > 15)) <- departures.delay",
    ];
    assert_eq!(paths(&over_departures), expected);
    assert_eq!(paths(&over_departures.replace("entity = \"origin\"", "entity = \"origin\"\ninclude_current = false")).len(), 4);
    let renamed = over_departures
        .replace("label = { stream = \"arrivals\"", "label = { stream = \"landed\"")
        .replace("value = \"delay > 15\"", "value = \"final > 15\"")
        + "[streams.landed]\nfrom = \"arrivals\"\nderive = { final = \"delay\" }\n";
    assert_eq!(paths(&renamed), [""; 0], "another quantity has a name of its own");
    assert_eq!(paths(&text), [""; 0], "fed by what landed, all is well");
    let twice = renamed
        .replace("path = \"arrivals.parquet\"\nevent_time = \"arrived_at\"", "path = \"flights.parquet\"\nevent_time = \"departed_at\"");
    assert_eq!(paths(&twice).len(), 4, "one file read twice is one outcome, whatever its name");
}

#[test]
fn every_way_into_an_input_counts() {
    let cases = [
        ("features = [\"here.*\"", "features = [\"here.flown_1h\", \"delay\"", "models.late input 'delay' <- flights.delay"),
        (
            "delay_mean = \"avg(delay)\"",
            "delay_mean = \"count(*) filter (where delay > 1)\"",
            "models.late input 'here.delay_mean_1h' <- features.airport.delay_mean (count(*) filter (where delay > 1)) <- flights.delay",
        ),
        (
            "delay_mean = \"avg(delay)\", flown = \"count(*)\" }",
            "flown = \"count(*)\" }\nwhere = \"delay > 1\"",
            "models.late input 'here.flown_1h' <- features.airport where (delay > 1) <- flights.delay",
        ),
        (
            "from = \"flights\"\nentity = \"origin\"\nwindows = [\"1h\", \"24h\"]\naggregates = { delay_mean = \"avg(delay)\", flown",
            "from = \"late\"\nentity = \"origin\"\nwindows = [\"1h\"]\naggregates = { flown",
            "models.late input 'here.flown_1h' <- streams.late where (slow) <- streams.slow.slow (delay > 1) <- flights.delay",
        ),
        (
            "from = \"flights\"\nlookup = { here = { view = \"airport\", key = \"origin\" } }\nfeatures = [\"here.*\"",
            "from = \"slow\"\nlookup = { here = { view = \"airport\", key = \"where\" } }\nfeatures = [\"here.flown_1h\"",
            "models.late input 'here.flown_1h' <- lookup here key (where) <- streams.slow.where (case when delay > 1 then origin else destination end) <- flights.delay",
        ),
        (
            "features = [\"here.*\", \"distance\"]",
            "features = [\"d\"]\nderive = { d = \"distance + delay\" }",
            "models.late input 'd' <- derive d (distance + delay) <- flights.delay",
        ),
    ];
    let streams = "[streams.slow]\nfrom = \"flights\"\nderive = { slow = \"delay > 1\", where = \"case when delay > 1 then origin else destination end\" }\n[streams.late]\nfrom = \"slow\"\nwhere = \"slow\"\n";
    for (from, to, path) in cases {
        assert_eq!(paths(&(leaky(from, to) + streams)), [path]);
    }
    let entity = leaky("entity = \"origin\"", "entity = \"where\"")
        .replace("from = \"flights\"\nentity", "from = \"slow\"\nentity")
        .replace("avg(delay)", "avg(distance)")
        + streams;
    assert!(
        paths(&entity)[0].starts_with("models.late input 'here.delay_mean_1h' <- features.airport entity (where) <- streams.slow.where")
    );
}

#[test]
fn what_is_known_in_time_is_allowed() {
    let without_current = leaky("windows = [\"1h\", \"24h\"]", "windows = [\"1h\"]\ninclude_current = false");
    assert_eq!(paths(&without_current), [""; 0], "a column label counts as known at its record's event time");
    let one = leaky("delay_mean = \"avg(delay)\"", "delay_mean = { value = \"avg(delay)\", include_current = false }");
    assert_eq!(paths(&one), [""; 0]);
    let another_source = leaky("from = \"flights\"\nentity", "from = \"arrivals\"\nentity")
        + "[sources.arrivals]\nkind = \"file\"\npath = \"arrivals.parquet\"\nevent_time = \"arrived_at\"\n";
    assert_eq!(paths(&another_source), [""; 0]);
    let time_label = leaky("label = \"delay > 15\"", "label = \"date_part('hour', departed_at) > 12\"")
        .replace("\"distance\"", "\"distance\", \"hour\"")
        + "derive = { hour = \"date_part('hour', departed_at)\" }\n";
    assert_eq!(paths(&time_label), [""; 0], "the event time is known when the record is");
    planned(FLIGHTS, &world());
}

#[test]
fn the_value_before_is_not_the_value() {
    let own = leaky("avg(delay)", "lag(delay)")
        .replace("\"1h\", \"24h\"", "\"1h\"")
        .replace("entity = \"origin\"", "entity = \"origin\"\nttl = \"9d\"");
    assert_eq!(paths(&own), [""; 0], "the record before, by its own key");
    let other_key = own.replace("key = \"origin\"", "key = \"destination\"");
    assert_eq!(paths(&other_key).len(), 1, "read by another key, the newest record may be the present one");
}

#[test]
fn rows_chosen_by_the_label_are_a_warning() {
    let text = leaky("windows = [\"1h\", \"24h\"]", "windows = [\"1h\"]\ninclude_current = false")
        .replace("[models.late]\n", "[models.late]\nwhere = \"delay is not null\"\n");
    let (plan, diagnostics) = check(&text, &flights());
    assert!(plan.is_some());
    assert_eq!(diagnostics.iter().filter(|found| found.code == "P102").count(), 1, "{}", shown(&text, &diagnostics));
}
