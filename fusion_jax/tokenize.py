r"""Runs image tokenizers over a prepared data set and stores their codes.

  python -m fusion_jax.prepare tokenize --data DIR --tokenizers RUN... \
      --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT

Codes are written beside the images, into the same files. Killed, it goes on
where it was; done, it does nothing. Each process uses all of its devices.
"""

import argparse
import pathlib

from absl import flags, logging

from fusion_jax.data.builders import codes
from fusion_jax.released import image_codec


def tokenize(data, tokenizers, *, image_size=224, squares=4, batch_size=64,
             share=(0, 1), overwrite=False):
  """Adds codes of every tokenizer to a data set.

  Args:
    data: folder that `prepare` wrote.
    tokenizers: work directories of `configs/image_tokenizer.py`, or what
      `convert` wrote, one for each modality.
    image_size: pixels a side of what is tokenised at once: the size that
      pretraining shows.
    squares: how many squares of every example get codes: that at the centre,
      and random ones. Where the images have just `image_size`, one.
    batch_size: squares encoded together, over all devices.
    share: (i, n): every n-th shard from the i-th.
    overwrite: replace codes of other tokenizers or squares.

  Returns:
    Whether every shard has its codes now.

  Raises:
    ValueError: as `codes.write`; or if a tokenizer has more codes than the
      table of modalities knows.
  """
  encoders = []
  for workdir in tokenizers:
    codec = image_codec.load(workdir)
    if codec.num_codes > codec.modality.vocab_size:
      raise ValueError(
          f'{workdir} makes {codec.num_codes} codes, but pretraining reads '
          f'{codec.modality.vocab_size} of {codec.modality.name}; train it '
          'with the levels of configs/image_tokenizer.py.')
    encoders.append(codes.Encoder(
        codec.modality, codec.fingerprint(), codec.encode))
    logging.info('%s is tokenised by %s.', codec.modality.field, workdir)
  return codes.write(
      data, encoders, codes.Squares(image_size, squares),
      batch_size=batch_size, share=share, overwrite=overwrite)


def _parser(share):
  """The command line; `share` parses I/N."""
  parser = argparse.ArgumentParser(
      'python -m fusion_jax.prepare tokenize', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add('--data', required=True, metavar='DIR', type=pathlib.Path,
      help='the prepared data set, which gets the codes')
  add('--tokenizers', required=True, nargs='+', metavar='DIR',
      help='work directories of trained or converted image tokenizers')
  add('--image_size', type=int, default=224, metavar='N',
      help='pixels a side of what is tokenised at once: the size that '
      'pretraining shows (default: %(default)s)')
  add('--squares', type=int, default=4, metavar='N',
      help='squares of an example that get codes: the centre, and random ones '
      '(default: %(default)s)')
  add('--batch_size', type=int, default=64, metavar='N',
      help='squares encoded together, over all devices (default: %(default)s)')
  add('--shard', dest='share', type=share, default=(0, 1), metavar='I/N',
      help='every N-th shard from the I-th, I = 0 .. N-1, for a job array '
      '(default: all)')
  add('--overwrite', action='store_true',
      help='replace codes of other tokenizers or squares')
  return parser


def main(argv, share):
  """Runs the command; `share` parses I/N."""
  arguments = _parser(share).parse_args(argv)
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  if tokenize(**vars(arguments)):
    logging.info('%s has codes.', arguments.data)
