//! Over loopback sockets: nothing is lost and nothing doubled, whoever is killed; strangers are refused.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use embody_core::{Error, Intake, Moment, Result, StepTaken, TransitionSink, WeightSource};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "a secret that only the two of us know";
const AGREEMENT: &str = "state 2, action 1";

/// What a learner's disk holds; it outlives the server.
#[derive(Clone, Default)]
struct Ledger(Arc<(Mutex<Book>, Condvar)>);

#[derive(Default)]
struct Book {
    lives: BTreeMap<u64, Vec<Moment>>,
    again: u64,
    synced: u64,
}

impl Ledger {
    fn total(&self) -> usize {
        self.0.0.lock().unwrap().lives.values().map(Vec::len).sum()
    }

    /// Waits until there are as many moments.
    fn await_total(&self, wanted: usize) {
        let book = self.0.0.lock().unwrap();
        let waits = |b: &mut Book| b.lives.values().map(Vec::len).sum::<usize>() < wanted;
        let (_book, timeout) = self.0.1.wait_timeout_while(book, PATIENCE, waits).unwrap();
        assert!(!timeout.timed_out(), "fewer than {wanted} moments came");
    }
}

impl Intake for Ledger {
    fn accept(&mut self, actor: u64, moment: &Moment) -> Result<bool> {
        let book = &mut *self.0.0.lock().unwrap();
        let life = book.lives.entry(actor).or_default();
        let last = life.len() as u64;
        if moment.seq <= last {
            assert_eq!(&life[moment.seq as usize - 1], moment, "another moment of the same number");
            book.again += 1;
            return Ok(false);
        }
        if moment.seq != last + 1 {
            return Err(Error::new(format!("moment {} after {last}", moment.seq)));
        }
        life.push(moment.clone());
        self.0.1.notify_all();
        Ok(true)
    }

    fn last(&self, actor: u64) -> u64 {
        self.0.0.lock().unwrap().lives.get(&actor).map_or(0, |l| l.len() as u64)
    }

    fn sync(&mut self) -> Result<()> {
        self.0.0.lock().unwrap().synced += 1;
        Ok(())
    }
}

fn moment(seq: u64) -> Moment {
    let step = StepTaken {
        action: vec![seq as f32],
        reward: 0.5,
        penalty: -0.02,
        terminated: seq.is_multiple_of(3),
        truncated: seq.is_multiple_of(4),
        intervened: seq.is_multiple_of(2),
        weights: seq / 7,
    };
    Moment {
        seq,
        step: (seq % 10 != 1).then_some(step),
        state: vec![seq as f32, -1.0],
        pictures: vec![vec![seq as u8; 3000]],
    }
}

fn credentials(folder: &Path) -> Credentials {
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    create_credentials(folder, &hosts, &["arm".to_owned()]).unwrap()
}

fn serve(address: &str, access: &ServerAccess, ledger: &Ledger) -> LearnerServer {
    let options = ServerOptions {
        address: address.to_owned(),
        most_message_bytes: 1 << 20,
        agreement: AGREEMENT.to_owned(),
    };
    LearnerServer::start(&options, access, Box::new(ledger.clone())).unwrap()
}

fn options(address: std::net::SocketAddr, outbox: &Path) -> LinkOptions {
    LinkOptions {
        address: address.to_string(),
        outbox: outbox.to_owned(),
        agreement: AGREEMENT.to_owned(),
        most_weight_bytes: 64 << 20,
    }
}

/// Asks until `holds` does.
fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come to be");
        std::thread::yield_now();
    }
}

