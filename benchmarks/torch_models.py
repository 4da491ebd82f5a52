"""The models in PyTorch, for comparison; only benchmarks need torch.

Written from the published description of TerraMind: the masked encoder-decoder
on slots, its encoder alone, and the image tokenizer with its UNet. Keys are
those of the public files, so the states that `fusion_jax.convert` writes load
strictly, which compares every shape and the number of parameters. Attention is
`scaled_dot_product_attention`, which takes the fastest kernel of the device.
"""

import contextlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fusion_jax import modalities as modality_table
from fusion_jax.nn import positions, unet

HEAD_PIXELS = modality_table.PATCH**2


class Attention(nn.Module):
  """Multi-head attention of tokens [B, N, D] to each other."""

  def __init__(self, width, num_heads, bias):
    super().__init__()
    self.num_heads = num_heads
    self.qkv = nn.Linear(width, 3 * width, bias=bias)
    self.proj = nn.Linear(width, width, bias=bias)

  def forward(self, tokens, mask=None):
    return self.proj(
      _attend(*_heads(self.qkv(tokens), 3, self.num_heads), mask)
    )

  def step(self, token, keys, values, index):
    """Attends from the token [B, 1, D] at `index`, which enters the cache."""
    query, key, value = _heads(self.qkv(token), 3, self.num_heads)
    keys[:, :, index], values[:, :, index] = key[:, :, 0], value[:, :, 0]
    stop = index + 1
    return self.proj(_attend(query, keys[:, :, :stop], values[:, :, :stop]))


class CrossAttention(nn.Module):
  """Multi-head attention of tokens [B, M, D] to a context [B, N, D]."""

  def __init__(self, width, num_heads, bias):
    super().__init__()
    self.num_heads = num_heads
    self.q = nn.Linear(width, width, bias=bias)
    self.kv = nn.Linear(width, 2 * width, bias=bias)
    self.proj = nn.Linear(width, width, bias=bias)

  def keys_values(self, context):
    return _heads(self.kv(context), 2, self.num_heads)

  def forward(self, tokens, context, mask):
    return self.look(tokens, *self.keys_values(context), mask)

  def look(self, tokens, keys, values, mask):
    (queries,) = _heads(self.q(tokens), 1, self.num_heads)
    return self.proj(_attend(queries, keys, values, mask))


class Mlp(nn.Module):
  """fc2(GELU(fc1 x)), or fc2(SiLU(fc1 x) * fc3 x) with `gated`."""

  def __init__(self, width, gated, bias):
    super().__init__()
    hidden = 8 * width // 3 if gated else 4 * width
    self.fc1 = nn.Linear(width, hidden, bias=bias)
    self.fc2 = nn.Linear(hidden, width, bias=bias)
    if gated:
      self.fc3 = nn.Linear(width, hidden, bias=bias)
    self.gated = gated

  def forward(self, tokens):
    hidden = self.fc1(tokens)
    if self.gated:
      return self.fc2(functional.silu(hidden) * self.fc3(tokens))
    return self.fc2(functional.gelu(hidden))


class EncoderBlock(nn.Module):
  """Attention and an MLP, each after a norm, with a bias in tokenizers."""

  def __init__(self, width, num_heads, gated, bias, norm_bias=False):
    super().__init__()
    self.norm1 = nn.LayerNorm(width, 1e-6, bias=norm_bias)
    self.attn = Attention(width, num_heads, bias)
    self.norm2 = nn.LayerNorm(width, 1e-6, bias=norm_bias)
    self.mlp = Mlp(width, gated, bias)

  def forward(self, tokens, mask=None):
    tokens = tokens + self.attn(self.norm1(tokens), mask)
    return tokens + self.mlp(self.norm2(tokens))


