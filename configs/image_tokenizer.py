r"""Trains the tokenizer of one image modality (fusion paper, Sec. 3.1.1).

  python -m fusion_jax.main --config configs/image_tokenizer.py
      modality=S2L2A, size=mini on the five real TerraMesh scenes, the eastern
      third of each held out: half an hour on one CPU core. modality=DEM takes
      10 minutes on two cores and ends at 48.9 dB, where each scene's mean has
      49.5 and each patch's mean 57.9 (benchmarks/results/README.md).
  python -m fusion_jax.main \
      --config configs/image_tokenizer.py:modality=LULC,data=simulated
  python -m fusion_jax.main --workdir $OUT --config.data.dir=$DATA \
      --config configs/image_tokenizer.py:modality=DEM,size=base,data=terramesh
      The published size.

modality is S2L2A, S1GRD, S1RTC, DEM, NDVI or LULC.
"""

import ml_collections

from fusion_jax import modalities
from fusion_jax.configs import common

MODALITIES = ('S2L2A', 'S1GRD', 'S1RTC', 'DEM', 'NDVI', 'LULC')

# `ImageTokenizer`; LULC has a transformer in place of the UNet.
SIZES = {
  'mini': dict(
    encoder=dict(width=128, depth=2, num_heads=4, image_size=64),
    unet=dict(
      unet_width=32,
      unet_multipliers=(1, 2, 2),
      unet_blocks=1,
      unet_attention=(4,),
      unet_groups=4,
    ),
    decoder=dict(decoder_depth=2),
  ),
  'base': dict(
    encoder=dict(width=768, depth=12, num_heads=12, image_size=256),
    unet=dict(
      unet_width=256,
      unet_multipliers=(1, 2, 2, 2),
      unet_blocks=3,
      unet_attention=(4, 8),
      unet_groups=32,
    ),
    decoder=dict(decoder_depth=12),
  ),
}
LEVELS = (8, 8, 8, 6, 5)
CLASS_LEVELS = (7, 5, 5, 5, 5)

DATA = {
  'simulated': dict(
    name='simulated',
    dir='',
    holdout='split',
    prepare=common.TOKEN_EARTH,
    **common.ONE_SET,
  ),
  # Five scenes are too few to set any aside.
  'samples': dict(
    name='samples',
    dir='',
    holdout='east',
    prepare=common.SAMPLES,
    **common.ONE_SET,
  ),
  'terramesh': dict(common.TERRAMESH, holdout='split'),
  'terramesh_parts': dict(common.TERRAMESH_PARTS, holdout='split'),
}

# Recorded in the published weights: crop (224 or 256), batch, betas, clipping,
# flips, EMA, and the rate: 0.0064 / sqrt(2048), for LULC 0.0016 / sqrt(2048).
# Steps and warm-up are not public: ours.
PAPER = dict(
  num_steps=100_000,
  batch_size=2048,
  image_size=224,
  flips='mirror',
  last_share=0.0,
  spread_weight=0.0,
  start='random',
  ema_decay=0.9999,
  warmup_steps=5_000,
  eval_every=5_000,
  peak_lr=1.41e-4,
  eps=1e-8,
)
MINI = dict(
  num_steps=4_500,
  batch_size=8,
  image_size=64,
  flips='all',
  last_share=0.5,
  spread_weight=0.1,
  start='data',
  ema_decay=0.99,
  warmup_steps=100,
  eval_every=500,
  peak_lr=1e-3,
  eps=1e-8,
)
RUNS = {
  # Squared errors of elevations are 1e-5, and gradients as small.
  'mini': {'DEM': MINI | dict(num_steps=2_000, eps=1e-12)},
  'base': {'LULC': PAPER | dict(ema_decay=0.99, peak_lr=3.5e-5)},
}

OPTIMIZER = dict(
  min_lr=0.0,
  warmup_tokens=0,
  b1=0.9,
  b2=0.99,
  weight_decay=0.05,
  clip_norm=1.0,
  skip_norm=0.0,
)

EVALS = dict(num_examples=64, batch_size=8, decode_steps=(1, 10, 50))


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Returns the run that `arg` names: 'modality=DEM,data=terramesh'."""
  args = common.parse(
    arg, modality='S2L2A', size='mini', data='samples', smoke=False
  )
  size = common.choose(SIZES, args.size, 'size')
  if args.modality not in MODALITIES:
    raise ValueError(f'modality={args.modality} is not one of {MODALITIES}.')
  run = RUNS[args.size].get(
    args.modality, PAPER if args.size == 'base' else MINI
  )
  table = modalities.get(args.modality, role='target')
  classes = args.modality == 'LULC'
  config = ml_collections.ConfigDict()
  config.name = f'image_tokenizer_{args.modality}_{args.size}_{args.data}'
  config.task = 'image_tokenizer'
  config.seed = 0
  config.modality = args.modality
  # Subtracted and divided by, band by band: TerraMind's own.
  config.standards = dict(mean=table.mean, std=table.std)
  config.num_steps = run['num_steps']
  config.batch_size = run['batch_size']  # Images, over all devices.
  config.accumulate = 1  # Micro-batches a step.
  config.image_size = run['image_size']  # Pixels of the squares.
  config.flips = run['flips']  # 'none', 'mirror', 'all' eight.
  config.last_share = run['last_share']
  config.spread_weight = run['spread_weight']
  config.start = run['start']
  config.model = dict(
    levels=CLASS_LEVELS if classes else LEVELS,
    **size['encoder'],
    **size['decoder' if classes else 'unet'],
    dtype='float32',  # 'bfloat16' on GPUs and TPUs.
    unroll=1,
  )
  config.data = common.choose(DATA, args.data, 'data')
  config.optimizer = dict(
    OPTIMIZER,
    peak_lr=run['peak_lr'],
    warmup_steps=run['warmup_steps'],
    eps=run['eps'],
  )
  config.ema_decay = run['ema_decay']
  config.mesh = dict(fsdp=1)
  config.watch = common.WATCH
  metric = 'eval/miou' if classes else 'eval/psnr_db'
  config.checkpoint = dict(common.CHECKPOINT, every=run['eval_every'])
  config.checkpoint.update(best=metric, best_mode='max')
  config.evals = dict(EVALS, every=run['eval_every'])
  config.log_every = 20
  if args.smoke:
    config.update(common.SMOKE)
    if args.data == 'simulated':
      config.data.prepare.splits = dict(train=16, val=2)
  return config
