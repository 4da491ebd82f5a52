"""Where the assets of STAC items may be: in a folder, or on allowed hosts.

An item may come from anywhere, and what it links to is opened. So a link leads
to a file in the folder of the item (or in the one that the user named), or to a
host that the user allows.
"""

import os
import pathlib
import urllib.parse
from collections.abc import Sequence

_REMOTE = ('http', 'https', 's3', 'gs')


def resolve(
  href: str,
  item: pathlib.Path,
  root: str | os.PathLike[str] = '',
  hosts: Sequence[str] = (),
) -> str:
  """Returns the path or URL of an asset.

  Args:
    href: link of an item: a path from its folder, an absolute path, or a URL.
    item: path of the item.
    root: folder that the user named, in which the item was found; or ''.
    hosts: hosts that are allowed, with their subdomains; for s3:// and gs://,
      names of buckets.

  Raises:
    ValueError: if it leads elsewhere.
  """
  if not isinstance(href, str) or not href or '\0' in href:
    raise ValueError(f'{item} has an asset with the link {href!r}.')
  url = urllib.parse.urlsplit(href)
  if url.scheme in _REMOTE and url.netloc:
    return _remote(href, url, item, hosts)
  if url.scheme == 'file':
    href = urllib.parse.unquote(url.path)
  elif '://' in href:
    raise ValueError(
      f'{item} has an asset at {href!r}; only files and links of '
      f'{", ".join(_REMOTE)} are read. Download it, and give its path.'
    )
  place = os.path.normpath(item.absolute().parent / href)
  folders = [item.absolute().parent]
  if str(root):
    folders.append(pathlib.Path(root).absolute())
  if not any(_is_in(place, folder) for folder in folders):
    raise ValueError(
      f'{item} has an asset at {href!r}, outside of its folder {folders[-1]}; '
      'such files are not opened. Move it there, or name the folder that has '
      'both, if you know what the item links to.'
    )
  return place


def _is_in(place, folder):
  """Returns whether a path is in a folder, by names or by where links lead."""
  pairs = (
    (place, os.path.normpath(folder)),
    (os.path.realpath(place), os.path.realpath(folder)),
  )
  return any(
    pathlib.Path(inner).is_relative_to(outer) for inner, outer in pairs
  )


def _remote(href, url, item, hosts):
  host = (url.hostname or '').lower()
  allowed = [name.lower().strip('.') for name in hosts]
  if not any(host == name or host.endswith(f'.{name}') for name in allowed):
    raise ValueError(
      f'{item} has an asset on the host {host}, from which nothing is fetched '
      f'unless you allow it: --hosts {host} (in Python, '
      f"Declared(hosts=('{host}',)))."
    )
  return href
