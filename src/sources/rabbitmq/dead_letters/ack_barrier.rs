//! The ack barrier: waits until a quorum queue has applied every acknowledgement of a channel, so that the channel may be closed.
//!
//! Once 32 commands of a channel to a queue are under way (`quorum_commands_soft_limit`), the channel buffers further ones until
//! the queue has applied those, and then sends all of them as one. What is in that buffer is lost if the channel is closed: of
//! 3,000 acknowledgements 33 were applied (RabbitMQ 3.10). The broker does not confirm an acknowledgement, so the barrier asks the
//! queue for something that it answers after it has applied what came before: a `basic.get`.

use crate::sources::rabbitmq::exclusive::counts;
use lapin::{Channel, Connection, options::BasicGetOptions};

/// What the channel had sent is applied after the first, what it had buffered meanwhile after the second; the queue notifies
/// the channel and whoever asks at almost the same time, so one more.
const ROUNDS: usize = 3;

/// Closes `channel`, which consumes `queue`, once all that was acknowledged on it is gone. Its unsettled messages go back where
/// they were.
pub async fn close_after_acks(connection: &Connection, channel: &Channel, queue: &str) -> lapin::Result<()> {
    // A message that it is given has come later than what is unsettled on `channel`, and goes back after that.
    let asking = connection.create_channel().await?;
    for _ in 0..ROUNDS {
        // The channel has read every acknowledgement, and what the queue sent it.
        counts(channel, queue).await?;
        asking.basic_get(queue.into(), BasicGetOptions::default()).await?;
    }
    channel.close(200, "hookbro is done".into()).await?;
    asking.close(200, "hookbro is done".into()).await
}
