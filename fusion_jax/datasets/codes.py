"""Codes of tokenizers beside the images and series of a prepared data set."""

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING

from absl import logging

from fusion_jax import folders, modalities
from fusion_jax.datasets import build, description, recipe

if TYPE_CHECKING:
  from fusion_jax.data.builders import tokenising
  from fusion_jax.inference import image_codec, series_codec

_MOST_CODES = 2**16  # They are stored as uint16.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codes:
  """Codes of tokenizers, added to a prepared data set.

  The codes go into the files of the data set. Killed, the step goes on where
  it was; done, it does nothing. Images are spread over all devices of a
  process. Tokenizers of series are copied into the folder series_codes of the
  data set, where pretraining looks for them.

  Attributes:
    data: Folder of the prepared data set, which gets the codes.
    tokenizers: Work directories of trained or converted tokenizers, one for
      each modality.
    image_size: Pixels per side of what is tokenised at once; the size that
      pretraining shows.
    squares: Number of squares of an example that get codes, the one at the
      centre and random ones; 1 where the images have just the image size.
    batch_size: Number of squares or series that are encoded together.
    num_workers: Number of processes, each of which loads the tokenizers. One
      uses all devices, and all processors where these are the devices.
    beam_runner: Writes with this runner of Apache Beam, such as DirectRunner
      or FlinkRunner; its workers see the data set and the tokenizers (default:
      own processes).
    beam_options: Flags of the Beam runner without their leading dashes, such
      as flink_master=host:8081.
    shard: Writes only to every N-th file from the I-th, I = 0 .. N-1, for a
      job array (default: all).
    overwrite: Replaces codes of other tokenizers or squares.
  """

  data: str
  tokenizers: tuple[str, ...]
  image_size: int = 224
  squares: int = 4
  batch_size: int = 64
  num_workers: int = 1
  beam_runner: str = ''
  beam_options: tuple[str, ...] = ()
  shard: tuple[int, int] = (0, 1)
  overwrite: bool = False

  def __post_init__(self) -> None:
    paths = tuple(recipe.absolute(path) for path in self.tokenizers)
    object.__setattr__(self, 'tokenizers', paths)
    if not self.tokenizers:
      raise ValueError('No tokenizers are named; give one or more.')
    if self.image_size < 1 or self.squares < 1 or self.batch_size < 1:
      raise ValueError(
        f'image_size={self.image_size}, squares={self.squares} and '
        f'batch_size={self.batch_size} must be 1 or more.'
      )
    if self.num_workers < 1:
      raise ValueError(
        f'num_workers={self.num_workers} is not a number of 1 or more.'
      )
    build.check_beam(self.beam_runner, self.beam_options)
    build.check_shard(self.shard)


def write_codes(step: Codes) -> bool:
  """Adds codes of every tokenizer to a data set.

  Args:
    step: which tokenizers and which data set.

  Returns:
    Whether every shard has its codes now; False while other processes of a
    job array are at work.

  Raises:
    ValueError: if the data set lacks a field, has codes of other tokenizers,
      if another process writes to it, or if a work directory holds no
      tokenizer, or one with more codes than pretraining reads.
    FileNotFoundError: if there is no finished data set.
  """
  folders.existing(step.data)
  with build.hold(step.data, step.shard):
    return _write_codes(step)


def _write_codes(step: Codes) -> bool:
  """Adds codes to a data set that no other process writes to."""
  from fusion_jax.data.builders import codes, tokenising, workers
  from fusion_jax.inference import series_codec

  beam = build.beam(step.beam_runner, step.beam_options)
  codecs = {workdir: _load(workdir) for workdir in step.tokenizers}
  encoders = [e for item in codecs.items() for e in _encoders(*item)]
  has_images = any(e.modality.kind == 'tokens' for e in encoders)
  spread = None
  if beam or step.num_workers > 1:
    spread = codes.Spread(
      beam.run
      if beam
      else functools.partial(workers.run, num_workers=step.num_workers),
      functools.partial(
        open_encoders, step.tokenizers, tuple(e.fingerprint for e in encoders)
      ),
    )
  done = codes.write(
    step.data,
    encoders,
    tokenising.Squares(step.image_size, step.squares) if has_images else None,
    batch_size=step.batch_size,
    share=step.shard,
    overwrite=step.overwrite,
    compression=_compression(pathlib.Path(step.data)),
    spread=spread,
  )
  for codec in codecs.values() if done else ():
    if isinstance(codec, series_codec.SeriesCodec):
      for tokenizer in codec.codes.values():
        tokenizer.save(step.data)
  return done


