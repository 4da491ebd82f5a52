r"""Classifies real pixels of WorldCereal's samples with the pixel encoder.

  python -m fusion_jax.prepare worldcereal --source FLANDERS.parquet --out DATA
  python -m fusion_jax.main --config configs/worldcereal.py \
      --config.data.dir=DATA --workdir OUT
  python -m fusion_jax.map_scene ... --checkpoint OUT maps a cube with it.

55 labelled pixels of Flanders, or (data=east_africa) 453 of East Africa:
seconds on two CPU cores. Cross-validated figures are printed by
fusion_jax/experiments/labelled_pixels.py, which has this recipe.
"""

import ml_collections

from fusion_jax.configs import common

DATA = {
  # Its file and the cube of Belgium have no B8A.
  'flanders': dict(label='landcover10', missing_bands=('B8A',)),
  'east_africa': dict(label='label_full', missing_bands=()),
}

# Small, for there are few pixels.
MODEL = dict(
  width=64,
  depth=2,
  num_heads=4,
  hidden=128,
  output_width=64,
  num_bands=10,
  side=1,
  activation='relu',
  dropout=0.2,
  single='mean',
  kept='own',
  factored_first_layer='auto',
  unroll=1,
  dtype='float32',  # 'bfloat16' on GPUs and TPUs.
)

OPTIMIZER = dict(
  peak_lr=2e-3,
  min_lr=0.0,
  warmup_steps=40,
  warmup_tokens=0,
  half_period_steps=0,
  b1=0.9,
  b2=0.999,
  eps=1e-8,
  weight_decay=0.05,
  decay='all',
  clip_norm=1.0,
  skip_norm=0.0,
  bounds={},
)


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Returns the run that `arg` names: 'data=flanders', 'data=east_africa'."""
  args = common.parse(arg, data='flanders', smoke=False)
  data = common.choose(DATA, args.data, 'data')
  config = ml_collections.ConfigDict()
  config.name = f'worldcereal_{args.data}'
  config.task = 'classify_pixels'
  config.seed = 0
  config.num_steps = 400
  config.batch_size = 64  # Examples, over all devices.
  config.accumulate = 1  # Micro-batches a step.
  config.model = MODEL
  config.scaling = 'range'  # Spreads dark pixels more than 'published'.
  config.missing_bands = data['missing_bands']
  config.data = dict(name='worldcereal', dir='', prepare={}, **common.ONE_SET)
  config.remember = True  # Keep scaled examples in memory.
  config.label = data['label']
  config.setting = 'monthly'
  # Clouds hide other months elsewhere.
  config.augment = dict(kind='tsdrop', per_sample=True)
  config.optimizer = OPTIMIZER
  config.ema_decay = 0.0  # 0: none.
  config.mesh = dict(fsdp=1)
  config.watch = common.WATCH
  config.evals = dict(every=400, batch_size=64, split='val')
  config.log_every = 50
  config.checkpoint = dict(
    common.CHECKPOINT, every=400, best='val/accuracy', best_mode='max'
  )
  if args.smoke:
    config.update(
      dict(
        num_steps=2,
        batch_size=8,
        log_every=1,
        evals=dict(every=2),
        optimizer=dict(warmup_steps=1),
        checkpoint=dict(every=2),
      )
    )
  return config
