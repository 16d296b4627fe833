//! What is left of a server when its store goes away or a part of it ends in a bug.

use std::sync::atomic::AtomicU8;

use super::desk::{Answer as Answered, Job, Reply};
use super::*;
use crate::run::governance::GovernanceError;

const OPENS: u8 = 0;
const PANICS: u8 = 1;
const FAILS: u8 = 2;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_lane_that_ends_in_a_bug_while_the_store_is_away_refuses_and_begins_anew() {
    let rig = Rig::new("");
    let (project, table) = (Arc::new(rig.project.clone()), Arc::new(Table::shipped().clone()));
    let issuers = Arc::new(Issuers::read(&[0; 32], None).unwrap());
    let trouble = Arc::new(AtomicU8::new(OPENS));
    let seen = Arc::clone(&trouble);
    let open: Arc<keep::Open<Desk>> = Arc::new(move || match seen.load(Ordering::SeqCst) {
        OPENS => Desk::open(&project, &table, [0; 32], &issuers),
        PANICS => panic!("opening it has a bug"),
        _ => Err(GovernanceError::Thread(std::io::Error::other("on purpose"))),
    });
    let (post, mut posted) = tokio::sync::mpsc::unbounded_channel::<flush::Answers>();
    let handing_out = std::thread::spawn(move || {
        while let Some(answers) = posted.blocking_recv() {
            for (waiting, answer) in answers {
                drop(waiting.send(answer));
            }
        }
    });
    let (lanes, threads) = Lanes::start(&open, &post).unwrap();
    let ask = |lane: Lane, work: fn() -> Answered| {
        let (answer, receive) = tokio::sync::oneshot::channel();
        let job = Job { work: Box::new(move |_| work()), answer, hint: None };
        lanes.send(lane, job).unwrap();
        receive.blocking_recv().ok()
    };
    let well = || Ok(Reply::Value(Value::Null));
    for lane in [Lane::Read, Lane::Write, Lane::Slow, Lane::Out] {
        for kind in [PANICS, FAILS] {
            assert_eq!(ask(lane, well), Some(Ok(Reply::Value(Value::Null))));
            trouble.store(kind, Ordering::SeqCst);
            assert_eq!(ask(lane, || panic!("a request has a bug")), None);
            assert_eq!(ask(lane, well), Some(Err(Refusal::away())), "{lane:?} {kind}");
            assert!(!lanes.are_open(), "nobody takes this for ready");
            trouble.store(OPENS, Ordering::SeqCst);
            let end = clock::now().mono.plus(PATIENCE);
            while ask(lane, well) != Some(Ok(Reply::Value(Value::Null))) {
                assert!(clock::now().mono < end, "{lane:?} stays away");
                std::thread::yield_now();
            }
            assert!(lanes.are_open());
        }
    }
    drop(lanes);
    for thread in threads {
        thread.join().unwrap();
    }
    drop(post);
    handing_out.join().unwrap();
}