class DecoderBlock(nn.Module):
  """Attention, attention to a context and an MLP, each after a norm."""

  def __init__(self, width, num_heads, gated, bias):
    super().__init__()
    self.norm1, self.query_norm, self.context_norm, self.norm2 = (
      nn.LayerNorm(width, 1e-6, bias=False) for _ in range(4)
    )
    self.self_attn = Attention(width, num_heads, bias)
    self.cross_attn = CrossAttention(width, num_heads, bias)
    self.mlp = Mlp(width, gated, bias)

  def forward(self, tokens, context, mask, context_mask):
    tokens = tokens + self.self_attn(self.norm1(tokens), mask)
    tokens = tokens + self.cross_attn(
      self.query_norm(tokens), self.context_norm(context), context_mask
    )
    return tokens + self.mlp(self.norm2(tokens))

  def start(self, context):
    return self.cross_attn.keys_values(self.context_norm(context))

  def step(self, token, cache, context, context_mask, index):
    token = token + self.self_attn.step(self.norm1(token), *cache, index)
    token = token + self.cross_attn.look(
      self.query_norm(token), *context, context_mask
    )
    return token + self.mlp(self.norm2(token))


class Embedding(nn.Module):
  """Table or linear map of one modality, and its vector."""

  def __init__(self, modality, width, encoder):
    super().__init__()
    if modality.vocab_size:
      self.token_emb = nn.Embedding(
        modality.vocab_size,
        width,
        padding_idx=0 if modality.is_sequence else None,
      )
    else:
      pixels = HEAD_PIXELS * len(modality.bands)
      self.proj = nn.Linear(pixels, width, bias=False)
    if encoder:
      self.mod_emb = nn.Parameter(torch.zeros(1, 1, width))


class Backbone(nn.Module):
  """The masked encoder-decoder; slots are those of `fusion_jax`'s `Backbone`.

  `modalities` are sorted by name, and the encoder sees each of them.
  """

  def __init__(
    self,
    modalities,
    width,
    encoder_depth,
    decoder_depth,
    num_heads,
    mlp,
    use_bias,
  ):
    super().__init__()
    self.modalities = modalities
    common = (width, num_heads, mlp == 'swiglu', use_bias)
    self.encoder_embeddings = nn.ModuleDict(
      {m.name: Embedding(m, width, encoder=True) for m in modalities}
    )
    self.decoder_embeddings = nn.ModuleDict(
      {
        m.name: Embedding(m, width, encoder=False)
        for m in modalities
        if m.is_target
      }
    )
    self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
    self.encoder = nn.ModuleList(
      EncoderBlock(*common) for _ in range(encoder_depth)
    )
    self.encoder_norm = nn.LayerNorm(width, 1e-6, bias=False)
    self.decoder_proj_context = nn.Linear(width, width)
    self.decoder = nn.ModuleList(
      DecoderBlock(*common) for _ in range(decoder_depth)
    )
    self.decoder_norm = nn.LayerNorm(width, 1e-6, bias=False)
    tables = [
      positions.grid_table(14, 14, width),
      positions.sequence_table(width),
    ]
    self._constant('table', np.concatenate(tables))
    self._constant(
      'offsets', np.array([196 * m.is_sequence for m in modalities])
    )
    self._constant('longest', np.array([m.max_tokens for m in modalities]))

  def _constant(self, name, value):
    """Keeps an array with the module, but not in its state."""
    self.register_buffer(name, torch.from_numpy(value), persistent=False)

  def forward(self, batch):
    """Outputs [B, M, D] of the decoder's slots."""
    return self.decode(*self.encode(batch['encoder']), batch['decoder'])

  def encode(self, slots):
    """Tokens and embeddings [B, N, D], and the mask [B, 1, 1, N] of keys."""
    emb, visible = self.places(slots['modality'], slots['position'])
    content = torch.zeros_like(emb)
    for i, m in enumerate(self.modalities):
      part = self.encoder_embeddings[m.name]
      member = (slots['modality'] == i)[..., None]
      if m.vocab_size:
        codes = torch.where(member[..., 0], slots['code'], 0)
        content = content + part.token_emb(codes) * member
      else:
        content = content + part.proj(slots['patches'][m.name]) * member
    tokens, mask = content + emb, visible[:, None, None]
    for block in self.encoder:
      tokens = block(tokens, mask)
    return self.encoder_norm(tokens), emb, mask

  def decode(self, encoded, emb, context_mask, slots):
    """Outputs [B, M, D] of the decoder's slots."""
    tokens = self.targets(slots)
    modality, limit = slots['modality'], slots['attention'].cumsum(1)
    numbers = torch.arange(limit.shape[1], device=limit.device)
    mask = (numbers < limit[..., None]) & (
      modality[:, :, None] == modality[:, None]
    )
    context = self.decoder_proj_context(encoded) + emb
    for block in self.decoder:
      tokens = block(tokens, context, mask[:, None], context_mask)
    return self.decoder_norm(tokens)

  def targets(self, slots):
    """Input tokens [B, M, D] of the decoder."""
    modality, position = slots['modality'], slots['position']
    position = torch.where(position < self.longest[modality], position, 0)
    content, _ = self.places(modality, position)
    for i, m in enumerate(self.modalities):
      member = (modality == i)[..., None]
      if m.is_sequence and m.is_target:
        codes = torch.where(member[..., 0], slots['code'], 0)
        table = self.decoder_embeddings[m.name].token_emb
        content = content + table(codes) * member
      elif not m.is_sequence:
        content = content + self.mask_token * member
    return content

  def places(self, modality, position):
    """Position and modality vectors [B, N, D], and which slots exist."""
    vectors = torch.cat(
      [self.encoder_embeddings[m.name].mod_emb[0] for m in self.modalities]
    )
    visible = modality >= 0
    index = modality.clamp(min=0)
    emb = self.table[position + self.offsets[index]] + vectors[index]
    return emb * visible[..., None], visible

  def start_decoding(self, encoded, emb, num_tokens):
    """Empty keys and values of each layer, and those of the context."""
    context = self.decoder_proj_context(encoded) + emb
    context = [block.start(context) for block in self.decoder]
    batch, heads, _, width = context[0][0].shape
    caches = [
      tuple(
        pair[0].new_zeros(batch, heads, num_tokens, width) for _ in range(2)
      )
      for pair in context
    ]
    return caches, context


