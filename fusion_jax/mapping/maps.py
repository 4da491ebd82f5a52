"""Maps a Sentinel-2 time series of an area, from texts or a classifier."""

import os
import pathlib
import time
from collections.abc import Sequence

from absl import logging

from fusion_jax import extras

with extras.needed('map', 'Mapping'):
  from fusion_jax.data.sources.imagery import encoding
  from fusion_jax.mapping import (
    classify,
    cog,
    map_report,
    open_cube,
    pictures,
    scene,
  )


def map_scene(
  classifier: classify.Classifier,
  paths: Sequence[str | os.PathLike[str]],
  out: str | os.PathLike[str],
  *,
  declared: encoding.Declared | None = None,
  missing_bands: Sequence[str] = (),
  embeddings: str | os.PathLike[str] = '',
  block: int = 0,
  overwrite: bool = False,
) -> pathlib.Path:
  """Maps a cube as a Cloud-Optimised GeoTIFF on its grid, with a picture.

  Band 1 is the class (255 = no data, with colours and names), band 2 the
  confidence in percent. Months are placed by calendar and absent ones masked;
  a month with several acquisitions takes the lower median of the clear ones.
  If it was stopped, the same call continues where it was.

  Args:
    classifier: model with its classes, as of `class_prompts.load_classifier`.
    paths: files of the cube, see `open_cube.open_cube`.
    out: GeoTIFF to write; picture and report beside it end in '.png' and '.md'.
    declared: what the files of the cube do not state, or state wrongly.
    missing_bands: names of bands that the cube lacks, see `bands.stand_ins`.
    embeddings: '.zarr' or '.parquet' to write with the vectors of all pixels;
      '' for none.
    block: pixels per side of a block; 0 takes what suits.
    overwrite: whether to replace an existing map, and to start again.

  Returns:
    The path of the map.

  Raises:
    OSError: if there is no such cube, or such a map already.
    ValueError: if the cube does not fit, the map was begun with other settings,
      or its name is that of the picture or report.
  """
  start = time.perf_counter()
  _check_name(pathlib.Path(out))
  cube = open_cube.open_cube(
    paths,
    declared=declared,
    missing=missing_bands,
    unread=classifier.missing_bands,
  )
  confidence = scene.describe(classifier.calibration)
  logging.info(
    '%d classes. Confidence: %s', len(classifier.classes.names), confidence
  )
  return scene.write_map(
    cube,
    classifier,
    out,
    embeddings=str(embeddings),
    block=block,
    calibration=classifier.calibration,
    overwrite=overwrite,
    finish=lambda path: _write_beside(path, time.perf_counter() - start),
  )


def _write_beside(written: pathlib.Path, duration_s: float) -> None:
  """Writes picture and report of a map."""
  picture = written.with_suffix('.png')
  pictures.draw_map(written, picture)
  map_report.write(
    written, picture, tags=cog.read_tags(written), duration_s=duration_s
  )


def _check_name(out: pathlib.Path) -> None:
  """Checks that picture and report of a map do not overwrite the map.

  Raises:
    ValueError: if it would.
  """
  if out.suffix.lower() in ('.png', '.md'):
    raise ValueError(
      f'{out} is the name of the picture or report of a map; name the map '
      f'itself {out.with_suffix(".tif")}.'
    )
