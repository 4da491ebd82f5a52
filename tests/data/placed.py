"""Places without images, for readers that are joined with weather."""

import dataclasses

import numpy as np

from fusion_jax.data import examples

LAST = 1_551_571_200 - 3600  # 2019-03-02 23 UTC.


@dataclasses.dataclass(frozen=True)
class Places:
  """Images without content at places of the United Kingdom in March 2019."""

  total: int = 40
  per_shard: int = 5
  schema: examples.Schema = examples.Schema(('DEM',), 1)

  def parts(self):
    starts = range(0, self.total, self.per_shard)
    return {'train': [(i, i + self.per_shard) for i in starts]}

  def places(self, split, part):
    del split
    rng = np.random.default_rng(0)
    lat = rng.uniform(50, 58, self.total)
    lon = rng.uniform(-10, 2, self.total)
    time = rng.integers(LAST - 86_400, LAST + 20 * 86_400, self.total)
    return {f'place_{i}': (lat[i], lon[i], int(time[i])) for i in range(*part)}

  def read(self, split, part):
    for key, (lat, lon, time) in self.places(split, part).items():
      yield {
        'key': key,
        'lat': lat,
        'lon': lon,
        'time': time,
        'DEM': np.zeros((1, 1, 1), np.int16),
      }
