"""The simulated Earth: the same anywhere, physical, hard but not too hard."""

import dataclasses
import hashlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fusion_jax import modalities, simulation
from fusion_jax.simulation import (
  climate,
  imagery,
  oracle,
  planet,
  spectra,
  sun,
  surface,
)

DAY = 86_400
LEAD_0 = modalities.HOURLY_LEADS.index(0)
JULY, JANUARY = 18_459 * DAY, 18_275 * DAY  # Middle of, 2020.


@pytest.fixture(scope='module')
def earth():
  return simulation.SimulatedEarth(seed=0, image_size=32)


@pytest.fixture(scope='module')
def some(earth):
  """A few dozen (example, latents)."""
  return [
    (earth.example('train', i), earth.latents('train', i)) for i in range(40)
  ]


def a_place(**changes):
  place = planet.Place(
    lat=48.0,
    lon=11.0,
    elevation=500.0,
    continentality=0.6,
    wetness=0.5,
    monsoon=0.1,
    relief=20.0,
    soil=np.array([0.8, 0.1, 0.1], np.float32),
  )
  return dataclasses.replace(place, **changes)


def digest(example):
  parts = (
    f'{name}{np.asarray(value).dtype}'.encode() + np.asarray(value).tobytes()
    for name, value in example.items()
  )
  return hashlib.sha256(b''.join(parts)).hexdigest()


def r2(predicted, true):
  return 1 - np.sum((predicted - true) ** 2, 0) / np.sum(
    (true - true.mean(0)) ** 2, 0
  )


def test_same_seed_is_the_same_earth_in_another_process():
  program = (
    'import sys; sys.path.insert(0, {path!r})\n'
    'import hashlib, numpy as np\n'
    'from fusion_jax import simulation\n'
    'earth = simulation.SimulatedEarth(seed=7, image_size=40)\n'
    'earth.example("train", 5)\n'
    'example = earth.example("val", 3)\n'
    'parts = (f"{{name}}{{np.asarray(value).dtype}}".encode() +\n'
    '         np.asarray(value).tobytes() for name, value in '
    'example.items())\n'
    'print(hashlib.sha256(b"".join(parts)).hexdigest())\n'
  )
  root = str(pathlib.Path(simulation.__file__).parents[2])
  output = subprocess.run(
    [sys.executable, '-c', program.format(path=root)],
    check=True,
    capture_output=True,
    text=True,
  )
  here = simulation.SimulatedEarth(seed=7, image_size=40).example('val', 3)
  assert output.stdout.strip() == digest(here)


def test_seeds_splits_and_indices_give_different_places(earth):
  other = simulation.SimulatedEarth(seed=1, image_size=32)
  places = [
    (earth.latents('train', 0)),
    earth.latents('train', 1),
    earth.latents('val', 0),
    other.latents('train', 0),
  ]
  assert len({(p.place.lat, p.place.lon, p.time) for p in places}) == 4


def test_fields_sizes_and_counts_change_nothing_else(earth):
  whole = earth.example('test', 2)
  fewer = simulation.SimulatedEarth(
    seed=0, image_size=32, splits={'test': 3}, fields=('LULC', 'S2L2A')
  )
  assert digest({k: v for k, v in fewer.example('test', 2).items()}) == digest(
    {k: whole[k] for k in fewer.example('test', 2)}
  )
  larger = simulation.SimulatedEarth(seed=0, image_size=48).example('test', 2)
  for name, value in whole.items():
    if name not in simulation.FIELDS:
      np.testing.assert_array_equal(larger[name], value, err_msg=name)
  assert larger['S2L2A'].shape == (48, 48, 12)


def test_example_has_the_documented_fields(some):
  for example, known in some[:10]:
    assert example['key'].startswith('simulated_train_0000')
    assert -180 <= example['lon'] < 180
    for name in simulation.FIELDS:
      bands = len(modalities.IMAGE_FIELDS[name].bands)
      absent = name == ('S1RTC' if known.has_grd else 'S1GRD')
      assert example[name].shape == (
        (0, 0, 2) if absent else (32, 32, bands)
      ), name
    for name, modality in modalities.MODALITIES.items():
      if modality.kind == 'series':
        assert example[name].shape == (len(modality.leads),)
        assert example[name].dtype == np.float32
        assert np.isfinite(example[name]).all()


