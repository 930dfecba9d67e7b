//! Progress: the records P(e) that say which input belongs to which epoch and what came out, where they are kept, and the one place where an epoch
//! becomes real (recovery-protocol: "the Kafka transaction commit is the only commit point"; without Kafka the fsync of `progress.log`).
//!
//! The idea of binding input offsets to logical times in a durable log of its own is Materialize's reclocking; checking a replay against
//! recorded digests is Feldera's. Reading the log to a nonce written after fencing is what Materialize's sinks do for want of a reliable end-of-topic.
//!
//! [`Committer`] drives the writers of `sinks`; nobody else makes output visible.

mod cluster;
#[cfg(test)]
mod commit_tests;
mod committer;
mod file_log;
mod inputs;
mod kafka_client;
mod kafka_log;
mod kafka_read;
#[cfg(test)]
mod kafka_tests;
mod kafka_topics;
mod kafka_transaction;
mod lock;
#[cfg(test)]
mod log_tests;
mod record;
mod recovery;
mod summary;

pub use committer::{CommitSettings, Committed, Committer, EpochOutputs, Recovered, SinkTotals};
pub use file_log::{FileLog, LogEntry, peek_folder};
pub use inputs::Inputs;
pub use kafka_client::KafkaSettings;
pub use kafka_log::{KafkaLog, progress_topic, transactional_id};
pub use kafka_read::{KafkaRead, peek_topic};
pub use kafka_topics::{BROKERS_CHOICE, KafkaTopics, TopicShape};
pub use lock::StateLock;
pub use record::{Binding, ProgressRecord, SEMANTICS_VERSION, SourceProgress, StartRecord, check_chain};
pub use summary::{load_summary, store_summary};
pub(crate) use {
    cluster::{load_cluster, store_cluster},
    kafka_client::{Reports, block_on, client_config, is_auth, misconfigured, partition_count, reader, refused, unreachable},
    kafka_topics::too_many_partitions,
    kafka_transaction::{Failure, Outgoing, TransactionalProducer, fenced},
    recovery::{Expected, check_start, expectations},
    summary::remove_summary,
};
