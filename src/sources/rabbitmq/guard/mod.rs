//! What stands between the broker and lapin, so that nothing a publisher puts into a message costs more than that message.
//!
//! lapin's parser (amq-protocol 10.6) reads nested tables by recursion and takes short strings as UTF-8: a header of some
//! hundred nested arrays overflows the stack of its thread, and with it ends the process; one Latin-1 byte in a `message_id`
//! ends the connection, at each delivery again (docs/upstream-amq-protocol.md). The guard reads the stream of frames before
//! lapin does, without recursion, and replaces what lapin could not take. It says so in a header of the message, [`MARK`],
//! by which the rest of hookbro knows.
//!
//! Bodies and heartbeats pass by their size. Methods and content headers are read once, where they lie in lapin's own
//! buffer; a frame is copied only where a read ended within it, or where it is replaced.
//!
//! - `frames`: where frames begin and end in a stream of bytes, and what each of them is.
//! - `methods`, `content`, `table`: what is inside, judged and mended.
//! - `unreadable`: the names of what was replaced, and the mark.
//! - `stream`: the guard around a connection.
//! - `kit`: how lapin is brought to use it.

mod content;
mod frames;
mod kit;
mod methods;
mod stream;
mod table;
mod unreadable;

pub(super) use kit::{GuardedStream, runtime};
pub(super) use unreadable::{MARK, Unreadable};

#[cfg(test)]
mod tests;
