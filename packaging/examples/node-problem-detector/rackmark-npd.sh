#!/bin/bash
# Plugin of the node-problem-detector: 0 no problem, 1 problem, 2 unknown; one line on standard output.
set -u
reason=$(timeout 8 rackmark check 2>/dev/null)
code=$?
reason=$(printf '%s' "$reason" | head -n 1 | cut -c 1-80)
case $code in
  0) echo "${reason:-schedulable}"; exit 0 ;;
  # What rackmark calls unknown is a problem too: nobody may say that the node is healthy.
  1 | 2) echo "${reason:-not schedulable}"; exit 1 ;;
  # No answer from the tool itself (not installed, killed): the detector keeps what it knew.
  *) echo "rackmark check: exit code $code"; exit 2 ;;
esac
