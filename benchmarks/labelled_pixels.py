r"""Supervised encoder, random forest and majority class on real pixels.

  python -m benchmarks.labelled_pixels --worldcereal DIR --presto DIR \
      [--only flanders,east_africa,fuel_moisture,algae_blooms] [--members 3]

DIR holds the files of github.com/WorldCereal/worldcereal-classification, of
github.com/nasaharvest/presto (folders fuel_moisture and algae_blooms), both
MIT. Prints rows of a Markdown table. All methods read the same values and are
judged on the same folds: spatial cells of 0.25 degrees, or data sets, or
sites, whole. The encoder is that of configs/worldcereal.py, of regressions with
the changes in `REGRESSIONS`; it is the mean of `--members` runs with other
seeds, since a forest is a mean as well. Intervals are bootstraps over the cells
or sites.
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from sklearn import ensemble, metrics, model_selection

from fusion_jax.configs import worldcereal as config_lib
from fusion_jax.data.sources import labelled_pixels
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.models import pixel_encoder
from fusion_jax.nn import post_norm
from fusion_jax.ops import intervals
from fusion_jax.train import optim, step
from fusion_jax.train import state as state_lib

NUM_FOLDS = 5
NUM_TREES = 500
NUM_PIECES = 16
# Chosen on validation groups inside the training folds.
REGRESSIONS = {
  'fuel_moisture': dict(
    inputs='pieces',
    num_steps=400,
    peak_lr=2e-3,
    weight_decay=0.5,
    noise=0.0,
    drop=0.0,
  ),
  'algae_blooms': dict(
    inputs='normal',
    num_steps=150,
    peak_lr=1e-3,
    weight_decay=0.05,
    noise=0.3,
    drop=0.1,
  ),
}


class Problem(NamedTuple):
  """One data set, ready for all methods.

  Attributes:
    name: of the rows.
    values: float32 [P, T, C], NaN = missing, as the forest reads them.
    inputs: known places -> float32 [P, T, C, 1, 1], finite, as the encoder
      reads them in a fold.
    keep: bool [P, T], months that the encoder sees.
    months: int [P, T].
    target: int or float [P].
    classes: names; () of a regression.
    groups: [P], what is held out together.
    by: what the groups are.
  """

  name: str
  values: np.ndarray
  inputs: Callable
  keep: np.ndarray
  months: np.ndarray
  target: np.ndarray
  classes: tuple[str, ...]
  groups: np.ndarray
  by: str


class Supervised:
  """A `PixelEncoder` with a linear head, for classes or one number.

  It has the methods that a training step needs, as the tasks have.
  """

  def __init__(self, config, problem, num_bands):
    self.augment = config.augment
    self.regression = not problem.classes
    model = dict(config.model, num_bands=num_bands, dtype=jnp.float32)
    self.encoder = pixel_encoder.PixelEncoder(**model)
    self.head = post_norm.Linear(1 if self.regression else len(problem.classes))

  def init(self, key):
    key_encoder, key_head = jax.random.split(key)
    width = self.encoder.output_width
    encoder = pixel_encoder.init(self.encoder, key_encoder)
    if self.regression:  # From zeros, few steps learn little of the order.
      encoder |= {
        name: jax.random.normal(
          jax.random.fold_in(key_encoder, i), encoder[name].shape
        )
        for i, name in enumerate(('positions', 'class_token'))
      }
    return {
      'encoder': encoder,
      'classifier': self.head.init(key_head, jnp.zeros((1, width)))['params'],
    }, {}

  def weigh(self, batch):
    return batch

  def loss(self, params, extra, batch, key):
    """Mean squared error of the standardised target, or cross-entropy."""
    if self.regression:  # Steps are no calendar: none is left out.
      key_noise, key_drop, key_dropout = jax.random.split(key, 3)
      inputs = batch['inputs']
      inputs += self.augment['noise'] * jax.random.normal(
        key_noise, inputs.shape
      )
      left = jax.random.bernoulli(  # Of a place, a band goes in all steps.
        key_drop, 1 - self.augment['drop'], (len(inputs), 1, *inputs.shape[2:])
      )
      vectors = self._encode(
        params,
        batch | {'inputs': jnp.where(left, inputs, 0)},
        train=True,
        rngs={'dropout': key_dropout},
      )
    else:
      vectors = pixel_encoder.embed_augmented(
        self.encoder,
        params['encoder'],
        batch['inputs'],
        batch['keep'],
        key,
        **self.augment,
      )
    found = self._head(params, vectors)
    if self.regression:
      loss = jnp.mean((found[:, 0] - batch['target']) ** 2)
    else:
      chosen = jnp.take_along_axis(
        jax.nn.log_softmax(found), batch['target'][:, None], axis=1
      )
      loss = -jnp.mean(chosen)
    return loss, ({'loss/target': (loss, 1.0)}, extra)

  def predict(self, params, batch):
    """Probabilities [B, classes], or standardised values [B, 1]."""
    found = self._head(params, self._encode(params, batch))
    return found if self.regression else jax.nn.softmax(found)

  def _encode(self, params, batch, **options):
    return self.encoder.apply(
      {'params': params['encoder']},
      batch['inputs'],
      batch['keep'],
      months=jnp.arange(batch['keep'].shape[1])[None],
      **options,
    )

  def _head(self, params, vectors):
    return self.head.apply({'params': params['classifier']}, vectors)


def encoder_predictions(problem, config, folds, members):
  """Out-of-fold probabilities [P, classes] or values [P, 1]."""
  num_bands = problem.inputs(folds[0][0]).shape[2]
  task = Supervised(config, problem, num_bands)
  tx, _ = optim.make(config.optimizer, config.num_steps, 12)
  train_step = step.make_train_step(task, tx, 0)
  predict = jax.jit(task.predict)

  @jax.jit
  def train(key, arrays, rows):
    def one(state, chosen):
      batch = jax.tree.map(lambda x: x[chosen], arrays)
      return train_step(state, batch)[0], None

    params, extra = task.init(key)
    state = state_lib.create(params, extra, tx)
    return jax.lax.scan(one, state, rows)[0].params

  width = 1 if task.regression else len(problem.classes)
  found = np.zeros((len(problem.target), width))
  for fold, (known, held_out) in enumerate(folds):
    target, mean, std = _standardised(problem, known)
    arrays = {'inputs': problem.inputs(known), 'keep': problem.keep}
    for member in range(members):
      rng = np.random.default_rng([fold, member])
      rows = _rows(rng, known, config.num_steps, config.batch_size)
      params = train(jax.random.key(member), arrays | {'target': target}, rows)
      # All places, so that every fold is one program.
      predicted = np.asarray(predict(params, arrays))[held_out] * std + mean
      if task.regression:
        predicted = predicted.clip(
          problem.target[known].min(), problem.target[known].max()
        )
      found[held_out] += predicted / members
  return found


def _standardised(problem, known):
  """(target, mean, std) by the known places; as it is for classes."""
  if problem.classes:
    return problem.target, 0.0, 1.0
  mean, std = problem.target[known].mean(), problem.target[known].std()
  return ((problem.target - mean) / std).astype(np.float32), mean, std


def _rows(rng, known, num_steps, batch_size):
  """int32 [steps, batch]: every place once before any twice."""
  total = num_steps * batch_size
  epochs = [rng.permutation(known) for _ in range(-(-total // len(known)))]
  return (
    np.concatenate(epochs)[:total]
    .reshape(num_steps, batch_size)
    .astype(np.int32)
  )


def forest_predictions(problem, folds, members):
  """As `encoder_predictions`; missing values go to the better side."""
  del members
  features = problem.values.reshape(len(problem.values), -1)
  if not problem.classes:
    angle = problem.months * np.pi / 6
    features = np.concatenate([features, np.sin(angle), np.cos(angle)], axis=1)
  width = len(problem.classes) or 1
  found = np.zeros((len(features), width))
  kind = (
    ensemble.RandomForestClassifier
    if problem.classes
    else ensemble.RandomForestRegressor
  )
  for known, held_out in folds:
    forest = kind(NUM_TREES, random_state=0)
    forest.fit(features[known], problem.target[known])
    if problem.classes:
      chances = forest.predict_proba(features[held_out])
      found[np.ix_(held_out, forest.classes_)] = chances
    else:
      found[held_out, 0] = forest.predict(features[held_out])
  return found


def naive_predictions(problem, folds, members):
  """Of the majority class, or the mean, of the known places."""
  del members
  found = np.zeros((len(problem.target), len(problem.classes) or 1))
  for known, held_out in folds:
    if problem.classes:
      counts = np.bincount(problem.target[known])
      found[held_out, np.argmax(counts)] = 1
    else:
      found[held_out] = problem.target[known].mean()
  return found


def score(problem, predicted, index):
  """Macro-F1 over the classes, or R2, of places `index`."""
  truth = problem.target[index]
  if not problem.classes:
    return metrics.r2_score(truth, predicted[index, 0])
  return metrics.f1_score(
    truth,
    predicted[index].argmax(axis=1),
    average='macro',
    labels=np.arange(len(problem.classes)),
    zero_division=0,
  )


def make_folds(problem):
  """[(known, held out)], groups whole, classes spread as groups allow."""
  count = min(NUM_FOLDS, len(np.unique(problem.groups)))
  if problem.by == 'data set':
    count = len(np.unique(problem.groups))
  if problem.classes and problem.by != 'data set':
    folds = model_selection.StratifiedGroupKFold(
      count, shuffle=True, random_state=0
    )
  else:
    folds = model_selection.GroupKFold(count)
  return list(folds.split(problem.values, problem.target, problem.groups))


def worldcereal(name, found, config, by='cell'):
  """`Problem` of WorldCereal's pixels that have a label."""
  found = found.take(found.target >= 0)
  scale = pixel_transforms.Scale(config.scaling, tuple(config.missing_bands))
  values = found.values[..., None, None]
  inputs, keep = scale.prepare(values, True, name)
  read = [b not in config.missing_bands for b in pixel_transforms.BANDS]
  return Problem(
    name,
    found.values[:, :, read],
    lambda known: inputs,
    keep,
    found.months,
    found.target,
    found.classes,
    found.cells() if by == 'cell' else found.sites,
    by,
  )


