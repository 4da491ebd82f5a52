"""Images <-> flattened patches, for NumPy and JAX arrays alike."""

from fusion_jax.types import ArrayT


def patchify(images: ArrayT, patch: int = 16) -> ArrayT:
  """Cuts images into patches, which are numbered row by row.

  Within a patch the order is (row, column, channel) with the channel fastest,
  as the weights of the backbone's raw inputs expect it.

  Args:
    images: [..., Y, X, C].
    patch: pixels per side of a patch.

  Returns:
    [..., Y * X / patch^2, patch^2 * C], of the dtype of the images.

  Raises:
    ValueError: if the images do not divide into patches.
  """
  *leading, height, width, channels = images.shape
  if height % patch or width % patch:
    raise ValueError(
      f'Images of {height} x {width} pixels do not divide into '
      f'patches of {patch} x {patch}; crop or pad them.'
    )
  rows, columns = height // patch, width // patch
  cut = images.reshape(*leading, rows, patch, columns, patch, channels)
  return cut.swapaxes(-4, -3).reshape(
    *leading, rows * columns, patch * patch * channels
  )


def unpatchify(
  patches: ArrayT, grid: tuple[int, int], patch: int = 16
) -> ArrayT:
  """Puts patches together to images; the inverse of `patchify`.

  Args:
    patches: [..., rows * columns, patch^2 * C].
    grid: number of patches (rows, columns).
    patch: pixels per side of a patch.

  Returns:
    [..., rows * patch, columns * patch, C], of the dtype of the patches.
  """
  *leading, _, values = patches.shape
  rows, columns = grid
  cut = patches.reshape(
    *leading, rows, columns, patch, patch, values // patch**2
  )
  return cut.swapaxes(-4, -3).reshape(
    *leading, rows * patch, columns * patch, values // patch**2
  )
