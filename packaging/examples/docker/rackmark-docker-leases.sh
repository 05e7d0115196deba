#!/bin/bash
# Turns containers with GPUs into leases: `docker events` starts and ends them. Run it as a service, as root or as a
# member of the groups docker and rackmark-admin; it needs neither jq nor the Docker API.
#
# A lease lasts 30 days, longer than most containers; after a crash of this script the next start puts leases right.
# What it knows about a container's leases stands in files, because a removed container cannot be asked any more.
set -u
known=${RACKMARK_DOCKER_STATE:-/run/rackmark-docker}
driver=${RACKMARK_DOCKER_DRIVER:-/proc/driver/nvidia/gpus}
mkdir -p "$known"

# The GPUs of a container, one a line, as rackmark takes them: slot, UUID or PCI address.
gpus_of() {
  local requests word visible
  requests=$(docker inspect --format '{{range .HostConfig.DeviceRequests}}{{range .DeviceIDs}}{{println .}}{{end}}{{if not .DeviceIDs}}count {{.Count}}{{println}}{{end}}{{end}}' "$1")
  visible=$(docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$1" | sed -n 's/^NVIDIA_VISIBLE_DEVICES=//p' | tail -n 1)
  if [ -z "$requests" ]; then
    # The older way, by runtime and environment.
    [ "$(docker inspect --format '{{.HostConfig.Runtime}}' "$1")" = nvidia ] || return 0
    case $visible in
      "" | void | none) return 0 ;;
      all) requests="count -1" ;;
      *) requests=${visible//,/$'\n'} ;;
    esac
  fi
  while read -r word number; do
    case "$word ${number:-}" in
      "count -1") (cd "$driver" && printf '%s\n' *) ;;                     # all: by PCI address
      "count "*) (cd "$driver" && printf '%s\n' *) | head -n "$number" ;; # the first ones: what Docker's GPU hook gives
      *) [ -z "$word" ] || printf '%s\n' "$word" ;;
    esac
  done <<<"$requests"
}

started() {
  local gpu lease
  [ ! -e "$known/$1" ] || return 0
  for gpu in $(gpus_of "$1"); do
    lease="docker-${1:0:12}-$gpu"
    if rackmark lease start --gpu "$gpu" --id "$lease" --for 720h >/dev/null; then
      printf '%s\n' "$lease" >>"$known/$1"
    else
      echo "no lease for GPU $gpu of container ${1:0:12}" >&2
    fi
  done
}

ended() {
  local lease
  [ -e "$known/$1" ] || return 0
  while read -r lease; do
    rackmark lease end "$lease" >/dev/null || echo "lease $lease was not ended" >&2
  done <"$known/$1"
  rm -f "$known/$1"
}

# Events first, then what runs already: nothing falls between the two.
docker events --filter type=container --filter event=start --filter event=die --format '{{.Action}} {{.ID}}' | {
  running=$(docker ps --quiet --no-trunc)
  for file in "$known"/*; do
    [ -e "$file" ] || continue
    grep -qx "$(basename "$file")" <<<"$running" || ended "$(basename "$file")"
  done
  for container in $running; do started "$container"; done
  while read -r action container; do
    case $action in
      start) started "$container" ;;
      die) ended "$container" ;;
    esac
  done
}
