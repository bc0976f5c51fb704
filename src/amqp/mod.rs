//! Floor 2: RabbitMQ. The only place that knows lapin, queue names and acknowledgements.

mod settings;

pub use settings::Settings;
