//! NVIDIA's XID codes: what each asks for.
