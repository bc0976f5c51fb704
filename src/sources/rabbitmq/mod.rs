//! RabbitMQ. The only place that knows lapin, queue names and acknowledgements.

mod budget;
mod connect;
mod consume;
mod dead_letters;
mod death;
mod exclusive;
mod guard;
mod headers;
mod intake;
mod parked_queues;
mod parking;
mod pause_record;
mod publish;
mod settings;
mod source;
mod topology;
mod transfer;

pub use connect::{ConnectError, Connector, close};
pub use dead_letters::{discard::create, operations::DeadLetterQueue};
pub use headers::{dead_letter, header_bytes, replay_properties};
pub use intake::BrokerIntake;
pub use parking::{RabbitParking, operations::ParkedEventQueues};
pub use pause_record::PauseRecord;
pub use publish::{CHANNELS, EventProperties, PublishError, Publisher};
pub use settings::{Access, Lane, Settings};
pub use source::RabbitMq;
pub use topology::{
    Argument, Queue, Topology,
    changeover::{ApplyError, apply, stranded},
    declare::{DeclareError, Difference, differences},
    entrance::Entrance,
    migrate::{MigrateError, Migration},
    policies::{policies, watch_policies},
    topic,
};
