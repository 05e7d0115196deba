#!/bin/bash
# Slurm HealthCheckProgram: drains this node while rackmark says that it should get no new work, and only ever
# resumes what it drained itself.
#
#   HealthCheckProgram=/usr/local/lib/rackmark/rackmark-healthcheck.sh
#   HealthCheckInterval=60
#   HealthCheckNodeState=ANY,CYCLE
#
# Slurm drains whole nodes. RACKMARK_DRAIN_FROM=1 (default) drains already when one GPU is draining;
# 2 waits until the node is unusable or unknown, and leaves single GPUs to the prolog.
set -u
drain_from=${RACKMARK_DRAIN_FROM:-1}
node=${SLURMD_NODENAME:-$(hostname -s)}
mark="rackmark:"

command -v rackmark >/dev/null || { logger -t rackmark-healthcheck "rackmark is not installed"; exit 0; }
# An agent that does not answer is not a healthy node: 124 (time-out) counts as unknown.
reason=$(timeout 10 rackmark check 2>&1)
code=$?
reason=$(printf '%s' "$reason" | head -n 1 | tr -d '"' | cut -c 1-200)

# The reason Slurm has for the node, "none" where it has none.
present=$(scontrol show node "$node" 2>/dev/null | sed -n 's/^ *Reason=\(.*\)$/\1/p' | head -n 1)
if [ "$code" -ge "$drain_from" ]; then
  case $present in
    "" | "none" | "$mark"*) scontrol update NodeName="$node" State=DRAIN Reason="$mark ${reason:-no answer ($code)}" ;;
    *) ;; # drained by somebody else, with a reason of theirs
  esac
else
  case $present in
    "$mark"*) scontrol update NodeName="$node" State=RESUME ;;
  esac
fi
exit 0