def test_splits_own_disjoint_land():
  earth = simulation.SimulatedEarth(seed=0, fields=())
  rows = {}
  for split in ('train', 'val', 'test'):
    for i in range(100):
      place = earth.latents(split, i).place
      block = (place.lat + 90) // 2, (place.lon + 180) // 2
      rows.setdefault(block, set()).add(split)
  assert max(len(splits) for splits in rows.values()) == 1
  assert len(rows) > 200


def test_overpass_is_at_half_past_ten_in_daylight(some):
  for example, _ in some:
    hour = sun.solar_hour(example['lon'], example['time'])
    assert abs(hour - 10.5) <= 20 / 60 + 1e-3
    assert (
      sun.cos_zenith(example['lat'], example['lon'], example['time']) > 0.16
    )


def test_sun_culminates_at_noon_and_stands_high_in_summer():
  noon = JULY + np.arange(24) * 3_600
  east, north, up = sun.direction(0.0, 0.0, noon)
  assert np.argmax(up) == 12 and north[12] > 0
  assert east[8] > 0.5 and east[16] < -0.5
  np.testing.assert_allclose(east**2 + north**2 + up**2, 1)
  assert sun.cos_zenith(60, 0, noon[12]) > 3 * abs(
    sun.cos_zenith(60, 0, JANUARY + 12 * 3_600)
  )


def test_seasons_flip_across_the_equator():
  north, south = a_place(lat=48.0), a_place(lat=-48.0)
  for warm, cold, place in ((JULY, JANUARY, north), (JANUARY, JULY, south)):
    assert (
      climate.daily_normal(place, warm) > climate.daily_normal(place, cold) + 10
    )
  tropics = a_place(lat=3.0)
  assert (
    abs(
      climate.daily_normal(tropics, JULY)
      - climate.daily_normal(tropics, JANUARY)
    )
    < 2
  )


def test_temperature_falls_by_the_lapse_rate():
  low, high = a_place(elevation=0.0), a_place(elevation=2_000.0)
  drop = climate.daily_normal(low, JULY) - climate.daily_normal(high, JULY)
  np.testing.assert_allclose(drop, 13.0)


@pytest.mark.parametrize('lon', [-120.0, 0.0, 75.0])
def test_afternoon_is_warmest_and_dawn_coldest(lon):
  times = JULY + np.arange(0, DAY, 600)
  departure = climate.diurnal_normal(a_place(lon=lon), times)
  hour = sun.solar_hour(lon, times)
  assert 13 < hour[departure.argmax()] < 16
  assert 3 < hour[departure.argmin()] < 7
  assert np.ptp(departure) > 5
  assert abs(departure.mean()) < 0.2
  coast = climate.diurnal_normal(a_place(lon=lon, continentality=0.0), times)
  assert np.ptp(coast) < 0.7 * np.ptp(departure)


def test_anomalies_are_exact_ornstein_uhlenbeck_steps():
  rng = np.random.default_rng(0)
  paths = climate.ou_from_origin(rng, 3.0, 40, 40, 20.0, 2.0, (20_000,))
  leads = np.arange(-40, 41)
  rho = np.exp(-np.abs(leads) / 20)
  np.testing.assert_allclose(paths.mean(0), 3 * rho, atol=0.06)
  np.testing.assert_allclose(paths.std(0), 2 * np.sqrt(1 - rho**2), atol=0.05)
  np.testing.assert_array_equal(paths[:, 40], 3.0)


def test_precipitation_is_zero_inflated_and_skewed(earth):
  rain = np.concatenate(
    [earth.latents('train', i).weather.tp for i in range(100)]
  )
  assert 0.85 < np.mean(rain == 0) < 0.99
  wet = rain[rain > 0]
  assert wet.min() >= 0 and wet.mean() > 1.5 * np.median(wet)
  assert 150 < rain.mean() * 8_766 < 1_500  # mm a year.


