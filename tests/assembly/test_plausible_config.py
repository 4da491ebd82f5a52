"""Values that no run can have are found before anything is done for it."""

import numpy as np
import pytest

from fusion_jax import configurations, runs
from fusion_jax.assembly import plausible_config, upgrade

CARDS = [
  'pretrain',
  'pretrain:size=base,data=terramesh',
  'image_tokenizer',
  'series_tokenizer',
  'align_pixels',
  'worldcereal',
]


@pytest.mark.parametrize('card', CARDS)
def test_every_card_passes(card):
  plausible_config.check(upgrade.upgrade(configurations.load(card)))


@pytest.mark.parametrize(
  'card, field, value, message',
  [
    ('pretrain', 'image_size', 0, r'config.image_size=0; set it to 1 or more'),
    ('pretrain', 'model.encoder_depth', -1, 'model.encoder_depth=-1; set'),
    ('image_tokenizer', 'model.unet_width', 0, 'model.unet_width=0; set it'),
    ('pretrain', 'model.num_heads', 7, 'num_heads=7 does not divide'),
    ('pretrain', 'ema_decay', 2.0, r'config.ema_decay=2.0 is not in \[0, 1\)'),
    ('pretrain', 'optimizer.b1', 1.5, r'optimizer.b1=1.5 is not in \[0, 1\)'),
    ('align_pixels', 'model.dropout', 1.0, r'dropout=1.0 is not in \[0, 1\)'),
    ('pretrain', 'optimizer.peak_lr', -1.0, 'peak_lr=-1.0; set it to 0 or'),
    ('pretrain', 'optimizer.peak_lr', np.nan, 'peak_lr=nan; set it to a num'),
    ('pretrain', 'optimizer.warmup_steps', 10**6, 'does not fit into a run of'),
    ('pretrain', 'optimizer.warmup_steps', -1, 'warmup_steps=-1; set it to 0'),
    ('pretrain:data=terramesh', 'data.dir', 'none', 'data.dir=none is no fold'),
    ('pretrain', 'init_from', 'none', 'config.init_from=none is no folder'),
    ('pretrain', 'num_steps', 0, 'config.num_steps=0; set it to 1 or more'),
  ],
)
def test_a_nonsense_value_is_named_before_data_are_prepared(
  card, field, value, message, tmp_path, monkeypatch
):
  def prepare_data(*_):
    raise AssertionError('The data were prepared.')

  monkeypatch.setattr(runs, 'prepare_data', prepare_data)
  config = configurations.load(card)
  with config.unlocked():
    config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    runs.run(config, tmp_path / 'run')
