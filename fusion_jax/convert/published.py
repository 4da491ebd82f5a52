"""Published weights that the converters know, with their sizes.

Importing this module loads no model, because `fusion-jax convert --help` does.
"""

from typing import NamedTuple

_HUB = 'ibm-esa-geospatial/TerraMind-1.0-'
TOKENISED = ('S2L2A', 'S1RTC', 'S1GRD', 'DEM', 'LULC', 'NDVI')
COORDINATES = f'{_HUB}Tokenizer-Coords'
TERRAMIND = {  # Hub id -> file.
  **{
    f'{_HUB}{size}': f'TerraMind_v1_{size}.pt'
    for size in ('tiny', 'small', 'base', 'large')
  },
  **{
    f'{_HUB}Tokenizer-{name}': f'TerraMind_Tokenizer_{name}.pt'
    for name in TOKENISED
  },
  COORDINATES: 'config.json',
}
# Tiny and small have another MLP than base, biases, and fewer decoders.
VARIANTS = {
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


class ClipFile(NamedTuple):
  """A published file of a CLIP.

  Attributes:
    hub_id: repository on the Hugging Face hub; '' if it is elsewhere.
    path: path of the file in the repository.
    end: end of the path by which a local copy is recognised; '' if the name is
      too general.
    activation: activation of the MLPs, see `clip.Clip`.
    reason: source of the information about the activation.
  """

  hub_id: str
  path: str
  end: str
  activation: str
  reason: str


CLIP = (
  ClipFile(
    'openai/clip-vit-base-patch32',
    'pytorch_model.bin',
    '',
    'quick_gelu',
    'its config.json says so',
  ),
  ClipFile('', '', 'ViT-B-32.pt', 'quick_gelu', "OpenAI's own archive"),
  ClipFile(
    'laion/CLIP-ViT-B-32-laion2B-s34B-b79K',
    'open_clip_pytorch_model.bin',
    '',
    'gelu',
    'OpenCLIP trains ViT-B-32 with the GELU',
  ),
  ClipFile(
    'chendelong/RemoteCLIP',
    'RemoteCLIP-ViT-B-32.pt',
    'RemoteCLIP-ViT-B-32.pt',
    'gelu',
    'its authors load it into the ViT-B-32 of OpenCLIP',
  ),
  ClipFile(
    'Zilun/GeoRSCLIP',
    'ckpt/RS5M_ViT-B-32.pt',
    'RS5M_ViT-B-32.pt',
    'quick_gelu',
    "its authors load it into OpenCLIP's copy of OpenAI's model",
  ),
  ClipFile(
    '',
    '',
    'SkyCLIP_ViT_B32_top50pct/epoch_20.pt',
    'gelu',
    'trained from laion2b_e16 of OpenCLIP',
  ),
)
