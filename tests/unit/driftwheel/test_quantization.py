"""Which schemes a machine has kernels for, by its GPU or by what its CPU can do."""

import pytest

from driftwheel.quantization import AUTO, SCHEMES, scheme_of, usable_schemes


@pytest.mark.parametrize(
    ("capability", "flags", "usable"),
    [
        (None, set[str](), ["none"]),
        (None, {"avx_vnni"}, ["w8a8", "w4a16", "none"]),
        ((8, 0), set[str](), ["w8a8", "w4a16", "none"]),
        ((8, 9), set[str](), ["fp8_dynamic", "w8a8", "w4a16", "none"]),
    ],
    ids=["old CPU", "CPU", "GPU without 8-bit floats", "GPU"],
)
def test_only_schemes_with_kernels_are_offered(
    capability: tuple[int, int] | None, flags: set[str], usable: list[str]
) -> None:
    assert usable_schemes(capability, flags) == usable


def test_what_auto_means_stands_first_where_it_has_kernels() -> None:
    assert usable_schemes((9, 0), set())[0] == scheme_of(AUTO, has_gpu=True).name
    assert usable_schemes(None, {"avx512_vnni"})[0] == scheme_of(AUTO, has_gpu=False).name


def test_a_scheme_served_by_another_ones_kernels_names_one_that_there_is() -> None:
    assert {s.kernels_of for s in SCHEMES.values() if s.kernels_of} <= SCHEMES.keys()
