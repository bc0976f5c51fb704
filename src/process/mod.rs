//! What every part needs of the process it runs in: secrets that change, TLS, the signal to stop, a folder of its own.

pub mod secret;
pub mod state;
pub mod stop;
pub mod tls;
