"""Builds a data set through TFDS, on request with Apache Beam.

On a cluster, Beam (Flink, Spark, Dataflow) reads the parts of a source in
parallel and TFDS shuffles and writes the shards. On one machine, or as a job
array, `shards` is faster and resumes shard by shard. Both read a part with
`shards.read`, and end with the same files.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from fusion_jax.data import readers
from fusion_jax.data.builders import layout, metadata, shards, skipped


class Fusion(tfds.core.GeneratorBasedBuilder):
  """TFDS builder of any reader; see the package's docstring.

  Args:
    source: reader of the examples.
    notes: folder that gets a note about each part.
    data_dir: folder in which TFDS writes.
    beam: whether to make a Beam collection, with one element per part.
  """

  VERSION: tfds.core.Version | None = tfds.core.Version(layout.VERSION)
  # Nothing is downloaded; TFDS would look for checksums.
  url_infos: dict[str, Any] | None = {}

  def __init__(
    self,
    source: readers.Reader,
    notes: pathlib.Path,
    data_dir: pathlib.Path,
    beam: bool = False,
  ):
    self._source, self._notes, self._beam = source, notes, beam
    super().__init__(file_format='array_record', data_dir=data_dir)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self, features=self._source.schema.features()
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    return {
      split: self._generate_examples(split, parts)
      for split, parts in self._source.parts().items()
    }

  def _generate_examples(self, split: str, parts: Sequence[Any]) -> Any:
    read = _Read(self._source, self._source.schema, self._notes, split)
    if self._beam:
      import apache_beam as beam  # pyright: ignore[reportMissingImports]  # An extra of its own.

      return f'parts of {split}' >> beam.Create(
        list(enumerate(parts))
      ) | f'read {split}' >> beam.FlatMap(read)
    return (pair for part in enumerate(parts) for pair in read(part))


class _Read:
  """Yields (key, example) of a numbered part, and writes its note."""

  def __init__(
    self,
    source: readers.Reader,
    schema: readers.Schema,
    notes: pathlib.Path,
    split: str,
  ):
    self.source, self.schema = source, schema
    self.notes, self.split = str(notes), split

  def __call__(
    self, numbered_part: tuple[int, Any]
  ) -> Iterator[tuple[str, readers.Example]]:
    number, part = numbered_part
    note: shards.Note = {}
    for example in shards.read(
      self.source, self.split, part, self.schema, note
    ):
      yield example['key'], example
    layout.write_whole(
      pathlib.Path(self.notes) / f'{self.split}-{number:05d}.json',
      json.dumps(note),
    )


def build(
  source: readers.Reader,
  out: str | os.PathLike[str],
  *,
  beam_runner: str = '',
  beam_options: Sequence[str] = (),
  max_bad: float = 0.01,
  command: str = '',
) -> None:
  """Writes a whole data set through TFDS.

  Args:
    source: reader of the examples, see the package's docstring.
    out: folder of the data set; every worker has to see it.
    beam_runner: Beam runner, such as 'DirectRunner'; '' reads in this process,
      without Beam.
    beam_options: flags of the runner, such as '--flink_master=host:8081'.
    max_bad: share of the examples, 0..1, that may be unreadable.
    command: command line that `statistics.json` keeps.

  Raises:
    TooManyBadExamples: if more is unreadable; then no file remains.
  """
  out = pathlib.Path(out)
  scratch = out / '.tfds'
  shutil.rmtree(scratch, ignore_errors=True)
  try:
    builder = Fusion(source, scratch / 'notes', scratch, bool(beam_runner))
    builder.download_and_prepare(
      download_config=_config(beam_runner, beam_options)
    )
    notes = [
      json.loads(path.read_text())
      for path in sorted((scratch / 'notes').iterdir())
    ]
    skipped.check(notes, len(notes), max_bad)
    sizes = {
      split: _move(info, split, out)
      for split, info in builder.info.splits.items()
    }
    metadata.finish(out, source.schema, sizes, notes, command)
  finally:
    shutil.rmtree(scratch, ignore_errors=True)


def _config(
  beam_runner: str, beam_options: Sequence[str]
) -> tfds.download.DownloadConfig:
  """Returns the settings of TFDS: without network, and with a Beam runner."""
  if not beam_runner:
    return tfds.download.DownloadConfig()
  from apache_beam.options import pipeline_options  # pyright: ignore[reportMissingImports]  # An extra of its own.

  return tfds.download.DownloadConfig(
    beam_runner=beam_runner,
    beam_options=pipeline_options.PipelineOptions(list(beam_options)),
  )


def _move(info: Any, split: str, out: pathlib.Path) -> list[tuple[int, int]]:
  """Renames the shards of a split; returns (examples, bytes) of each."""
  paths = sorted(map(pathlib.Path, info.filepaths))
  for i, path in enumerate(paths):
    path.rename(out / layout.shard_name(split, i, len(paths)))
  share = info.num_bytes // len(paths)
  return [(length, share) for length in info.shard_lengths]
