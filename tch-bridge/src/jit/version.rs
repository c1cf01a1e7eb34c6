//! The libtorch that the process runs with, which the dynamic linker chose.

/// Major and minor version that this crate is built for.
const WANTED: (u8, u8) = (2, 11);

unsafe extern "C" {
    /// Of `aoti_torch/c/shim.h`: a byte for the major version, then one for the minor one.
    fn aoti_torch_abi_version() -> u64;
}

/// What is wrong with it, in one sentence; `None` where it is of the version that this crate is built for.
pub fn foreign_libtorch() -> Option<String> {
    // SAFETY: the function takes nothing and reads a constant.
    let [major, minor, ..] = unsafe { aoti_torch_abi_version() }.to_be_bytes();
    let (wanted, found) = (WANTED, (major, minor));
    (found != wanted).then(|| {
        format!(
            "libtorch {}.{} was loaded, {}.{} is needed: LD_LIBRARY_PATH may name the folder of its libraries",
            found.0, found.1, wanted.0, wanted.1
        )
    })
}
