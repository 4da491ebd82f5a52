"""Streams a cube through a model, block by block, and writes the map."""

import concurrent.futures
import contextlib
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
import tqdm
from absl import logging
from numpy.lib import stride_tricks

import fusion_jax
from fusion_jax import extras, locks
from fusion_jax.mapping import block_settings, classify, cog, map_inputs
from fusion_jax.mapping import blocks as blocks_lib
from fusion_jax.mapping import calibration as calibration_lib
from fusion_jax.mapping import cube as cube_lib

_AHEAD = 2  # Number of batches on the devices before one is fetched.
_REPORT_S = 30.0  # Between two lines of progress in a log.
_NO_CALIBRATION = (
  'Largest share of the softmax over the classes, in percent; not '
  'calibrated, so it ranks pixels but is no probability.'
)


def write_map(
  cube: cube_lib.Cube,
  classifier: classify.Classifier,
  out: str | os.PathLike[str],
  *,
  embeddings: str | os.PathLike[str] = '',
  block: int = 0,
  calibration: calibration_lib.Calibration | None = None,
  overwrite: bool = False,
  finish: Callable[[pathlib.Path], object] | None = None,
) -> pathlib.Path:
  """Writes the map of a cube, and its embeddings on request.

  If a call was stopped, the next one continues with the unfinished blocks.
  Finished blocks are kept in OUT.blocks until the map is complete.

  Args:
    cube: the time series.
    classifier: model with its classes.
    out: GeoTIFF to write, see `cog.write`.
    embeddings: Zarr or GeoParquet to write, see `embeddings.write`; '' for
      none.
    block: pixels per side of a block; 0 takes what suits the cube.
    calibration: `calibration.Calibration` behind the temperature, or None.
    overwrite: whether to replace an existing map and unfinished blocks.
    finish: function of the path of the map, called before the blocks go, so
      that what it does is done again after an interruption.

  Returns:
    The path of the map.

  Raises:
    FileExistsError: if there is such a map.
    ValueError: if it was begun with other settings, or another process writes
      it.
  """
  targets = [pathlib.Path(path) for path in (out, embeddings) if str(path)]
  with contextlib.ExitStack() as stack:
    for path in targets:
      lock = path.with_name(f'{path.name}.lock')
      stack.enter_context(locks.hold(lock, path, 'Choose another name.'))
    _write(cube, classifier, targets, block, calibration, overwrite, finish)
  return targets[0]


def _write(
  cube: cube_lib.Cube,
  classifier: classify.Classifier,
  targets: list[pathlib.Path],
  block: int,
  calibration: calibration_lib.Calibration | None,
  overwrite: bool,
  finish: Callable[[pathlib.Path], object] | None,
) -> None:
  """Writes a map that no other process writes; see `write_map`."""
  with_vectors = len(targets) > 1
  _check_ending(targets)
  size = blocks_lib.block_shape(cube.shape, cube.source.chunk, block)
  parts = blocks_lib.split(cube.shape, size)
  finished = blocks_lib.Finished(
    targets[0].with_name(f'{targets[0].name}.blocks'),
    block_settings.describe(cube, classifier, size, with_vectors),
    [os.path.relpath(path, targets[0].parent) for path in targets[1:]],
    anew=overwrite,
    upgrade=block_settings.upgrade,
  )
  if finished.is_complete and all(path.exists() for path in targets):
    finished.remove()  # The map was whole when its call was stopped.
    return
  if not finished.is_begun:  # Else what exists was written by it.
    _check(targets, overwrite)
  finished.start()
  todo = [part for part in parts if part not in finished]
  if len(todo) < len(parts):
    logging.info(
      '%d of %d blocks are finished already.',
      len(parts) - len(todo),
      len(parts),
    )
  with _Progress(todo) as progress:
    for part, pixels in _read_ahead(cube, todo, classifier.side):
      finished.write(
        part, _map_block(classifier, pixels, part.shape, with_vectors)
      )
      progress.done(part)
  _assemble(cube, classifier, finished, parts, size, targets, calibration)
  if finish is not None:
    finish(targets[0])
  finished.remove()


def describe(calibration: calibration_lib.Calibration | None) -> str:
  """Describes what the confidence of a map means."""
  if calibration is None:
    return _NO_CALIBRATION
  return (
    f'Largest share of the softmax over the classes, in percent, at the '
    f'temperature {calibration.temperature:.3f}'
    f'{calibration_lib.interval_text(calibration)} fitted on '
    f'{calibration.num_pixels} labelled pixels of {calibration.data}: '
    f'expected calibration error {calibration.error_before:.3f} before, '
    f'{calibration.error:.3f} after.'
  )


