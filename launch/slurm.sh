#!/usr/bin/env bash
# Trains on several nodes with GPUs, one process for each GPU.
#
#   sbatch --nodes=2 launch/slurm.sh WORKDIR CONFIG [--config.field=value ...]
#
# WORKDIR must be on a file system that all nodes share. The job resumes from
# it, also after the time limit or a preemption. `DRY_RUN=1 bash launch/slurm.sh
# ...` prints the command and runs nothing.
#SBATCH --job-name=fusion_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Five minutes before the limit every process gets SIGTERM, saves and stops.
#SBATCH --signal=TERM@300
set -euo pipefail

if (( $# < 2 )); then
  echo "Usage: sbatch launch/slurm.sh WORKDIR CONFIG [FLAGS]" >&2
  exit 2
fi
workdir=$1
config=$2
shift 2
if [[ -z ${DRY_RUN:-} ]]; then
  mkdir -p "$workdir"
fi

# A virtual environment that all nodes see; empty uses the python of the job.
if [[ -n ${VENV:-} ]]; then
  # shellcheck disable=SC1091
  source "$VENV/bin/activate"
fi
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$workdir/cache}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}

# Since version 22.05, srun no longer takes over --cpus-per-task of the job.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# JAX picks the GPU by SLURM_LOCALID among all of the node, so none is bound.
command=(srun --gpu-bind=none --kill-on-bad-exit=1
  python -m fusion_jax.main --distributed
  --config "$config" --workdir "$workdir" "$@")
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}"
  printf '\n'
  exit
fi
"${command[@]}"

# Ended well but not complete: it was told to stop. Go on in the next slot.
if [[ ! -e $workdir/metrics.json ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
