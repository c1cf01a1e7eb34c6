//! Lets a program that links the library find libtorch (a process that has libtorch already keeps its own), and binds the library's
//! symbols to itself: libraries that are made by the same tools have symbols of the same names.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic,-soname,libtch_trt.so");
    println!("cargo::rerun-if-env-changed=DEP_TCH_TRT_RPATH");
    if let Ok(libtorch) = std::env::var("DEP_TCH_TRT_RPATH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libtorch}");
        // Where pip's libtorch has CUDA's libraries: `tch-trt plan` does without the libtorch that knows.
        for package in ["cu13", "cudnn"] {
            println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{libtorch}/../../nvidia/{package}/lib");
        }
    }
}
