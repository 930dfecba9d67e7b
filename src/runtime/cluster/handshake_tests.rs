//! The handshake against every wrong field, every prefix, every flipped byte and junk: refused, never a panic.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::handshake::{Handshake, Role, Step, Verdict};
use super::hello::{Hello, PROTOCOL};
use super::refusal::Refusal;
use super::secret::Secret;

const SECRET: &[u8] = b"a secret of a cluster";

fn hello(process: u32, generation: u64) -> Hello {
    Hello {
        cluster: "flights".to_string(),
        fingerprint: "ab".repeat(32),
        process,
        processes: 3,
        workers: 2,
        generation,
        nonce: [process as u8 + 1; 32],
    }
}

/// Feeds an end what the other said; what it found, if that ends the handshake for it.
fn turn(end: &mut Handshake, from: &mut Vec<u8>, to: &mut Vec<u8>, verdict: Verdict) -> Option<Result<Hello, Refusal>> {
    let bytes: Vec<u8> = from.drain(..end.wants().min(from.len())).collect();
    if bytes.is_empty() {
        return None;
    }
    match end.receive(&bytes, to) {
        Ok(Step::Wait) => None,
        Ok(Step::Judge(theirs)) => {
            end.answer(verdict, to);
            Some(Ok(theirs))
        }
        Ok(Step::Accepted(theirs)) => Some(Ok(theirs)),
        Err(refusal) => Some(Err(refusal)),
    }
}

/// What the caller and the listener of a connection find.
fn meet(caller: Hello, listener: Hello, secrets: [&[u8]; 2], verdict: Verdict) -> [Result<Hello, Refusal>; 2] {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut dials = Handshake::begin(Role::Dials(listener.process), caller, Secret::new(secrets[0]), &mut up);
    let mut listens = Handshake::begin(Role::Listens, listener, Secret::new(secrets[1]), &mut down);
    let (mut one, mut other) = (None, None);
    for _ in 0..10 {
        other = other.or(turn(&mut listens, &mut up, &mut down, verdict));
        one = one.or(turn(&mut dials, &mut down, &mut up, verdict));
    }
    [one.unwrap(), other.unwrap()]
}

fn met(caller: Hello, listener: Hello) -> [Result<Hello, Refusal>; 2] {
    meet(caller, listener, [SECRET; 2], Verdict::Welcome)
}

#[test]
fn two_processes_of_a_cluster_accept_each_other_and_the_generation_is_learnt() {
    assert_eq!(met(hello(2, 0), hello(0, 7)), [Ok(hello(0, 7)), Ok(hello(2, 0))]);
    assert_eq!(met(hello(2, 7), hello(1, 7)), [Ok(hello(1, 7)), Ok(hello(2, 7))]);
    assert_eq!(meet(hello(1, 0), hello(0, 7), [b"", b""], Verdict::Welcome)[0], Ok(hello(0, 7)), "on one machine, without a secret");
}

#[test]
fn a_wrong_field_is_refused_by_both_ends() {
    let refused = |change: &dyn Fn(&mut Hello), mine: &Refusal, theirs: &Refusal| {
        let mut caller = hello(2, 7);
        change(&mut caller);
        assert_eq!(met(caller, hello(1, 7)), [Err(mine.clone()), Err(theirs.clone())]);
    };
    let cluster = |name: &str| Refusal::Cluster(name.to_string());
    refused(&|hello| hello.cluster = "other".to_string(), &cluster("flights"), &cluster("other"));
    let (ab, cd) = ("ab".repeat(32), "cd".repeat(32));
    let change = |hello: &mut Hello| hello.fingerprint = "cd".repeat(32);
    refused(&change, &Refusal::Plan(cd.clone(), ab.clone()), &Refusal::Plan(ab, cd));
    let shape = |text: &str| Refusal::Shape(text.to_string());
    refused(&|hello| hello.processes = 4, &shape("-n 3 -w 2"), &shape("-n 4 -w 2"));
    refused(&|hello| hello.workers = 1, &shape("-n 3 -w 2"), &shape("-n 3 -w 1"));
    let silent = Refusal::Malformed("it refuses without a reason that this process knows");
    refused(&|hello| hello.process = 1, &silent, &Refusal::Index(1));
    refused(&|hello| hello.process = 0, &silent, &Refusal::Index(0));
    let mut out = Vec::new();
    let mut dials = Handshake::begin(Role::Dials(0), hello(2, 7), Secret::new(SECRET), &mut out);
    let mut listens = Handshake::begin(Role::Listens, hello(1, 7), Secret::new(SECRET), &mut Vec::new());
    let mut back = Vec::new();
    feed(&mut listens, &out, &mut back).unwrap();
    out.clear();
    feed(&mut dials, &back, &mut out).unwrap();
    back.clear();
    feed(&mut listens, &out, &mut back).unwrap();
    listens.answer(Verdict::Welcome, &mut back);
    assert_eq!(feed(&mut dials, &back, &mut out), Err(Refusal::Index(1)), "the caller wanted process 0");
}

