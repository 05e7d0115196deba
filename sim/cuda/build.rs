//! Compiles the kernels' own source for the CPU.

fn main() {
    let kernels = "../../agent/gpu/kernels";
    println!("cargo:rerun-if-changed={kernels}");
    println!("cargo:rerun-if-changed=src/kernels.cpp");
    cc::Build::new()
        .cpp(true)
        .cpp_link_stdlib(None)
        .file("src/kernels.cpp")
        .include(kernels)
        .define("RACKMARK_SIMULATED", None)
        .std("c++17")
        // A multiply and an add that the source keeps apart stay apart.
        .flag("-ffp-contract=off")
        .flag("-fno-exceptions")
        .flag("-fno-rtti")
        .flag("-Wno-psabi")
        .flag("-Wno-unused-function")
        // A test waits for these loops, also where Rust is compiled for debugging.
        .opt_level(3)
        .debug(false)
        .compile("simulated_kernels");
    println!("cargo:rustc-link-lib=m");
}
