//! Routing keys and the patterns that bind them: words between dots, `*` for one word, `#` for any number of them
//! (AMQP 0-9-1, section 3.1.3.3, the topic exchange type).

/// Whether a topic exchange sends `key` along a binding of `pattern`.
pub fn matches(pattern: &str, key: &str) -> bool {
    meet(&words(pattern), &words(key)).is_some()
}

/// A routing key that both patterns take, if there is one.
pub fn overlap(one: &str, other: &str) -> Option<String> {
    meet(&words(one), &words(other)).map(|words| words.join("."))
}

fn words(pattern: &str) -> Vec<&str> {
    pattern.split('.').collect()
}

/// What stands for `*` where both sides leave the word open.
const ANY_WORD: &str = "x";

/// The words of a key that both take. Each pair of rests is examined once, so that the work is the product of their
/// lengths, however many `#` there are.
fn meet<'a>(one: &[&'a str], other: &[&'a str]) -> Option<Vec<&'a str>> {
    // [i][j]: the key that the rests from i and j have in common, shortest first by construction from the end.
    let mut common: Vec<Vec<Option<Vec<&'a str>>>> = vec![vec![None; other.len() + 1]; one.len() + 1];
    for i in (0..=one.len()).rev() {
        for j in (0..=other.len()).rev() {
            common[i][j] = match (one.get(i), other.get(j)) {
                (None, None) => Some(Vec::new()),
                // A `#` stands for nothing here, or takes the other's next word.
                (Some(&"#"), next) => common[i + 1][j].clone().or_else(|| take(next, common[i].get(j + 1)?)),
                (next, Some(&"#")) => common[i][j + 1].clone().or_else(|| take(next, &common.get(i + 1)?[j])),
                (Some(&a), Some(&b)) if a == b || a == "*" || b == "*" => {
                    take(Some(if a == "*" { &other[j] } else { &one[i] }), &common[i + 1][j + 1])
                }
                _ => None,
            };
        }
    }
    common.swap_remove(0).swap_remove(0)
}

fn take<'a>(word: Option<&&'a str>, rest: &Option<Vec<&'a str>>) -> Option<Vec<&'a str>> {
    let word = match *word? {
        "#" => return rest.clone(),
        "*" => ANY_WORD,
        word => word,
    };
    rest.as_ref().map(|rest| std::iter::once(word).chain(rest.iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_the_specification_says() {
        for (pattern, key, taken) in [
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "ab.c", false),
            ("a.*", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("*.b.#", "a.b", true),
            ("#.b.#.d", "a.b.c.c.d", true),
            ("#.b.#.d", "a.c.d", false),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(matches(pattern, key), taken, "{pattern} {key}");
        }
    }

    #[test]
    fn an_overlap_is_shown_by_a_key_that_both_take() {
        for (one, other, both) in [
            ("acme.#", "beta.#", false),
            ("acme.#", "#", true),
            ("acme.#", "*.com.gigs.sim.updated", true),
            ("*.a", "a.*", true),
            ("#.sim.#", "acme.#.updated", true),
            ("a.*", "a", false),
            ("*", "#.*", true),
        ] {
            let key = overlap(one, other);
            assert_eq!(key.is_some(), both, "{one} {other}");
            if let Some(key) = key {
                assert!(matches(one, &key) && matches(other, &key), "{one} {other}: {key}");
            }
        }
    }

    /// Every pattern of up to three words against every key of up to four, by plain recursion.
    #[test]
    fn it_agrees_with_trying_every_key() {
        fn plain(pattern: &[&str], key: &[&str]) -> bool {
            match (pattern.first(), key.first()) {
                (None, None) => true,
                (Some(&"#"), _) => plain(&pattern[1..], key) || (!key.is_empty() && plain(pattern, &key[1..])),
                (Some(&p), Some(&k)) => (p == "*" || p == k) && plain(&pattern[1..], &key[1..]),
                _ => false,
            }
        }
        fn all(words: &[&'static str], most: usize) -> Vec<Vec<&'static str>> {
            let mut all: Vec<Vec<_>> = words.iter().map(|word| vec![*word]).collect();
            let mut last = all.clone();
            for _ in 1..most {
                last = last.iter().flat_map(|l| words.iter().map(|w| [&l[..], &[*w]].concat())).collect();
                all.extend(last.clone());
            }
            all
        }
        let patterns = all(&["a", "b", "*", "#"], 3);
        let keys = all(&["a", "b", "x"], 5);
        for one in &patterns {
            for key in &keys {
                assert_eq!(matches(&one.join("."), &key.join(".")), plain(one, key), "{one:?} {key:?}");
            }
        }
        for one in &patterns {
            for other in &patterns {
                // Two patterns of three words that meet at all meet in a key of at most five; the empty key aside.
                let meets = keys.iter().any(|key| plain(one, key) && plain(other, key));
                let found = overlap(&one.join("."), &other.join("."));
                assert!(found.is_some() || !meets, "{one:?} {other:?}");
                if let Some(key) = found.filter(|key| !key.is_empty()) {
                    assert!(plain(one, &words(&key)) && plain(other, &words(&key)), "{one:?} {other:?}: {key}");
                }
            }
        }
    }
}
