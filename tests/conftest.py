"""Eight virtual CPU devices, strict numerics, and a compilation cache."""

import os
import tempfile

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)

import jax  # pylint: disable=wrong-import-position

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_default_matmul_precision', 'highest')
jax.config.update(
  'jax_compilation_cache_dir',
  os.path.join(tempfile.gettempdir(), f'fusion_jax_cache_{os.getuid()}'),
)
# The programs of the tests are small: keep those that took a tenth of a second.
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
