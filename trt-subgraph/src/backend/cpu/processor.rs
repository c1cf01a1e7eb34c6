//! What is known of the processor.

use std::fs::read_to_string;
use std::sync::OnceLock;

/// Bytes of a core's second-level cache where the system does not tell.
const USUAL: usize = 512 * 1024;

/// The processor's name, as far as it tells.
pub fn name() -> String {
    let told = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        told.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.to_string())
}

/// Bytes of a core's second-level cache: how much of a tensor is worked on at a time depends on it.
pub fn second_level_cache() -> usize {
    static TOLD: OnceLock<usize> = OnceLock::new();
    *TOLD.get_or_init(|| told_by_linux().unwrap_or(USUAL))
}

fn told_by_linux() -> Option<usize> {
    let told = |index: usize, what: &str| {
        let text = read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}")).ok()?;
        Some(text.trim().to_string())
    };
    let index = (0..8).find(|&index| told(index, "level").as_deref() == Some("2"))?;
    bytes(&told(index, "size")?)
}

/// `2048K` in bytes; nothing where that is no size that a cache has.
fn bytes(size: &str) -> Option<usize> {
    let kib: usize = size.strip_suffix('K')?.parse().ok()?;
    (64..=16 * 1024).contains(&kib).then_some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_linux_writes_them() {
        assert_eq!(bytes("2048K"), Some(2 << 20));
        assert_eq!(bytes("512K"), Some(USUAL));
        assert_eq!((bytes("0K"), bytes(""), bytes("lots"), bytes("99999999K")), (None, None, None, None));
    }
}
