"""The methods that solve a problem of labelled pixels, fold by fold."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import ensemble

from fusion_jax.assembly import pixel_layout
from fusion_jax.experiments import labelled_problems as problems_lib
from fusion_jax.models import pixel_encoder
from fusion_jax.nn import post_norm
from fusion_jax.train import optim, step
from fusion_jax.train import state as state_lib
from fusion_jax.types import Array, Batch, Config, Metrics, Params

_NUM_TREES = 500
_Folds = Sequence[problems_lib.Fold]


class Supervised:
  """A `PixelEncoder` with a linear head, for classes or one number.

  It has the methods that a training step needs, as the tasks have.

  Attributes:
    augment: options of the augmentation.
    regression: whether the target is a number.
    encoder: the encoder of pixels.
    head: the linear head.
  """

  def __init__(
    self,
    config: Config,
    problem: problems_lib.Problem,
    num_bands: int,
  ):
    """Builds encoder and head.

    Args:
      config: configuration of the encoder.
      problem: what is to be learned.
      num_bands: channels of the inputs.
    """
    self.augment = config.augment
    self.regression = not problem.classes
    model = dict(config.model, num_bands=num_bands, dtype=jnp.float32)
    self.encoder = pixel_layout.make(model)
    self.head = post_norm.Linear(1 if self.regression else len(problem.classes))

  def init(self, key: jax.Array) -> tuple[Params, dict[str, Any]]:
    """Returns fresh parameters and no other arrays.

    Args:
      key: random key [] of the initial values.
    """
    key_encoder, key_head = jax.random.split(key)
    width = self.encoder.output_width
    encoder: dict[str, Any] = dict(
      pixel_encoder.init(self.encoder, key_encoder)
    )
    if self.regression:  # From zeros, few steps learn little of the order.
      encoder |= {
        name: jax.random.normal(
          jax.random.fold_in(key_encoder, i), encoder[name].shape
        )
        for i, name in enumerate(('positions', 'class_token'))
      }
    head = self.head.init(key_head, jnp.zeros((1, width)))['params']
    return {'encoder': encoder, 'classifier': head}, {}

  def weigh(self, batch: Batch) -> Batch:
    """Returns the batch: every place counts the same."""
    return batch

  def loss(
    self, params: Params, extra: Any, batch: Batch, key: jax.Array
  ) -> tuple[Array, tuple[Metrics, Any]]:
    """Mean squared error of the standardised target, or cross-entropy.

    Args:
      params: parameters of encoder and head.
      extra: nothing; it is returned.
      batch: 'inputs' [B, T, C, 1, 1], 'keep' bool [B, T], 'target' [B].
      key: key of augmentation and dropout.
    """
    vectors = (
      self._noisy_vectors(params, batch, key)
      if self.regression
      else pixel_encoder.embed_augmented(
        self.encoder,
        params['encoder'],
        batch['inputs'],
        batch['keep'],
        key,
        **self.augment,
      )
    )
    outputs = self._apply_head(params, vectors)
    if self.regression:
      loss = jnp.mean((outputs[:, 0] - batch['target']) ** 2)
    else:
      log_likelihood = jnp.take_along_axis(
        jax.nn.log_softmax(outputs), batch['target'][:, None], axis=1
      )
      loss = -jnp.mean(log_likelihood)
    return loss, ({'loss/target': (loss, jnp.ones(()))}, extra)

  def predict(self, params: Params, batch: Batch) -> Array:
    """Returns probabilities [B, classes], or standardised values [B, 1]."""
    outputs = self._apply_head(params, self._encode(params, batch))
    return outputs if self.regression else jax.nn.softmax(outputs)

  def _noisy_vectors(
    self, params: Params, batch: Batch, key: jax.Array
  ) -> Array:
    """Vectors of inputs with noise and without some bands.

    Time steps are no calendar here, so none is left out.
    """
    key_noise, key_drop, key_dropout = jax.random.split(key, 3)
    inputs = batch['inputs']
    inputs += self.augment['noise'] * jax.random.normal(key_noise, inputs.shape)
    kept = jax.random.bernoulli(  # Of a place, a band goes in all steps.
      key_drop, 1 - self.augment['drop'], (len(inputs), 1, *inputs.shape[2:])
    )
    return self._encode(
      params,
      {**batch, 'inputs': jnp.where(kept, inputs, 0)},
      train=True,
      rngs={'dropout': key_dropout},
    )

  def _encode(self, params: Params, batch: Batch, **options: Any) -> Any:
    return self.encoder.apply(
      {'params': params['encoder']},
      batch['inputs'],
      batch['keep'],
      months=jnp.arange(batch['keep'].shape[1])[None],
      **options,
    )

  def _apply_head(self, params: Params, vectors: Array) -> Any:
    return self.head.apply({'params': params['classifier']}, vectors)


def encoder_predictions(
  problem: problems_lib.Problem,
  folds: _Folds,
  config: Config,
  members: int,
) -> np.ndarray:
  """Returns out-of-fold predictions of the mean of several encoders.

  Args:
    problem: the data set.
    folds: (known, held-out places) of every fold.
    config: configuration of the encoder.
    members: encoders trained with other seeds.

  Returns:
    [P, classes] probabilities, or [P, 1] values.
  """
  num_bands = problem.inputs(folds[0][0]).shape[2]
  task = Supervised(config, problem, num_bands)
  tx = _optimizer(config)
  train_step = step.make_train_step(task, tx, 0)
  predict = jax.jit(task.predict)

  @jax.jit
  def train(key: jax.Array, arrays: Any, rows: Array) -> Any:
    def one(state: Any, chosen: Array) -> tuple[Any, None]:
      batch = jax.tree.map(lambda x: x[chosen], arrays)
      return train_step(state, batch)[0], None

    params, extra = task.init(key)
    state = state_lib.create(params, extra, tx)
    return jax.lax.scan(one, state, rows)[0].params

  width = 1 if task.regression else len(problem.classes)
  predictions = np.zeros((len(problem.target), width))
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
      predictions[held_out] += predicted / members
  return predictions


def forest_predictions(
  problem: problems_lib.Problem,
  folds: _Folds,
  config: Config,
  members: int,
) -> np.ndarray:
  """Returns out-of-fold predictions of a random forest.

  Missing values go to the better side of a split.

  Args:
    problem: the data set.
    folds: (known, held-out places) of every fold.
    config: not used; a forest has no configuration.
    members: not used; there is one forest.

  Returns:
    [P, classes] probabilities, or [P, 1] values.
  """
  del config, members
  features = problem.values.reshape(len(problem.values), -1)
  if not problem.classes:
    angle = problem.months * np.pi / 6
    features = np.concatenate([features, np.sin(angle), np.cos(angle)], axis=1)
  predictions = np.zeros((len(features), len(problem.classes) or 1))
  for known, held_out in folds:
    if problem.classes:
      classifier = ensemble.RandomForestClassifier(_NUM_TREES, random_state=0)
      classifier.fit(features[known], problem.target[known])
      chances = classifier.predict_proba(features[held_out])
      predictions[np.ix_(held_out, classifier.classes_)] = chances
    else:
      regressor = ensemble.RandomForestRegressor(_NUM_TREES, random_state=0)
      regressor.fit(features[known], problem.target[known])
      predictions[held_out, 0] = regressor.predict(features[held_out])
  return predictions


def naive_predictions(
  problem: problems_lib.Problem,
  folds: _Folds,
  config: Config,
  members: int,
) -> np.ndarray:
  """Returns the majority class, or the mean, of the known places.

  Args:
    problem: the data set.
    folds: (known, held-out places) of every fold.
    config: not used.
    members: not used.

  Returns:
    [P, classes], 1 for the majority class and 0 for others, or [P, 1] values.
  """
  del config, members
  predictions = np.zeros((len(problem.target), len(problem.classes) or 1))
  for known, held_out in folds:
    if problem.classes:
      counts = np.bincount(problem.target[known])
      predictions[held_out, np.argmax(counts)] = 1
    else:
      predictions[held_out] = problem.target[known].mean()
  return predictions


Method = Callable[[problems_lib.Problem, _Folds, Config, int], np.ndarray]
METHODS: dict[str, Method] = {
  'encoder': encoder_predictions,
  'random forest': forest_predictions,
  'majority or mean': naive_predictions,
}


def _optimizer(config: Config) -> Any:
  tx, _ = optim.make(config.optimizer, config.num_steps, 12)
  return tx


def _standardised(
  problem: problems_lib.Problem, known: np.ndarray
) -> tuple[np.ndarray, float, float]:
  """(target, mean, std) by the known places; classes stay as they are."""
  if problem.classes:
    return problem.target, 0.0, 1.0
  mean, std = problem.target[known].mean(), problem.target[known].std()
  return ((problem.target - mean) / std).astype(np.float32), mean, std


def _rows(
  rng: np.random.Generator, known: np.ndarray, num_steps: int, batch_size: int
) -> np.ndarray:
  """Draws int32 [steps, batch]: every place once before any twice."""
  total = num_steps * batch_size
  epochs = [rng.permutation(known) for _ in range(-(-total // len(known)))]
  return (
    np.concatenate(epochs)[:total]
    .reshape(num_steps, batch_size)
    .astype(np.int32)
  )
