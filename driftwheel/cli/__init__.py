"""The `driftwheel` command: one file for each verb that belongs to no stage."""
