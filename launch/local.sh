#!/usr/bin/env bash
# Trains with several processes on this machine.
#
#   PROCESSES=4 launch/local.sh WORKDIR CONFIG [--config.field=value ...]
#
# With GPUs, each process gets the GPU of its number, among those of
# CUDA_VISIBLE_DEVICES if it is set. Without, each has DEVICES virtual devices
# (default 1) of the CPU. The output of a process stands behind its number. If
# one process fails, all are stopped. VENV is the virtual environment, PORT the
# coordinator's (default: a free one). DRY_RUN=1 prints the commands only.
set -euo pipefail

if (( $# < 2 )); then
  echo "Usage: PROCESSES=N launch/local.sh WORKDIR CONFIG [FLAGS]" >&2
  exit 2
fi
processes=${PROCESSES:-2}
devices=${DEVICES:-1}
workdir=$1
config=$2
shift 2

python=${VENV:+$VENV/bin/}python
# A port that nobody listens to, for the coordinator.
port=${PORT:-$("$python" -c 'import socket
with socket.socket() as free:
  free.bind(("localhost", 0))
  print(free.getsockname()[1])')}

IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES:-}"

start() {  # The number of the process.
  local environment=(JAX_NUM_CPU_DEVICES="$devices"
    JAX_CPU_COLLECTIVES_IMPLEMENTATION=gloo
    GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}")  # As make does.
  if command -v nvidia-smi >/dev/null && [[ ${JAX_PLATFORMS:-} != cpu ]]; then
    environment=(CUDA_VISIBLE_DEVICES="${gpus[$1]:-$1}")
  fi
  local command=(env "${environment[@]}" "$python" -m fusion_jax.main
    --config "$config" --workdir "$workdir"
    --coordinator_address="localhost:$port"
    --num_processes="$processes" --process_id="$1" "${@:2}")
  if [[ -n ${DRY_RUN:-} ]]; then
    printf '%q ' "${command[@]}"
    printf '\n'
    return
  fi
  exec "${command[@]}" > >(sed -u "s/^/[$1] /") 2>&1
}

pids=()
stop() {  # The signal.
  local pid
  for pid in "${pids[@]}"; do
    kill -"$1" "$pid" 2>/dev/null || true
  done
}

# Told to stop, the run saves first; that may take its time.
stopping=
trap 'stopping=1; stop TERM' INT TERM

for (( i = 0; i < processes; i++ )); do
  if [[ -n $stopping ]]; then
    break
  elif [[ -n ${DRY_RUN:-} ]]; then
    start "$i" "$@"
  else
    start "$i" "$@" &
    pids+=("$!")
  fi
done

status=0  # Of the first process that failed.
deadline=
while (( ${#pids[@]} )); do
  running=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
      continue
    fi
    code=0
    wait "$pid" || code=$?
    if (( code && ! status )); then
      status=$code
      echo "A process ended with status $code; the others are stopped." >&2
      stop TERM
      deadline=$(( SECONDS + 20 ))
    fi
  done
  pids=("${running[@]}")
  if [[ -n $deadline ]] && (( SECONDS > deadline )); then
    stop KILL
  fi
  sleep 0.1
done
exit "$status"
