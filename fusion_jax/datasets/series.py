"""Recipe of windows of weather series without images."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from fusion_jax.data.builders import blocks as blocks_lib
from fusion_jax.data.sources import stations as stations_lib
from fusion_jax.datasets import gridded_weather, recipe

if TYPE_CHECKING:
  from fusion_jax.data.builders import series

T = TypeVar('T')

SeriesName = Literal[
  't2m_hourly',
  'tp_hourly',
  't2m_min_daily',
  't2m_max_daily',
  't2m_mean_daily',
  'tp_min_daily',
  'tp_max_daily',
  'tp_sum_daily',
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series(gridded_weather.GriddedWeather):
  """Windows of weather series, of gridded fields or stations.

  Attributes:
    series: Names of the series of every example.
    blocks: JSON file that says where and when the windows of each split lie,
      {split: {"start", "end", "lat", "lon", "every_h"}}.
    stations: JSON file that says what the columns of CSV files of weather
      stations mean, in place of --weather: {"paths", "places", "station",
      "time", "time_zone", "temperature", "precipitation", "hour_of_sum",
      "missing"}.
    compression: Compression of the records; zstd:1 takes half the space and
      reads a third slower.
  """

  name: ClassVar[str] = 'series'

  series: tuple[SeriesName, ...]
  blocks: Mapping[str, blocks_lib.Block]
  stations: stations_lib.Stations | None = None
  compression: str = 'uncompressed'

  def __post_init__(self) -> None:
    self.check_weather()
    recipe.normalize(self, 'series', tuple(self.series))
    if not self.series:
      raise ValueError(
        f'No series are named; choose among {", ".join(get_args(SeriesName))}.'
      )
    recipe.check_choices(self, 'series', get_args(SeriesName))
    if not isinstance(self.blocks, Mapping):
      raise ValueError(
        f'--blocks {self.blocks!r} is no table of the blocks of the splits; '
        'write {"train": {"start": ..., "end": ...}}.'
      )
    recipe.normalize(
      self,
      'blocks',
      {
        split: _read_as(blocks_lib.Block, block)
        for split, block in self.blocks.items()
      },
    )
    if not self.blocks:
      raise ValueError(
        'series needs --blocks: where and when the windows of each split lie.'
      )
    blocks_lib.check_apart(self.blocks)
    if self.stations is not None:
      stations = _read_as(stations_lib.Stations, self.stations)
      paths = tuple(recipe.absolute(path) for path in stations.paths)
      recipe.normalize(
        self, 'stations', dataclasses.replace(stations, paths=paths)
      )
    if bool(self.weather) == (self.stations is not None):
      raise ValueError(
        'series needs either --weather, gridded files, or --stations, what '
        'the columns of CSV files mean.'
      )
    recipe.check_compression(self)

  def open_reader(self) -> 'series.Windows':
    """Opens the fields or the files of the stations, in windows."""
    from fusion_jax.data.builders import series

    fields = self.stations or self.open_weather()
    assert fields is not None  # The fields were checked.
    return series.Windows(fields, self.blocks, self.series)


def _read_as(cls: type[T], value: Any) -> T:
  """An instance of a dataclass, from one or from a mapping of its fields.

  Raises:
    ValueError: for a field that it does not have, or one that is missing.
  """
  if isinstance(value, cls):
    return value
  if not isinstance(value, Mapping):
    known = ', '.join(field.name for field in dataclasses.fields(cls))  # pyright: ignore[reportArgumentType]  # Both are dataclasses.
    raise ValueError(
      f'{cls.__name__} cannot be made of {value!r}; give a table of its '
      f'fields {known}.'
    )
  fields = {
    name: tuple(entry) if isinstance(entry, list) else entry
    for name, entry in dict(value).items()
  }
  try:
    return cls(**fields)
  except TypeError as error:
    known = ', '.join(field.name for field in dataclasses.fields(cls))  # pyright: ignore[reportArgumentType]  # Both are dataclasses.
    raise ValueError(
      f'{cls.__name__} cannot be made of {sorted(fields)} ({error}); its '
      f'fields are {known}.'
    ) from error
