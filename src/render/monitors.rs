//! Monitors: what models saw, said and got wrong, through the pure engines of `drift`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::util::display::array_value_to_string;

use super::packet::{Packet, Pulse, Report, ResolvedKeys, Watched};
use super::routes::Routes;
use super::views::not_restored;
use crate::checkpoint::{Block, Piece, PieceName};
use crate::dataflow::Outbox;
use crate::drift::{Labels, Monitor, MonitorSpec, Rises, Row, Statistic, Watched as WatchedModel};
use crate::error::{Error, Result};
use crate::ids::WorkerIndex;
use crate::metrics::SNAPSHOT_VERSION;
use crate::plan::{MonitorPlan, Plan, SinkFrom, Watch};
use crate::time::{Busy, BusyTimes, Epoch};

/// Version of the layout of a monitor's state.
const VERSION: u32 = 1;

/// Outputs: to the sinks, to the committer.
pub const OUTPUTS: usize = 2;

/// The monitors that a worker has.
pub struct Monitors {
    plan: Arc<Plan>,
    routes: Routes,
    worker: WorkerIndex,
    open: BTreeMap<usize, Open>,
    /// By position in the plan.
    busy: Vec<Busy>,
}

struct Open {
    monitor: Monitor,
    /// Position in the plan of each watched model.
    models: Vec<usize>,
    /// Whether its inputs are watched.
    inputs: Vec<bool>,
    rises: Rises,
    alarms: u64,
}

impl Monitors {
    /// The logic for `plan`.
    pub fn new(plan: Arc<Plan>, routes: Routes, worker: WorkerIndex, times: &BusyTimes) -> Self {
        let busy = plan.monitors.iter().map(|monitor| times.of(&monitor.id, "observe")).collect();
        Self { plan, routes, worker, open: BTreeMap::new(), busy }
    }

    /// Takes a closed epoch.
    pub fn close(&mut self, _epoch: Epoch, mut parcels: Vec<Packet>, outbox: &mut Outbox<Packet>) -> Result<()> {
        // A worker gets one parcel per monitor and model; a model watched by several monitors sends the same one to each.
        for piece in Packet::take_restored(&mut parcels) {
            self.restore(&piece).map_err(|reason| not_restored(&piece, &reason))?;
        }
        let mut of_model: BTreeMap<usize, Arc<Watched>> = BTreeMap::new();
        for parcel in parcels {
            let Packet::Watched(watched) = parcel else { return Err(Error::internal("a monitor got something other than predictions")) };
            of_model.insert(watched.model, watched);
        }
        for (index, declared) in self.plan.clone().monitors.iter().enumerate() {
            if self.routes.monitor(declared) != self.worker {
                continue;
            }
            let spec = spec(&self.plan, declared);
            let models = watched_models(declared);
            let mine: Vec<&Arc<Watched>> = models.iter().filter_map(|model| of_model.get(model)).collect();
            let Some(first) = mine.first() else { continue };
            let (watermark, closing, checkpoint) = (first.watermark, first.closing, first.checkpoint);
            if let Entry::Vacant(slot) = self.open.entry(index) {
                let monitor = Monitor::new(&spec).map_err(|cause| Error::internal(format!("{}: {cause}", declared.id)))?;
                slot.insert(Open::new(declared, models, monitor));
            }
            let Some(open) = self.open.get_mut(&index) else { continue };
            self.busy[index].during(|| {
                let mut statistics = Vec::new();
                if !closing {
                    for watched in mine {
                        open.observe(watched, &mut statistics);
                    }
                    open.monitor.advance(watermark, &mut statistics);
                }
                for statistic in &statistics {
                    open.rises.observe(statistic);
                    open.alarms += u64::from(statistic.alarm);
                }
                open.send(&self.plan, self.routes, index, statistics, closing, outbox);
            });
            if checkpoint {
                let piece = open.piece(declared)?;
                outbox.send(1, self.routes.leader(), Packet::State(vec![piece]));
            }
        }
        Ok(())
    }

    /// Opens a monitor with the state it had.
    fn restore(&mut self, piece: &Piece) -> Result<(), String> {
        let plan = self.plan.clone();
        let found = plan.monitors.iter().enumerate().find(|(_, monitor)| monitor.id.as_str() == piece.name.component);
        let (index, declared) = found.ok_or("there is no such monitor")?;
        let [monitor, seen] = &piece.of_version(VERSION)?[..] else { return Err("it is cut short".to_string()) };
        let monitor = Monitor::restore(&spec(&plan, declared), SNAPSHOT_VERSION, monitor)?;
        let mut open = Open::new(declared, watched_models(declared), monitor);
        (open.rises, open.alarms) = serde_json::from_slice(seen).map_err(|error| error.to_string())?;
        self.open.insert(index, open);
        Ok(())
    }
}

