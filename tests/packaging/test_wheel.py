"""A wheel brings everything along: the package works without its repository."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BUILD_FILES = ['LICENSE', 'README.md', 'pyproject.toml', 'setup.cfg']

pytestmark = pytest.mark.slow


def run(*command, cwd, **variables):
  """Runs a command; its error output is the message of a failure."""
  result = subprocess.run(
    [str(part) for part in command],
    cwd=cwd,
    # Without the test's own settings, such as eight devices, and its paths.
    env={
      'PATH': os.environ['PATH'],
      'HOME': os.environ.get('HOME', str(cwd)),
      'JAX_PLATFORMS': 'cpu',
    }
    | variables,
    capture_output=True,
    text=True,
    check=False,
  )
  assert not result.returncode, result.stderr[-4000:] + result.stdout[-1000:]
  return result.stdout


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """A wheel, built from the source distribution of a copy of the files."""
  folder = tmp_path_factory.mktemp('source')
  for name in BUILD_FILES:
    shutil.copy(ROOT / name, folder / name)
  for name in ('fusion_jax', 'configs'):
    shutil.copytree(
      ROOT / name,
      folder / name,
      symlinks=True,
      ignore=shutil.ignore_patterns('__pycache__'),
    )
  run(sys.executable, '-m', 'build', '--outdir', 'dist', cwd=folder)
  (path,) = (folder / 'dist').glob('*.whl')
  return path


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
  """A fresh environment with the wheel, and the test's dependencies."""
  folder = tmp_path_factory.mktemp('environment')
  venv.create(folder, symlinks=True)
  pip = [sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python']
  run(*pip, 'install', '--no-deps', '--no-index', wheel, cwd=folder)
  # A folder that a .pth file names is searched, but its own .pth files are not
  # read: an editable installation of the checkout stays unseen.
  (site_packages(folder) / 'dependencies.pth').write_text(
    sysconfig.get_path('purelib') + '\n'
  )
  return folder


def site_packages(folder):
  (path,) = (folder / 'lib').glob('python*/site-packages')
  return path


def test_the_wheel_has_the_files_of_the_checkout_and_no_others(wheel):
  with zipfile.ZipFile(wheel) as archive:
    packed = {name for name in archive.namelist() if '.dist-info/' not in name}
  tracked = {
    f'fusion_jax/{path.relative_to(ROOT / "fusion_jax")}'
    for path in (ROOT / 'fusion_jax').rglob('*')
    if path.is_file() and '__pycache__' not in path.parts
  } | {
    f'fusion_jax/configs/{path.name}'
    for path in (ROOT / 'configs').glob('*.py')
  }
  assert packed == tracked


def test_only_the_package_itself_comes_into_site_packages(environment):
  names = {path.name for path in site_packages(environment).iterdir()}
  names.discard('dependencies.pth')
  own = {name for name in names if not name.endswith('.dist-info')}
  assert own == {'fusion_jax'}


def test_the_package_is_imported_from_the_new_environment(
  environment, tmp_path
):
  path = run(
    environment / 'bin' / 'python',
    '-c',
    'import fusion_jax; print(fusion_jax.__file__)',
    cwd=tmp_path,
  ).strip()
  assert pathlib.Path(path).is_relative_to(environment)


def test_a_run_of_a_configuration_by_name_writes_its_report(
  environment, tmp_path
):
  run(
    environment / 'bin' / 'fusion-jax',
    'train',
    '--config',
    'pretrain:smoke',
    cwd=tmp_path,
  )
  (metrics,) = tmp_path.glob('runs/*/metrics.json')
  assert metrics.with_name('report.md').exists()
