#!/bin/bash
# Slurm Prolog: refuses a GPU that is unusable, and tells rackmark for whom its GPUs work now. Needs
# `PrologFlags=Alloc`, so that it runs when the job gets its node.
#
# SLURM_JOB_GPUS holds minor numbers (the N of /dev/nvidiaN). On most machines they are in the order of PCI addresses
# and equal rackmark's slots; compare `rackmark status` with `ls /proc/driver/nvidia/gpus` once before you use this.
set -u
[ -n "${SLURM_JOB_GPUS:-}" ] || exit 0
command -v rackmark >/dev/null || exit 0

IFS=, read -ra gpus <<<"$SLURM_JOB_GPUS"
for gpu in "${gpus[@]}"; do
  if reason=$(timeout 10 rackmark check --gpu "$gpu" 2>&1); then continue; else code=$?; fi
  # 1 is draining: whoever placed the job knew it. From 2 on the job would fail: Slurm requeues it.
  if [ "$code" -ge 2 ]; then
    echo "print GPU $gpu: $reason"
    exit 1
  fi
done

if [ -n "${SLURM_JOB_END_TIME:-}" ]; then
  length=(--until "$(date -u -d "@$SLURM_JOB_END_TIME" +%Y-%m-%dT%H:%M:%SZ)")
else
  length=(--for 24h)
fi
for gpu in "${gpus[@]}"; do
  # A lease is information: a job is not refused for want of it.
  timeout 10 rackmark lease start --gpu "$gpu" --id "slurm-$SLURM_JOB_ID-gpu$gpu" "${length[@]}" >/dev/null ||
    logger -t rackmark-prolog "no lease for GPU $gpu of job $SLURM_JOB_ID"
done
exit 0
