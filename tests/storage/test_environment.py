"""What is recorded of a machine, from what operating systems say of theirs."""

import pytest

from fobench.storage import environment

MILAN = """\
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse4_2 fma avx f16c avx2 sha_ni
"""
GENOA = """\
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu fma avx avx2 avx512f avx512_vnni avx512_bf16
"""
SAPPHIRE = """\
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: avx2 avx512f avx_vnni avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8
"""
GRAVITON = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes fphp asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd40
"""
APPLE = """\
machdep.cpu.brand_string: Apple M2
machdep.cpu.core_count: 8
hw.optional.neon: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.avx512f: 0
"""
INTEL_MAC = """\
machdep.cpu.family: 6
machdep.cpu.brand_string: Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz
hw.optional.avx1_0: 1
hw.optional.avx2_0: 1
hw.optional.avx512f: 0
"""


@pytest.mark.parametrize(
    ("described", "name", "model", "sets"),
    [
        (MILAN, "AMD EPYC", "25/1", ["avx2"]),
        (GENOA, "AMD EPYC", "25/17", ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"]),
        (SAPPHIRE, "Intel(R) Xeon(R) Processor", "6/143", [*environment.INSTRUCTION_SETS[:8]]),
        (APPLE, "Apple M2", None, ["neon", "dotprod", "i8mm", "bf16"]),
        (INTEL_MAC, "Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", None, ["avx2"]),
    ],
)
def test_a_cpu(described, name, model, sets):
    assert environment.cpu(described) == name
    assert environment.cpu_model(described) == model
    assert environment.instruction_sets(described) == sets


def test_an_arm_server_has_no_name_but_a_part():
    assert environment.cpu_model(GRAVITON) == "0x41/0xd40"
    assert environment.instruction_sets(GRAVITON) == ["neon", "fp16", "dotprod", "i8mm", "bf16", "sve"]


def test_where_nothing_is_told_nothing_is_claimed():
    assert environment.cpu_model("") is None
    assert environment.instruction_sets("") is None
    assert environment.instruction_sets("flags\t: fpu sse2\n") == []


def test_this_machine_is_told_with_what_times_depend_on():
    about = environment.about()
    assert {"cpu", "cpu_model", "instruction_sets", "cores", "gpu"} <= about.keys()
    assert f"{about['cores']} cores" in environment.describe(about)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({}, ""),
        ({"cpu": "AMD EPYC", "cores": 2, "gpu": None}, "AMD EPYC (instruction sets unknown), 2 cores"),
        ({"cpu": "AMD EPYC", "cpu_model": "25/1", "instruction_sets": ["avx2"]}, "AMD EPYC (25/1: avx2)"),
        ({"cpu": "", "instruction_sets": [], "gpu": "H100"}, "CPU (no vector instructions), H100"),
    ],
)
def test_a_machine_in_words(about, told):
    assert environment.describe(about) == told
