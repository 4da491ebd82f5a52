"""Recipe cards: one file for each run of the papers."""
