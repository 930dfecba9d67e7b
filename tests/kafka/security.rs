//! Wrong brokers, wrong credentials, wrong settings: one line of cause, one line of help, and the exit code that says whose move it is.

use super::cluster::{Kafka, Node, kafka};
use super::ledger::Ledger;
use super::tidemill::{Ended, Pipeline};

const PASSWORD: &str = "canary-7f3a";

/// The pipeline of `ledger` with other brokers and more options.
fn changed(kafka: &Kafka, ledger: &Ledger<'_>, brokers: &str, options: &str) -> Pipeline {
    let comma = if options.is_empty() { "" } else { ", " };
    let text = ledger.text().replace("${KAFKA_BROKERS}", brokers);
    Pipeline::new(kafka, &text.replace("options = { ", &format!("options = {{ {options}{comma}")))
}

/// The cause and the help of a run that ended with `code`; nothing of its password is said.
fn cause_and_help(ended: &Ended, code: i32) -> (String, String) {
    assert_eq!(ended.code, code, "{}", ended.said);
    assert!(!ended.said.contains(PASSWORD), "{}", ended.said);
    let line = |name: &str| {
        let lines: Vec<&str> = ended.said.lines().filter_map(|line| line.strip_prefix(name)).collect();
        assert!(lines.len() == 1 && !lines[0].trim().is_empty(), "{}", ended.said);
        lines[0].to_string()
    };
    (line("error: "), line("help: "))
}

fn plain(protocol: &str, password: &str) -> String {
    let sasl = format!(r#""sasl.mechanism" = "PLAIN", "sasl.username" = "tidemill", "sasl.password" = "{password}""#);
    format!(r#""security.protocol" = "{protocol}", {sasl}"#)
}

#[test]
fn wrong_brokers_and_settings_are_told_apart() {
    let Some(kafka) = kafka() else { return };
    let ledger = Ledger::new(&kafka, "wrong", 1, "");
    let here = kafka.brokers.as_str();
    let ssl = r#""security.protocol" = "ssl""#;
    let cases = [
        // Nobody there; no such host; nobody there who speaks TLS, which the client says as a failed handshake or as a connection lost in one.
        ("127.0.0.1:1", String::new(), 69, "127.0.0.1:1", "`brokers`"),
        ("no-such-host.invalid:9092", String::new(), 69, "no-such-host.invalid:9092", "`brokers`"),
        (here, ssl.to_string(), 69, "SSL", "`security.protocol`"),
        (here, plain("sasl_plaintext", PASSWORD), 77, "Authentication", "`sasl.*`"),
        (here, r#""security.protocol" = "tls""#.to_string(), 78, "security.protocol", "properties"),
        (here, format!(r#"{ssl}, "ssl.ca.location" = "/no/such/ca.pem""#), 78, "ssl.ca.location", "properties"),
        (here, r#""security.protocol" = "sasl_ssl", "sasl.mechanism" = "FOO""#.to_string(), 78, "FOO", "properties"),
    ];
    // All at once: brokers that do not answer are waited for.
    let pipelines = cases.each_ref().map(|(brokers, options, ..)| changed(&kafka, &ledger, brokers, options));
    let runs = pipelines.each_ref().map(|pipeline| pipeline.start(&["-w", "1"]));
    for (run, (_, options, code, named, way_out)) in runs.into_iter().zip(&cases) {
        let (cause, help) = cause_and_help(&run.end(), *code);
        assert!(cause.contains(named), "{options}: {cause}");
        assert!(help.contains(way_out), "{options}: {help}");
    }
}

#[test]
fn the_right_password_opens_and_a_wrong_one_ends_with_77() {
    let Some(node) = Node::start() else { return };
    let kafka = Kafka::at(&node.brokers());
    let mut ledger = Ledger::new(&kafka, "password", 2, "");
    ledger.send(0..50);
    let wrong = changed(&kafka, &ledger, &node.sasl(), &plain("sasl_plaintext", PASSWORD));
    let (cause, help) = cause_and_help(&wrong.start(&["-w", "1"]).end(), 77);
    assert!(cause.contains("credentials") && help.contains("`sasl.*`"), "{cause}: {help}");
    let right = changed(&kafka, &ledger, &node.sasl(), &plain("sasl_plaintext", "right"));
    let mut run = right.start(&["-w", "1"]);
    run.until("the records are through", || kafka.count(&ledger.output) >= 50);
    run.stop();
}
