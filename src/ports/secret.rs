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

/// Several secrets, any of which is good: bearer tokens. One per line of the [`Secret`] that holds them.
#[derive(Clone, Debug)]
pub struct SecretList(Secret);

impl SecretList {
    /// The lines of `secret`; those that are empty do not count.
    pub fn lines_of(secret: Secret) -> Self {
        Self(secret)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `candidate` is one of them. How long this takes tells nothing of how much of it was right.
    pub fn contains(&self, candidate: &str) -> bool {
        let known = self.0.current();
        known.lines().filter(|line| !line.is_empty()).fold(false, |found, line| same(line, candidate) | found)
    }
}

/// Compares without stopping at the first difference. The lengths may show; the contents may not.
fn same(a: &str, b: &str) -> bool {
    let difference = a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | std::hint::black_box(a ^ b));
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_line_of_a_list_is_good_and_nothing_else() {
        let list = SecretList::lines_of(Secret::fixed("alpha\n\nbeta"));
        for (candidate, good) in
            [("alpha", true), ("beta", true), ("", false), ("alph", false), ("alpha\nbeta", false), ("gamma", false)]
        {
            assert_eq!(list.contains(candidate), good, "{candidate:?}");
        }
        assert!(SecretList::lines_of(Secret::fixed("")).is_empty());
    }
}
