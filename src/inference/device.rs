//! The device thread of one network: epochs go in and answers come out over bounded channels, and no worker ever waits for either.
//!
//! Two threads in a row: one cuts epochs into tiles and normalises them, the other runs them on the device; one finished tile waits between them, so
//! that the next is prepared while one runs. Answers come out in the order in which epochs went in. What goes wrong in a thread, a panic included,
//! comes out as an error in place of an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::network::Network;
use super::tile::{Predicted, Rows, Tile};
use crate::error::{Error, Exit, Result};
use crate::time::Busy;

/// Epochs in the threads' hands: one being worked on, one waiting.
const IN_FLIGHT: usize = 2;

/// A network at work on its own threads. Dropping it ends them after the tile at hand.
pub struct DeviceThread {
    epochs: Option<Sender<Rows>>,
    answers: Receiver<Result<Predicted>>,
    in_flight: usize,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

struct State {
    warm: AtomicBool,
    stop: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What goes from the preparing thread to the device.
enum Step {
    Tile(Tile),
    EndOfEpoch,
}

impl DeviceThread {
    /// Starts the threads of `network`, named after the component `name`, and counts their work in `busy`; `wake` is called when the device is warm and
    /// whenever an answer is there.
    pub fn start(network: Network, name: &str, busy: Busy, wake: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let state = Arc::new(State { warm: AtomicBool::new(false), stop: AtomicBool::new(false), wake: Box::new(wake) });
        let (epochs, epochs_in) = bounded::<Rows>(IN_FLIGHT);
        let (tiles, tiles_in) = bounded::<Step>(1);
        // Room for every answer and for the last word of both threads: a send never waits.
        let (answers_out, answers) = bounded(IN_FLIGHT + 2);
        let prepare = {
            let (network, state, busy) = (network.clone(), state.clone(), busy.clone());
            move || prepare(&network, &epochs_in, &tiles, &state, &busy)
        };
        let run = {
            let (state, answers) = (state.clone(), answers_out.clone());
            move || run(&network, &tiles_in, &answers, &state, &busy)
        };
        let threads = vec![
            spawn(format!("{name} tiles"), answers_out.clone(), state.clone(), prepare)?,
            spawn(format!("{name} device"), answers_out, state.clone(), run)?,
        ];
        Ok(Self { epochs: Some(epochs), answers, in_flight: 0, state, threads })
    }

    /// Whether the device is warm and there is room for another epoch.
    pub fn ready(&self) -> bool {
        self.state.warm.load(Ordering::Acquire) && self.in_flight < IN_FLIGHT
    }

    /// Hands over the rows of an epoch; never waits. There is room for two epochs that are not answered yet, also before the device is warm.
    pub fn submit(&mut self, rows: Rows) -> Result<()> {
        // A thread that ended is no error here: it has said why, or is about to, and `poll` brings it.
        if let Some(Err(TrySendError::Full(_))) = self.epochs.as_ref().map(|epochs| epochs.try_send(rows)) {
            return Err(Error::internal("an epoch was handed to a device that had no room for it"));
        }
        self.in_flight += 1;
        Ok(())
    }

    /// The answer of the oldest epoch handed over, if it is there; never waits.
    pub fn poll(&mut self) -> Result<Option<Predicted>> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.in_flight = self.in_flight.saturating_sub(1);
                answer.map(Some)
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::internal("a device thread ended before its work")),
        }
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Release);
        self.epochs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Starts one thread; its failure becomes an answer.
fn spawn(
    name: String,
    answers: Sender<Result<Predicted>>,
    state: Arc<State>,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let shown = name.clone();
    let body = move || {
        let ended = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Err(Error::internal(format!("thread `{shown}` panicked: {}", said.unwrap_or("without a word"))))
        });
        if let Err(error) = ended {
            // Nobody left to read it means that nobody needs it.
            let _ = answers.try_send(Err(error));
            (state.wake)();
        }
    };
    std::thread::Builder::new().name(name.clone()).spawn(body).map_err(|error| {
        Error::new(
            Exit::Limit,
            format!("cannot start the thread `{name}`: {error}"),
            "raise the limit on threads of this process (ulimit -u)",
        )
    })
}

/// Cuts epochs into tiles until there are no more epochs or nobody wants tiles.
fn prepare(network: &Network, epochs: &Receiver<Rows>, tiles: &Sender<Step>, state: &State, busy: &Busy) -> Result<()> {
    for rows in epochs {
        let mut start = 0;
        while start < rows.count {
            if state.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            let tile = busy.during(|| network.prepare(&rows.x, &rows.valid, rows.count, start))?;
            start += tile.rows();
            if tiles.send(Step::Tile(tile)).is_err() {
                return Ok(());
            }
        }
        if tiles.send(Step::EndOfEpoch).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Warms up, then runs tiles until there are no more.
fn run(network: &Network, tiles: &Receiver<Step>, answers: &Sender<Result<Predicted>>, state: &State, busy: &Busy) -> Result<()> {
    network.warm_up()?;
    state.warm.store(true, Ordering::Release);
    (state.wake)();
    let mut predicted = Predicted::default();
    for step in tiles {
        match step {
            Step::Tile(_) if state.stop.load(Ordering::Acquire) => return Ok(()),
            Step::Tile(tile) => busy.during(|| network.answer(tile, &mut predicted))?,
            Step::EndOfEpoch => {
                if answers.send(Ok(std::mem::take(&mut predicted))).is_err() {
                    return Ok(());
                }
                (state.wake)();
            }
        }
    }
    Ok(())
}
