"""Maps, embeddings and their index, made from cubes of satellite images."""
