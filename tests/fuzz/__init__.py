"""A fuzz campaign over every parser of outside data: `python -m tests.fuzz --seconds 60 --seed 0`."""
