"""Runs a function on items by Apache Beam: the route of a cluster.

Beam (Flink, Spark, Dataflow) spreads the items, which are whole shards, over
its workers. Each does just what a process of `workers` does, so both routes
write the same bytes, and both go on with the first shard that is missing.
Differs from the builders of TFDS, which send every example through Beam,
shuffle them and decide the number of shards themselves: then no shard is
finished before the last example is read, and a killed build starts anew.
"""

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from fusion_jax import extras

T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Beam:
  """A runner of Apache Beam.

  Attributes:
    runner: name of the runner, such as 'DirectRunner' or 'FlinkRunner'.
    options: its flags, such as '--flink_master=host:8081'.
  """

  runner: str
  options: tuple[str, ...] = ()

  def run(
    self,
    function: Callable[..., Any],
    items: Sequence[T],
    arguments: tuple[Any, ...],
  ) -> Generator[T]:
    """Calls `function(item, *arguments)` for every item on Beam's workers.

    Args:
      function: function of a module that a worker can import.
      items: first arguments; they can be pickled.
      arguments: other arguments of every call; they can be pickled.

    Yields:
      Each item, in the order of `items`, when all are done.

    Raises:
      MissingExtraError: if Beam is not installed.
      Exception: what `function` raises, as the runner passes it on.
    """
    with extras.needed('beam', 'Writing through Apache Beam'):
      import apache_beam as beam  # pyright: ignore[reportMissingImports]  # An extra of its own.
      from apache_beam.options import pipeline_options  # pyright: ignore[reportMissingImports]  # An extra of its own.
    if items:
      options = pipeline_options.PipelineOptions(list(self.options))
      with beam.Pipeline(self.runner, options=options) as pipeline:
        _ = (
          pipeline
          | 'items' >> beam.Create(list(items))
          | 'spread' >> beam.Reshuffle()
          | 'work' >> beam.Map(_Call(function, arguments))
        )
    yield from items


class _Call:
  """A function with all arguments but the first; Beam infers no types of it."""

  def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]):
    self._function, self._arguments = function, arguments

  def __call__(self, item: Any) -> None:
    self._function(item, *self._arguments)
