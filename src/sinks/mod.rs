//! Where events go. No sink knows another, and none knows a source.

pub mod svix;