def presto(name, found, kind):
  """`Problem` of one of Presto's regressions; see `transformed`."""
  angle = found.months[..., None] * np.pi / 6

  def inputs(known):
    bands = transformed(found.values, known, kind)
    inputs = np.concatenate([bands, np.sin(angle), np.cos(angle)], axis=-1)
    return inputs[..., None, None].astype(np.float32)

  return Problem(
    name,
    found.values,
    inputs,
    np.ones(found.months.shape, bool),
    found.months,
    found.target,
    (),
    found.sites,
    'site' if name == 'fuel_moisture' else 'cell',
  )


def transformed(values, known, kind):
  """Bands spread evenly, by the values of the known places.

  Args:
    values: [P, T, C], finite.
    known: places.
    kind: 'normal', quantiles of the normal distribution for ranks; or
      'pieces', NUM_PIECES shares of each band, how far a value is through
      each piece between quantiles, less a half. Source: Gorishniy et al.
      2022, arXiv:2203.05556, Sec. 3.2.

  Returns:
    [P, T, C], or [P, T, C * NUM_PIECES].
  """
  if kind not in ('normal', 'pieces'):
    raise ValueError(f"kind={kind!r} is neither 'normal' nor 'pieces'.")
  found = []
  for band in np.moveaxis(values, -1, 0).astype(np.float64):
    if kind == 'pieces':
      edges = np.quantile(band[known], np.linspace(0, 1, NUM_PIECES + 1))
      lengths = np.maximum(np.diff(edges), 1e-9)  # Equal values are a step.
      shares = (band[..., None] - edges[:-1]) / lengths
      found.append(shares.clip(0, 1) - 0.5)
    else:
      ordered = np.sort(band[known], axis=None)
      ranks = (
        (
          np.searchsorted(ordered, band, 'left')
          + np.searchsorted(ordered, band, 'right')
        )
        / 2
        / len(ordered)
      )
      found.append(stats.norm.ppf(ranks.clip(0.001, 0.999))[..., None])
  return np.concatenate(found, axis=-1)


