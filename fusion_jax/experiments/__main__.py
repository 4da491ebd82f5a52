r"""Runs a study of the registry: `python -m fusion_jax.experiments NAME`.

  python -m fusion_jax.experiments series-quantization --workdir runs/study
  python -m fusion_jax.experiments pixel-alignment --workdir runs/study \
      --seeds 0 1 2
  python -m fusion_jax.experiments labelled-pixels --worldcereal DIR \
      --presto DIR
"""




RESULTS = 'docs/results'  # Where the pages of this repository lie.


def main(argv: list[str] | None = None) -> int:
  """Runs the study that the command line names."""
  raise SystemExit
