//! Clusters that start within this process: whole ones, ones that lack a process or have one twice, and ones that strangers call meanwhile.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connect::{Member, Patience, gather};
use super::handshake::Verdict;
use super::hello::Hello;
use super::roster::Roster;
use super::secret::Secret;
use crate::error::{Error, Exit, Result};

type Started = JoinHandle<Result<Vec<Option<TcpStream>>>>;

const QUICK: Patience = Patience { start: Duration::from_secs(20), taken: Duration::from_millis(500) };

/// Free addresses of this machine.
fn hosts(processes: usize) -> Vec<String> {
    let held: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

fn member(hosts: &[String], process: usize) -> Member {
    Member {
        cluster: "flights".to_string(),
        fingerprint: "ab".repeat(32),
        process,
        workers: 1,
        hosts: hosts.to_vec(),
        secret: Secret::new(b"a secret of a cluster"),
    }
}

fn start(member: Member, patience: Patience) -> Started {
    std::thread::spawn(move || gather(&member, patience))
}

fn error(started: Started) -> Error {
    started.join().unwrap().map(drop).unwrap_err()
}

/// Every pair of processes has one connection: what each writes arrives at the other, and nothing else is on the way.
fn are_connected(mut all: Vec<Vec<Option<TcpStream>>>) {
    for (me, streams) in all.iter_mut().enumerate() {
        for (other, stream) in streams.iter_mut().enumerate() {
            assert_eq!(stream.is_none(), me == other);
            if let Some(stream) = stream {
                stream.set_nonblocking(false).unwrap();
                stream.write_all(&[me as u8, other as u8]).unwrap();
            }
        }
    }
    for (me, streams) in all.iter_mut().enumerate() {
        for (other, stream) in streams.iter_mut().enumerate().filter_map(|(other, stream)| Some((other, stream.as_mut()?))) {
            let mut heard = [0; 2];
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(heard, [other as u8, me as u8]);
        }
    }
}

/// Connects once somebody listens.
fn call(host: &str) -> TcpStream {
    let began = Instant::now();
    loop {
        match TcpStream::connect(host) {
            Ok(stream) => return stream,
            Err(error) if began.elapsed() > Duration::from_secs(10) => panic!("{host}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Says something to `host` and waits until it closes the connection.
fn is_turned_away(host: &str, said: &[u8]) {
    let mut stream = call(host);
    stream.write_all(said).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let mut heard = [0; 64];
    // A reset also is an end; a time-out is none.
    match stream.read(&mut heard) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn four_processes_find_each_other_whoever_comes_first_and_strangers_change_nothing() {
    let hosts = hosts(4);
    let last = start(member(&hosts, 3), QUICK);
    let first = start(member(&hosts, 0), QUICK);
    let _silent: Vec<TcpStream> = (0..3).map(|_| call(&hosts[0])).collect();
    is_turned_away(&hosts[0], b"GET / HTTP/1.1\r\n\r\n");
    is_turned_away(&hosts[3], &[0xA5; 100]);
    let middle: Vec<Started> = [2, 1].map(|process| start(member(&hosts, process), QUICK)).into();
    let streams = |started: Started| started.join().unwrap().unwrap();
    let mut between = middle.into_iter().map(streams).collect::<Vec<_>>();
    between.reverse();
    let mut all = vec![streams(first)];
    all.extend(between);
    all.push(streams(last));
    is_turned_away(&hosts[0], b"GET / HTTP/1.1\r\n\r\n");
    are_connected(all);
}

#[test]
fn who_is_missing_is_named() {
    let hosts = hosts(3);
    let short = Patience { start: Duration::from_millis(700), ..QUICK };
    let (first, last) = (start(member(&hosts, 0), short), start(member(&hosts, 2), short));
    for error in [error(first), error(last)] {
        assert_eq!(error.exit, Exit::Unreachable);
        assert!(
            error.cause.contains("did not find each other within 0 s") && error.cause.contains(&format!("process 1 ({}", hosts[1])),
            "{error}"
        );
        assert!(error.help.contains("its own -p") && !error.cause.contains(&format!("process 0 ({}", hosts[0])), "{error}");
    }
}

#[test]
fn a_process_with_another_plan_ends_both_and_one_with_another_secret_or_pipeline_only_itself() {
    let hosts = hosts(2);
    let patient = start(member(&hosts, 0), QUICK);
    let refused = |change: &dyn Fn(&mut Member)| {
        let mut wrong = member(&hosts, 1);
        change(&mut wrong);
        error(start(wrong, QUICK))
    };
    // Each of them listens until this test ends, so each has an address of its own.
    let elsewhere = |member: &mut Member| member.hosts[1] = self::hosts(1).remove(0);
    let error_of_secret = refused(&|member| {
        elsewhere(member);
        member.secret = Secret::new(b"another secret of a cluster");
    });
    assert_eq!(error_of_secret.exit, Exit::Auth);
    assert!(error_of_secret.cause.contains("do not share a secret") && !error_of_secret.to_string().contains("another secret"));
    let other = refused(&|member| {
        elsewhere(member);
        member.cluster = "arrivals".to_string();
    });
    assert!(other.exit == Exit::Config && other.cause.contains("another pipeline, \"flights\""), "{other}");
    assert!(!patient.is_finished());
    let plan = refused(&|member| {
        elsewhere(member);
        member.fingerprint = "cd".repeat(32);
    });
    for error in [plan, error(patient)] {
        assert!(error.exit == Exit::Config && error.cause.starts_with("this process runs plan "), "{error}");
    }
}

#[test]
fn a_second_process_of_the_same_index_is_refused_before_and_after_the_start() {
    let hosts = hosts(3);
    let (first, second) = (start(member(&hosts, 0), QUICK), start(member(&hosts, 1), QUICK));
    std::thread::sleep(Duration::from_millis(300));
    let twice = || {
        let mut twice = member(&hosts, 1);
        twice.hosts[1] = self::hosts(1).remove(0);
        error(start(twice, QUICK))
    };
    let is_refused = |error: Error| {
        assert_eq!(error.exit, Exit::Config);
        assert!(error.cause.contains("another process 1 of pipeline flights") && error.help.contains("its own -p"), "{error}");
    };
    is_refused(twice());
    let third = start(member(&hosts, 2), QUICK);
    let all: Vec<_> = [first, second, third].into_iter().map(|started| started.join().unwrap().unwrap()).collect();
    is_refused(twice());
    are_connected(all);
}

#[test]
fn only_callers_of_this_generation_get_a_seat_and_only_process_0_tells_it() {
    let caller = |process: u32, generation: u64| Hello {
        cluster: "flights".to_string(),
        fingerprint: "ab".repeat(32),
        process,
        processes: 3,
        workers: 1,
        generation,
        nonce: [0; 32],
    };
    let judged = |mine: u64, theirs: u64, is_leader: bool| {
        Roster::new(caller(u32::from(!is_leader), mine), Secret::new(b"")).seats().judge(&caller(2, theirs), is_leader)
    };
    assert_eq!((judged(7, 7, false), judged(7, 7, true), judged(7, 0, true)), (Verdict::Welcome, Verdict::Welcome, Verdict::Welcome));
    assert_eq!(
        (judged(7, 8, false), judged(7, 8, true), judged(7, 0, false)),
        (Verdict::Generation, Verdict::Generation, Verdict::Generation)
    );
    assert_eq!(judged(0, 7, false), Verdict::Early);
}
