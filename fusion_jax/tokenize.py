r"""Runs tokenizers over a prepared data set and stores their codes.

  python -m fusion_jax.prepare tokenize --data DIR --tokenizers RUN... \
      --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

Codes are written beside the images and the weather series, into the same
files. Killed, it goes on where it was; done, it does nothing. Images are spread
over all devices of a process. Tokenizers of series are copied into the folder
`series_codes` of the data set: pretraining takes them from there.
"""

import argparse
import dataclasses
import pathlib

from absl import flags, logging

from fusion_jax import inference, modalities
from fusion_jax.data.builders import codes
from fusion_jax.inference import image_codec, series_codec

_MOST_CODES = 2**16  # They are stored as uint16.


def tokenize(
  data,
  tokenizers,
  *,
  image_size=224,
  squares=4,
  batch_size=64,
  share=(0, 1),
  overwrite=False,
):
  """Adds codes of every tokenizer to a data set.

  Args:
    data: folder that `prepare` wrote.
    tokenizers: work directories of `configs/image_tokenizer.py` and
      `configs/series_tokenizer.py`, or what `convert` wrote, one for each
      modality.
    image_size: pixels a side of what is tokenised at once: the size that
      pretraining shows.
    squares: how many squares of every example get codes: that at the centre,
      and random ones. Where the images have just `image_size`, one.
    batch_size: squares or series encoded together.
    share: (i, n): every n-th shard from the i-th.
    overwrite: replace codes of other tokenizers or squares.

  Returns:
    Whether every shard has its codes now.

  Raises:
    ValueError: as `codes.write`; or if a work directory holds no tokenizer, or
      one with more codes than pretraining reads.
  """
  encoders, of_series = [], []
  for workdir in tokenizers:
    codec = inference.load(workdir)
    if isinstance(codec, image_codec.ImageCodec):
      encoders.append(_image_encoder(codec, workdir))
    elif isinstance(codec, series_codec.SeriesCodec):
      of_series += codec.codes.values()
      encoders += _series_encoders(codec, workdir)
    else:
      raise ValueError(
        f'{workdir} holds a run of the task {codec.config.task!r}, not one '
        'of configs/image_tokenizer.py or configs/series_tokenizer.py.'
      )
  images = any(e.modality.kind == 'tokens' for e in encoders)
  done = codes.write(
    data,
    encoders,
    codes.Squares(image_size, squares) if images else None,
    batch_size=batch_size,
    share=share,
    overwrite=overwrite,
  )
  for tokenizer in of_series if done else ():
    tokenizer.save(data)
  return done


def _image_encoder(codec, workdir):
  if codec.num_codes > codec.modality.vocab_size:
    raise ValueError(
      f'{workdir} makes {codec.num_codes} codes, but pretraining reads '
      f'{codec.modality.vocab_size} of {codec.modality.name}; train it '
      'with the levels of configs/image_tokenizer.py.'
    )
  logging.info('%s is tokenised by %s.', codec.modality.field, workdir)
  return codes.Encoder(codec.modality, codec.fingerprint(), codec.encode)


def _series_encoders(codec, workdir):
  """One `codes.Encoder` for each series of a tokenizer."""
  if codec.stride > 1 or codec.vocab_size > _MOST_CODES:
    raise ValueError(
      f'{workdir} makes a code of {codec.stride} steps, out of '
      f'{codec.vocab_size}; pretraining reads one of each step, out of at '
      f'most {_MOST_CODES}. Train it with stride=1 and fewer levels.'
    )
  logging.info('%s are tokenised by %s.', ', '.join(codec.names), workdir)
  return [
    codes.Encoder(
      dataclasses.replace(
        modalities.MODALITIES[name], vocab_size=one.vocab_size
      ),
      one.fingerprint,
      one.encode,
    )
    for name, one in codec.codes.items()
  ]


def _parser(share):
  """The command line; `share` parses I/N."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.prepare tokenize',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add(
    '--data',
    required=True,
    metavar='DIR',
    type=pathlib.Path,
    help='the prepared data set, which gets the codes',
  )
  add(
    '--tokenizers',
    required=True,
    nargs='+',
    metavar='DIR',
    help='work directories of trained or converted tokenizers',
  )
  add(
    '--image_size',
    type=int,
    default=224,
    metavar='N',
    help='pixels a side of what is tokenised at once: the size that '
    'pretraining shows (default: %(default)s)',
  )
  add(
    '--squares',
    type=int,
    default=4,
    metavar='N',
    help='squares of an example that get codes: the centre, and random ones '
    '(default: %(default)s)',
  )
  add(
    '--batch_size',
    type=int,
    default=64,
    metavar='N',
    help='squares or series encoded together (default: %(default)s)',
  )
  add(
    '--shard',
    dest='share',
    type=share,
    default=(0, 1),
    metavar='I/N',
    help='every N-th shard from the I-th, I = 0 .. N-1, for a job array '
    '(default: all)',
  )
  add(
    '--overwrite',
    action='store_true',
    help='replace codes of other tokenizers or squares',
  )
  return parser


def main(argv, share):
  """Runs the command; `share` parses I/N."""
  arguments = _parser(share).parse_args(argv)
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  if tokenize(**vars(arguments)):
    logging.info('%s has codes.', arguments.data)