#[test]
fn verdicts_and_generations_are_heard() {
    for (verdict, refusal) in
        [(Verdict::Taken, Refusal::Taken), (Verdict::Generation, Refusal::Generation), (Verdict::Early, Refusal::Early)]
    {
        assert_eq!(meet(hello(2, 7), hello(1, 7), [SECRET; 2], verdict)[0], Err(refusal));
    }
    assert_eq!(met(hello(2, 7), hello(1, 8))[0], Err(Refusal::Generation));
    assert_eq!(met(hello(2, 0), hello(1, 0))[0], Err(Refusal::Generation));
}

#[test]
fn a_wrong_secret_is_refused_by_both_ends_and_nothing_is_proved_to_who_does_not_know_it() {
    for secrets in [[SECRET, b"another secret"], [b"", SECRET], [SECRET, b""]] {
        assert_eq!(meet(hello(2, 7), hello(1, 7), secrets, Verdict::Welcome), [Err(Refusal::Secret), Err(Refusal::Secret)]);
    }
    let (mut listens, mut back) = (Handshake::begin(Role::Listens, hello(1, 7), Secret::new(SECRET), &mut Vec::new()), Vec::new());
    feed(&mut listens, &hello(2, 7).encode(), &mut back).unwrap();
    back.clear();
    assert_eq!(listens.receive(&[9; 32], &mut back), Err(Refusal::Secret));
    assert_eq!((back.len(), &back[1..]), (33, &[0; 32][..]), "the answer holds no proof");
}

#[test]
fn another_version_is_told_ours_and_refused() {
    let mut said = hello(2, 7).encode();
    said[9] = PROTOCOL as u8 + 1;
    let (mut listens, mut back) = (Handshake::begin(Role::Listens, hello(1, 7), Secret::new(SECRET), &mut Vec::new()), Vec::new());
    assert_eq!(listens.receive(&said[..12], &mut back), Err(Refusal::Protocol(PROTOCOL + 1)));
    assert_eq!(back, hello(1, 7).encode());
    assert!(Refusal::Protocol(PROTOCOL + 1).ends_caller("a:1").is_some());
}

/// Feeds `words` to an end as it asks for them; the last step.
fn feed(end: &mut Handshake, words: &[u8], out: &mut Vec<u8>) -> Result<Step, Refusal> {
    let mut rest = words;
    loop {
        let (next, later) = rest.split_at(end.wants().min(rest.len()));
        match end.receive(next, out)? {
            Step::Wait if !later.is_empty() => rest = later,
            step => return Ok(step),
        }
    }
}

/// What the caller says, the listener's words being those of [`listening`]: its hello and its proof.
fn words() -> [Vec<u8>; 2] {
    let (mut out, mut back) = (Vec::new(), Vec::new());
    let mut dials = Handshake::begin(Role::Dials(1), hello(2, 7), Secret::new(SECRET), &mut out);
    feed(&mut listening(), &out, &mut back).unwrap();
    let mut proof = Vec::new();
    feed(&mut dials, &back, &mut proof).unwrap();
    [out, proof]
}

