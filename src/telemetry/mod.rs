//! Floor 4: what the program tells of itself. The log, on standard error, since standard output belongs to what commands
//! print; and spans, to a collector, if the operator names one.

mod log;
mod otlp;
mod queue;

pub use log::{Format, InvalidLevel, TelemetryError, filter, init};
pub use otlp::{Exporting, Settings, headers, start};
