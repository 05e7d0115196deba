use rackmark_model::gpu_work::{BurnInTest, FigureKind, FigurePart, Format};

const fn format_name(format: Format) -> &'static str {
    match format {
        Format::Bf16 => "bf16",
        Format::Fp16 => "fp16",
        Format::Tf32 => "tf32",
        Format::Fp8E4m3 => "fp8",
        Format::Int8 => "int8",
        Format::Fp64 => "fp64",
    }
}

/// The name of a test in JSON, metrics and tables.
pub fn test_name(test: BurnInTest) -> String {
    match test {
        BurnInTest::MemoryPattern => "memory_pattern".to_owned(),
        BurnInTest::MemoryRead => "memory_read".to_owned(),
        BurnInTest::MemoryWrite => "memory_write".to_owned(),
        BurnInTest::MemoryCopy => "memory_copy".to_owned(),
        BurnInTest::GemmPortable(format) => format!("gemm_portable_{}", format_name(format)),
        BurnInTest::GemmHopper(format) => format!("gemm_hopper_{}", format_name(format)),
        BurnInTest::Alu => "alu".to_owned(),
        BurnInTest::Gather => "gather".to_owned(),
        BurnInTest::Pulse => "pulse".to_owned(),
        BurnInTest::HostLink => "host_link".to_owned(),
        BurnInTest::PeerLink => "peer_link".to_owned(),
        BurnInTest::Power => "power".to_owned(),
    }
}

/// The name of a figure: its test, and its part where the test has several.
pub fn figure_name(test: BurnInTest, part: FigurePart) -> String {
    let test = test_name(test);
    match part {
        FigurePart::Whole => test,
        FigurePart::ToDevice => format!("{test}_to_device"),
        FigurePart::ToHost => format!("{test}_to_host"),
        FigurePart::BothWays => format!("{test}_both_ways"),
        FigurePart::Fp32 => format!("{test}_fp32"),
        FigurePart::Fp64 => format!("{test}_fp64"),
        FigurePart::Integer => format!("{test}_integer"),
        FigurePart::Gather => format!("{test}_gather"),
        FigurePart::Atomic => format!("{test}_atomic"),
        FigurePart::Chase => format!("{test}_chase"),
        FigurePart::Peer(peer) => format!("{test}_peer{peer}"),
    }
}

/// The unit of a figure, as it stands behind its value.
pub const fn kind_unit(kind: FigureKind) -> &'static str {
    match kind {
        FigureKind::GigaOperationsPerSecond => "giga_operations_per_second",
        FigureKind::MegabytesPerSecond => "megabytes_per_second",
        FigureKind::NanosecondsPerRead => "nanoseconds_per_read",
    }
}
