"""All evaluations of an alignment run on held-out places, as sections."""

import pathlib
from collections.abc import Mapping

import numpy as np

from fusion_jax.data import labels, prompt_files
from fusion_jax.data import prompts as prompts_lib
from fusion_jax.data.sources import scenicness as votes_lib
from fusion_jax.evals import (
  alignment_tables,
  efficiency,
  place_vectors,
  report,
  retrieval,
  scenicness,
  tables,
  text_retrieval,
  zero_shot,
)
from fusion_jax.tasks import align_pixels
from fusion_jax.types import Config

Part = tuple[dict[str, float], report.Section]  # ({path: number}, section).
_BESIDE = (
  'In brackets: the paper, on Sen4Map, with the same augmentation; '
  'other data, so no comparison of models.'
)


class AlignmentReport:
  """Zero-shot, retrieval, search by text, scenicness and cost."""

  def __init__(self, task: align_pixels.AlignPixels, config: Config):
    """Reads the files of texts, so that a wrong one is found before training.

    Args:
      task: task of the run.
      config: configuration of configs/align_pixels.py.

    Raises:
      ValueError: if a file of texts has other classes or another width.
    """
    self._task = task
    self._config = config
    self._split = config.evals.split
    width = task.encoder.output_width
    self._kinds = {
      (label, kind): zero_shot.read_classes(
        task.data_dir / f'prompts/{label}.{kind}.npz',
        label,
        width,
        task.class_names(label),
      )
      for label in config.evals.prompts
      for kind in config.evals.kinds
    }
    self._queries = None
    if config.evals.search:
      self._queries = prompt_files.read(
        task.data_dir / config.evals.search, width=width
      ).with_vectors(None)
    self._rated = None
    if config.evals.scenicness:
      folder = task.data_dir / config.evals.scenicness
      self._rated = votes_lib.read_prompts(folder / 'prompts.npz')
      self._votes = votes_lib.read_votes(folder / 'votes.tsv')

  def __call__(
    self,
    places: place_vectors.PlaceVectors,
    classes: Mapping[str, zero_shot.Classes],
    pictures: pathlib.Path,
    learned_scale: float | None = None,
  ) -> tuple[dict[str, float], list[report.Section]]:
    """Evaluates the places of a split.

    Args:
      places: vectors [P, E] of the places.
      classes: {label: classes} whose prompts select models.
      pictures: folder to draw in.
      learned_scale: learned factor of the cosines; None if there is none.

    Returns:
      ({path: number}, sections for `report.write`).
    """
    parts = [self._zero_shot(places, classes), self._retrieval(places)]
    if self._queries is not None:
      parts.append(self._search(self._queries, places, pictures))
    if self._rated is not None:
      parts.append(self._scenicness(self._rated, places, learned_scale))
    parts.append(self._efficiency())
    numbers, sections = {}, []
    for part, section in parts:
      numbers |= part
      sections.append(section)
    return numbers, sections

  def _zero_shot(
    self,
    places: place_vectors.PlaceVectors,
    classes: Mapping[str, zero_shot.Classes],
  ) -> Part:
    numbers, split = {}, self._split
    for setting, vectors in places.pixels.items():
      selecting = {(label, ''): choices for label, choices in classes.items()}
      for (label, kind), choices in (selecting | self._kinds).items():
        numbers |= zero_shot.metrics(
          alignment_tables.zero_shot_path(split, setting, label, kind),
          zero_shot.evaluate(vectors, places.labels[label], choices),
        )
    blocks = [
      'Prompts that select models (six templates), one vector for each class.',
      alignment_tables.zero_shot_details(numbers, split, list(classes)),
    ]
    if self._config.evals.kinds:
      blocks += [
        f'As Table 2, top-1 accuracy in percent. {_BESIDE}',
        alignment_tables.zero_shot(
          numbers,
          split,
          list(classes),
          self._config.evals.kinds,
          self._config.augment.kind,
        ),
      ]
    return numbers, (f'Zero-shot classification ({split})', blocks)

  def _retrieval(self, places: place_vectors.PlaceVectors) -> Part:
    numbers, split = {}, self._split
    chosen = [
      label for label in self._config.evals.retrieval if label in places.labels
    ]
    for label in chosen:
      truth = np.where(places.seen, places.labels[label], labels.NONE)
      for setting, vectors in places.pixels.items():
        for own in (True, False):
          numbers |= retrieval.metrics(
            alignment_tables.recall_path(split, setting, label, own=own),
            retrieval.evaluate(vectors, places.photos, truth, own=own),
          )
    return numbers, (
      f'Retrieval between pixels and photos ({split})',
      [
        'Recall by class. S2G: pixels look for photos; G2S: the reverse. '
        'Months; a query does not find its own place. Chance: a random other '
        'place has the label.',
        alignment_tables.recall_details(numbers, split, chosen),
        f'As Table 3, Recall@1, own places included. {_BESIDE}',
        alignment_tables.recall(
          numbers, split, chosen, self._config.augment.kind
        ),
      ],
    )

  def _search(
    self,
    queries: prompts_lib.Prompts,
    places: place_vectors.PlaceVectors,
    pictures: pathlib.Path,
  ) -> Part:
    split, label = self._split, self._config.evals.search_label
    names = self._task.class_names(label)
    answers = text_retrieval.search(
      places.pixels['monthly'], queries, places.labels[label], names
    )
    source, field = (
      self._task.source(split),
      labels.FIELDS.get(label, f'label/{label}'),
    )
    shown = answers[:8]
    examples = {
      int(i): source[int(i)] for answer in shown for i in answer.places
    }
    path = pictures / 'text_retrieval.png'
    text_retrieval.picture(path, shown, examples, names, field)
    rows = [
      (answer.text, answer.expected, answer.right, float(answer.cosines[0]))
      for answer in answers
    ]
    return {
      f'{split}/text_retrieval/{label}@5': text_retrieval.precision(answers)
    }, (
      f'Pixels found by text ({split})',
      [
        tables.markdown(
          ('text', 'class', 'right of the first 5', 'best cosine'), rows
        ),
        (
          path,
          'The five nearest places of each text: greenness by '
          'month over the colours of the months; titles of other '
          'classes are orange',
        ),
      ],
    )

  def _scenicness(
    self,
    rated: votes_lib.RatedPrompts,
    places: place_vectors.PlaceVectors,
    learned_scale: float | None,
  ) -> Part:
    split = self._split
    numbers: dict[str, float] = {}
    votes = self._votes_of(split)
    for setting, vectors in places.pixels.items():
      path = alignment_tables.scenic_path(split, setting)
      numbers |= scenicness.metrics(
        path, scenicness.evaluate(vectors, votes, rated)
      )
      if learned_scale is not None:
        numbers |= scenicness.metrics(
          f'{path}_learned_scale',
          scenicness.evaluate(vectors, votes, rated, learned_scale),
        )
    numbers[f'{split}/scenicness_places'] = int((~np.isnan(votes)).sum())
    return numbers, (
      f'Scenicness ({split})',
      [
        f'{numbers[f"{split}/scenicness_places"]:,} places with votes; scale '
        f'{scenicness.SCALE:g} as CLIP. As Table 4. {_BESIDE}',
        alignment_tables.scenic(numbers, split, self._config.augment.kind),
      ],
    )

  def _votes_of(self, split: str) -> np.ndarray:
    """Mean votes [P] of a split's places, NaN where there are none."""
    source = self._task.source(split)
    examples = [source[i] for i in range(len(source))]
    return votes_lib.votes_at(
      [e['lat'] for e in examples], [e['lon'] for e in examples], self._votes
    )

  def _efficiency(self) -> Part:
    cost = efficiency.of_encoder(self._task.encoder, 'this run', repeats=20)
    costs = [
      efficiency.of_clip(),
      efficiency.of_clip_image(),
      *efficiency.paper_sizes(),
      cost,
    ]
    return efficiency.metrics(cost), (
      'Cost',
      [
        "Time and memory only of this run's encoder, for one place; "
        '`python -m benchmarks.efficiency` measures all. In brackets: Table 7.',
        efficiency.table(costs),
      ],
    )
