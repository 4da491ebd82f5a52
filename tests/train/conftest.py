"""The runs here compile the same two small programs again and again."""

import jax

jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
