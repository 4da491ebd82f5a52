"""The rules of structure: each lists the places that break it."""

import ast
import itertools
import re

from tests.structure import source

MAX_PARAMETERS = 10
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 350
MAX_SUPPRESSIONS = 2  # Per 1,000 lines.

# Public functions that take `**kwargs`, and why they may.
KWARGS = {
  'configs/common.py parse': 'its keywords are the arguments of a recipe card',
  'fusion_jax/data/builders/tfds_builder.py Fusion.__init__': 'those of TFDS',
  'fusion_jax/evals/paper_tables.py value': 'its keywords are columns',
  'fusion_jax/models/image_tokenizer.py make': 'attributes of a linen module',
}

# Files that may ask whether a configuration has a field, and why.
CONFIGURATION_READERS = {
  'fusion_jax/assembly/upgrade.py': 'upgrades what was stored',
  'fusion_jax/convert/write_clip.py': 'reads config.json of other libraries',
}

_STUB = re.compile(
  r'(?i)^(of|for|by|in|from|to|with|as there|as above|ditto)\b'
  r'|^the same\b(?! \w)'
  r'|\blikewise\b|\bditto\b'
)
_SHAPE = re.compile(
  r'(?<!\w)\[(\.\.\.(, [^\]]+)?|[A-Za-z0-9*][^\][]*)?\]|\bscalars?\b|\b0-d\b'
)
_SUPPRESSION = re.compile(r'# *(pyright: *ignore|type: *ignore|noqa)')
_WITH_RULE = re.compile(r'# (pyright: ignore\[[\w, ]+\]|noqa: [A-Z0-9, ]+)')
_WITH_REASON = re.compile(_WITH_RULE.pattern + r'  # \S+')


def many_parameters():
  """Functions with more than 10 parameters."""
  return [
    f'{function.label}: {len(source.parameters(function))} parameters'
    for function in source.functions()
    if len(source.parameters(function)) > MAX_PARAMETERS
  ]


def keyword_dictionaries():
  """Public functions with `**kwargs` that are not listed with a reason."""
  return [
    function.label
    for function in source.public_functions()
    if function.node.args.kwarg
    and f'{function.module.name} {function.qualname}' not in KWARGS
  ]


def long_functions():
  """Functions of more than 60 lines."""
  return [
    f'{function.label}: {function.num_lines} lines'
    for function in source.functions()
    if function.num_lines > MAX_FUNCTION_LINES
  ]


def long_files():
  """Files of more than 350 lines."""
  return [
    f'{module.name}: {lines} lines'
    for module in source.modules()
    if (lines := len(module.text.splitlines())) > MAX_FILE_LINES
  ]


def silent_defaults():
  """Places that ask whether a configuration has a field."""
  return [
    f'{module.name}:{node.lineno} {ast.unparse(node)}'
    for module in source.modules()
    if module.name not in CONFIGURATION_READERS
    for node in ast.walk(module.tree)
    if _asks_for_a_field(node)
  ]


def missing_docstrings():
  """Public modules, classes, functions and methods without a docstring."""
  missing = [
    f'{module.name}:1'
    for module in source.modules()
    if module.public and not ast.get_docstring(module.tree)
  ]
  return missing + [
    definition.label for definition in _documented() if not definition.docstring
  ]


def first_lines():
  """Docstrings whose first line is no sentence."""
  docstrings = [
    (f'{module.name}:1', ast.get_docstring(module.tree) or '')
    for module in source.modules()
  ]
  docstrings += [
    (definition.label, definition.docstring)
    for definition in source.definitions()
  ]
  return [
    f'{label}: {docstring.splitlines()[0]}'
    for label, docstring in docstrings
    if docstring and not _is_sentence(docstring.splitlines()[0])
  ]


def missing_annotations():
  """Public parameters, results and class attributes without a type."""
  missing = []
  for function in source.public_functions():
    arguments = function.node.args
    variadic = [arguments.vararg, arguments.kwarg]
    for argument in [*source.parameters(function), *filter(None, variadic)]:
      if argument.annotation is None:
        missing.append(f'{function.label}: {argument.arg}')
    if function.node.returns is None and function.node.name != '__init__':
      missing.append(f'{function.label}: return')
  return missing + _missing_attribute_annotations()


