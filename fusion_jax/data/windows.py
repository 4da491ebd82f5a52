"""Weather around an acquisition: hourly and daily windows, hourly sums.

Times are seconds since 1970 in UTC. The time of the acquisition is rounded to
the hour; its day is the UTC day that contains it (rounding 14:37 to the nearest
midnight would call the day before the acquisition "today" half of the time).
The hourly window runs from 47 h before to 12 h after, the daily window from 29
days before to 10 days after, which are 40 UTC days. Temperature at hour t is
instantaneous; precipitation at hour t is the sum over (t - 1 h, t]. A UTC day
has the temperatures of its hours 00..23 and the precipitation of its hours
01..24.
"""

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy import typing as npt

from fusion_jax import modalities

# (start, end, amounts [P] in mm), the ends in seconds.
Interval = tuple[int, int, np.ndarray]

HOUR, DAY = 3600, 86_400  # Seconds.
FIRST_DAY = modalities.DAILY_LEADS[0]  # First day of the daily window.
NUM_DAYS = len(modalities.DAILY_LEADS)
NUM_HOURS = 24 * NUM_DAYS  # Length of the daily window in hours.


def acquisition_hour(time: npt.ArrayLike) -> Any:
  """Returns the hour nearest to an acquisition; half an hour rounds up.

  Args:
    time: [...] int, seconds since 1970.

  Returns:
    [...] int64, hours since 1970.
  """
  return (np.asarray(time, np.int64) + HOUR // 2) // HOUR


def acquisition_day(time: npt.ArrayLike) -> Any:
  """Returns the UTC day that contains an acquisition.

  Args:
    time: [...] int, seconds since 1970.

  Returns:
    [...] int64, days since 1970.
  """
  return np.asarray(time, np.int64) // DAY


def first_hour(time: npt.ArrayLike) -> Any:
  """Returns 00 UTC on the first day of an acquisition's daily window.

  Args:
    time: [...] int, seconds since 1970.

  Returns:
    [...] int64, hours since 1970.
  """
  return (acquisition_day(time) + FIRST_DAY) * 24


def series(
  time: npt.ArrayLike, t2m: np.ndarray, tp: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns every hourly and daily series of acquisitions.

  Args:
    time: [P] int, seconds since 1970, times of the acquisitions.
    t2m: [P, 960] float, K, temperature at the hours `first_hour`,
      `first_hour + 1`, ...; NaN where missing.
    tp: [P, 960] float, mm, sums over the hours that end at `first_hour + 1`,
      `first_hour + 2`, ...; NaN where missing.

  Returns:
    {name of a series: [P, T] float32} in K and mm. A day with a missing hour is
    missing, with one exception: if one of its known hours was dry, the smallest
    hourly sum of the day is 0 whatever the missing hours had.
  """
  hours = (acquisition_hour(time) - first_hour(time))[:, None]
  hours = hours + np.asarray(modalities.HOURLY_LEADS)[None]  # [P, 60]
  t2m_day = t2m.reshape(-1, NUM_DAYS, 24)
  tp_day = tp.reshape(-1, NUM_DAYS, 24)
  smallest = np.where((tp_day == 0).any(-1), 0, tp_day.min(-1))
  values_of = {
    't2m_hourly': np.take_along_axis(t2m, hours, 1),
    'tp_hourly': np.take_along_axis(tp, hours - 1, 1),
    't2m_min_daily': t2m_day.min(-1),
    't2m_max_daily': t2m_day.max(-1),
    't2m_mean_daily': t2m_day.mean(-1),
    'tp_min_daily': smallest,
    'tp_max_daily': tp_day.max(-1),
    'tp_sum_daily': tp_day.sum(-1),
  }
  return {name: values.astype(np.float32) for name, values in values_of.items()}


def hourly_sums(intervals: Iterable[Interval]) -> dict[int, np.ndarray]:
  """Returns hourly precipitation from the sums of one forecast run.

  Sums may be bucketed (0-1, 0-2, .. 0-6, 6-7, ..), since the start (0-1, ..
  0-18), hourly (0-1, 1-2, ..) or mixed. All of them are equations
  S(end) - S(start) = amount, and an hour is known if its two ends are connected
  by them. Among redundant equations the shorter interval counts, because its
  packing is finer. Differences below zero, which packing leaves, become zero. A
  longer interval is never split, unless nothing fell in it: then each of its
  hours was dry. Equal intervals complete each other where one is missing, as
  the fields of two regions do.

  Args:
    intervals: starts and ends in seconds since 1970, and amounts [P] in mm; NaN
      where missing.

  Returns:
    {end of an hour, in hours since 1970: amount [P] in mm}.
  """
  sums: dict[int, np.ndarray] = {}
  whole: dict[tuple[int, int], np.ndarray] = {}
  for start, end, amount in intervals:
    known = whole.get((start, end), np.nan)
    whole[start, end] = np.where(np.isnan(known), amount, known)
  merged = [(start, end, amount) for (start, end), amount in whole.items()]
  for start, end, amount in merged:
    if end - start == HOUR and end % HOUR == 0:
      _keep(sums, end // HOUR, amount)
  for times, totals in _connect(merged):
    for i in range(len(times) - 1):
      amount = totals[i + 1] - totals[i]
      amount = np.where(amount < 1e-6, 0, amount)  # NaN stays.
      start, end = times[i], times[i + 1]
      if end - start > HOUR:
        amount = np.where(amount == 0, 0, np.nan)
      first = -(-start // HOUR) + 1  # End of the first whole hour inside.
      for hour in range(first, end // HOUR + 1):
        if end - start >= HOUR:
          _keep(sums, hour, amount)
    _add_parts(sums, times, totals)
  return sums


def _add_parts(
  sums: dict[int, np.ndarray],
  times: Sequence[int],
  totals: Sequence[np.ndarray],
) -> None:
  """Sets the amounts of hours that shorter intervals make up."""
  total_at = dict(zip(times, totals))
  if any(time % HOUR for time in times):
    for time, total in total_at.items():
      if time % HOUR == 0 and time - HOUR in total_at:
        amount = total - total_at[time - HOUR]
        _keep(sums, time // HOUR, np.where(amount < 1e-6, 0, amount))


def _keep(sums: dict[int, np.ndarray], hour: int, amount: np.ndarray) -> None:
  """Sets the amounts of an hour that are not known yet."""
  known = sums.get(hour, np.nan)
  sums[hour] = np.where(np.isnan(known), amount, known)


def _connect(
  intervals: Sequence[Interval],
) -> list[tuple[list[int], list[np.ndarray]]]:
  """Returns running totals at the times that intervals connect.

  Returns:
    For each connected set of times: the times, ascending, and the running total
    [P] at each of them.
  """
  # {time: its group}; a group is {time: total [P]}, shared by all its times.
  groups: dict[int, dict[int, np.ndarray]] = {}
  for start, end, amount in sorted(intervals, key=lambda x: x[1] - x[0]):
    head = groups.setdefault(start, {start: np.zeros_like(amount)})
    tail = groups.setdefault(end, {end: np.zeros_like(amount)})
    if head is tail:
      continue
    shift = head[start] + amount - tail[end]
    for time, total in tail.items():
      head[time] = total + shift
      groups[time] = head
  unique = collections.OrderedDict((id(g), g) for g in groups.values())
  return [(sorted(g), [g[t] for t in sorted(g)]) for g in unique.values()]
