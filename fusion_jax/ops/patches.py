"""Images <-> flattened patches. NumPy and JAX arrays alike."""


def patchify(images, patch=16):
  """Cuts images into patches, numbered row by row.

  Within a patch the order is (row, column, channel): the channel is fastest,
  as the weights of the backbone's raw inputs expect it.

  Args:
    images: [..., Y, X, C].
    patch: pixels a side.

  Returns:
    [..., Y * X / patch^2, patch^2 * C].

  Raises:
    ValueError: if an image does not divide into patches.
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


def unpatchify(patches, grid, patch=16):
  """The inverse of `patchify`.

  Args:
    patches: [..., rows * columns, patch^2 * C].
    grid: (rows, columns).
    patch: pixels a side.

  Returns:
    [..., Y, X, C].
  """
  *leading, _, values = patches.shape
  rows, columns = grid
  cut = patches.reshape(
    *leading, rows, columns, patch, patch, values // patch**2
  )
  return cut.swapaxes(-4, -3).reshape(
    *leading, rows * patch, columns * patch, values // patch**2
  )
