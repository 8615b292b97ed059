"""The measuring stand: what load/run, load/storm and load/soak share. Python's standard library (3.11) and no more."""
