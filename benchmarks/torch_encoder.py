"""The pixel encoder in PyTorch, for comparison; only benchmarks need torch.

Keys are those of the public code, so `convert.timesenclip` reads its state.
"""

import torch
from torch import nn

from benchmarks import torch_models

MONTHS = 12


class Encoder(nn.Module):
  """Pixels [B, 12, C] to vectors [B, D]: `nn.TransformerEncoder` as published.

  Source: TimeSenCLIP `src/models/encoder.py`, of 1 x 1 pixels.
  """

  def __init__(
    self, width=512, depth=6, num_heads=8, hidden=256, num_bands=10, dropout=0.2
  ):
    super().__init__()
    self.spectral_embedding = nn.Sequential(
      nn.Identity(), nn.Linear(num_bands, width)
    )
    self.time_pos_encoding = nn.Parameter(torch.randn(1, MONTHS, width) / 10)
    self.time_token = nn.Parameter(torch.randn(1, 1, width) / 10)
    layer = nn.TransformerEncoderLayer(
      width, num_heads, hidden, dropout, batch_first=True
    )
    self.transformer = nn.TransformerEncoder(layer, depth)
    self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

  def forward(self, pixels):
    tokens = self.spectral_embedding(pixels) + self.time_pos_encoding
    first = self.time_token.expand(len(pixels), -1, -1)
    tokens = self.transformer(torch.cat([first, tokens], 1))
    return self.mlp_head(tokens[:, 0])


def state(encoder):
  """Returns an encoder as {key: array}, for `timesenclip.from_torch`."""
  return {
    key: value.detach().numpy() for key, value in encoder.state_dict().items()
  }


def inference(encoder, dtype=torch.float32):
  """Returns a function from pixels [B, 12, C] to vectors, by the fast path.

  It computes in `dtype` where the encoder is.
  """
  encoder = encoder.eval()
  device = next(encoder.parameters()).device

  def run(pixels):
    with torch.inference_mode(), torch_models.autocast(encoder, dtype):
      vectors = encoder(torch.from_numpy(pixels).to(device))
      return vectors.float().cpu().numpy()

  return run


def training(encoder, targets, dtype=torch.float32):
  """Returns a training step of (pixels, classes) that returns the loss.

  Args:
    encoder: `Encoder`.
    targets: [Q, D] of length 1, of which each pixel has to find one.
    dtype: dtype of the computation; the loss is float32.
  """
  encoder = encoder.train()
  device = next(encoder.parameters()).device
  targets = torch.from_numpy(targets).to(device)
  optimizer = torch.optim.AdamW(
    encoder.parameters(), lr=1e-4, weight_decay=0.01, fused=True
  )

  def run(pixels, chosen):
    with torch_models.autocast(encoder, dtype):
      vectors = encoder(torch.from_numpy(pixels).to(device)).float()
    vectors = nn.functional.normalize(vectors, dim=-1)
    loss = nn.functional.cross_entropy(
      vectors @ targets.T / 0.07, torch.from_numpy(chosen).to(device)
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.item()

  return run
