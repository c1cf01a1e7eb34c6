//! What somebody may have meant by a name that there is not.

/// The names that differ least from `word`, at most three, the nearest first; none where all differ in more than a third of
/// its letters.
fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let most = (word.chars().count() / 3).max(2);
    let close = names.into_iter().map(|name| (distance(word, name), name)).filter(|(far, _)| *far <= most);
    let mut close: Vec<_> = close.collect();
    close.sort_unstable();
    close.dedup();
    close.into_iter().take(3).map(|(_, name)| name).collect()
}

/// `; is aten::gelu meant?`, or nothing where no name is near.
pub(crate) fn suggestion<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let near = nearest(word, names);
    if near.is_empty() { String::new() } else { format!("; is {} meant?", near.join(" or ")) }
}

/// How many letters have to be put in, left out or replaced, or neighbours swapped, to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let names = ["aten::gelu", "aten::gelu_", "aten::relu", "aten::convolution", "aten::glu"];
        assert_eq!(nearest("aten::gellu", names), ["aten::gelu", "aten::gelu_", "aten::glu"]);
        assert_eq!(nearest("aten::ocnvolution", names), ["aten::convolution"]);
        assert_eq!(suggestion("prim::If", names), "");
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("ab", "ba")), (3, 0, 1));
    }
}
