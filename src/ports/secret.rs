//! A secret that may change while the program runs. The value never prints.

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

/// The reading end of one secret: the value now, and word of each change.
#[derive(Clone, Debug)]
pub struct Secret(watch::Receiver<SecretString>);

impl Secret {
    /// A secret that changes whenever the returned sender says so.
    pub fn changing(value: &str) -> (watch::Sender<SecretString>, Self) {
        let (sender, receiver) = watch::channel(value.into());
        (sender, Self(receiver))
    }

    /// A secret that stays as it is.
    pub fn fixed(value: &str) -> Self {
        Self::changing(value).1
    }

    /// The value now. Keep it no longer than the one use.
    pub fn current(&self) -> String {
        self.0.borrow().expose_secret().to_owned()
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().expose_secret().is_empty()
    }

    /// Waits until the value is another one; for ever if it cannot change.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
