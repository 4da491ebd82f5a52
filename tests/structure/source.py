"""The package's own source, parsed: what the tests of structure look at."""

import ast
import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / 'fusion_jax'
CONFIGS = ROOT / 'configs'  # fusion_jax/configs is a link to this folder.

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclasses.dataclass(frozen=True)
class Module:
  """A Python file of the package.

  Attributes:
    name: its path below the repository, such as 'fusion_jax/geo.py'.
    text: its content.
    tree: its syntax tree.
  """

  name: str
  text: str
  tree: ast.Module

  @property
  def public(self) -> bool:
    """Whether no part of its path begins with an underscore."""
    parts = self.name.removesuffix('.py').split('/')
    return not any(_is_private(part) for part in parts)


@dataclasses.dataclass(frozen=True)
class Definition:
  """A class, a function or a method.

  Attributes:
    module: the file that it is in.
    qualname: its name with the classes and functions around it.
    node: its syntax tree.
    owner: the class that it is a method of, or None.
    nested: whether it is defined inside a function.
  """

  module: Module
  qualname: str
  node: ast.ClassDef | FunctionNode
  owner: ast.ClassDef | None
  nested: bool

  @property
  def label(self) -> str:
    """Where it is, as `path:line name`."""
    return f'{self.module.name}:{self.node.lineno} {self.qualname}'

  @property
  def is_function(self) -> bool:
    """Whether it is a function or a method."""
    return not isinstance(self.node, ast.ClassDef)

  @property
  def is_magic(self) -> bool:
    """Whether Python calls it by a name such as `__len__`."""
    return self.node.name.startswith('__') and self.node.name.endswith('__')

  @property
  def public(self) -> bool:
    """Whether users of the package may call it."""
    private = any(_is_private(part) for part in self.qualname.split('.'))
    return self.module.public and not private and not self.nested

  @property
  def docstring(self) -> str:
    """Its docstring, or ''."""
    return ast.get_docstring(self.node) or ''

  @property
  def num_lines(self) -> int:
    """Number of lines from `def` to the end."""
    return (self.node.end_lineno or 0) - self.node.lineno + 1


@functools.cache
def modules() -> tuple[Module, ...]:
  """Returns all files of the package, with its configurations."""
  paths = [
    path
    for path in PACKAGE.rglob('*.py')
    if path.relative_to(PACKAGE).parts[0] != 'configs'
  ]
  return tuple(
    Module(
      str(path.relative_to(ROOT)), text := path.read_text(), ast.parse(text)
    )
    for path in sorted([*paths, *CONFIGS.glob('*.py')])
  )


@functools.cache
def definitions() -> tuple[Definition, ...]:
  """Returns all classes, functions and methods of the package."""
  return tuple(
    definition
    for module in modules()
    for definition in _walk(module, module.tree, (), None, False)
  )


@functools.cache
def functions() -> tuple[Definition, ...]:
  """Returns all functions and methods of the package."""
  return tuple(
    definition for definition in definitions() if definition.is_function
  )


@functools.cache
def public_functions() -> tuple[Definition, ...]:
  """Returns functions and methods of the package that users may call."""
  return tuple(function for function in functions() if function.public)


def parameters(function: Definition) -> list[ast.arg]:
  """Returns a function's named parameters, without `self` and `cls`."""
  arguments = function.node.args
  named = [*arguments.posonlyargs, *arguments.args]
  static = any(
    isinstance(decorator, ast.Name) and decorator.id == 'staticmethod'
    for decorator in function.node.decorator_list
  )
  if function.owner is not None and not static:
    named = named[1:]
  return [*named, *arguments.kwonlyargs]


def descriptions(docstring: str) -> list[tuple[str, str]]:
  """Returns what a docstring says of each argument or attribute.

  Args:
    docstring: with sections `Args:` and `Attributes:`, indented by two.

  Returns:
    Pairs of a name and its description, on one line.
  """
  result = []
  section = False
  for line in docstring.splitlines():
    if line and not line.startswith(' '):
      section = line.strip() in ('Args:', 'Attributes:')
      continue
    item = re.match(r'  (\*{0,2}\w[\w, *`]*): (.*)', line)
    if section and item:
      result.append((item[1], item[2].strip()))
    elif section and result and line.startswith('    '):
      name, text = result.pop()
      result.append((name, f'{text} {line.strip()}'))
  return result


def _walk(module, node, names, owner, nested) -> Iterator[Definition]:
  for child in ast.iter_child_nodes(node):
    if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
      inner = (*names, child.name)
      yield Definition(module, '.'.join(inner), child, owner, nested)
      is_class = isinstance(child, ast.ClassDef)
      yield from _walk(
        module,
        child,
        inner,
        child if is_class else None,
        nested or not is_class,
      )
    else:
      yield from _walk(module, child, names, owner, nested)


def _is_private(name) -> bool:
  return name.startswith('_') and not name.startswith('__')
