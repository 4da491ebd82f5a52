r"""Pretrains the masked encoder-decoder (fusion paper, Sec. 3.3, Table 1).

  python -m fusion_jax.main --config configs/pretrain.py
      size=demo on the simulated Earth: minutes on two CPU cores, no download.
  python -m fusion_jax.main --config configs/pretrain.py:size=mini
      The longer CPU run (at most 40 minutes on two cores).
  python -m fusion_jax.main --config configs/pretrain.py:data=samples
      The five real TerraMesh scenes, with real GFS precipitation.
  python -m fusion_jax.main --config configs/pretrain.py:data=samples,tokens \
      --config.data.dir=DIR
      With tokenised images too, of a data set that `prepare tokenize
      --image-size 64` gave codes; data=simulated can have them as well.
  python -m fusion_jax.main \
      --config configs/pretrain.py:size=base,data=terramesh \
      --config.data.dir=$DATA --workdir $OUT
      The paper's run: 78,124 steps of 512 examples, 10.24 B tokens; from
      TerraMind's weights with --config.init_from=DIR, a converted backbone.
  python -m fusion_jax.main \
      --config configs/pretrain.py:size=base,data=terramesh_parts \
      --config.data.parts.ssl4eos12.dir=$A --config.data.parts.majortom.dir=$B
      The same on a mixture of TerraMesh's two parts, 0.8 and 0.2. Each has an
      order of its own and comes as often as its weight says; values are
      standardised and binned by the statistics of the mixture. Validation is
      over both parts (val/loss) and of each (val/majortom/loss).

What the paper leaves open or gets wrong is decided here, each with its reason:
alphas, `num_steps`, `peak_lr`, `warmup_steps`, `emd_weight` and `word_dropout`
below.
"""

import ml_collections

from fusion_jax.configs import common

# Widths, depths and MLPs of TerraMind v1; tiny and small are no scaled-down
# base: plain GELU with biases, shallow decoders. demo and mini are ours.
SIZES = {
  'demo': dict(
    width=128,
    encoder_depth=3,
    decoder_depth=2,
    num_heads=4,
    mlp='swiglu',
    use_bias=False,
  ),
  'mini': dict(
    width=160,
    encoder_depth=4,
    decoder_depth=2,
    num_heads=5,
    mlp='swiglu',
    use_bias=False,
  ),
  'tiny': dict(
    width=192,
    encoder_depth=12,
    decoder_depth=4,
    num_heads=3,
    mlp='gelu',
    use_bias=True,
  ),
  'small': dict(
    width=384,
    encoder_depth=12,
    decoder_depth=6,
    num_heads=6,
    mlp='gelu',
    use_bias=True,
  ),
  'base': dict(
    width=768,
    encoder_depth=12,
    decoder_depth=12,
    num_heads=12,
    mlp='swiglu',
    use_bias=False,
  ),
  'large': dict(
    width=1024,
    encoder_depth=24,
    decoder_depth=24,
    num_heads=16,
    mlp='swiglu',
    use_bias=False,
  ),
}

# One Dirichlet a component over all modalities, as 4M's
# `mix_mod7_all2all_rgb2all_a0.5`: from the raw image alone to everything, and
# from everything to everything. The paper's Eq. (3), separate Dirichlets for
# images and series, contradicts the code it builds on; that code's is used.
RAW = dict(input_alphas=(1000.0, 0.5), target_alphas=(0.0, 0.0))
ANY = dict(input_alphas=(0.0, 0.5), target_alphas=(0.5, 0.5))

