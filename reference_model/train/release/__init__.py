"""From trained stages to a published checkpoint and its model card."""
