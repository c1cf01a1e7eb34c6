//! What comes out is what was put in under that very key, whatever happens to files and writers.

use super::*;
use crate::Random;

/// A cache in a folder that goes with the test.
struct Kept(Cache);

impl Kept {
    fn new(name: &str, limit: u64) -> Kept {
        let folder = std::env::temp_dir().join(format!("trt-cache-{name}-{}", std::process::id()));
        Kept(Cache::new(folder, limit))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0.folder));
    }
}

fn value(cache: &Cache, key: &[u8]) -> Option<Vec<u8>> {
    cache.get("kernels", key).map(|b| b.to_vec())
}

#[test]
fn keys_that_differ_in_one_bit_share_nothing() {
    let kept = Kept::new("bits", 1 << 24);
    let mut random = Random::new(1);
    let key: Vec<u8> = (0..24).map(|_| random.bits() as u8).collect();
    let mut keys = vec![key.clone(), key[..23].to_vec(), [&key[..], &[0]].concat(), Vec::new()];
    for bit in 0..8 * key.len() {
        let mut other = key.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        keys.push(other);
    }
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(value(&kept.0, key), None);
        kept.0.put("kernels", key, &at.to_le_bytes());
    }
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(value(&kept.0, key), Some(at.to_le_bytes().to_vec()));
        assert!(kept.0.get("tactics", key).is_none());
    }
    // A file under another key's name is not taken for that key's.
    let (a, b) = (kept.0.path("kernels", &keys[0]), kept.0.path("kernels", &keys[1]));
    std::fs::copy(a, b).unwrap();
    assert_eq!(value(&kept.0, &keys[1]), None);
}

#[test]
fn damage_is_a_miss() {
    let kept = Kept::new("damage", 1 << 24);
    kept.0.put("kernels", b"key", b"a value of some length");
    let path = kept.0.path("kernels", b"key");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(value(&kept.0, b"key"), None, "byte {at}");
        std::fs::write(&path, &good[..at]).unwrap();
        assert_eq!(value(&kept.0, b"key"), None, "{at} bytes");
    }
    kept.0.put("kernels", b"key", b"again");
    assert_eq!(value(&kept.0, b"key"), Some(b"again".to_vec()));
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let kept = Kept::new("oldest", 1 << 24);
    let hour = |n: u64| SystemTime::now() - Duration::from_secs(3600 * (10 - n));
    for n in 0..4u8 {
        kept.0.put("kernels", &[n], &[n; 1000]);
        let file = std::fs::File::options().append(true).open(kept.0.path("kernels", &[n])).unwrap();
        file.set_modified(hour(u64::from(n))).unwrap();
    }
    let stranger = kept.0.folder.join("notes.txt");
    std::fs::write(&stranger, "not ours").unwrap();
    let lost = kept.0.folder.join(format!(".{:032x}.kernels.1-2", 7));
    std::fs::write(&lost, "half").unwrap();
    std::fs::File::options().append(true).open(&lost).unwrap().set_modified(hour(0)).unwrap();
    let fresh = kept.0.folder.join(format!(".{:032x}.kernels.3-4", 8));
    std::fs::write(&fresh, "half").unwrap();
    // Reading the oldest makes it the newest.
    assert!(value(&kept.0, &[0]).is_some());
    let bytes = kept.0.list()[0].bytes;
    let gone = kept.0.prune(2 * bytes);
    assert_eq!((gone.removed.len(), gone.left.len(), gone.fault), (2, 0, None));
    let left: Vec<bool> = (0..4u8).map(|n| kept.0.path("kernels", &[n]).exists()).collect();
    assert_eq!(left, [true, false, false, true]);
    assert!(stranger.exists() && !lost.exists() && fresh.exists());
    // Putting prunes by itself.
    let small = Cache::new(kept.0.folder(), bytes);
    small.put("kernels", &[9], &[9; 1000]);
    assert_eq!(small.list().len(), 1);
    assert_eq!((small.clear().removed.len(), small.list().len()), (1, 0));
    assert!(stranger.exists());
}

#[test]
fn what_was_just_put_stays_whatever_clocks_say() {
    let kept = Kept::new("clocks", 1 << 24);
    for n in 0..4u8 {
        kept.0.put("kernels", &[n], &[n; 1000]);
        let file = std::fs::File::options().append(true).open(kept.0.path("kernels", &[n])).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    }
    let small = Cache::new(kept.0.folder(), 2 * kept.0.list()[0].bytes);
    small.put("kernels", &[9], &[9; 1000]);
    assert_eq!(value(&small, &[9]), Some(vec![9; 1000]));
    assert_eq!(small.list().len(), 2);
}

#[test]
fn many_write_and_read_at_once() {
    let kept = Kept::new("many", 40_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = kept.0.clone();
            scope.spawn(move || {
                let mut random = Random::new(thread);
                for _ in 0..100 {
                    let key = [random.below(12) as u8];
                    match value(&cache, &key) {
                        Some(found) => assert_eq!(found, [key[0]; 5000]),
                        None => cache.put("kernels", &key, &[key[0]; 5000]),
                    }
                }
            });
        }
    });
    assert!(kept.0.list().iter().map(|e| e.bytes).sum::<u64>() <= 40_000);
}

#[test]
fn a_folder_that_cannot_be_is_no_fault() {
    let kept = Kept::new("file", 100);
    std::fs::write(&kept.0.folder, "a file").unwrap();
    kept.0.put("kernels", b"key", b"value");
    assert!(
        value(&kept.0, b"key").is_none() && kept.0.list().is_empty() && kept.0.clear() == Removal::default()
    );
    std::fs::remove_file(&kept.0.folder).unwrap();
}
