//! Text as numbers: the project's own sources, or any file; and the characters that it is made of.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The most different characters.
const LARGEST: usize = 128;

/// The Rust sources of this project's crates, one after the other in the order of their paths.
pub fn sources() -> Result<String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the examples lie in the project");
    let mut files = Vec::new();
    for crate_ in ["partitioner", "trt-subgraph", "tch-bridge"] {
        collect(&project.join(crate_).join("src"), &mut files)?;
    }
    files.sort();
    let texts: Result<Vec<String>> = files.iter().map(|file| read(file)).collect();
    Ok(texts?.concat())
}

/// The text in a file; what is no UTF-8 in it is replaced.
pub fn read(path: &Path) -> Result<String> {
    let bytes =
        std::fs::read(path).with_context(|| format!("{}: a file of text is wanted", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// All `.rs` files in a folder and in those below.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Characters by number.
pub struct Vocabulary(Vec<char>);

impl Vocabulary {
    /// The most frequent characters of a text, 128 at most.
    ///
    /// # Errors
    /// When there are fewer than two.
    pub fn of(text: &str) -> Result<Vocabulary> {
        let mut counts: BTreeMap<char, usize> = BTreeMap::new();
        text.chars().for_each(|c| *counts.entry(c).or_default() += 1);
        let mut all: Vec<(char, usize)> = counts.into_iter().collect();
        all.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let mut characters: Vec<char> = all.into_iter().take(LARGEST).map(|(c, _)| c).collect();
        characters.sort_unstable();
        ensure!(characters.len() > 1, "a text of one character or none teaches nothing");
        Ok(Vocabulary(characters))
    }

    /// How many characters there are.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// A text as numbers; characters that are not among these are left out.
    pub fn encode(&self, text: &str) -> Vec<i64> {
        text.chars().filter_map(|c| self.0.binary_search(&c).ok()).map(|at| at as i64).collect()
    }

    /// Numbers as text.
    ///
    /// # Panics
    /// When one is none of a character's.
    pub fn decode(&self, numbers: &[i64]) -> String {
        numbers.iter().map(|&at| self.0[usize::try_from(at).expect("a character's number")]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        let text = "für die Liebe";
        let vocabulary = Vocabulary::of(text).unwrap();
        assert_eq!(vocabulary.size(), 9);
        assert_eq!(vocabulary.decode(&vocabulary.encode("oder die L")), "der die L");
        let many: String = (0..1000).filter_map(char::from_u32).collect::<String>() + "zzz";
        let vocabulary = Vocabulary::of(&many).unwrap();
        assert_eq!((vocabulary.size(), vocabulary.encode("z").len()), (128, 1));
        assert!(Vocabulary::of("aaa").is_err());
    }

    #[test]
    fn the_sources_are_there() {
        let sources = sources().unwrap();
        assert!(
            ["pub struct FlowGraph", "pub struct Definition", "pub struct TrtModule"]
                .map(|s| sources.contains(s))
                == [true; 3]
        );
        assert!(read(Path::new("no/such/file")).unwrap_err().to_string().contains("no/such/file"));
    }
}
