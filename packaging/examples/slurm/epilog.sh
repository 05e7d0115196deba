#!/bin/bash
# Slurm Epilog: ends the leases that prolog.sh began. Never fails: a failing epilog drains the node.
set -u
[ -n "${SLURM_JOB_GPUS:-}" ] || exit 0
command -v rackmark >/dev/null || exit 0
IFS=, read -ra gpus <<<"$SLURM_JOB_GPUS"
for gpu in "${gpus[@]}"; do
  timeout 10 rackmark lease end "slurm-$SLURM_JOB_ID-gpu$gpu" >/dev/null ||
    logger -t rackmark-epilog "the lease of GPU $gpu of job $SLURM_JOB_ID was not ended"
done
exit 0
