"""The keys of the published audiollm/final.pt: encoder, adapter, prompt and state head."""

from __future__ import annotations

_LAYER = r"encoder\.enc\.1\.encoders\.(\d+)\."

RENAMES: tuple[tuple[str, str], ...] = (
    (r"encoder\.global_cmvn\.(mean|istd)", r"encoder.\1"),
    (r"encoder\.enc\.0\.core\.conv\.0\.(.+)", r"encoder.convs.0.\1"),
    (r"encoder\.enc\.0\.core\.conv\.2\.(.+)", r"encoder.convs.1.\1"),
    (r"encoder\.enc\.0\.core\.out\.0\.(.+)", r"encoder.flatten.\1"),
    (r"encoder\.enc\.1\.embed\.0\.(.+)", r"encoder.embed.\1"),
    (r"encoder\.enc\.1\.embed\.1\.(.+)", r"encoder.embed_norm.\1"),
    (_LAYER + r"norm1\.(.+)", r"encoder.layers.\1.attention_norm.\2"),
    (_LAYER + r"self_attn\.linear_q\.(.+)", r"encoder.layers.\1.attention.query.\2"),
    (_LAYER + r"self_attn\.linear_k\.(.+)", r"encoder.layers.\1.attention.key.\2"),
    (_LAYER + r"self_attn\.linear_v\.(.+)", r"encoder.layers.\1.attention.value.\2"),
    (_LAYER + r"self_attn\.linear_pos\.(.+)", r"encoder.layers.\1.attention.position.\2"),
    (_LAYER + r"self_attn\.linear_out\.(.+)", r"encoder.layers.\1.attention.out.\2"),
    (_LAYER + r"self_attn\.pos_bias_u", r"encoder.layers.\1.attention.content_bias"),
    (_LAYER + r"self_attn\.pos_bias_v", r"encoder.layers.\1.attention.position_bias"),
    (_LAYER + r"norm2\.(.+)", r"encoder.layers.\1.feed_forward_norm.\2"),
    (_LAYER + r"feed_forward\.w_1\.(.+)", r"encoder.layers.\1.expand.\2"),
    (_LAYER + r"feed_forward\.w_2\.(.+)", r"encoder.layers.\1.contract.\2"),
    (r"encoder\.enc\.1\.after_norm\.(.+)", r"encoder.norm.\1"),
    (r"adpter\.conv1d2\.(.+)", r"adapter.conv.\1"),
    (r"adpter\.bn2\.(.+)", r"adapter.norm.\1"),
    (r"adpter\.project\.(.+)", r"adapter.project.\1"),
    (r"prompt_embeddings\.weight", r"prompt"),
    (r"predictor_head\.(.+)", r"state_head.linear.\1"),
)

UNUSED: tuple[str, ...] = (
    r"task_embeddings\..+",  # never used in inference
    r"llm_decoder\..+",  # the LLM, which has its own folder
)