def _load(workdir: str) -> 'image_codec.ImageCodec | series_codec.SeriesCodec':
  """Loads a tokenizer.

  Raises:
    ValueError: if the work directory holds another model.
  """
  from fusion_jax import inference
  from fusion_jax.inference import image_codec, series_codec

  codec = inference.load(workdir)
  if not isinstance(codec, image_codec.ImageCodec | series_codec.SeriesCodec):
    raise inference.wrong_kind(
      workdir,
      codec,
      'writing codes',
      image_codec.ImageCodec,
      series_codec.SeriesCodec,
    )
  return codec


@functools.cache  # A worker calls it for every shard.
def open_encoders(
  workdirs: tuple[str, ...], fingerprints: tuple[str, ...]
) -> list['tokenising.Encoder']:
  """Loads tokenizers; one encoder for each modality.

  Args:
    workdirs: their work directories.
    fingerprints: digests of the encoders, as another process loaded them.

  Raises:
    ValueError: if one is no tokenizer, or not the one of its digest.
  """
  encoders = [e for w in workdirs for e in _encoders(w, _load(w))]
  if tuple(e.fingerprint for e in encoders) != fingerprints:
    raise ValueError(
      f'The tokenizers in {", ".join(workdirs)} have changed since the step '
      'began; start it again.'
    )
  return encoders


def _encoders(
  workdir: str, codec: 'image_codec.ImageCodec | series_codec.SeriesCodec'
) -> list['tokenising.Encoder']:
  """One encoder for each modality of a tokenizer."""
  from fusion_jax.inference import series_codec

  if isinstance(codec, series_codec.SeriesCodec):
    return _series_encoders(codec, workdir)
  return [_image_encoder(codec, workdir)]


def _compression(data: pathlib.Path) -> str:
  """Compression of the records of a data set, as it was made with."""
  if not (data / description.FILE).exists():
    return 'uncompressed'  # `prepare` did not make it.
  return description.read(data)['compression']


def _image_encoder(
  codec: 'image_codec.ImageCodec', workdir: str
) -> 'tokenising.Encoder':
  """The encoder of a tokenizer of images.

  Raises:
    ValueError: if it has more codes than pretraining reads.
  """
  from fusion_jax.data.builders import tokenising

  if codec.num_codes > codec.modality.vocab_size:
    raise ValueError(
      f'{workdir} makes {codec.num_codes} codes, but pretraining reads '
      f'{codec.modality.vocab_size} of {codec.modality.name}; train it '
      'with the levels of configs/image_tokenizer.py.'
    )
  logging.info('%s is tokenised by %s.', codec.modality.field, workdir)
  return tokenising.Encoder(codec.modality, codec.fingerprint(), codec.encode)


def _series_encoders(
  codec: 'series_codec.SeriesCodec', workdir: str
) -> list['tokenising.Encoder']:
  """One encoder for each series of a tokenizer.

  Raises:
    ValueError: if pretraining cannot read its codes.
  """
  from fusion_jax.data.builders import tokenising

  if codec.stride > 1 or codec.vocab_size > _MOST_CODES:
    raise ValueError(
      f'{workdir} makes a code of {codec.stride} steps, out of '
      f'{codec.vocab_size}; pretraining reads one of each step, out of at '
      f'most {_MOST_CODES}. Train it with stride=1 and fewer levels.'
    )
  logging.info('%s are tokenised by %s.', ', '.join(codec.names), workdir)
  return [
    tokenising.Encoder(
      dataclasses.replace(
        modalities.MODALITIES[name], vocab_size=one.vocab_size
      ),
      one.fingerprint,
      one.encode,
    )
    for name, one in codec.codes.items()
  ]