impl Open {
    fn new(declared: &MonitorPlan, models: Vec<usize>, monitor: Monitor) -> Self {
        let inputs = models.iter().map(|model| declared.watch.contains(&Watch::Inputs(*model))).collect();
        Self { monitor, models, inputs, rises: Rises::new(declared.every), alarms: 0 }
    }

    /// The state after this epoch.
    fn piece(&self, declared: &MonitorPlan) -> Result<Piece> {
        let seen = serde_json::to_vec(&(&self.rises, self.alarms));
        let seen = seen.map_err(|error| Error::internal(format!("{} has no snapshot: {error}", declared.id)))?;
        let blocks = [self.monitor.snapshot(), seen].map(|bytes| Block::Bytes(Arc::new(bytes))).into();
        Ok(Piece { name: PieceName { component: declared.id.to_string(), shard: None }, version: VERSION, blocks })
    }

    fn observe(&mut self, watched: &Watched, statistics: &mut Vec<Statistic>) {
        let Some(at) = self.models.iter().position(|model| *model == watched.model) else { return };
        if self.monitor.reads_rows(at) {
            self.compare(at, watched);
        }
        let resolved = &watched.resolved;
        let key = |position: usize| match &resolved.keys {
            ResolvedKeys::Texts(texts) => texts[position].to_string(),
            ResolvedKeys::Rows(rows) => {
                let column = watched.keys.as_ref().map(|keys| keys.0.column(0));
                let shown = column.and_then(|column| array_value_to_string(column, rows[position] as usize).ok());
                shown.unwrap_or_default()
            }
        };
        let labels = Labels { times: &resolved.times, labels: &resolved.labels, predictions: &resolved.predictions, key: &key };
        self.monitor.labels(at, &labels, statistics);
    }

    /// Shows the monitor the predicted rows.
    fn compare(&mut self, at: usize, watched: &Watched) {
        let words = watched.width.div_ceil(64);
        for row in 0..watched.times.len() {
            let prediction = watched.predictions[row];
            let (x, valid) = if self.inputs[at] {
                (&watched.inputs[row * watched.width..(row + 1) * watched.width], &watched.valid[row * words..(row + 1) * words])
            } else {
                (&[][..], &[][..])
            };
            let prediction = (!prediction.is_nan()).then_some(prediction);
            self.monitor.row(at, &Row { time: watched.times[row], prediction, inputs: x, valid });
        }
    }

    fn send(&self, plan: &Plan, routes: Routes, index: usize, statistics: Vec<Statistic>, closing: bool, outbox: &mut Outbox<Packet>) {
        let component = plan.monitors[index].id.to_string();
        if !statistics.is_empty() {
            for (sink, _) in plan.sinks.iter().enumerate().filter(|(_, sink)| sink.from == SinkFrom::Monitor(index)) {
                outbox.send(0, routes.sink(sink), Packet::Statistics { sink, rows: statistics.clone() });
            }
            let pulse = Pulse { component: component.clone(), loss: f64::NAN, alarms: self.alarms };
            outbox.send(1, routes.leader(), Packet::Pulse(pulse));
        }
        if closing {
            let json = serde_json::json!({ "alarms": self.alarms, "rises": self.rises.total(), "first": self.rises.list(), "bytes": self.monitor.bytes() });
            outbox.send(1, routes.leader(), Packet::Report(Report { component, json: json.to_string(), files: Vec::new() }));
        }
    }
}

/// The models a monitor watches, each once, in declared order.
fn watched_models(monitor: &MonitorPlan) -> Vec<usize> {
    let mut models = Vec::new();
    for Watch::Model(model) | Watch::Inputs(model) in &monitor.watch {
        if !models.contains(model) {
            models.push(*model);
        }
    }
    models
}

/// What the pure engine has to know.
fn spec(plan: &Plan, declared: &MonitorPlan) -> MonitorSpec {
    let watched = watched_models(declared).into_iter().map(|index| {
        let model = &plan.models[index];
        let inputs = declared.watch.contains(&Watch::Inputs(index));
        WatchedModel {
            name: model.id.name().to_string(),
            outcome: declared.watch.contains(&Watch::Model(index)),
            inputs: if inputs { model.inputs.iter().map(|input| input.name.clone()).collect() } else { Vec::new() },
            classification: model.classification,
            threshold: model.threshold,
        }
    });
    MonitorSpec {
        name: declared.id.name().to_string(),
        watched: watched.collect(),
        detectors: declared.detectors.clone(),
        metrics: declared.metrics.clone(),
        reference_rows: declared.reference_rows,
        window: declared.window,
        every: declared.every,
        min_rows: declared.min_rows,
    }
}