def loss(model, batch):
  """Mean over heads of the mean cross-entropy, and of the ordinal distance.

  `batch['rows']` has for each head the slots that it scores and their targets,
  chosen on the host: nothing waits for the device. `batch['emd_weight']` weighs
  the ordinal distance; 0 leaves it out.
  """
  outputs = model(batch).flatten(0, 1)
  return score(model, outputs, batch)


def score(model, outputs, batch):
  """The loss of outputs [B * M, D]; see `loss`."""
  total = outputs.new_zeros((), dtype=torch.float32)
  heads = [m for m in model.modalities if m.is_target]
  weight = batch['emd_weight']
  for m in heads:
    rows, targets = batch['rows'][m.name]
    if not len(rows):
      continue
    table = model.decoder_embeddings[m.name].token_emb.weight
    logits = functional.linear(outputs[rows], table).float()
    total = total + functional.cross_entropy(logits, targets)
    if weight and m.kind == 'series':
      total = total + weight * _ordinal(logits, targets)
  return total / len(heads)


def _ordinal(logits, targets):
  """Mean squared distance of cumulated probabilities of ordered bins."""
  first = modality_table.VALUE_OFFSET
  shares = logits[:, first:].softmax(-1).cumsum(-1)
  bins = torch.arange(shares.shape[1], device=logits.device)
  ordered = (targets >= first)[:, None]
  steps = (bins >= (targets - first)[:, None]).float()
  distance = ((shares - steps) ** 2 * ordered).sum() / (len(bins) - 1)
  return distance / ordered.sum().clamp(min=1)


def tensors(arrays, device='cpu'):
  """Nested dict of NumPy arrays as tensors; integers become 64 bits wide."""
  if hasattr(arrays, 'items'):
    return {key: tensors(value, device) for key, value in arrays.items()}
  x = torch.from_numpy(np.ascontiguousarray(arrays))
  return (x if x.is_floating_point() else x.long()).to(device)