WEATHER = {
  't2m_hourly': ANY,
  'tp_hourly': ANY,
  't2m_min_daily': ANY,
  't2m_max_daily': ANY,
  't2m_mean_daily': ANY,
  'tp_min_daily': ANY,
  'tp_max_daily': ANY,
  'tp_sum_daily': ANY,
}
TOKENISED = {
  'tok_sen2l2a@224': ANY,
  'tok_sen1grd@224': ANY,
  'tok_sen1rtc@224': ANY,
  'tok_dem@224': ANY,
  'tok_ndvi@224': ANY,
  'tok_lulc@224': ANY,
}
IMAGE = {'untok_sen2l2a@224': RAW}
COORDS = {'coords': ANY}
OTHER_RAW = (
  'untok_sen2l1c@224',
  'untok_sen2rgb@224',
  'untok_sen1grd@224',
  'untok_sen1rtc@224',
  'untok_dem@224',
)
# Two targets share the simulated Earth. A share drawn for three coordinate
# tokens is mostly lost (what is clamped is not redistributed): keep it rare.
RARE_COORDS = {
  'coords': dict(input_alphas=(0.0, 0.5), target_alphas=(0.02, 0.02))
}

# What the data can give. Image tokens are read where `prepare` stored codes.
# `prepare` holds fields of a recipe of `fusion_jax.datasets`; dir '' is the
# work directory.
# `tokens` are what codes may be stored of. Of a converted backbone
# (config.init_from), `new` is what it lacks.
TERRAMESH = dict(
  modalities=IMAGE | TOKENISED | COORDS | WEATHER,
  tokens={},
  new=tuple(WEATHER),
  generate=('t2m_hourly',),
)
DATA = {
  'simulated': dict(
    data=dict(name='simulated', dir='', prepare={}, **common.ONE_SET),
    modalities=IMAGE | RARE_COORDS | {'t2m_hourly': ANY},
    tokens=TOKENISED,
    new=('t2m_hourly',),
    generate=('t2m_hourly',),
  ),
  'samples': dict(
    data=dict(name='samples', dir='', prepare=common.SAMPLES, **common.ONE_SET),
    modalities=IMAGE | COORDS | WEATHER,
    tokens={name: ANY for name in TOKENISED if 'grd' not in name},
    new=tuple(WEATHER),
    generate=(),
  ),
  'terramesh': dict(TERRAMESH, data=common.TERRAMESH),
  'terramesh_parts': dict(TERRAMESH, data=common.TERRAMESH_PARTS),
}

EARTH = dict(seed=0, image_size=72, images=('S2L2A',), compression='zstd:1')

# The paper's values; the resolution of what it contradicts itself in:
# - 10 B tokens are counted over input and target slots, 256 an example.
# - Batch 512 = 4 GPUs x 128; "global 8192" would need accumulation.
# - Peak rate 2e-5 as stated; 2e-4 "scaled by batch / 256" gives 4e-4.
PAPER = dict(
  num_steps=78_124,
  batch_size=512,
  image_size=224,
  slots=dict(encoder=128, decoder=128),
  coords_vocab_size=30_000,
  mixture=(0.5, 0.5),
  standardise='terramind',
  emd_weight=1.0,
  word_dropout=0.0,
  earth=dict(EARTH, image_size=264, splits=dict(train=6_000, val=256)),
  peak_lr=2e-5,
  warmup_steps=7_630,
  eval_every=5_000,
  unroll=1,
)
# The small runs are ours. Sixty hours are easy to tell from the hours before
# them, and only the first from the image. So that the image is learned, half
# of the examples hide the earlier hours from the decoder (word dropout), and
# the ordinal term, which is large where a forecast is wide, weighs more.
# Trained from scratch, pixels are standardised by the data's own statistics.
CPU = dict(
  batch_size=32,
  image_size=64,
  slots=dict(encoder=24, decoder=64),
  coords_vocab_size=2_366,
  mixture=(0.8, 0.2),
  standardise='data',
  word_dropout=0.5,
  peak_lr=1.5e-3,
  unroll=4,
)  # Layers a loop turn: at this depth faster on a CPU.
RUNS = {
  'demo': CPU
  | dict(
    num_steps=1_100,
    warmup_steps=50,
    eval_every=550,
    emd_weight=60.0,
    earth=dict(EARTH, splits=dict(train=6_000, val=256)),
  ),
  'mini': CPU
  | dict(
    num_steps=3_000,
    warmup_steps=150,
    eval_every=500,
    emd_weight=100.0,
    earth=dict(EARTH, splits=dict(train=24_000, val=512)),
  ),
  'tiny': PAPER,
  'small': PAPER,
  'base': PAPER,
  'large': PAPER,
}

