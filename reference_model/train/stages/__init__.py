"""The training stages: one command a file, named as in the paper."""
