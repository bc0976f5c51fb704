//! When a quorum queue has heard every acknowledgement of a channel: then the channel may be closed.
//!
//! Once 32 commands of a channel to a queue are under way (`quorum_commands_soft_limit`), the channel keeps further ones to
//! itself until the queue has applied those, and then sends all of them as one. What it keeps is lost if it is closed before: of
//! 3,000 acknowledgements 33 were heard (RabbitMQ 3.10). Nothing is answered to an acknowledgement, so the queue is asked for
//! something that it answers after it has applied what came before: a `basic.get`.

use super::look::stands;
use lapin::{Channel, Connection, options::BasicGetOptions};

/// What the channel had sent is applied after the first, what it had kept meanwhile after the second; the queue tells the
/// channel and who asks almost at once, so one more.
const ROUNDS: usize = 3;

/// Closes `channel`, which consumes `queue`, once all that was acknowledged on it is gone. What it has in hand goes back as
/// it lay.
pub(super) async fn close_once_heard(connection: &Connection, channel: &Channel, queue: &str) -> lapin::Result<()> {
    // A message that it is given has come later than what `channel` has in hand, and goes back after that.
    let asking = connection.create_channel().await?;
    for _ in 0..ROUNDS {
        // The channel has read every acknowledgement, and what the queue told it.
        stands(channel, queue).await?;
        asking.basic_get(queue.into(), BasicGetOptions::default()).await?;
    }
    channel.close(200, "hookbro is done".into()).await?;
    asking.close(200, "hookbro is done".into()).await
}