def problems(args, chosen):
  """The `Problem`s that are asked for."""
  cereal, presto_dir = map(pathlib.Path, (args.worldcereal, args.presto))
  config = config_lib.get_config('data=flanders')
  general = config_lib.get_config('data=east_africa')
  flanders = functools.partial(
    labelled_pixels.read_long,
    cereal / 'flanders_lpis_2021_100px_long.parquet',
    cereal / 'class_mappings.json',
  )
  africa = functools.partial(
    labelled_pixels.read_wide,
    cereal / 'public_extractions_east_africa_500px.parquet',
  )
  make = {
    'flanders': lambda: (worldcereal('flanders', flanders(), config), config),
    'east_africa': lambda: (
      worldcereal('east_africa', africa(), general),
      general,
    ),
    'east_africa_by_data_set': lambda: (
      worldcereal('east_africa', africa(), general, 'data set'),
      general,
    ),
  }
  for name, recipe in REGRESSIONS.items():
    make[name] = lambda name=name, recipe=recipe: (
      presto(
        name, labelled_pixels.read_presto(presto_dir / name), recipe['inputs']
      ),
      regression(recipe),
    )
  return [make[name]() for name in chosen or make]


def regression(recipe):
  """The configuration of a recipe of `REGRESSIONS`."""
  config = config_lib.get_config('data=east_africa')
  config.num_steps = recipe['num_steps']
  config.augment = dict(noise=recipe['noise'], drop=recipe['drop'])
  config.optimizer.update(
    peak_lr=recipe['peak_lr'],
    weight_decay=recipe['weight_decay'],
    warmup_steps=recipe['num_steps'] // 10,
  )
  return config