def test_days_are_made_of_their_hours(some):
  for example, known in some:
    hour = known.weather.origin - 29 * 24  # Of the acquisition's UTC day.
    if hour == 24:
      continue  # Rounded up into the next day: yesterday is cut off.
    first = LEAD_0 - hour - 24  # 00 UTC of the day before.
    warmth = example['t2m_hourly'][first : first + 24]
    rain = example['tp_hourly'][first + 1 : first + 25]
    for name, value in (
      ('t2m_min', warmth.min()),
      ('t2m_max', warmth.max()),
      ('t2m_mean', warmth.mean()),
      ('tp_min', rain.min()),
      ('tp_max', rain.max()),
      ('tp_sum', rain.sum()),
    ):
      np.testing.assert_allclose(
        example[f'{name}_daily'][28], value, rtol=1e-5, err_msg=name
      )


def test_oracle_is_the_mean_of_conditional_draws(earth):
  known = earth.latents('train', 3)
  weather, rng = known.weather, np.random.default_rng(0)
  paths = climate.draw_paths(
    rng,
    weather.anomaly,
    weather.cloud[-1],
    weather.origin,
    climate.NUM_HOURS - 1 - weather.origin,
    (2_000,),
  )
  paths['cloud'][:, : weather.origin + 1] = weather.cloud
  seconds = (weather.start + np.arange(climate.NUM_HOURS)) * 3_600
  t2m, tp = climate.combine(known.place, seconds, paths, rng)
  mean = earth.oracle('train', 3)
  np.testing.assert_allclose(
    mean['t2m_hourly'], climate.hourly(t2m, weather.origin).mean(0), atol=0.5
  )
  np.testing.assert_allclose(
    mean['t2m_mean_daily'], climate.days(t2m, 0).mean((0, 2)), atol=0.5
  )
  np.testing.assert_allclose(
    mean['tp_sum_daily'],
    climate.days(tp, 1).sum(-1).mean(0),
    atol=0.6,
    rtol=0.25,
  )
  extremes = earth.oracle('train', 3, extremes=True)
  assert set(extremes) == {
    name for name, m in modalities.MODALITIES.items() if m.kind == 'series'
  }
  np.testing.assert_allclose(
    extremes['t2m_max_daily'], climate.days(t2m, 0).max(-1).mean(0), atol=1.0
  )


def test_oracle_misses_the_mesoscale_only_at_lead_0(earth):
  drawn = [earth.latents('train', i) for i in range(600)]
  misses = np.array(
    [
      climate.hourly(known.weather.t2m, known.weather.origin)
      - oracle.conditional_mean(known.place, known.weather)['t2m_hourly']
      for known in drawn
    ]
  )
  anomalies = [known.weather.anomaly for known in drawn]
  assert abs(np.corrcoef(misses[:, LEAD_0], anomalies)[0, 1]) < 0.13
  spread = misses.std(0)
  assert abs(misses[:, LEAD_0].mean()) < 0.4
  np.testing.assert_allclose(spread[LEAD_0], climate.MESOSCALE_SD_K, rtol=0.1)
  assert spread[LEAD_0] < spread[-1] < spread[0]


def band_means(example):
  return example['S2L2A'].mean((0, 1)) / 1e4


def difficulty(earth, num_train, num_test):
  """R2 of the oracle and of a linear regression at every hourly lead."""

  def read(split, count):
    chosen = [earth.example(split, i) for i in range(count)]
    inputs = np.array([[*band_means(example), 1] for example in chosen])
    return inputs, np.array([e['t2m_hourly'] for e in chosen], np.float64)

  (inputs, series), (held_out, true) = (
    read('train', num_train),
    read('test', num_test),
  )
  weights = np.linalg.lstsq(inputs, series, rcond=None)[0]
  best = np.array(
    [earth.oracle('test', i)['t2m_hourly'] for i in range(num_test)]
  )
  return r2(best, true), r2(held_out @ weights, true)