#[test]
fn moments_arrive_whole_and_weights_come_back() {
    let home = tempfile::tempdir().unwrap();
    let keys = credentials(home.path());
    for token in [None, Some(TOKEN)] {
        let ledger = Ledger::default();
        let server = serve("127.0.0.1:0", &keys.learner(token).unwrap(), &ledger);
        let outbox = home.path().join(format!("outbox-{}", token.is_some()));
        let access = keys.actor("arm", token).unwrap();
        let link = ActorLink::start(&options(server.address(), &outbox), &access).unwrap();
        let (mut sink, mut weights) = (link.sink(), link.weights());
        for seq in 1..=200 {
            sink.push(&moment(seq)).unwrap();
        }
        assert!(sink.push(&moment(202)).is_err(), "a number was left out");
        assert!(link.flush(PATIENCE), "{:?}", link.status());
        let book = ledger.0.0.lock().unwrap();
        let lives: Vec<_> = book.lives.values().collect();
        assert_eq!(lives, [&(1..=200).map(moment).collect::<Vec<_>>()]);
        assert!(book.synced > 0);
        drop(book);
        assert_eq!(weights.newer(0).unwrap(), None);
        // Larger than one message.
        let file: Vec<u8> = (0..1_300_000u32).map(|i| i.wrapping_mul(i) as u8).collect();
        server.publish(3, file.clone());
        await_that("weights", || weights.newer(0).unwrap().is_some());
        assert_eq!(weights.newer(2).unwrap(), Some((3, Arc::new(file))));
        assert_eq!(weights.newer(3).unwrap(), None);
        server.hold(true);
        await_that("the wish to wait", || !weights.may_act(Duration::ZERO));
        server.hold(false);
        assert!(weights.may_act(PATIENCE));
    }
}

#[test]
fn many_actors_reach_one_learner() {
    let home = tempfile::tempdir().unwrap();
    let keys = credentials(home.path());
    let ledger = Ledger::default();
    let server = serve("127.0.0.1:0", &keys.learner(None).unwrap(), &ledger);
    std::thread::scope(|scope| {
        for i in 0..4 {
            let (home, keys, address) = (home.path(), &keys, server.address());
            scope.spawn(move || {
                let outbox = home.join(format!("outbox-{i}"));
                let access = keys.actor("arm", None).unwrap();
                let link = ActorLink::start(&options(address, &outbox), &access).unwrap();
                let mut sink = link.sink();
                (1..=100).for_each(|seq| sink.push(&moment(seq)).unwrap());
                assert!(link.flush(PATIENCE), "{:?}", link.status());
            });
        }
    });
    let book = ledger.0.0.lock().unwrap();
    assert_eq!(book.lives.len(), 4);
    assert!(book.lives.values().all(|life| life.len() == 100));
}

#[test]
fn a_learner_killed_again_and_again_loses_and_doubles_nothing() {
    let home = tempfile::tempdir().unwrap();
    let keys = credentials(home.path());
    let (ledger, access) = (Ledger::default(), keys.learner(None).unwrap());
    let mut server = serve("127.0.0.1:0", &access, &ledger);
    let address = server.address();
    let actor = keys.actor("arm", None).unwrap();
    let link = ActorLink::start(&options(address, &home.path().join("outbox")), &actor).unwrap();
    let mut sink = link.sink();
    let mut seq = 0;
    for cut in 1..=5u64 {
        for _ in 0..150 {
            seq += 1;
            sink.push(&moment(seq)).unwrap();
        }
        // Somewhere in the middle of them.
        ledger.await_total((cut * 150 - 100) as usize);
        drop(server);
        // It goes on acting while nobody listens.
        for _ in 0..10 {
            seq += 1;
            sink.push(&moment(seq)).unwrap();
        }
        server = serve(&address.to_string(), &access, &ledger);
    }
    assert!(link.flush(PATIENCE), "{:?}", link.status());
    assert!(link.status().connections >= 2, "{:?}", link.status());
    let book = ledger.0.0.lock().unwrap();
    assert_eq!(book.lives.values().next().unwrap(), &(1..=seq).map(moment).collect::<Vec<_>>());
}

