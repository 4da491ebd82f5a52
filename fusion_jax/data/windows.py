"""Weather around an acquisition: hourly and daily windows, hourly sums.

Times are seconds since 1970 UTC. The acquisition is rounded to the hour; its
day is the UTC day that holds it (rounding 14:37 to the nearest midnight would
call the day before the acquisition "today" half of the time). Hourly: 47 h
before to 12 h after; daily: 29 days before to 10 days after, 40 UTC days.
Temperature at hour t is instantaneous, precipitation at hour t the sum over
(t - 1 h, t]; a UTC day has the temperatures of its hours 00..23 and the
precipitation of its hours 01..24.
"""

import collections

import numpy as np

from fusion_jax import modalities

HOUR, DAY = 3600, 86_400
FIRST_DAY = modalities.DAILY_LEADS[0]
NUM_DAYS = len(modalities.DAILY_LEADS)
NUM_HOURS = 24 * NUM_DAYS


def acquisition_hour(time):
  """Hours since 1970, rounded; half an hour counts up."""
  return (np.asarray(time, np.int64) + HOUR // 2) // HOUR


def acquisition_day(time):
  """Days since 1970 of the UTC day that holds the acquisition."""
  return np.asarray(time, np.int64) // DAY


def first_hour(time):
  """Hours since 1970 of 00 UTC on the first day of the daily window."""
  return (acquisition_day(time) + FIRST_DAY) * 24


def series(time, t2m, tp):
  """Every hourly and daily series of acquisitions.

  Args:
    time: [P] int seconds.
    t2m: [P, 960] K at the hours `first_hour`, `first_hour + 1`, ...
    tp: [P, 960] mm, sums over the hours that end at `first_hour + 1`, ...

  Returns:
    {series modality: [P, T] float32}. A day with a missing hour is missing,
    but for one case: where a known hour was dry, the day's smallest hourly
    sum is 0 whatever the missing ones held.
  """
  hours = (acquisition_hour(time) - first_hour(time))[:, None]
  hours = hours + np.asarray(modalities.HOURLY_LEADS)[None]  # [P, 60]
  t2m_day = t2m.reshape(-1, NUM_DAYS, 24)
  tp_day = tp.reshape(-1, NUM_DAYS, 24)
  smallest = np.where((tp_day == 0).any(-1), 0, tp_day.min(-1))
  found = {
    't2m_hourly': np.take_along_axis(t2m, hours, 1),
    'tp_hourly': np.take_along_axis(tp, hours - 1, 1),
    't2m_min_daily': t2m_day.min(-1),
    't2m_max_daily': t2m_day.max(-1),
    't2m_mean_daily': t2m_day.mean(-1),
    'tp_min_daily': smallest,
    'tp_max_daily': tp_day.max(-1),
    'tp_sum_daily': tp_day.sum(-1),
  }
  return {name: values.astype(np.float32) for name, values in found.items()}


def hourly_sums(intervals):
  """Hourly precipitation from the sums of one forecast run.

  Bucketed (0-1, 0-2, .. 0-6, 6-7, ..), since the start (0-1, .. 0-18), hourly
  (0-1, 1-2, ..) and mixed steps are all equations S(end) - S(start) = amount;
  an hour is known if its two ends are connected by them. Of redundant ones the
  shorter interval counts: its packing is finer. Differences below zero, which
  packing leaves, are zero. A longer interval is never split, unless nothing
  fell in it: then its every hour was dry. Equal intervals complete each other
  where one is missing, as fields of two regions are.

  Args:
    intervals: [(start, end, amount [P])], seconds and mm.

  Returns:
    {hours since 1970 of the hour's end: amount [P]}.
  """
  sums, whole = {}, {}
  for start, end, amount in intervals:
    known = whole.get((start, end), np.nan)
    whole[start, end] = np.where(np.isnan(known), amount, known)
  intervals = [(*interval, amount) for interval, amount in whole.items()]
  for start, end, amount in intervals:
    if end - start == HOUR and end % HOUR == 0:
      _keep(sums, end // HOUR, amount)
  for times, totals in _connect(intervals):
    for i in range(len(times) - 1):
      amount = totals[i + 1] - totals[i]
      amount = np.where(amount < 1e-6, 0, amount)  # NaN stays.
      start, end = times[i], times[i + 1]
      if end - start > HOUR:
        amount = np.where(amount == 0, 0, np.nan)
      first = -(-start // HOUR) + 1  # First whole hour inside ends here.
      for hour in range(first, end // HOUR + 1):
        if end - start >= HOUR:
          _keep(sums, hour, amount)
  return sums


def _keep(sums, hour, amount):
  """Sets an hour where nothing is known of it yet."""
  known = sums.get(hour, np.nan)
  sums[hour] = np.where(np.isnan(known), amount, known)


def _connect(intervals):
  """Running totals at the times that intervals connect.

  Returns:
    [(times ascending, totals [len(times), P])], one for each connected set.
  """
  groups = {}  # Time -> its group: {time: total [P]}, shared by all in it.
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