def test_difficulty_is_neither_trivial_nor_hopeless():
  earth = simulation.SimulatedEarth(seed=0, image_size=32, fields=('S2L2A',))
  best, linear = difficulty(earth, 400, 400)
  assert 0.92 < best[LEAD_0] < 0.98
  assert linear[LEAD_0] < best[LEAD_0] - 0.10
  assert linear[LEAD_0] > 0.4
  assert best[LEAD_0] > best[-1] > best[0] > 0.85


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
def test_difficulty_on_every_planet(seed):
  earth = simulation.SimulatedEarth(
    seed=seed,
    image_size=64,
    fields=('S2L2A',),
    splits={'train': 2_000, 'test': 1_000},
  )
  best, linear = difficulty(earth, 2_000, 1_000)
  assert 0.92 < best[LEAD_0] < 0.98
  assert 0.5 < linear[LEAD_0] < best[LEAD_0] - 0.15


def test_warm_air_darkens_the_water_vapour_band(earth):
  known = earth.latents('train', 0)
  ratios = []
  for anomaly in (-6.0, 0.0, 6.0):
    weather = dataclasses.replace(known.weather, anomaly=anomaly)
    scene = surface.scene(
      a_place(), JULY + 37_800, weather, 32, np.random.default_rng(0)
    )
    counts = imagery.s2l2a(scene, np.random.default_rng(1)).astype(float)
    ratios.append(
      counts[..., spectra.B09].mean() / counts[..., spectra.B8A].mean()
    )
  assert ratios[0] > ratios[1] > ratios[2]
  assert ratios[0] > 1.3 * ratios[2]


def test_water_vapour_grows_by_clausius_clapeyron():
  cold, warm = (spectra.column_water_mm(k, 0.7) for k in (288.0, 289.0))
  np.testing.assert_allclose(warm / cold, 1.069, atol=0.005)
  assert 10 < cold < 25


def test_snow_lies_only_where_it_is_cold():
  rng = np.random.default_rng(0)
  earth = simulation.SimulatedEarth(seed=0, fields=())
  seen = 0
  for i in range(150):
    known = earth.latents('train', i)
    scene = surface.scene(known.place, known.time, known.weather, 24, rng)
    day_k = (
      climate.daily_normal(known.place, known.time) + known.weather.anomaly
    )
    pixel_k = day_k - climate.LAPSE_K_PER_M * (
      scene.height - known.place.elevation
    )
    assert not scene.snow[pixel_k >= 273.15].any()
    seen += scene.snow.mean() > 0.5
  assert seen >= 5


def test_ndvi_is_that_of_the_stored_bands(some):
  names = modalities.S2L2A_BANDS
  for example, _ in some:
    red = example['S2L2A'][..., names.index('B04')].astype(float)
    near = example['S2L2A'][..., names.index('B08')].astype(float)
    np.testing.assert_allclose(
      example['NDVI'][..., 0], (near - red) / (near + red), atol=1e-6
    )


def test_leaves_are_green_in_a_wet_summer_only():
  def ndvi(place, time):
    weather = climate.simulate(place, time, np.random.default_rng(0))
    weather = dataclasses.replace(weather, anomaly=0.0)
    scene = surface.scene(place, time, weather, 48, np.random.default_rng(0))
    counts = imagery.s2l2a(scene, np.random.default_rng(1))
    return imagery.ndvi(counts).mean()

  summer = JULY + 37_800
  assert ndvi(a_place(), summer) > ndvi(a_place(), JANUARY + 37_800) + 0.2
  assert ndvi(a_place(), summer) > ndvi(a_place(wetness=0.05), summer) + 0.2


