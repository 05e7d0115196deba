//! `rackmark-gpu`: see the library for what it does.

fn main() {
    rackmark_gpu::end(rackmark_gpu::run());
}