def batch_of(batch, model, device='cpu', emd_weight=0.0):
  """Our batch, a dict of NumPy arrays, as the dict that `loss` takes."""
  slots = batch['decoder']
  rows = {}
  for i, m in enumerate(model.modalities):
    if m.is_target:
      chosen = (slots['modality'] == i) & slots['trainable']
      (index,) = np.nonzero(chosen.ravel())
      targets = slots['target'].ravel()[index]
      rows[m.name] = tensors(index, device), tensors(targets, device)
  names = ('modality', 'position', 'code', 'attention')
  return {
    'encoder': tensors(batch['encoder'], device),
    'decoder': tensors({name: slots[name] for name in names}, device),
    'rows': rows,
    'emd_weight': emd_weight,
  }


def training(model, compute_loss, dtype=torch.float32, clip_norm=1.0):
  """Returns a training step of a batch that returns the loss, a tensor.

  AdamW with the settings of configs/pretrain.py; norms and biases do not decay.
  """
  decayed, others = [], []
  for name, value in model.named_parameters():
    free = 'norm' in name or name.endswith('.bias')
    (others if free else decayed).append(value)
  groups = [
    {'params': decayed, 'weight_decay': 0.05},
    {'params': others, 'weight_decay': 0.0},
  ]
  optimizer = torch.optim.AdamW(groups, lr=2e-5, betas=(0.9, 0.95), fused=True)

  def step(batch):
    with autocast(model, dtype):
      value = compute_loss(model, batch)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return value.detach()

  return step


def autocast(model, dtype):
  """Context in which products are computed in `dtype`."""
  if dtype == torch.float32:
    return contextlib.nullcontext()
  return torch.autocast(next(model.parameters()).device.type, dtype)


@torch.inference_mode()
def decode_cached(model, slots, index, first, length, allowed):
  """Greedy codes [B, T] of modality `index`, with keys and values kept."""
  encoded, emb, mask = model.encode(slots)
  caches, context = model.start_decoding(encoded, emb, length)
  table = model.decoder_embeddings[model.modalities[index].name].token_emb
  code = torch.full((len(encoded), 1), first, device=emb.device)
  codes = []
  for i in range(length):
    target = {
      'modality': torch.full_like(code, index),
      'position': torch.full_like(code, i),
      'code': code,
    }
    token = model.targets(target).to(encoded.dtype)
    for block, cache, pair in zip(model.decoder, caches, context):
      token = block.step(token, cache, pair, mask, i)
    code = _greedy(model.decoder_norm(token), table, allowed)
    codes.append(code)
  return torch.cat(codes, 1)


@torch.inference_mode()
def decode_plain(model, slots, index, first, length, allowed):
  """The same codes, with the decoder run on the whole prefix at every token."""
  encoded = model.encode(slots)
  table = model.decoder_embeddings[model.modalities[index].name].token_emb
  code = torch.full((len(encoded[0]), 1), first, device=encoded[0].device)
  for _ in range(length):
    target = {
      'modality': torch.full_like(code, index),
      'position': torch.arange(code.shape[1], device=code.device).expand_as(
        code
      ),
      'code': code,
      'attention': torch.ones_like(code),
    }
    token = model.decode(*encoded, target)[:, -1:]
    code = torch.cat([code, _greedy(token, table, allowed)], 1)
  return code[:, 1:]


def _greedy(token, table, allowed):
  """The likeliest allowed code [B, 1] of outputs [B, 1, D]."""
  logits = functional.linear(token, table.weight).float()
  return logits.masked_fill(~allowed, -torch.inf).argmax(-1)


class Encoder(nn.Module):
  """The encoder alone, on whole images of one raw modality."""

  def __init__(self, modality, width, depth, num_heads, mlp, use_bias):
    super().__init__()
    self.name = modality.name
    self.encoder_embeddings = nn.ModuleDict(
      {modality.name: Embedding(modality, width, encoder=True)}
    )
    self.encoder = nn.ModuleList(
      EncoderBlock(width, num_heads, mlp == 'swiglu', use_bias)
      for _ in range(depth)
    )
    self.encoder_norm = nn.LayerNorm(width, 1e-6, bias=False)
    table = torch.from_numpy(positions.grid_table(14, 14, width))
    self.register_buffer('table', table, persistent=False)

  def forward(self, images):
    """Features [B, N, D] of images [B, Y, X, C]."""
    part = self.encoder_embeddings[self.name]
    tokens = part.proj(_patches(images, modality_table.PATCH).flatten(1, 2))
    tokens = tokens + self.table + part.mod_emb
    for block in self.encoder:
      tokens = block(tokens)
    return self.encoder_norm(tokens)


