"""The report of a tiny alignment run: what it holds, and wrong files."""

import json

import jax
import numpy as np
import pytest

from fusion_jax.data import labels, prompt_files, prompts
from fusion_jax.data.sources import scenicness
from fusion_jax.evals import alignment
from fusion_jax.tasks import align_pixels
from fusion_jax.train import sharding
from fusion_jax.train import state as state_lib
from tests import pixel_data
from tests.tasks import pixels_runner

KIND = 'descriptive'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = pixel_data.write(tmp_path_factory.mktemp('data'))
  known = prompt_files.read(folder / 'prompts/land_cover.npz')
  prompt_files.write(folder / f'prompts/land_cover.{KIND}.npz', known)
  (folder / 'votes').mkdir()
  rng = np.random.default_rng(0)
  scenicness.write_prompts(
    folder / 'votes/prompts.npz',
    scenicness.RatedPrompts(
      tuple('abcdefghij'),
      rng.uniform(1, 10, 10),
      np.zeros(10, int),
      rng.normal(size=(10, pixel_data.WIDTH)).astype(np.float32),
    ),
  )
  rows = ['Lat\tLon\tAverage', *(f'{50 + i}\t5\t{1 + i}' for i in range(8))]
  (folder / 'votes/votes.tsv').write_text('\n'.join(rows))
  return folder


def make(data, workdir, **evals):
  config = pixels_runner.config(data)
  config.checkpoint.best = ''  # Of no run.
  config.evals.update(
    dict(
      kinds=(KIND,),
      retrieval=('land_cover', 'bioregion'),
      search=f'prompts/land_cover.{KIND}.npz',
      search_label='land_cover',
      scenicness='votes',
    )
    | evals
  )
  task = align_pixels.AlignPixels(config, data)
  mesh = sharding.make_mesh(fsdp=1)
  return task, alignment.Alignment(
    task, config, workdir, place=lambda batch: sharding.place(batch, mesh)
  )


@pytest.mark.slow
def test_report_holds_every_evaluation(data, tmp_path):
  task, evals = make(data, tmp_path)
  batch = next(task.batches('train'))
  params, extra = jax.jit(task.init)(jax.random.key(0), batch)
  state = state_lib.TrainState(
    step=np.int32(2), params=params, opt_state={}, extra=extra, ema={}
  )
  numbers = evals.zero_shot(state, 2)
  assert 0 <= numbers['val/zero_shot_single/land_cover'] <= 1
  history = [
    {'step': 2, 'train/loss': 1.5, 'val/loss/alignment': 1.4, **numbers}
  ]
  evals.write(state, history, duration_s=3.0)
  result = json.loads((tmp_path / 'metrics.json').read_text())
  for path in (
    'val/zero_shot_quarterly/land_cover.descriptive',
    'val/recall/land_cover_s2g@1',
    'val/recall_own_excluded_single/land_cover_g2s@5_low',
    'val/text_retrieval/land_cover@5',
    'val/scenicness_places',
    'val/scenicness_single_learned_scale_late_min8/kendall_tau',
    'efficiency/macs',
    'train/steps',
  ):
    assert result[path] is not None, path
  assert result['val/scenicness_places'] == 8
  same = result['val/zero_shot/land_cover.descriptive']
  assert same == result['val/zero_shot/land_cover']
  assert 'val/recall/bioregion_s2g@1' not in result  # The data lack it;
  assert 'val/recall_own_excluded/land_cover_s2g@10' not in result  # nor ten.
  report = (tmp_path / 'report.md').read_text()
  for text in (
    'As Table 2',
    'As Table 3',
    'As Table 4',
    '151,277,313',
    'text_retrieval.png',
  ):
    assert text in report
  assert (tmp_path / 'pictures/text_retrieval.png').exists()


def test_missing_file_of_prompts_is_found_before_training(data, tmp_path):
  with pytest.raises(FileNotFoundError, match=r'land_cover\.paper\.npz'):
    make(data, tmp_path, kinds=('paper',))
  other = data / 'other.npz'
  prompt_files.write(
    other,
    prompts.Prompts(
      labels.classes('land_cover')[:1],
      ('x',),
      (0,),
      np.ones((1, 3), np.float32),
    ),
  )
  with pytest.raises(ValueError, match='3 dimensions, the model has 16'):
    make(data, tmp_path, search='other.npz')
