"""The TFDS route: the same examples through TFDS, with Apache Beam if asked.

On a cluster, Beam (Flink, Spark, Dataflow) reads the parts of a source in
parallel and TFDS shuffles and writes the shards. On one machine, or as a job
array, `shards` is faster and resumes shard by shard. Both read a part with
`shards.read`, and end with the same files.
"""

import json
import pathlib
import shutil

import tensorflow_datasets as tfds

from fusion_jax.data.builders import shards


class Fusion(tfds.core.GeneratorBasedBuilder):
  """TFDS builder of any source; see the package's docstring.

  Args:
    source: a builder's source.
    notes: folder that gets a note of each part.
    beam: whether to make a Beam collection, one piece of work a part.
    **kwargs: of `tfds.core.GeneratorBasedBuilder`.
  """

  VERSION = tfds.core.Version(shards.VERSION)
  url_infos = {}  # Nothing is downloaded; TFDS would look for checksums.

  def __init__(self, source, notes, beam=False, **kwargs):
    self._source, self._notes, self._beam = source, notes, beam
    super().__init__(file_format='array_record', **kwargs)

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self, features=self._source.schema.features()
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {
      split: self._generate_examples(split, parts)
      for split, parts in self._source.parts().items()
    }

  def _generate_examples(self, split, parts):
    read = _Read(self._source, self._source.schema, self._notes, split)
    if self._beam:
      import apache_beam as beam  # A cluster's own extra.

      return f'parts of {split}' >> beam.Create(
        list(enumerate(parts))
      ) | f'read {split}' >> beam.FlatMap(read)
    return (pair for part in enumerate(parts) for pair in read(part))


class _Read:
  """Yields (key, example) of a numbered part, and writes its note."""

  def __init__(self, source, schema, notes, split):
    self.source, self.schema = source, schema
    self.notes, self.split = str(notes), split

  def __call__(self, numbered_part):
    number, part = numbered_part
    note = {}
    for example in shards.read(
      self.source, self.split, part, self.schema, note
    ):
      yield example['key'], example
    shards.write_whole(
      pathlib.Path(self.notes) / f'{self.split}-{number:05d}.json',
      json.dumps(note),
    )


def build(
  source, out, *, beam_runner='', beam_options=(), max_bad=0.01, command=''
):
  """Writes a whole data set through TFDS.

  Args:
    source: see the package's docstring.
    out: folder of the data set; every worker has to see it.
    beam_runner: such as 'DirectRunner'; '' reads in this process, no Beam.
    beam_options: flags of the runner, such as '--flink_master=host:8081'.
    max_bad: share of the examples, 0..1, that may be unreadable.
    command: kept in `statistics.json`.

  Raises:
    shards.TooManyBadExamples: if more is; nothing is left behind then.
  """
  out = pathlib.Path(out)
  scratch = out / '.tfds'
  shutil.rmtree(scratch, ignore_errors=True)
  try:
    builder = Fusion(
      source, scratch / 'notes', bool(beam_runner), data_dir=scratch
    )
    builder.download_and_prepare(
      download_config=_config(beam_runner, beam_options)
    )
    notes = [
      json.loads(path.read_text())
      for path in sorted((scratch / 'notes').iterdir())
    ]
    shards.check_bad(notes, len(notes), max_bad)
    sizes = {
      split: _move(info, split, out)
      for split, info in builder.info.splits.items()
    }
    shards.finish(out, source.schema, sizes, notes, command)
  finally:
    shutil.rmtree(scratch, ignore_errors=True)


def _config(beam_runner, beam_options):
  """TFDS's settings: no network, and which Beam."""
  if not beam_runner:
    return tfds.download.DownloadConfig()
  from apache_beam.options import pipeline_options

  return tfds.download.DownloadConfig(
    beam_runner=beam_runner,
    beam_options=pipeline_options.PipelineOptions(list(beam_options)),
  )


def _move(info, split, out):
  """Gives a split's shards our names; [(examples, bytes) of each]."""
  paths = sorted(map(pathlib.Path, info.filepaths))
  for i, path in enumerate(paths):
    path.rename(out / f'{split}-{i:05d}-of-{len(paths):05d}.array_record')
  share = info.num_bytes // len(paths)
  return [(length, share) for length in info.shard_lengths]