/// An actor as a process of its own, for the test below: pushes until it is killed.
#[test]
#[ignore = "the body of another test's process"]
fn acts_as_a_process() {
    let Ok(home) = std::env::var("EMBODY_TEST_ACTOR") else { return };
    let home = Path::new(&home);
    let address = std::fs::read_to_string(home.join("address")).unwrap();
    let access = Credentials::open(home).actor("arm", Some(TOKEN)).unwrap();
    let options = options(address.parse().unwrap(), &home.join("outbox"));
    let link = ActorLink::start(&options, &access).unwrap();
    let mut sink = link.sink();
    println!("life begins");
    for seq in 1.. {
        sink.push(&moment(seq)).unwrap();
        println!("pushed {seq}");
    }
}

#[test]
fn an_actor_killed_in_the_middle_of_things_loses_nothing_that_it_pushed() {
    let home = tempfile::tempdir().unwrap();
    let keys = credentials(home.path());
    let ledger = Ledger::default();
    let server = serve("127.0.0.1:0", &keys.learner(Some(TOKEN)).unwrap(), &ledger);
    std::fs::write(home.path().join("address"), server.address().to_string()).unwrap();
    let mut pushed = Vec::new();
    for count in [1u64, 7, 40, 150, 333] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "link::tests::acts_as_a_process", "--ignored", "--nocapture"])
            .env("EMBODY_TEST_ACTOR", home.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said =
            lines.map_while(|l| l.ok()).filter_map(|l| l.strip_prefix("pushed ")?.parse().ok());
        let last: u64 = said.take(count as usize).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        pushed.push(last);
    }
    // The last process sends what all of them left.
    let access = keys.actor("arm", Some(TOKEN)).unwrap();
    let folder = home.path().join("outbox");
    let link = ActorLink::start(&options(server.address(), &folder), &access).unwrap();
    assert!(link.flush(PATIENCE), "{:?}", link.status());
    drop(link);
    let book = ledger.0.0.lock().unwrap();
    let mut lives: Vec<u64> = book.lives.values().map(|l| l.len() as u64).collect();
    lives.sort_unstable();
    assert_eq!(lives.len(), pushed.len());
    for (came, pushed) in lives.iter().zip(&pushed) {
        assert!(came >= pushed, "{came} of {pushed} came");
    }
    for life in book.lives.values() {
        assert!(life.iter().zip(1..).all(|(m, seq)| *m == moment(seq)));
    }
    let left = outbox::Life::left_in(&folder).unwrap().len();
    assert!(left <= 1, "{left} lives that were sent are still there");
}

#[test]
fn strangers_and_misfits_are_refused_for_good() {
    let home = tempfile::tempdir().unwrap();
    let (ours, theirs) = (home.path().join("ours"), home.path().join("theirs"));
    let (keys, others) = (credentials(&ours), credentials(&theirs));
    let ledger = Ledger::default();
    let by_token = serve("127.0.0.1:0", &keys.learner(Some(TOKEN)).unwrap(), &ledger);
    let by_certificate = serve("127.0.0.1:0", &keys.learner(None).unwrap(), &ledger);
    let mut number = 0;
    let mut refused = |server: &LearnerServer,
                       access: LinkAccess,
                       change: &dyn Fn(&mut LinkOptions)| {
        number += 1;
        let mut options = options(server.address(), &home.path().join(format!("outbox-{number}")));
        change(&mut options);
        let link = ActorLink::start(&options, &access).unwrap();
        link.sink().push(&moment(1)).unwrap();
        let mut status = link.status();
        await_that("a refusal or an error", || {
            status = link.status();
            status.refused.is_some() || status.last_error.is_some()
        });
        assert!(!status.connected && status.unsent == 1, "{status:?}");
        if status.refused.is_some() {
            let said = link.weights().newer(0).unwrap_err().to_string();
            assert!(said.contains("refused this actor"), "{said}");
        }
        status.refused.unwrap_or_else(|| status.last_error.unwrap())
    };
    let wrong = keys.actor("arm", Some("not the secret of the two")).unwrap();
    let said = refused(&by_token, wrong, &|_| {});
    assert!(said.contains("the token is not this learner's"), "{said}");
    let good = || keys.actor("arm", Some(TOKEN)).unwrap();
    let said = refused(&by_token, good(), &|o| o.agreement = "state 3, action 1".into());
    assert!(said.contains("made of state 3"), "{said}");
    // Certificates of another authority: the learner's on one side, the actor's on the other.
    let said = refused(&by_token, others.actor("arm", Some(TOKEN)).unwrap(), &|_| {});
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    let LinkAccess::Certificate { identity, .. } = others.actor("arm", None).unwrap() else {
        unreachable!()
    };
    let LinkAccess::Certificate { authority, .. } = keys.actor("arm", None).unwrap() else {
        unreachable!()
    };
    let stranger = LinkAccess::Certificate { authority: authority.clone(), identity };
    refused(&by_certificate, stranger, &|_| {});
    // No certificate at all where one is asked for.
    let bare = LinkAccess::Token { authority, token: TOKEN.to_owned() };
    refused(&by_certificate, bare, &|_| {});
    assert_eq!(ledger.total(), 0, "something of a stranger's was taken in");
    // A token that can be guessed is none.
    assert!(keys.learner(Some("guess")).unwrap().actors.check().is_err());
}