def _patches(images, patch):
  """Images [B, Y, X, C] as [B, Y / p, X / p, p p C], channels fastest."""
  batch, height, width, channels = images.shape
  rows, columns = height // patch, width // patch
  images = images.reshape(batch, rows, patch, columns, patch, channels)
  return images.transpose(2, 3).reshape(batch, rows, columns, -1)


class Tokenizer(nn.Module):
  """The image tokenizer S2L2A: ViT, FSQ and UNet; images are [B, C, Y, X]."""

  def __init__(self, channels=12, levels=(8, 8, 8, 6, 5), width=768, depth=12):
    super().__init__()
    self.encoder = ImageEncoder(channels, width, depth)
    self.quant_proj = nn.Conv2d(width, len(levels), 1)
    self.decoder = UNet(channels, len(levels))
    sizes = np.array(levels)
    for name, value in {
      'steps': sizes - 1,
      'places': np.cumprod([1, *levels[:-1]]),
    }.items():
      value = torch.from_numpy(value)[:, None, None]
      self.register_buffer(name, value, persistent=False)

  def encode(self, images):
    """Ids [B, Y / 16, X / 16] of images."""
    latents = self.quant_proj(self.encoder(images)).float()
    numbers = torch.round(latents.sigmoid() * self.steps).long()
    return (numbers * self.places).sum(1)

  def forward(self, noisy, t, codes):
    """Clean images of noisy ones, noise levels [B] and codes [B, 5, y, x]."""
    return self.decoder(noisy, t, codes)


class ImageEncoder(nn.Module):
  """The ViT of an image tokenizer."""

  def __init__(self, channels, width, depth):
    super().__init__()
    self.proj = nn.Conv2d(channels, width, 16, 16)
    self.pos_emb = nn.Parameter(torch.zeros(1, width, 16, 16), False)
    self.blocks = nn.ModuleList(
      EncoderBlock(width, width // 64, False, True, True) for _ in range(depth)
    )
    self.norm_mlp = nn.LayerNorm(width, 1e-6)
    self.post_mlp = PostMlp(width)

  def forward(self, images):
    grid = self.proj(images)
    grid = grid + functional.interpolate(
      self.pos_emb, grid.shape[2:], mode='bicubic', align_corners=False
    )
    tokens = grid.flatten(2).transpose(1, 2)
    for block in self.blocks:
      tokens = block(tokens)
    tokens = tokens + self.post_mlp(self.norm_mlp(tokens))
    return tokens.transpose(1, 2).reshape(grid.shape)


class PostMlp(nn.Module):
  """fc2(tanh(fc1 x))."""

  def __init__(self, width):
    super().__init__()
    self.fc1 = nn.Linear(width, 4 * width)
    self.fc2 = nn.Linear(4 * width, width)

  def forward(self, tokens):
    return self.fc2(torch.tanh(self.fc1(tokens)))


class UNet(nn.Module):
  """The diffusion decoder on patches of 4 x 4 pixels."""

  patch, groups = 4, 32

  def __init__(self, channels, code_channels, width=256):
    super().__init__()
    self.width = width
    pixels = channels * self.patch**2
    parts = unet.layout(pixels + code_channels, width, (1, 2, 2, 2), 3, (4, 8))
    time = 4 * width
    self.time_embed = nn.Sequential(
      nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time)
    )
    self.input_blocks, self.output_blocks = (
      nn.ModuleList(
        nn.ModuleList(_part(part, time) for part in block)
        for block in parts[place]
      )
      for place in ('input', 'output')
    )
    self.middle_block = nn.ModuleList(
      _part(part, time) for part in parts['middle'][0]
    )
    self.out = nn.Sequential(
      nn.GroupNorm(self.groups, width),
      nn.SiLU(),
      nn.Conv2d(width, pixels, 3, padding=1),
    )
    count = width // 2
    rates = np.exp(-np.log(10_000) * np.arange(count) / count)
    rates = torch.from_numpy(rates.astype(np.float32))
    self.register_buffer('rates', rates, persistent=False)

  def forward(self, noisy, t, codes):
    images = functional.pixel_unshuffle(noisy, self.patch)
    codes = functional.interpolate(codes, images.shape[2:])
    images = torch.cat([images, codes], 1)
    angles = t[:, None] * self.rates
    time = self.time_embed(torch.cat([angles.cos(), angles.sin()], -1))
    kept = []
    for block in self.input_blocks:
      images = _run(block, images, time)
      kept.append(images)
    images = _run(self.middle_block, images, time)
    for block in self.output_blocks:
      images = _run(block, torch.cat([images, kept.pop()], 1), time)
    return functional.pixel_shuffle(self.out(images), self.patch)