fn listening() -> Handshake {
    Handshake::begin(Role::Listens, hello(1, 7), Secret::new(SECRET), &mut Vec::new())
}

/// What a listener makes of `words`, fed as it asks for them.
fn heard(words: &[u8]) -> Result<Step, Refusal> {
    feed(&mut listening(), words, &mut Vec::new())
}

#[test]
fn no_prefix_is_enough_and_no_flipped_byte_passes() {
    let whole = words().concat();
    assert_eq!(heard(&whole), Ok(Step::Judge(hello(2, 7))));
    for end in 0..whole.len() {
        assert_eq!(heard(&whole[..end]), Ok(Step::Wait), "{end} bytes");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            assert!(!matches!(heard(&flipped), Ok(Step::Judge(_) | Step::Accepted(_))), "byte {at}, bit {bit}");
        }
    }
    assert_eq!(listening().receive(&whole, &mut Vec::new()), Err(Refusal::Malformed("it says more than it was asked")));
    let hello = &words()[0];
    assert_eq!(Hello::decode(&hello[..hello.len() - 1]), Err(Refusal::Malformed("its hello has another length than it says")));
}

#[test]
fn a_replayed_conversation_is_worth_nothing() {
    let whole = words().concat();
    let other = Hello { nonce: [99; 32], ..hello(1, 7) };
    let mut listens = Handshake::begin(Role::Listens, other, Secret::new(SECRET), &mut Vec::new());
    let hello = words()[0].len();
    feed(&mut listens, &whole[..hello], &mut Vec::new()).unwrap();
    assert_eq!(listens.receive(&whole[hello..], &mut Vec::new()), Err(Refusal::Secret));
}

#[test]
fn other_protocols_are_refused_at_their_first_wrong_byte() {
    for said in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-x", b"TIDE MILL", b"TIDEMILk", &[0; 8]] {
        let wrong = said.iter().zip(b"TIDEMILL").position(|(byte, magic)| byte != magic).unwrap();
        let mut listens = listening();
        for byte in &said[..wrong] {
            assert_eq!(listens.receive(&[*byte], &mut Vec::new()), Ok(Step::Wait));
        }
        let mut back = Vec::new();
        assert_eq!(listens.receive(&said[wrong..=wrong], &mut back), Err(Refusal::Stranger));
        assert!(back.is_empty() && listens.wants() == 0);
        assert!(listens.receive(b"T", &mut back).is_err(), "nothing is heard after a refusal");
    }
}

#[test]
fn junk_is_refused_by_both_roles_and_never_a_panic() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let whole = words().concat();
    for round in 0..20_000 {
        let mut junk = vec![0; random.next_u32() as usize % 300];
        random.fill_bytes(&mut junk);
        // Most rounds begin as a process of the cluster does, so that every field is reached.
        let kept = random.next_u32() as usize % (whole.len() + 1);
        let kept = if round % 4 == 0 { 0 } else { kept };
        let said: Vec<u8> = whole.iter().take(kept).copied().chain(junk).collect();
        for role in [Role::Listens, Role::Dials(1)] {
            let mut end = Handshake::begin(role, hello(1, 7), Secret::new(SECRET), &mut Vec::new());
            let (mut rest, mut left) = (&said[..], 2000);
            while !rest.is_empty() && left > 0 {
                let most = end.wants().min(rest.len()).min(1 + random.next_u32() as usize % 64);
                let (next, later) = rest.split_at(most);
                match end.receive(next, &mut Vec::new()) {
                    Ok(Step::Wait) => {}
                    Err(_) => break,
                    Ok(step) => assert!(kept == whole.len() && role == Role::Listens, "round {round}: {step:?}"),
                }
                assert!(end.wants() <= 5000, "what is kept of a stranger's words is bounded");
                (rest, left) = (later, left - 1);
            }
        }
    }
}
