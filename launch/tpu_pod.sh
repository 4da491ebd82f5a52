#!/usr/bin/env bash
# Trains on all hosts of a TPU slice.
#
#   TPU=my-v5e-16 ZONE=us-west4-a \
#     launch/tpu_pod.sh WORKDIR CONFIG [--config.field=value ...]
#
# Needs gcloud. On every host: the repository in REPO with its virtual
# environment (launch/README.md), and WORKDIR on a mounted shared file system.
# DRY_RUN=1 prints what the hosts would run.
set -euo pipefail

if (( $# < 2 )); then
  echo "Usage: TPU=NAME ZONE=ZONE launch/tpu_pod.sh WORKDIR CONFIG [FLAGS]" >&2
  exit 2
fi
: "${TPU:?name of the TPU VM}" "${ZONE:?zone of the TPU VM}"
repo=${REPO:-fusion_jax}
venv=${VENV:-.venv}
workdir=$1
config=$2
shift 2

# Quoted for the shell of the hosts.
arguments=$(printf ' %q' --config "$config" --workdir "$workdir" "$@")
python=$(printf '%q' "$venv/bin/python")
cache=$(printf '%q' "${JAX_COMPILATION_CACHE_DIR:-$workdir/cache}")

command="
  set -e
  cd $(printf '%q' "$repo")
  export JAX_COMPILATION_CACHE_DIR=$cache
  exec $python -m fusion_jax.main --distributed$arguments"
if [[ -n ${DRY_RUN:-} ]]; then
  echo "On every host of $TPU:$command"
  exit
fi
gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all \
  --command="$command"
