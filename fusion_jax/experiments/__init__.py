"""Studies that train outside the loop's evaluations, one registry entry each.

An entry names the configuration, the command, the figures that are compared
with a paper, and how long the study takes. Result pages are printed from the
CSV files that a study writes: nothing on them is written by hand.
"""
