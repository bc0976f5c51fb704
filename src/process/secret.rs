//! A secret that may change while the program runs. The value never prints.

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;

/// Counts the changes of a secret. What was known under one value may not hold under the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Generation(u64);

/// The reading end of one secret: the value now, and word of each change.
#[derive(Clone, Debug)]
pub struct Secret(watch::Receiver<(Generation, SecretString)>);

/// The writing end: whoever reads the file or asks the operator.
#[derive(Debug)]
pub struct SecretSource(watch::Sender<(Generation, SecretString)>);

impl SecretSource {
    /// Puts `value` in place of the last one; nothing happens if it is the same. Says whether it differed.
    pub fn set(&self, value: &str) -> bool {
        self.0.send_if_modified(|(generation, current)| {
            let differs = current.expose_secret() != value;
            if differs {
                *current = value.into();
                generation.0 += 1;
            }
            differs
        })
    }
}

impl Secret {
    /// A secret that changes whenever its source says so.
    pub fn changing(value: &str) -> (SecretSource, Self) {
        let (sender, receiver) = watch::channel((Generation::default(), value.into()));
        (SecretSource(sender), Self(receiver))
    }

    /// A secret that stays as it is.
    pub fn fixed(value: &str) -> Self {
        Self::changing(value).1
    }

    /// The value now. Keep it no longer than the one use.
    pub fn current(&self) -> String {
        self.0.borrow().1.expose_secret().to_owned()
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().1.expose_secret().is_empty()
    }

    /// Which value [`Secret::current`] would give.
    pub fn generation(&self) -> Generation {
        self.0.borrow().0
    }

    /// Waits until the value is another one than that of `seen`; for ever if it cannot change.
    pub async fn changed_since(&self, seen: Generation) {
        if self.0.clone().wait_for(|(generation, _)| *generation != seen).await.is_err() {
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

    /// The first of them, for a program that has to present one. Keep it no longer than the one use.
    pub fn first(&self) -> Option<String> {
        self.0.current().lines().find(|line| !line.is_empty()).map(str::to_owned)
    }

    /// Whether `good` says so of any of them. Must not keep or print what it is shown.
    pub fn any(&self, good: impl FnMut(&str) -> bool) -> bool {
        self.0.current().lines().filter(|line| !line.is_empty()).any(good)
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

    #[tokio::test]
    async fn a_change_is_seen_once_and_the_same_value_is_none() {
        let (source, secret) = Secret::changing("one");
        let seen = secret.generation();
        source.set("one");
        assert_eq!(secret.generation(), seen);
        source.set("two");
        secret.changed_since(seen).await;
        assert_eq!(secret.current(), "two");
    }

    #[test]
    fn a_secret_never_prints() {
        assert!(!format!("{:?}", Secret::fixed("hunter2")).contains("hunter2"));
    }

    #[test]
    fn any_line_of_a_list_is_good_and_nothing_else() {
        let list = SecretList::lines_of(Secret::fixed("alpha\n\nbeta"));
        for (candidate, good) in
            [("alpha", true), ("beta", true), ("", false), ("alph", false), ("alpha\nbeta", false), ("gamma", false)]
        {
            assert_eq!(list.contains(candidate), good, "{candidate:?}");
        }
        assert_eq!(list.first().as_deref(), Some("alpha"));
        let none = SecretList::lines_of(Secret::fixed(""));
        assert!(none.is_empty() && none.first().is_none());
    }
}
