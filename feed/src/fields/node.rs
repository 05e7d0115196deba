//! Fields of the node (driver, configuration) and of MIG instances.

use super::{FieldInfo, table};

#[rustfmt::skip]
pub(super) static DRIVER: &[FieldInfo] = &table![Driver;
    1000 "driver_version" t O "" "Driver version; nvmlSystemGetDriverVersion.",
    1001 "nvml_version" t O "" "NVML version; nvmlSystemGetNVMLVersion.",
    1002 "cuda_driver_version" t B "" "Highest CUDA version of the driver as major.minor; nvmlSystemGetCudaDriverVersion_v2.",
    1003 "driver_branch" t O "" "Branch of the driver; nvmlSystemGetDriverBranch.",
    1004 "confidential_computing" t B "" "off, on or devtools; nvmlSystemGetConfComputeState.",
    1010 "host_cpu_model" t B "" "Processor model; /proc/cpuinfo.",
    1011 "host_cpus_logical" u P "count" "Logical processors; /proc/cpuinfo.",
    1012 "host_numa_nodes" u B "count" "NUMA nodes; sysfs.",
    1013 "host_memory_total_bytes" u P "bytes" "Memory of the host; /proc/meminfo.",
];

#[rustfmt::skip]
pub(super) static DECLARED: &[FieldInfo] = &table![Declared;
    1100 "site" t P "" "Site name; configuration.",
    1101 "place" t P "" "Where the site is, in words; configuration.",
];

#[rustfmt::skip]
pub(super) static MIG: &[FieldInfo] = &table![Mig;
    2000 "mig_gpu_instance_id" u O "" "GPU instance; nvmlDeviceGetGpuInstanceId.",
    2001 "mig_compute_instance_id" u O "" "Compute instance; nvmlDeviceGetComputeInstanceId.",
    2002 "mig_uuid" t O "" "UUID of the MIG device; nvmlDeviceGetUUID.",
    2003 "mig_profile" t P "" "Profile name, such as 1g.10gb; nvmlDeviceGetName of the MIG device.",
    2004 "mig_multiprocessors" u P "count" "Multiprocessors; nvmlDeviceGetAttributes_v2.multiprocessorCount.",
    2005 "mig_copy_engines" u B "count" "Copy engines; nvmlDeviceGetAttributes_v2.sharedCopyEngineCount.",
    2006 "mig_encoders" u B "count" "Video encoders; nvmlDeviceGetAttributes_v2.sharedEncoderCount.",
    2007 "mig_decoders" u B "count" "Video decoders; nvmlDeviceGetAttributes_v2.sharedDecoderCount.",
    2008 "mig_ofas" u B "count" "Optical flow engines; nvmlDeviceGetAttributes_v2.sharedOfaCount.",
    2009 "mig_jpegs" u B "count" "JPEG engines; nvmlDeviceGetAttributes_v2.sharedJpegCount.",
    2010 "mig_memory_total_bytes" u P "bytes" "Memory, reserve included; nvmlDeviceGetMemoryInfo_v2.total of the MIG device.",
    2011 "mig_memory_reserved_bytes" u B "bytes" "Memory that the driver keeps; nvmlDeviceGetMemoryInfo_v2.reserved.",
    2012 "mig_memory_used_bytes" u O "bytes" "Memory in use; nvmlDeviceGetMemoryInfo_v2.used.",
    2013 "mig_memory_free_bytes" u O "bytes" "Memory free; nvmlDeviceGetMemoryInfo_v2.free.",
    2014 "mig_bar1_total_bytes" u O "bytes" "BAR1 window; nvmlDeviceGetBAR1MemoryInfo.bar1Total.",
    2015 "mig_bar1_used_bytes" u O "bytes" "BAR1 window in use; nvmlDeviceGetBAR1MemoryInfo.bar1Used.",
    2016 "mig_bar1_free_bytes" u O "bytes" "BAR1 window free; nvmlDeviceGetBAR1MemoryInfo.bar1Free.",
    2017 "mig_ecc_uncorrected_sram_total" u O "count" "Uncorrected SRAM errors since the driver loaded; nvmlDeviceGetMemoryErrorCounter(SRAM).",
];
