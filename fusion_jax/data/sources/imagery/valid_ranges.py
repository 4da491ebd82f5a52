"""The valid range that a band or variable declares."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np


def valid_range(attrs: Mapping[Any, Any]) -> tuple[float, float] | None:
  """Returns the smallest and largest valid stored value, or None.

  Args:
    attrs: attributes of the CF conventions, `valid_range` or `valid_min` and
      `valid_max`, as numbers or as text.
  """
  limits = _numbers(attrs.get('valid_range'))
  if len(limits) == 2:
    return limits[0], limits[1]
  low, high = (_numbers(attrs.get(x)) for x in ('valid_min', 'valid_max'))
  if low or high:
    return (low or [-np.inf])[0], (high or [np.inf])[0]
  return None


def _numbers(value: Any) -> list[float]:
  """Returns the numbers of an attribute; [] for one that has none."""
  if value is None:
    return []
  if isinstance(value, str):
    value = re.findall(r'[^\s,{}\[\]]+', value)
  try:
    return [float(number) for number in np.ravel(value)]
  except (TypeError, ValueError):
    return []
