"""The registry of quantization schemes: settings, build, parity and benchmarks all read its entries.

A new scheme is a line here. If it needs a modifier of llm-compressor that no other scheme uses, that is a function in
`train/weights/calibration_job.py`.
"""

from collections.abc import Set
from dataclasses import dataclass

AUTO, NONE = "auto", "none"
INTEGER_FLAGS = {"avx512_vnni", "avx_vnni", "asimddp"}
"""Flags of a CPU, of which one must be there, that multiplies 8-bit integers into 32-bit sums in one instruction."""


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """One way to store a model's linear layers in fewer bits."""

    name: str
    meaning: str
    """What it does, for the papers."""
    preset: str | None = None
    """Name in compressed-tensors of a scheme that rounds each weight by itself and needs no data."""
    recipe: tuple[str, ...] = ()
    """Modifiers of llm-compressor in their order; they look at what the model computes on training rows."""
    rounding_share: float = 0.0
    """Largest distance of a layer's weights that the scheme explains, as a share of their norm. Rounding normal
    weights to 255 steps of a channel's range costs 0.8 %, to an 8-bit float 2.6 %, to 15 steps of a group's range 11 %;
    outliers cost more. SparseGPT sets two of four to zero and moves the others in their place: 48 to 61 % were
    measured."""
    smooths: bool = False
    """It moves range from a norm into the weights behind it."""
    prunes: bool = False
    """It sets two of four weights to zero and stores the rest as they are."""
    finer: str | None = None
    """The scheme that `auto` takes instead where this one changes a model too much."""
    kernels_of: str | None = None
    """The scheme whose kernels serve it, if not its own: both are as fast."""
    least_capability: tuple[int, int] = (0, 0)
    """CUDA compute capability from which a GPU has its number type in hardware."""
    runs_on_cpu: bool = True
    """Whether vLLM's engine on a CPU has kernels for it."""

    @property
    def is_calibrated(self) -> bool:
        """Whether it looks at training rows."""
        return bool(self.recipe)

    def has_kernels(self, capability: tuple[int, int] | None, cpu_flags: Set[str]) -> bool:
        """Say whether vLLM has kernels of its own for it, on a GPU of that capability or, without one, on this CPU."""
        if self.kernels_of is not None:
            return False
        if capability is not None:
            return capability >= self.least_capability
        # Whole weights run anywhere; without such instructions a product of 8-bit integers is slower than theirs.
        return self.runs_on_cpu and (self.name == NONE or bool(cpu_flags & INTEGER_FLAGS))


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(name=NONE, meaning="the merged weights as they are"),
        Scheme(name="w8a8", meaning="8-bit integers", preset="W8A8", rounding_share=0.1, finer=NONE),
        Scheme(
            name="w8a8_gptq",
            meaning="the same by SmoothQuant and GPTQ on training rows",
            recipe=("smoothquant", "gptq_8_bits"),
            rounding_share=0.1,
            smooths=True,
            kernels_of="w8a8",
        ),
        Scheme(
            name="fp8_dynamic",
            meaning="8-bit floats",
            preset="FP8_DYNAMIC",
            rounding_share=0.1,
            finer=NONE,
            least_capability=(8, 9),
            runs_on_cpu=False,
        ),
        Scheme(name="w4a16", meaning="4-bit weights by GPTQ", recipe=("gptq_4_bits",), rounding_share=0.3),
        Scheme(
            name="w4a16_awq",
            meaning="4-bit weights by AWQ",
            recipe=("awq", "round_4_bits"),
            rounding_share=0.3,
            smooths=True,
            kernels_of="w4a16",
        ),
        Scheme(
            name="pruned_2_4",
            meaning="two of four weights zero, an experiment that brings no speed and that parity may refuse",
            recipe=("sparsegpt_2_4",),
            rounding_share=0.8,
            prunes=True,
            kernels_of=NONE,
        ),
    )
}


def known_scheme(name: str) -> str:
    """Return the name of a scheme, or `auto`; raises ValueError that names all of them."""
    if name != AUTO and name not in SCHEMES:
        raise ValueError(f"{name!r} is no quantization scheme; choose one of {', '.join((AUTO, *SCHEMES))}")
    return name


def meanings() -> str:
    """Return what each scheme is, as the setting's description."""
    known = "; ".join(f"`{scheme.name}` is {scheme.meaning}" for scheme in SCHEMES.values())
    return (
        f"`{AUTO}` is fp8_dynamic with a GPU and w8a8 without, or a finer one where that changes the model too much.\n"
        f"{known}."
    )


def scheme_of(name: str, *, has_gpu: bool) -> Scheme:
    """Return the scheme of a name; `auto` is fp8_dynamic with a GPU and w8a8 without."""
    return SCHEMES["fp8_dynamic" if has_gpu else "w8a8"] if name == AUTO else SCHEMES[name]


def usable_schemes(capability: tuple[int, int] | None, cpu_flags: Set[str]) -> list[str]:
    """Return the schemes with kernels on such a machine, the one that `auto` means first and whole weights last."""
    usual = scheme_of(AUTO, has_gpu=capability is not None)
    found = [scheme for scheme in SCHEMES.values() if scheme.has_kernels(capability, cpu_flags)]
    return [scheme.name for scheme in sorted(found, key=lambda scheme: (scheme is not usual, scheme.name == NONE))]