def test_rain_darkens_the_soil_and_brightens_the_radar():
  place = a_place(wetness=0.03, lat=30.0, relief=4.0)
  dry = climate.simulate(place, JULY, np.random.default_rng(0))
  counts, decibel = [], []
  for moisture in (0.0, 0.9):
    weather = dataclasses.replace(dry, moisture=moisture)
    scene = surface.scene(
      place, JULY + 32_000, weather, 32, np.random.default_rng(3)
    )
    counts.append(imagery.s2l2a(scene, np.random.default_rng(1))[..., 10])
    decibel.append(
      imagery.sentinel1(scene, np.random.default_rng(1), True)[..., 0].astype(
        float
      )
    )
  assert counts[1].mean() < 0.85 * counts[0].mean()
  assert decibel[1].mean() > decibel[0].mean() + 1.5


def test_slopes_that_face_the_sun_are_bright():
  ramp = np.arange(32, dtype=np.float32) * np.ones((32, 1), np.float32)
  morning = JANUARY + 10 * 3_600 - 11 * 240  # The sun is in the south-east.

  def shade(height):
    return surface._shade(a_place(), morning, height).mean()

  east, west, south, north = (
    shade(height) for height in (-ramp, ramp, -ramp.T, ramp.T)
  )
  assert south > east > 1.02 and west < 0.95 and north < 0.9
  np.testing.assert_allclose(shade(0 * ramp), 1, rtol=1e-6)


def test_water_is_dark_to_every_sensor():
  place = a_place(relief=3.0, wetness=0.8)
  weather = climate.simulate(place, JULY, np.random.default_rng(0))
  weather = dataclasses.replace(weather, anomaly=0.0)
  near, decibel = [], []
  for seed in range(12):
    rng = np.random.default_rng(seed)
    scene = surface.scene(place, JULY + 37_800, weather, 160, rng)
    water = scene.cover == surface.WATER
    if 0.02 < water.mean() < 0.9:
      counts = imagery.s2l2a(scene, rng)[..., 7].astype(float)
      radar = imagery.sentinel1(scene, rng, True)[..., 0].astype(float)
      near.append(counts[water].mean() / counts[~water].mean())
      decibel.append(radar[water].mean() - radar[~water].mean())
  assert len(near) >= 3
  assert max(near) < 0.6 and max(decibel) < -4


def test_top_of_atmosphere_is_bluer_and_has_its_cirrus_band(some):
  blue = np.mean(
    [
      example['S2L1C'][..., 0].mean() - example['S2L2A'][..., 0].mean()
      for example, _ in some
    ]
  )
  assert blue > 300
  b10 = modalities.S2L1C_BANDS.index('B10')
  assert (
    np.median([np.median(example['S2L1C'][..., b10]) for example, _ in some])
    < 100
  )


def test_noise_has_one_spectrum_for_every_size():
  from fusion_jax.simulation import noise

  rng = np.random.default_rng(0)
  for size in (32, 75, 264):
    fields = noise.fractal(rng, size, 30 if size == 264 else 300, 1.5, 60.0)
    assert fields.shape[1:] == (size, size) and fields.dtype == np.float32
    np.testing.assert_allclose(np.mean(fields**2), 1, atol=0.2)
    steps = np.mean(np.diff(fields, axis=-1) ** 2)
    np.testing.assert_allclose(
      np.mean(np.diff(fields, axis=-2) ** 2), steps, rtol=0.1
    )
    fields -= fields.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(
      np.std(fields.mean(1)), np.std(fields.mean(2)), rtol=0.15
    )


def test_wrong_arguments_say_what_there_is():
  with pytest.raises(ValueError, match="'S2L2B'.*'S2L2A'"):
    simulation.SimulatedEarth(fields=('S2L2B',))
  with pytest.raises(ValueError, match="'dev'.*'val'"):
    simulation.SimulatedEarth(splits={'dev': 3})
  with pytest.raises(ValueError, match='image_size=8'):
    simulation.SimulatedEarth(image_size=8)
  earth = simulation.SimulatedEarth(splits={'val': 3}, fields=())
  with pytest.raises(ValueError, match="no split 'test'"):
    earth.example('test', 0)
  with pytest.raises(IndexError, match='val has 3 examples'):
    earth.example('val', 3)
