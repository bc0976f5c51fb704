//! Floor 2: RabbitMQ. The only place that knows lapin, queue names and acknowledgements.

mod access;
mod changeover;
mod connect;
mod copies;
mod dead_queue;
mod declare;
mod depths;
mod headers;
mod intake;
mod migrate;
mod publish;
mod replay;
mod session;
mod settings;
mod settle;
mod shown;
mod silence;
mod topology;
mod trace;
mod window;

pub use access::Access;
pub use changeover::{Occasion, StandError, Stranded, stand, stranded};
pub use connect::{Backoff, ConnectError, Connector, close};
pub use copies::Copies;
pub use dead_queue::{Claim, DeadQueue, DeadQueueError, InHand};
pub use declare::{DeclareError, Difference, differences};
pub use headers::{dead_event, header_bytes, replay_properties};
pub use intake::BrokerIntake;
pub use migrate::{MigrateError, Migration};
pub use publish::{CHANNELS, EventProperties, PublishError, Publisher};
pub use replay::{Replay, Replayed};
pub use session::{Ended, Flow, OpenError, Permits, Session, Shared};
pub use settings::{Lane, Settings};
pub use settle::AmqpReceipt;
pub use topology::{Argument, Binding, Fork, Queue, Rung, Topology};