METHODS = {
  'encoder': None,
  'random forest': forest_predictions,
  'majority or mean': naive_predictions,
}


def rows(problem, config, members):
  """Rows of the table of one problem."""
  folds = make_folds(problem)
  methods = METHODS | {
    'encoder': lambda problem, folds, members: encoder_predictions(
      problem, config, folds, members
    )
  }
  everyone = np.arange(len(problem.target))
  of_forest = None
  made = {}
  for name, method in methods.items():
    start = time.process_time()
    made[name] = method(problem, folds, members), time.process_time() - start
  of_forest = made['random forest'][0]
  for name, (predicted, seconds) in made.items():
    one = functools.partial(score, problem, predicted)
    low, high = intervals.of_score(one, problem.groups)
    cells = [
      problem.name,
      f'{len(everyone)} in {len(folds)} folds by {problem.by}',
      len(problem.classes) or '–',
      name,
      'macro-F1' if problem.classes else 'R2',
      f'{one(everyone):.3f} [{low:.3f}, {high:.3f}]',
    ]
    difference = '–'
    if name == 'encoder':
      low, high = intervals.of_score(
        lambda i, one=one: one(i) - score(problem, of_forest, i), problem.groups
      )
      value = one(everyone) - score(problem, of_forest, everyone)
      difference = f'{value:+.3f} [{low:+.3f}, {high:+.3f}]'
    yield [*cells, difference, f'{seconds:.0f}']


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--worldcereal', required=True, metavar='DIR')
  parser.add_argument('--presto', required=True, metavar='DIR')
  parser.add_argument('--only', default='', help='names, with commas')
  parser.add_argument(
    '--members',
    type=int,
    default=3,
    help='encoders whose mean counts (default: %(default)s)',
  )
  args = parser.parse_args()
  header = (
    'data',
    'places',
    'classes',
    'method',
    'score',
    'value [95 %]',
    'encoder - forest',
    'CPU s',
  )
  print('| ' + ' | '.join(header) + ' |')
  print('| ' + ' | '.join('---' for _ in header) + ' |')
  for problem, config in problems(
    args, [name for name in args.only.split(',') if name]
  ):
    for row in rows(problem, config, args.members):
      print('| ' + ' | '.join(str(cell) for cell in row) + ' |', flush=True)


if __name__ == '__main__':
  main()
