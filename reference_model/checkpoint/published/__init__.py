"""The published weights of Freeze-Omni: how their names map to ours."""