class _Progress:
  """Shows progress as a bar on a terminal, and as lines in a log."""

  def __init__(self, todo):
    self._total = sum(math.prod(part.shape) for part in todo)
    self._done, self._start, self._last = 0, time.time(), time.time()
    self._bar = tqdm.tqdm(
      total=self._total,
      unit='px',
      unit_scale=True,
      disable=not sys.stderr.isatty(),
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._bar.close()

  def done(self, part):
    """Adds a block to the finished ones."""
    count = math.prod(part.shape)
    self._bar.update(count)
    self._done += count
    now = time.time()
    if self._bar.disable and (
      now - self._last > _REPORT_S or self._done == self._total
    ):
      self._last = now
      logging.info(
        '%d of %d pixels, %.0f a second.',
        self._done,
        self._total,
        self._done / (now - self._start),
      )


def _map_block(classifier, pixels, shape, with_vectors):
  """Computes the arrays of a block from its pixels and their margin."""
  arrays = _empty(shape, classifier.width if with_vectors else 0)
  patches = _patches(pixels, classifier.side)
  inner = (slice(classifier.side // 2, -(classifier.side // 2) or None),) * 2
  measures = map_inputs.measure(pixels[:, :, *inner], classifier.ranges)
  observed = np.flatnonzero(np.isfinite(pixels).any(axis=(0, 1))[inner])
  waiting = []

  def fetch(places, results):
    results = {
      name: np.asarray(x)[: len(places)] for name, x in results.items()
    }
    results['confidence'] = cog.percent(results['confidence'])
    for name, values in results.items():
      arrays[name].reshape(-1, *arrays[name].shape[2:])[places] = values

  for start in range(0, len(observed), classifier.batch_size):
    places = observed[start : start + classifier.batch_size]
    batch, keep = classifier.prepare(patches(places))
    has_data = keep.any(axis=1)
    if has_data.any():
      waiting.append(
        (
          places[has_data],
          classifier.run(batch[has_data], keep[has_data], with_vectors),
        )
      )
    if len(waiting) > _AHEAD:
      fetch(*waiting.pop(0))
  for item in waiting:
    fetch(*item)
  return arrays | measures


def _patches(pixels, side):
  """Returns a function from places [B] of a block to [B, 12, C, k, k]."""
  if side == 1:
    flat = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
    flat = np.ascontiguousarray(flat)[..., None, None]
    return lambda places: flat[places]
  windows = stride_tricks.sliding_window_view(pixels, (side, side), (2, 3))
  columns = windows.shape[3]
  return lambda places: np.moveaxis(
    windows[:, :, places // columns, places % columns], 2, 0
  )


def _empty(shape, width):
  """Returns the arrays of a block without data."""
  arrays = {
    name: np.full(shape, cog.NODATA, np.uint8)
    for name in ('class', 'confidence')
  }
  if width:
    arrays |= {
      'embedding': np.zeros((*shape, width), np.int8),
      'scale': np.zeros(shape, np.float32),
    }
  return arrays


def _read_ahead(cube, parts, side):
  """Yields each block with its pixels [12, C, Y, X], and reads one ahead."""
  margin = side // 2

  def read(part):
    return cube.read(
      *(
        slice(x.start - margin, x.stop + margin)
        for x in (part.rows, part.columns)
      )
    )

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    pending = [pool.submit(read, part) for part in parts[:1]]
    for i, part in enumerate(parts):
      pixels = pending.pop().result()
      if i + 1 < len(parts):
        pending.append(pool.submit(read, parts[i + 1]))
      yield part, pixels


def _assemble(cube, classifier, finished, parts, size, targets, calibration):
  """Writes the finished blocks as one map and one store of embeddings."""
  source, empty, measures = cube.source, True, {}
  tags = {
    'software': f'fusion_jax {fusion_jax.__version__}',
    'trained_on': classifier.trained_on,
    'validation': classifier.validation,
    'months': _months(cube),
  }

  def images():
    nonlocal empty, measures
    for part in parts:
      arrays = finished.read(part)
      empty &= bool((arrays['class'] == cog.NODATA).all())
      measures = map_inputs.add(measures, arrays)
      yield part, arrays['class'], arrays['confidence']
    map_tags['input_range'], warnings = map_inputs.describe(
      measures, classifier.ranges
    )
    for line in warnings:
      logging.warning('%s: %s', source.name, line)

  if len(targets) > 1:
    from fusion_jax.mapping import embeddings

    embeddings.write(
      targets[1],
      ((part, finished.read(part)) for part in parts),
      shape=cube.shape,
      block=size,
      width=classifier.width,
      crs=source.crs,
      transform=source.transform,
      tags=tags | {'comparable_with': classifier.comparable_with},
    )
  map_tags = tags | {'confidence': describe(calibration)}
  cog.write(
    targets[0],
    images(),
    shape=cube.shape,
    crs=source.crs,
    transform=source.transform,
    names=classifier.classes.names,
    tags=map_tags,
  )
  if empty:
    logging.warning(
      'No pixel of %s has data in any month: the value for "missing" may be '
      'wrong (--nodata), or the scene is covered by clouds.',
      source.name,
    )


def _months(cube):
  """Returns which months of the year a cube has, in words."""
  there = sorted({int(month) + 1 for month in cube.months if month >= 0})
  absent = [month for month in range(1, 13) if month not in there]
  without = f', without {", ".join(map(str, absent))}' if absent else ''
  return f'{len(there)} of 12{without}'


def _check(targets, overwrite):
  """Raises an error if a file exists."""
  for path in targets:
    if path.exists() and not overwrite:
      raise FileExistsError(
        f'{path} exists; pass --overwrite to replace it, or another name.'
      )


def _check_ending(targets):
  """Raises an error if embeddings have an unknown ending."""
  if len(targets) > 1:
    with extras.needed('map', 'Writing embeddings'):
      from fusion_jax.mapping import embeddings

    embeddings.check_path(targets[1])
