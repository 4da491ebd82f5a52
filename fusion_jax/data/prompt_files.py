"""Files of prompts, and of prompts with vectors.

.json         {class: text or [texts]}, or a list of texts, each its own
              class; tables further inside are reached with `part`.
.csv          columns `class` and `text`; or `name`, one class a row.
.npz          `classes` [N], `texts` [N] strings, `vectors` [N, D] float.
.safetensors  `vectors`; `classes` and `texts` as JSON lists in the metadata.
"""

import csv
import json
import pathlib
import zipfile

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from fusion_jax.data import prompts as prompts_lib


def read(path, *, part='', width=0):
  """Prompts from a file, see above.

  Args:
    path: of the file; its ending tells the format.
    part: keys of a JSON file down to the table, joined by '/'; such as
      'tasks/land_cover'.
    width: D that the vectors must have, where the file has some; 0 for any.

  Returns:
    `Prompts`.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if a class has no prompt, a prompt stands there twice, vectors
      have another width or are not finite, or the file is of another form. The
      message names the file.
  """
  path = pathlib.Path(path)
  if path.suffix not in _READERS:
    raise ValueError(f'{path}: files of prompts end in {", ".join(_READERS)}.')
  if part and path.suffix != '.json':
    raise ValueError(f'{path}: only JSON files have parts, such as {part!r}.')
  try:
    prompts = _READERS[path.suffix](path, part)
    if prompts.vectors is not None and width not in (
      0,
      prompts.vectors.shape[1],
    ):
      raise ValueError(
        f'its vectors have {prompts.vectors.shape[1]} dimensions, the model '
        f'has {width}; embed the texts with the CLIP it was trained with.'
      )
  except FileNotFoundError:
    raise
  except (
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
  ) as error:
    raise ValueError(f'{path}: {error}') from error
  return prompts


def write(path, prompts):
  """Writes prompts with vectors as .npz or .safetensors.

  Raises:
    ValueError: if they have no vectors, or for another ending.
  """
  path = pathlib.Path(path)
  if prompts.vectors is None:
    raise ValueError(f'{path}: these prompts have no vectors to write.')
  classes = [prompts.classes[i] for i in prompts.class_of]
  if path.suffix == '.npz':
    np.savez(
      path,
      classes=np.array(classes),
      texts=np.array(prompts.texts),
      vectors=prompts.vectors,
    )
  elif path.suffix == '.safetensors':
    safetensors_numpy.save_file(
      {'vectors': prompts.vectors},
      path,
      {'classes': json.dumps(classes), 'texts': json.dumps(prompts.texts)},
    )
  else:
    raise ValueError(f'{path}: vectors are written to .npz or .safetensors.')


def _read_json(path, part):
  def no_doubles(pairs):
    if doubled := prompts_lib.doubled_texts([key for key, _ in pairs]):
      raise ValueError(f'keys that stand there twice: {doubled}.')
    return dict(pairs)

  table = json.loads(path.read_text('utf-8-sig'), object_pairs_hook=no_doubles)
  for key in part.split('/') if part else ():
    if not isinstance(table, dict) or key not in table:
      inside = sorted(table) if isinstance(table, dict) else 'no more tables'
      raise ValueError(
        f'there is no part {part!r}; at {key!r} there is {inside}.'
      )
    table = table[key]
  if isinstance(table, list):
    table = {text: [text] for text in _strings(table, 'the list')}
  if isinstance(table, dict) and any(
    isinstance(value, dict) for value in table.values()
  ):
    raise ValueError(
      f'it holds several tables; name one with part: {", ".join(table)}.'
    )
  if not isinstance(table, dict):
    raise ValueError(
      f'it holds a {type(table).__name__}; wanted is a table '
      '{class: [texts]} or a list of texts.'
    )
  return prompts_lib.from_texts(
    {
      name: _strings([value] if isinstance(value, str) else value, name)
      for name, value in table.items()
    }
  )


def _strings(values, name):
  if not isinstance(values, list) or not all(
    isinstance(value, str) for value in values
  ):
    raise ValueError(f'{name!r} holds {values!r}; wanted are texts.')
  if doubled := prompts_lib.doubled_texts(values):
    raise ValueError(f'Prompts that stand there twice: {doubled}.')
  return values


def _read_csv(path, _):
  with open(path, newline='', encoding='utf-8-sig') as file:
    rows = list(csv.DictReader(file))
  _check_columns(rows)
  columns = set(rows[0]) if rows else set()
  if {'class', 'text'} <= columns:
    return _by_row(*([row[name] for row in rows] for name in ('class', 'text')))
  if 'name' in columns:
    names = [row['name'] for row in rows]
    return prompts_lib.from_classes(names)
  raise ValueError(
    f'its columns are {sorted(columns)}; wanted are class and text, or name.'
  )


def _check_columns(rows):
  """Raises if a row has more or fewer values than there are columns."""
  for number, row in enumerate(rows, 2):  # The first line has the names.
    if None in row:
      raise ValueError(
        f'row {number} has more values than there are columns, '
        f'{row[None]}; put a text with commas in quotes.'
      )
    if None in row.values():
      raise ValueError(
        f'row {number} has no {[name for name in row if row[name] is None]}.'
      )


def _read_npz(path, _):
  with open(path, 'rb') as raw, np.load(raw, allow_pickle=False) as file:
    missing = {'classes', 'texts', 'vectors'} - set(file)
    if missing:
      raise ValueError(f'it lacks the arrays {sorted(missing)}.')
    return _by_row(
      file['classes'].tolist(),
      file['texts'].tolist(),
      np.asarray(file['vectors'], np.float32),
    )


def _read_safetensors(path, _):
  with safetensors.safe_open(path, 'numpy') as file:
    lists = file.metadata() or {}
    missing = ({'classes', 'texts'} - set(lists)) | (
      {'vectors'} - set(file.keys())
    )
    if missing:
      raise ValueError(f'it lacks {sorted(missing)}.')
    return _by_row(
      json.loads(lists['classes']),
      json.loads(lists['texts']),
      np.asarray(file.get_tensor('vectors'), np.float32),
    )


def _by_row(names, texts, vectors=None):
  """Prompts of rows (class, text, vector); classes in order of appearance."""
  if len(names) != len(texts):
    raise ValueError(
      f'{len(names)} classes for {len(texts)} texts; wanted is '
      'the class of every text.'
    )
  if strange := [name for name in names if not isinstance(name, str)]:
    raise ValueError(f'classes that are no text: {strange[:5]}.')
  order = {name: i for i, name in enumerate(dict.fromkeys(names))}
  return prompts_lib.Prompts(
    tuple(order), tuple(texts), tuple(order[name] for name in names), vectors
  )


_READERS = {
  '.json': _read_json,
  '.csv': _read_csv,
  '.npz': _read_npz,
  '.safetensors': _read_safetensors,
}
