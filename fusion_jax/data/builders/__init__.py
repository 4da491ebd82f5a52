"""Raw archive or simulation -> a directory of ArrayRecord examples.

A *source* is what a builder reads. It has no arrays, can be pickled, and
offers

  `schema`: `examples.Schema`, the fields of its examples;
  `parts()`: {split: [part, ...]}, each part (any picklable value) one shard
    on disk;
  `read(split, part)`: iterator over the part's examples (dicts of NumPy
    arrays), with an `examples.Skipped` in place of each one that is broken;
  `places(split, part)`: optional, {key: (lat, lon, time)} without reading the
    images; only a source that is joined with weather needs it.

A source of random access (`splits`, {name: number of examples}, and
`example(split, i)`, a pure function) becomes one by `shards.Indexed`.
"""
