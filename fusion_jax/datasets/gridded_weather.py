"""Fields of the recipes that read weather from gridded files."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Literal

from fusion_jax import extras
from fusion_jax.datasets import recipe

if TYPE_CHECKING:
  from fusion_jax.data.sources import gridded


@dataclasses.dataclass(frozen=True, kw_only=True)
class GriddedWeather(recipe.Recipe):
  """Where weather is read from, and how a place is found on its grid.

  Attributes:
    weather: GRIB, NetCDF or Zarr files, or folders of them. Without any, the
      weather series of the examples are missing.
    alignment: Takes the nearest grid cell to a place, or interpolates between
      four cells.
    outside: What to do with a place off a regional grid: stop with an error,
      or leave its series missing.
    temperature: Name of the variable with the air temperature near the ground
      in K (default: 2t, t2m or tas).
    precipitation: Name of the variable with the amount of precipitation
      (default: tp, prate, pr and other usual names).
    reset_hours: Hours of the UTC day at whose multiples precipitation starts
      from zero again, in NetCDF and Zarr (default: 0, every value is the sum
      since the one before).
    daily_values: What one value a day is where the file does not say it: of
      the UTC day, or of that moment.
    temperature_unit: Unit of the temperature, if not the file's.
    precipitation_unit: Unit of precipitation, if not the file's.
    member: Number or name of the ensemble member to read.
  """

  weather: tuple[str, ...] = ()
  alignment: Literal['nearest', 'bilinear'] = 'nearest'
  outside: Literal['error', 'missing'] = 'error'
  temperature: str = ''
  precipitation: str = ''
  reset_hours: int = 0
  daily_values: Literal['stated', 'day', 'moment'] = 'stated'
  temperature_unit: str = ''
  precipitation_unit: str = ''
  member: str = ''

  def check_weather(self) -> None:
    """Checks the fields of the weather, and makes its paths absolute.

    Raises:
      ValueError: for a value that does not fit.
    """
    recipe.normalize_paths(self, 'weather')
    recipe.check_choice(self, 'alignment', ('nearest', 'bilinear'))
    recipe.check_choice(self, 'outside', ('error', 'missing'))
    recipe.check_choice(self, 'daily_values', ('stated', 'day', 'moment'))
    recipe.check_at_least(self, 'reset_hours', 0)

  def open_weather(self) -> 'gridded.Weather | None':
    """Opens the files of the weather; returns None without any.

    Raises:
      ValueError: if a path does not exist, or is an empty folder.
      MissingExtraError: if optional packages are not installed.
    """
    if not self.weather:
      return None
    for path in map(pathlib.Path, self.weather):
      if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        state = 'is an empty folder' if path.exists() else 'does not exist'
        raise ValueError(
          f'--weather {path} {state}; give GRIB, NetCDF or Zarr files, or '
          'folders of them.'
        )
    with extras.needed('weather', 'Reading gridded weather'):
      from fusion_jax.data.sources import gridded
    return gridded.Weather(
      self.weather,
      self.alignment,
      self.outside,
      self.temperature,
      self.precipitation,
      self.reset_hours,
      self.daily_values,
      self.temperature_unit,
      self.precipitation_unit,
      self.member,
    )
