"""Tiny random codecs of each architecture, saved to disk as transformers saves them."""

import torch
import transformers

from fobench_plugins.codecs.transformers_codecs import draw_zero_codebooks

DAC = {"encoder_hidden_size": 4, "decoder_hidden_size": 32, "downsampling_ratios": [2, 4, 5, 8]}
HUBERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
SHAPES = {  # name: arguments of its configuration
    "mimi": {
        "hidden_size": 16,
        "num_filters": 4,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 32,
        "sliding_window": 7,
        "codebook_size": 64,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "num_quantizers": 4,
        "upsample_groups": 16,
    },
    "encodec": {"hidden_size": 16, "num_filters": 4, "codebook_size": 64, "target_bandwidths": [0.9, 3.6]},
    "dac": {**DAC, "n_codebooks": 3, "codebook_size": 64, "codebook_dim": 4, "sampling_rate": 24_000},
    "xcodec": {
        "acoustic_model_config": {"model_type": "dac", **DAC, "hidden_size": 64, "upsampling_ratios": [8, 5, 4, 2]},
        "semantic_model_config": {"model_type": "hubert", **HUBERT},
        "codebook_size": 64,
        "target_bandwidths": [0.3, 0.9],
    },
}


def save(shape, folder):
    """Saves a random codec of a shape in transformers' layout; returns the folder."""
    torch.manual_seed(0)
    net = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(shape, **SHAPES[shape]))
    draw_zero_codebooks(net)
    net.save_pretrained(folder)
    return folder