class Residual(nn.Module):
  """Two normalised convolutions, added to their input."""

  def __init__(self, inputs, features, time):
    super().__init__()
    self.in_layers = nn.Sequential(
      nn.GroupNorm(UNet.groups, inputs),
      nn.SiLU(),
      nn.Conv2d(inputs, features, 3, padding=1),
    )
    self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, features))
    self.out_layers = nn.Sequential(
      nn.GroupNorm(UNet.groups, features),
      nn.SiLU(),
      nn.Identity(),
      nn.Conv2d(features, features, 3, padding=1),
    )
    self.skip_connection = (
      nn.Identity() if inputs == features else nn.Conv2d(inputs, features, 1)
    )

  def forward(self, images, time):
    hidden = self.in_layers(images) + self.emb_layers(time)[..., None, None]
    return self.skip_connection(images) + self.out_layers(hidden)


class ImageAttention(nn.Module):
  """Attention of every position to every other one, with one head."""

  def __init__(self, features):
    super().__init__()
    self.norm = nn.GroupNorm(UNet.groups, features)
    self.qkv = nn.Conv1d(features, 3 * features, 1)
    self.proj_out = nn.Conv1d(features, features, 1)

  def forward(self, images):
    tokens = self.norm(images).flatten(2)
    mixed = _attend(
      *(x.transpose(1, 2)[:, None] for x in self.qkv(tokens).chunk(3, 1))
    )
    return images + self.proj_out(mixed.transpose(1, 2)).reshape(images.shape)


class Down(nn.Module):
  """A convolution that halves the sides."""

  def __init__(self, features):
    super().__init__()
    self.op = nn.Conv2d(features, features, 3, 2, 1)

  def forward(self, images):
    return self.op(images)


class Up(nn.Module):
  """Doubled sides, then a convolution."""

  def __init__(self, features):
    super().__init__()
    self.conv = nn.Conv2d(features, features, 3, 1, 1)

  def forward(self, images):
    return self.conv(functional.interpolate(images, scale_factor=2))


def _part(part, time):
  """The layer of a `unet.Part`."""
  if part.kind == 'residual':
    return Residual(part.inputs, part.features, time)
  if part.kind == 'convolution':
    return nn.Conv2d(part.inputs, part.features, 3, padding=1)
  return {'attention': ImageAttention, 'down': Down, 'up': Up}[part.kind](
    part.features
  )


def _run(block, images, time):
  """Runs the layers of a block."""
  for layer in block:
    timed = isinstance(layer, Residual)
    images = layer(images, time) if timed else layer(images)
  return images


def _heads(tokens, parts, num_heads):
  """Splits tokens [B, N, parts * D] into `parts` arrays [B, H, N, K]."""
  batch, length, _ = tokens.shape
  tokens = tokens.view(batch, length, parts, num_heads, -1)
  return tokens.permute(2, 0, 3, 1, 4).unbind(0)


def _attend(queries, keys, values, mask=None):
  """Softmax attention [B, N, D] of [B, H, N, K], heads concatenated."""
  mixed = functional.scaled_dot_product_attention(queries, keys, values, mask)
  return mixed.transpose(1, 2).flatten(2)


def load(model, state):
  """Gives a model the weights of {key: array}; keys must be equal."""
  model.load_state_dict(
    {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
  )
  return model


def num_parameters(model):
  """Number of trained parameters of a model."""
  return sum(x.numel() for x in model.parameters() if x.requires_grad)
