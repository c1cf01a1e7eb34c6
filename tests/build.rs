//! Lets the tests find libtorch without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_TCH_TRT_RPATH");
    if let Ok(libtorch) = std::env::var("DEP_TCH_TRT_RPATH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}");
    }
}