OPTIMIZER = dict(
  min_lr=0.0,
  warmup_tokens=0,
  b1=0.9,
  b2=0.95,
  eps=1e-8,
  weight_decay=0.05,
  clip_norm=1.0,
  skip_norm=0.0,
)

# Learned codes of series (`series_codes`) are left out of the ordinal term: ids
# of FSQ number the cells of a grid, neighbours in number are no neighbours in
# value, so a distance between ids means nothing. Their number is that of the
# tokenizer of configs/series_tokenizer.py that `prepare tokenize` used.

# dtype='bfloat16' is the choice on GPUs and TPUs: activations, products and
# gathered weights; parameters, softmax, losses and sums of gradients stay
# float32. See benchmarks/results/scaling.md.
# remat=True keeps no more than the input of every layer and computes the layer
# once more for its gradient: see benchmarks/results/sharding.md.
MODEL = dict(dtype='float32', remat=False)

EVALS = dict(num_examples=256, batch_size=64)


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Returns the run that `arg` names, as 'size=base,data=terramesh'."""
  args = common.parse(
    arg, size='demo', data='simulated', tokens=False, smoke=False
  )
  run = common.choose(RUNS, args.size, 'size')
  data = common.choose(DATA, args.data, 'data')
  config = ml_collections.ConfigDict()
  config.name = f'pretrain_{args.size}_{args.data}'
  config.task = 'pretrain'
  config.seed = 0
  config.num_steps = run['num_steps']
  config.batch_size = run['batch_size']  # Examples, over all devices.
  config.accumulate = 1  # Micro-batches a step.
  config.image_size = run['image_size']  # Pixels of the crop.
  config.slots = run['slots']
  # Rows of the tables of coordinates: 30,000 fit TerraMind's vocabulary, our
  # own has 2,366 words.
  config.coords_vocab_size = run['coords_vocab_size']
  chosen = data['modalities'] | (data['tokens'] if args.tokens else {})
  config.modalities = chosen
  # Folder of weights to start from (`python -m fusion_jax.convert`), '' for
  # none; modalities that are new to them; such of theirs that are left out.
  config.init_from = ''
  config.init_new = data['new']
  config.init_without = _left_out(chosen)
  config.mixture = run['mixture']  # Weights of the components of the alphas.
  config.keep = 'random'  # Share of a sequence's tokens kept: uniform in 0..1.
  config.word_dropout = run['word_dropout']  # Share without earlier values.
  config.standardise = run['standardise']  # Or TerraMind's own: 'terramind'.
  config.quantizer = 'uniform'  # Of weather values: or 'quantile'.
  # Series read as learned codes instead, such as ('t2m_hourly',), which
  # `prepare tokenize` stored; the ordinal term leaves them out (see above).
  config.series_codes = ()
  config.num_series_codes = 4_096  # Of levels=8-8-8-8.
  config.model = dict(SIZES[args.size], **MODEL, unroll=run['unroll'])
  config.loss = dict(weighting='mod', emd_weight=run['emd_weight'])
  config.data = data['data']
  if args.data == 'simulated':
    config.data.prepare = common.TOKEN_EARTH if args.tokens else run['earth']
  config.optimizer = dict(
    OPTIMIZER, peak_lr=run['peak_lr'], warmup_steps=run['warmup_steps']
  )
  config.ema_decay = 0.0  # 0: none.
  config.mesh = dict(fsdp=1)
  config.watch = common.WATCH
  config.checkpoint = dict(common.CHECKPOINT, every=run['eval_every'])
  config.checkpoint.update(best='val/loss', best_mode='min')
  config.evals = dict(EVALS, every=run['eval_every'], generate=data['generate'])
  config.log_every = 20
  if args.smoke:
    config.update(common.SMOKE)
    if args.data == 'simulated':
      config.update(data=dict(prepare=dict(splits=dict(train=64, val=8))))
  return config


def _left_out(chosen):
  """Names of the modalities of public weights that a run does not have."""
  return tuple(name for name in (*OTHER_RAW, *TOKENISED) if name not in chosen)