def missing_shapes():
  """Public functions on arrays whose docstring states no shape."""
  return [
    function.label
    for function in functions_on_arrays()
    if not _SHAPE.search(_text_about(function))
  ]


def functions_on_arrays():
  """Returns the public functions that take or return arrays, by their types."""
  return [
    function
    for function in source.public_functions()
    if any('Array' in name or 'ndarray' in name for name in _types(function))
  ]


def stub_descriptions():
  """Argument descriptions that cannot be read alone."""
  docstrings = [
    (definition.label, definition.docstring)
    for definition in source.definitions()
  ]
  return [
    f'{label}: {name}: {text}'
    for label, docstring in docstrings
    for name, text in source.descriptions(docstring)
    if _STUB.search(text)
  ]


def suppressions():
  """Lines that switch a check off."""
  return [
    f'{module.name}:{number} {line.strip()}'
    for module in source.modules()
    for number, line in enumerate(module.text.splitlines(), 1)
    if _SUPPRESSION.search(line)
  ]


def unexplained_suppressions():
  """Lines that switch a check off without a rule or a reason.

  The reason stands behind the suppression, or on a line of its own above it.
  """
  return [
    f'{module.name}:{number} {line.strip()}'
    for module in source.modules()
    for number, (above, line) in enumerate(
      itertools.pairwise(['', *module.text.splitlines()]), 1
    )
    if _SUPPRESSION.search(line)
    and not (
      _WITH_REASON.search(line)
      or (_WITH_RULE.search(line) and above.lstrip().startswith('# '))
    )
  ]


def num_lines():
  """Returns the number of lines of the package."""
  return sum(len(module.text.splitlines()) for module in source.modules())


def _documented():
  """What needs a docstring: all that is public; magic methods may have one."""
  return [
    definition
    for definition in source.definitions()
    if definition.public and not definition.is_magic
  ]


def _is_sentence(line):
  return line.endswith('.') and not line[0].islower()


def _missing_attribute_annotations():
  """Class attributes without a type, but for the members of an Enum."""
  return [
    f'{definition.label}: {target.id}'
    for definition in source.definitions()
    if isinstance(definition.node, ast.ClassDef) and definition.public
    if not any('Enum' in ast.unparse(base) for base in definition.node.bases)
    for statement in definition.node.body
    if isinstance(statement, ast.Assign)
    for target in statement.targets
    if isinstance(target, ast.Name) and not target.id.startswith('_')
  ]


def _types(function):
  """The names in the annotations of a function."""
  annotations = [
    argument.annotation for argument in source.parameters(function)
  ]
  return [
    name
    for annotation in [*annotations, function.node.returns]
    if annotation is not None
    for name in re.findall(r'\w+', ast.unparse(annotation))
  ]


def _text_about(function):
  """Its docstring; that of its class, too, for methods such as `__call__`."""
  owner = ast.get_docstring(function.owner) if function.owner else ''
  return function.docstring + ((owner or '') if function.is_magic else '')


def _asks_for_a_field(node):
  """Whether a node is `config.get`, `'x' in config`, `hasattr(config, ...)`."""
  if isinstance(node, ast.Call):
    called = node.func
    if isinstance(called, ast.Attribute) and called.attr == 'get':
      return _is_configuration(called.value)
    if isinstance(called, ast.Name) and called.id in ('hasattr', 'getattr'):
      with_default = called.id == 'hasattr' or len(node.args) > 2
      return with_default and _is_configuration(node.args[0])
  if isinstance(node, ast.Compare):
    by_name = isinstance(node.left, ast.Constant)
    return any(
      isinstance(operator, ast.In | ast.NotIn)
      and _is_configuration(compared)
      and (by_name or ast.unparse(compared).endswith('config'))
      for operator, compared in zip(node.ops, node.comparators)
    )
  return False


def _is_configuration(node):
  """Whether an expression is `config`, `config.section` or `self.config`."""
  parts = ast.unparse(node).split('.')
  return all(part.isidentifier() for part in parts) and any(
    part == 'config' or part.endswith('_config') for part in parts
  )
