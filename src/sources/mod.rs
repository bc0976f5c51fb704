//! Where events come from. No source knows another, and none knows a sink.

pub mod rabbitmq;
