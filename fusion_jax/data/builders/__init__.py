"""Builds directories of ArrayRecord examples from archives or a simulation.

The input of a builder is a *reader* (`data.readers.Reader`). It holds no
arrays, can be pickled, and offers

  `schema`: `data.examples.Schema`, the fields of its examples;
  `parts()`: {split: [part, ...]}, each part (any picklable value) one shard
    on disk;
  `read(split, part)`: iterator over the part's examples (dicts of NumPy
    arrays), with a `readers.Skipped` in place of each one that is broken, and
    a `readers.Dropped` for each one that the recipe leaves out;
  `places(split, part)`: optional, {key: (lat, lon, time)} without reading the
    images; only a reader that is joined with weather needs it.

Examples of random access (`splits`, {name: number of examples}, and
`example(split, i)`, a pure function) become a reader by `shards.Indexed`.
"""
