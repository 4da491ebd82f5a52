"""Scores of images as sums that can be added; NumPy, float64.

Every function takes one square image and the pixels of it that count, so the
sums of parts of a data set add up exactly. Values are standardised: the mean
of a band is 0 and one standard deviation is 1.
"""

from collections.abc import Callable

import numpy as np
from numpy import typing as npt

from fusion_jax import extras

# Value range that PSNR and SSIM refer to: the decoder's own range, which is
# one standard deviation to either side of the mean.
PEAK = 2.0


def sums(
  truth: npt.ArrayLike, prediction: np.ndarray, counted: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns the sums that the scores of continuous images are made of.

  Args:
    truth: [Y, X, C] float, the true image.
    prediction: [Y, X, C] float, the reconstructed image.
    counted: [Y, X] bool, True for pixels that count.

  Returns:
    Sums over the pixels that count, [C] float64 each: 'count' (number of
    pixels), 'truth', 'truth_sq' (squared truth), 'se' and 'ae' (squared and
    absolute error), 'clipped_se' (squared error of the prediction clipped to
    [-1, 1]) and 'patch_se' (squared error if every 16 x 16 patch were
    predicted by its mean).
  """
  x = np.asarray(truth, np.float64)
  error = prediction - x
  clipped = np.clip(prediction, -1, 1) - x
  parts = {
    'count': np.ones_like(x),
    'truth': x,
    'truth_sq': x**2,
    'se': error**2,
    'ae': np.abs(error),
    'clipped_se': clipped**2,
    'patch_se': (patch_means(x) - x) ** 2,
  }
  return {name: part[counted].sum(0) for name, part in parts.items()}


def patch_means(image: np.ndarray, patch: int = 16) -> np.ndarray:
  """Fills every patch of an image with its own mean.

  Args:
    image: [Y, X, C] float.
    patch: pixels per side of a patch; must divide Y and X.

  Returns:
    [Y, X, C] float.
  """
  rows, columns = (n // patch for n in image.shape[:2])
  cut = image.reshape(rows, patch, columns, patch, -1)
  means = cut.mean((1, 3), keepdims=True)
  return np.broadcast_to(means, cut.shape).reshape(image.shape)


def psnr_db(mse: npt.ArrayLike) -> np.ndarray:
  """Returns the peak signal-to-noise ratio in dB of mean squared errors [...].

  A mean squared error of 0 gives infinity.
  """
  with np.errstate(divide='ignore'):
    return 10 * np.log10(PEAK**2 / np.asarray(mse, np.float64))


def patch_majorities(
  classes: np.ndarray, num_classes: int, patch: int = 16
) -> np.ndarray:
  """Fills every patch of a map of classes with its most frequent class.

  Args:
    classes: [Y, X] int in 0 .. num_classes - 1.
    num_classes: number of classes.
    patch: pixels per side of a patch; must divide Y and X.

  Returns:
    [Y, X] int. Of equally frequent classes the lowest one is taken.
  """
  rows, columns = (n // patch for n in classes.shape)
  cut = classes.reshape(rows, patch, columns, patch).swapaxes(1, 2)
  counts = (cut[..., None] == np.arange(num_classes)).sum((2, 3))
  majorities = counts.argmax(-1)
  return np.kron(majorities, np.ones((patch, patch), majorities.dtype))


def confusion(
  truth: np.ndarray,
  prediction: np.ndarray,
  counted: np.ndarray,
  num_classes: int,
) -> np.ndarray:
  """Counts the pixels of every pair of true and predicted class.

  Args:
    truth: [Y, X] int, the true classes.
    prediction: [Y, X] int, the predicted classes.
    counted: [Y, X] bool, True for pixels that count.
    num_classes: number of classes.

  Returns:
    [num_classes, num_classes] int64, the confusion matrix: true class in rows,
    predicted class in columns.
  """
  pairs = truth[counted].astype(np.int64) * num_classes + prediction[counted]
  return np.bincount(pairs, minlength=num_classes**2).reshape(
    num_classes, num_classes
  )


def accuracy(matrix: np.ndarray) -> float:
  """Returns the fraction of the pixels of a confusion matrix that are right.

  Args:
    matrix: [classes, classes] int, as `confusion` returns it.
  """
  return np.trace(matrix) / max(matrix.sum(), 1)


def iou(matrix: np.ndarray) -> np.ndarray:
  """Returns the intersection over union of every class of a confusion matrix.

  Args:
    matrix: [classes, classes] int, as `confusion` returns it.

  Returns:
    [classes] float64; NaN for a class that is neither true nor predicted
    anywhere.
  """
  hits = np.diag(matrix)
  union = matrix.sum(0) + matrix.sum(1) - hits
  return np.divide(
    hits, union, where=union > 0, out=np.full(len(matrix), np.nan)
  )


def mean_iou(matrix: np.ndarray) -> float:
  """Returns the mean IoU of the classes that occur in the truth.

  A class that is only predicted does not enter the mean, but its pixels lower
  the scores of the classes that they were taken from.

  Args:
    matrix: [classes, classes] int, as `confusion` returns it.
  """
  occurs = matrix.sum(1) > 0
  return float(iou(matrix)[occurs].mean()) if occurs.any() else 0.0


def similarity(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> np.ndarray:
  """Returns the structural similarity (SSIM) at every pixel.

  Args:
    truth: [Y, X, C] float, the true image.
    prediction: [Y, X, C] float, the reconstructed image.

  Returns:
    [Y, X] float64, the mean over the bands.

  Raises:
    ImportError: if scikit-image is not installed.

  Source: Wang et al. 2004, "Image quality assessment", with its Gaussian
  window of 1.5 pixels, as scikit-image computes it.
  """
  structural_similarity = load_similarity()
  _, similarities = structural_similarity(
    np.asarray(truth, np.float64),
    np.asarray(prediction, np.float64),
    data_range=PEAK,
    channel_axis=-1,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
    full=True,
  )
  return similarities.mean(-1)


def load_similarity() -> Callable:
  """Returns scikit-image's function `structural_similarity`.

  Raises:
    MissingExtraError: if scikit-image is not installed; the message says how
      to install it.
  """
  with extras.needed('eval', 'SSIM'):
    from skimage import metrics
  return metrics.structural_similarity
