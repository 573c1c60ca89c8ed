//! Shell patterns in lists of patches: `*`, `?`, `[a-z]`, `[!a-z]`.

/// Whether `pattern` matches all of `text`. Letters' case counts; `*` also matches dots and slashes. A `[` that nothing closes
/// is an ordinary character. Takes at most `pattern` times `text` steps, whatever somebody writes.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on if it fails: behind the last star, and one character further into the text.
    let mut star = None;
    loop {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                star = Some((p, t));
                continue;
            }
            Some(_) if t < text.len() => {
                if let Some(width) = one(&pattern[p..], text[t]) {
                    (p, t) = (p + width, t + 1);
                    continue;
                }
            }
            None if t == text.len() => return true,
            _ => {}
        }
        match star {
            Some((behind, from)) if from < text.len() => {
                star = Some((behind, from + 1));
                (p, t) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

/// How many characters of `pattern` the match of `c` takes; `None` if it does not match.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match class(pattern) {
            Some((inner, width)) => {
                let (negated, inner) = match inner.split_first() {
                    Some(('!', rest)) => (true, rest),
                    _ => (false, inner),
                };
                (within(inner, c) != negated).then_some(width)
            }
            None => (c == '[').then_some(1),
        },
        literal => (*literal == c).then_some(1),
    }
}

/// What stands between the brackets at the beginning of `pattern`, and the width of it all. A `]` that comes first is a member.
fn class(pattern: &[char]) -> Option<(&[char], usize)> {
    let from = if pattern.get(1) == Some(&'!') { 3 } else { 2 };
    let end = pattern.iter().enumerate().skip(from).find(|(_, c)| **c == ']')?.0;
    Some((&pattern[1..end], end + 1))
}

fn within(mut members: &[char], c: char) -> bool {
    loop {
        members = match members {
            [low, '-', high, rest @ ..] => {
                if (*low..=*high).contains(&c) {
                    return true;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == c {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("kernel*", "kernel-core"),
            ("*-dev", "libc6-dev"),
            ("lib*ssl*", "libwolfssl42"),
            ("python3.?", "python3.9"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("[x", "[x"),
            ("[a-]", "-"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("kernel", "kernel-core"), ("?", ""), ("[!a]", "a"), ("A", "a"), ("*a", "ab"), ("[a-c]", "")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(50), &"a".repeat(40)));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_what_is_cut_out_of_it(text in "[a-z.]{0,12}", from in 0..12_usize, to in 0..12_usize) {
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            let cut = format!("{}*{}", &text[..from.min(to)], &text[from.max(to)..]);
            prop_assert!(matches(&text, &text));
            prop_assert!(matches(&cut, &text), "{} {}", cut, text);
            let longer = text.clone() + "?";
            prop_assert!(!matches(&longer, &text));
        }

        #[test]
        fn any_pattern_ends(pattern in "[*?a\\[\\]!-]{0,20}", text in "[a-]{0,20}") {
            let _ = matches(&pattern, &text);
        }
    }
}
