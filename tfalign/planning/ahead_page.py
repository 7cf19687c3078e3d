"""What the TPU compiler says of a step, on a page."""

from __future__ import annotations

from tfalign.evaluation.markdown import table
from tfalign.planning.ahead import Ahead, ChipProgram
from tfalign.planning.page import billions, megabytes
from tfalign.planning.scaling import Scaled
from tfalign.training.accelerators import Device

_MEMORY = ("program", "a step", "MB of arguments", "temporaries", "results", "in all", "of HBM")
_WORK = (
    "program",
    "GFLOP",
    "seconds by the compiler",
    "of the peak",
    "million cycles",
    "collectives: number, MB sent",
    "compiled in, CPU s",
)


def page(compiled: Ahead, planned: Scaled, precision: str, device: Device) -> str:
    """What was compiled as Markdown: memory, operations, collectives of one chip, and whether it fits.

    Args:
        compiled: Ahead.
        planned: scaling.Scaled; the fraction of the peak is that of its operations, which count nothing twice.
        precision: str, Keras dtype policy.
        device: Device, a TPU.
    """
    peak = 1e12 * getattr(device, precision)
    memory = [_memory(program, device) for program in compiled.programs]
    work = [_work(program, planned, peak) for program in compiled.programs]
    refused = [p for p in compiled.programs if p.needed is not None]
    return "\n\n".join(
        [
            "Compiled for a TPU; of one chip and one run of a program:",
            table(_MEMORY, memory),
            table(_WORK, work),
            *(_kernels(p, peak) for p in compiled.programs if p.work.kernels),
            *(
                f"{p.name}: refused, it needs {megabytes(p.needed)} MB by the compiler's own word."
                for p in refused
            ),
            _verdict(compiled, device),
        ]
    )


def _verdict(compiled, device):
    share = compiled.total_memory / (1e9 * device.memory)
    fits = "it fits" if compiled.fits and share <= 1 else "it does not fit"
    return (
        f"{megabytes(compiled.resident)} MB of variables, and beside them at most "
        f"{megabytes(compiled.total_memory - compiled.resident)}: {share:.1%} of a chip's "
        f"{device.memory:g} GB: {fits}"
    )


def _kernels(program, peak):
    flops = program.work.kernel_flops
    return (
        f"{program.name}: {program.work.kernels:,.0f} kernels that do not say their operations: they are not in the "
        "table's, nor in its cycles. To the seconds, which have their bytes alone, attention's are added, were no "
        f"tile left out, at the peak: {billions(flops)} GFLOP, {flops / peak:.3g} s."
    )


def _memory(program: ChipProgram, device: Device) -> tuple[str, ...]:
    in_all = program.arguments + program.passing
    sizes = program.arguments, program.temporaries, program.results, in_all
    share = f"{in_all / (1e9 * device.memory):.1%}"
    return program.name, str(program.calls), *map(megabytes, sizes), share


def _work(program, planned, peak):
    seconds = program.seconds and program.seconds + program.work.kernel_flops / peak
    flops = planned.costs.flops.get(program.name)
    share = "-"
    if seconds and flops:
        share = f"{flops / program.calls / (peak * seconds):.3f}"
    sent = [
        f"{program.work.collectives[kind]:,.0f} {kind}, {megabytes(size)}"
        for kind, size in sorted(program.work.sent.items())
    ]
    return (
        program.name,
        billions(program.work.flops),
        f"{seconds:.3g}" if seconds else "-",
        share,
        f"{program.work.cycles / 1e6:,.2f}",
        "; ".join(sent) or "none",
        f"{program.compiled_in:.0f}",
    )