#[test]
fn a_message_beyond_the_limit_is_refused_and_said() {
    let home = tempfile::tempdir().unwrap();
    let keys = credentials(home.path());
    let ledger = Ledger::default();
    let server = serve("127.0.0.1:0", &keys.learner(None).unwrap(), &ledger);
    let access = keys.actor("arm", None).unwrap();
    let options = options(server.address(), &home.path().join("outbox"));
    let link = ActorLink::start(&options, &access).unwrap();
    let mut sink = link.sink();
    sink.push(&moment(1)).unwrap();
    let large = Moment { pictures: vec![vec![0; 2 << 20]], ..moment(2) };
    sink.push(&large).unwrap();
    await_that("a refusal", || link.status().refused.is_some());
    let said = link.status().refused.unwrap();
    assert!(said.contains("too large"), "{said}");
    assert_eq!(ledger.total(), 1);
    // Weights beyond what the actor takes.
    let small =
        LinkOptions { most_weight_bytes: 1000, outbox: home.path().join("other"), ..options };
    let link = ActorLink::start(&small, &access).unwrap();
    server.publish(1, vec![7; 5000]);
    await_that("an error", || link.status().last_error.is_some());
    assert!(link.status().last_error.unwrap().contains("5000 bytes are more"));
    assert_eq!(link.weights().newer(0).unwrap(), None);
}

#[test]
fn an_outbox_belongs_to_one_process_and_survives_any_cut() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    let mut life = outbox::Life::begin(folder, 7).unwrap();
    (1..=5).for_each(|seq| life.push(&moment(seq)).unwrap());
    drop(life);
    let path = folder.join("0000000000000007").join("00000001.log");
    let whole = std::fs::read(&path).unwrap();
    let fourth = {
        let lives = outbox::Life::left_in(folder).unwrap();
        assert_eq!((lives.len(), lives[0].last), (1, 5));
        assert_eq!(Moment::from(lives[0].read(3).unwrap().unwrap()), moment(3));
        whole.len() / 5 * 4
    };
    for cut in (fourth + 40..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let lives = outbox::Life::left_in(folder).unwrap();
        assert_eq!(lives[0].last, 4, "cut at {cut}");
    }
    // Two processes would send each other's lives.
    let keys = credentials(&home.path().join("keys"));
    let access = keys.actor("arm", None).unwrap();
    let options = options("127.0.0.1:1".parse().unwrap(), folder);
    let held = ActorLink::start(&options, &access).unwrap();
    let said = ActorLink::start(&options, &access).err().unwrap().to_string();
    assert!(said.contains("another process uses it"), "{said}");
    drop(held);
    ActorLink::start(&options, &access).unwrap();
}
