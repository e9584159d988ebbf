"""Finds the layers whose columns a quantizer may scale, because the norm before them absorbs the scale.

SmoothQuant (Xiao et al. 2023, section 4) and AWQ (Lin et al. 2024, section 3.2) move range between a norm's output and
the weights behind it. Their product stays, and is what `structure` compares.
"""

SMOOTHED = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
"""Norms of a decoder layer, and the layers that read their output."""


def is_smoothed_norm(name: str) -> bool:
    """Say whether smoothing divides this tensor."""
    return name.endswith(tuple(f".{norm}.weight" for norm in SMOOTHED))


def norm_before(name: str) -> str | None:
    """Return the norm whose output these weights read, by its tensor's name; None for every other tensor."""
    for norm, layers in SMOOTHED.items():
        for layer in layers:
            if name.endswith(f".{layer}.weight"):
                return f"{name.removesuffix(f'{layer}.weight')}{norm}.weight"
    return None
