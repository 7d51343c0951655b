"""The keys of the published decoder/final.pt: the speech decoder."""

from __future__ import annotations

from collections.abc import Iterator

STACKS = {"layers": "layers", "layers_pre_nn": "pre", "layers_prefix": "prefix"}
PARTS = {
    r"self_attn\.q_proj": "query",
    r"self_attn\.k_proj": "key",
    r"self_attn\.v_proj": "value",
    r"self_attn\.o_proj": "out",
    r"mlp\.gate_proj": "gate",
    r"mlp\.up_proj": "up",
    r"mlp\.down_proj": "down",
    r"input_layernorm": "attention_norm",
    r"post_attention_layernorm": "mlp_norm",
}


def _layers() -> Iterator[tuple[str, str]]:
    for theirs, ours in STACKS.items():
        for part, name in PARTS.items():
            yield rf"^{theirs}\.(\d+)\.{part}\.", rf"{ours}.\1.{name}."


RENAMES: tuple[tuple[str, str], ...] = (
    *_layers(),
    (r"^embedding\.", "embedding."),
    (r"^norm\.", "norm."),
    (r"^out_fnn\.", "out."),
)

UNUSED: tuple[str, ...] = ()
