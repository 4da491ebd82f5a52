"""Writes the files of this folder; needs torch, which the tests do not.

python make.py
"""

import argparse
import collections
import os
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent


class Call:
  """Pickles as a call of a shell."""

  def __reduce__(self):
    return os.system, ('touch it_was_executed',)


class Inner(torch.nn.Module):
  """A half-precision map, as the ones in CLIP's file."""

  def __init__(self):
    super().__init__()
    self.weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).half())

  def forward(self, x):
    return x @ self.weight


class Outer(torch.nn.Module):
  """A module in a module, with a buffer and plain attributes."""

  def __init__(self):
    super().__init__()
    self.inner = Inner()
    self.layers = torch.nn.Sequential(Inner(), torch.nn.Linear(2, 1))
    self.register_buffer('size', torch.tensor(224))
    self.scale = 3.5
    self.names = ['a', 'b']

  def forward(self, x):
    return self.inner(x) * self.scale + torch.ones(3)


def tensors():
  """Every dtype, and views that share or skip parts of a storage."""
  base = torch.arange(24.0).reshape(4, 6)
  result = collections.OrderedDict(
    plain=base,
    transposed=base.T,
    steps=base[1::2, ::3],
    row=base[2],
    expanded=torch.tensor([[1.0], [2.0]]).expand(2, 5),
    permuted=torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    parameter=torch.nn.Parameter(torch.linspace(-1, 1, 5)),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 3),
  )
  for name in (
    'float64',
    'float16',
    'bfloat16',
    'int64',
    'int32',
    'int16',
    'int8',
    'uint8',
    'bool',
    'complex64',
  ):
    result[name] = (torch.arange(6) - 2 * (name != 'uint8')).to(
      getattr(torch, name)
    )
  return result


def expected(result):
  """The same as NumPy arrays."""
  return {
    name: (x.float() if x.dtype == torch.bfloat16 else x).detach().numpy()
    for name, x in result.items()
  }


def backbone():
  """A state dict with the keys and shapes of TerraMind's, of width 4."""
  keys = {
    'mask_token': (1, 1, 4),
    'decoder_proj_context.weight': (4, 4),
    'decoder_proj_context.bias': (4,),
  }
  raw = 'encoder_embeddings.untok_dem@224'
  tok = 'encoder_embeddings.tok_lulc@224'
  keys |= {
    f'{raw}.proj.weight': (4, 256),
    f'{tok}.token_emb.weight': (4375, 4),
    f'{raw}.mod_emb': (1, 1, 4),
    f'{tok}.mod_emb': (1, 1, 4),
    'decoder_embeddings.tok_lulc@224.token_emb.weight': (4375, 4),
  }
  linear = {
    'encoder.0': {'attn.qkv': (12, 4), 'attn.proj': (4, 4)},
    'decoder.0': {
      'self_attn.qkv': (12, 4),
      'self_attn.proj': (4, 4),
      'cross_attn.q': (4, 4),
      'cross_attn.kv': (8, 4),
      'cross_attn.proj': (4, 4),
    },
  }
  for block, maps in linear.items():
    maps |= {'mlp.fc1': (16, 4), 'mlp.fc2': (4, 16)}
    for name, shape in maps.items():
      keys |= {
        f'{block}.{name}.weight': shape,
        f'{block}.{name}.bias': shape[:1],
      }
  norms = [
    'encoder.0.norm1',
    'encoder.0.norm2',
    'encoder_norm',
    'decoder_norm',
    *(
      f'decoder.0.{name}'
      for name in ('norm1', 'query_norm', 'context_norm', 'norm2')
    ),
  ]
  keys |= {f'{norm}.weight': (4,) for norm in norms}
  generator = torch.Generator().manual_seed(0)
  state = {
    key: torch.randn(shape, generator=generator) for key, shape in keys.items()
  }
  state |= {f'{norm}.bias': torch.zeros(4) for norm in norms}
  row, column = np.divmod(np.arange(196), 14)  # Width 4: one wave a half.
  grid = np.stack([np.sin(row), np.cos(row), np.sin(column), np.cos(column)], 1)
  for part in (raw, tok, tok.replace('encoder', 'decoder')):
    state[f'{part}.pos_emb'] = torch.tensor(grid[None], dtype=torch.float32)
  decoder = 'decoder_embeddings.tok_lulc@224'
  state[f'{decoder}.mod_emb'] = state[f'{tok}.mod_emb']  # Tied.
  state[f'{decoder}.to_logits.weight'] = state[f'{decoder}.token_emb.weight']
  return state


def main():
  result = tensors()
  np.savez(FOLDER / 'expected.npz', **expected(result))
  torch.save(result, FOLDER / 'zip.pt')
  torch.save(result, FOLDER / 'legacy.pt', _use_new_zipfile_serialization=False)
  torch.save(
    {
      'wide': torch.arange(3).to(torch.uint16),
      'narrow': torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn),
    },
    FOLDER / 'untyped.pt',
  )
  linear = torch.nn.Linear(3, 2)
  torch.nn.init.constant_(linear.weight, 2.0)
  torch.nn.init.constant_(linear.bias, 1.0)
  step = torch.optim.AdamW(linear.parameters())
  linear(torch.ones(3)).sum().backward()
  step.step()
  training = {
    'epoch': 3,
    'model': linear.state_dict(),
    'optimizer': step.state_dict(),
    'note': ('a', None, True),
    'size': torch.Size([2, 3]),
    'dtype': torch.float16,
    'device': torch.device('cpu'),
  }
  torch.save(training, FOLDER / 'training.pt')
  torch.save(
    {'model': linear.state_dict(), 'args': argparse.Namespace(lr=1)},
    FOLDER / 'namespace.pt',
  )
  torch.save({'weight': torch.ones(2), 'extra': Call()}, FOLDER / 'code.pt')
  torch.save(
    {'weight': torch.ones(2), 'extra': Call()},
    FOLDER / 'code_legacy.pt',
    _use_new_zipfile_serialization=False,
  )
  torch.save(linear, FOLDER / 'module.pt')  # The object, not its state.
  torch.jit.script(Outer()).save(FOLDER / 'script.pt')
  torch.save(backbone(), FOLDER / 'backbone.pt')


if __name__ == '__main__':
  main()
