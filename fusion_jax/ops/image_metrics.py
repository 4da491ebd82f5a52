"""Scores of images as sums that can be added; NumPy, float64.

Every function takes one square and the pixels of it that count, so parts of a
data set add up exactly. Values are in standardised units.
"""

import numpy as np

PEAK = 2.0  # Of PSNR and SSIM: the decoder's own range, mean +- one deviation.


def sums(truth, prediction, counted):
  """What the scores of continuous images need, additive, [C] each.

  Args:
    truth: [Y, X, C].
    prediction: [Y, X, C].
    counted: [Y, X] bool.

  Returns:
    {'count', 'truth', 'truth_sq', 'se', 'ae', 'clipped_se', 'patch_se'}: the
    number of pixels; sums of truth, its square, the squared and the absolute
    error, the squared error of the prediction clipped to [-1, 1], and that of
    every 16 x 16 patch's mean in place of the prediction.
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


def patch_means(image, patch=16):
  """The image [Y, X, C] with every patch filled with its own mean."""
  rows, columns = (n // patch for n in image.shape[:2])
  cut = image.reshape(rows, patch, columns, patch, -1)
  means = cut.mean((1, 3), keepdims=True)
  return np.broadcast_to(means, cut.shape).reshape(image.shape)


def psnr_db(mse):
  """Peak signal-to-noise ratio in dB of a mean squared error."""
  with np.errstate(divide='ignore'):
    return 10 * np.log10(PEAK**2 / np.asarray(mse, np.float64))


def patch_majorities(classes, num_classes, patch=16):
  """Classes [Y, X] with every patch filled with its most frequent one.

  Of equally frequent classes the lowest is taken.
  """
  rows, columns = (n // patch for n in classes.shape)
  cut = classes.reshape(rows, patch, columns, patch).swapaxes(1, 2)
  counts = (cut[..., None] == np.arange(num_classes)).sum((2, 3))
  found = counts.argmax(-1)
  return np.kron(found, np.ones((patch, patch), found.dtype))


def confusion(truth, prediction, counted, num_classes):
  """[true class, predicted class] int64: pixels of each pair."""
  pairs = truth[counted].astype(np.int64) * num_classes + prediction[counted]
  return np.bincount(pairs, minlength=num_classes**2).reshape(
    num_classes, num_classes
  )


def accuracy(matrix):
  """Share of the pixels of a confusion matrix that are right."""
  return np.trace(matrix) / max(matrix.sum(), 1)


def iou(matrix):
  """Intersection over union of every class; NaN for one that never occurs."""
  hits = np.diag(matrix)
  union = matrix.sum(0) + matrix.sum(1) - hits
  return np.divide(
    hits, union, where=union > 0, out=np.full(len(matrix), np.nan)
  )


def mean_iou(matrix):
  """Mean IoU of the classes that occur in the truth.

  A class that is only predicted is not in the mean, but its pixels lower the
  scores of the classes they were taken from.
  """
  occurs = matrix.sum(1) > 0
  return float(iou(matrix)[occurs].mean()) if occurs.any() else 0.0


def similarity(truth, prediction):
  """Structural similarity at every pixel [Y, X], the mean of the bands.

  Args:
    truth: [Y, X, C].
    prediction: [Y, X, C].

  Source: Wang et al. 2004, "Image quality assessment", with its Gaussian
  window of 1.5 pixels, as scikit-image computes it.

  Raises:
    ImportError: if scikit-image is not installed.
  """
  structural_similarity = load_similarity()
  _, found = structural_similarity(
    np.asarray(truth, np.float64),
    np.asarray(prediction, np.float64),
    data_range=PEAK,
    channel_axis=-1,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
    full=True,
  )
  return found.mean(-1)


def load_similarity():
  """scikit-image's `structural_similarity`.

  Raises:
    ImportError: if it is not installed; says how to get it.
  """
  try:
    from skimage import metrics
  except ImportError as error:
    raise ImportError(
      'SSIM needs scikit-image: pip install "fusion_jax[eval]".'
    ) from error
  return metrics.structural_similarity
