"""A plan on a page: seconds at best, memory, and what XLA compiled beside it."""

from __future__ import annotations

from collections.abc import Mapping

from tfalign.evaluation.markdown import table
from tfalign.planning.measured_step import Measured
from tfalign.planning.scaling import Scaled
from tfalign.training.accelerators import Device


def seconds_at_best(
    flops: Mapping[str, float], read: float, device: Device, precision: str
) -> dict[str, float]:
    """Of each phase, at the device's peak; the decode loop must also read its weights and cache.

    Args:
        flops: dict, see ``step_costs.Costs``.
        read: float, bytes the decode loop reads.
        device: Device.
        precision: str.

    Returns:
        dict of float.
    """
    seconds = {name: count / (1e12 * getattr(device, precision)) for name, count in flops.items()}
    if "generation" in seconds:
        seconds["generation"] = max(seconds["generation"], read / (1e9 * device.bandwidth))
    return seconds


def page(planned: Scaled, read: float, precision: str, device: Device) -> str:
    """A plan as Markdown: phases, memory, and whether it fits.

    Args:
        planned: ``scaling.Scaled``.
        read: float, bytes the decode loop reads.
        precision: str, Keras dtype policy.
        device: Device.
    """
    of_step, sent = planned
    seconds = seconds_at_best(of_step.flops, read, device, precision)
    phases = [
        (
            name,
            billions(flops),
            f"{seconds[name]:.3g}",
            megabytes(sent.get(name, 0.0)),
            f"{sent.get(name, 0.0) / (1e9 * device.link):.3g}",
        )
        for name, flops in of_step.flops.items()
    ]
    total_sent = sum(sent.values())
    whole = (
        "a step",
        billions(of_step.total_flops),
        f"{sum(seconds.values()):.3g}",
        megabytes(total_sent),
        f"{total_sent / (1e9 * device.link):.3g}",
    )
    columns = ("phase", "GFLOP", "seconds at best", "MB sent", "seconds at best")
    used = len(columns) if sent else 3
    memory = [(name, megabytes(size)) for name, size in of_step.resident.items()]
    memory += [(f"in turn: {name}", megabytes(size)) for name, size in of_step.passing.items()]
    largest = ("all, with the largest in turn", megabytes(of_step.total_memory))
    share = of_step.total_memory / (1e9 * device.memory)
    verdict = "it does not fit" if share > 1 else "it fits"
    return "\n\n".join(
        [
            table(columns[:used], [row[:used] for row in (*phases, whole)]),
            table(("memory", "MB"), [*memory, largest]),
            f"{share:.1%} of the device's {device.memory:g} GB: {verdict}",
        ]
    )


def comparison(parameters: int, planned: Scaled, measured: Measured) -> str:
    """A plan beside what was compiled, as Markdown.

    Args:
        parameters: int, of the model.
        planned: ``scaling.Scaled``.
        measured: ``measured_step.Measured``.
    """
    of_step, sent = planned
    pairs = {"parameters": (parameters, measured.parameters)}
    pairs |= {f"GFLOP, {n}": (f / 1e9, measured.flops[n] / 1e9) for n, f in of_step.flops.items()}
    whole = measured.resident + max(measured.passing.values())
    pairs["GFLOP, a step"] = of_step.total_flops / 1e9, sum(measured.flops.values()) / 1e9
    pairs["MB of variables"] = sum(of_step.resident.values()) / 1e6, measured.resident / 1e6
    pairs["MB in all"] = of_step.total_memory / 1e6, whole / 1e6
    if sent:
        pairs |= {f"MB sent, {n}": (s / 1e6, measured.sent[n] / 1e6) for n, s in sent.items()}
        pairs["MB sent, a step"] = sum(sent.values()) / 1e6, sum(measured.sent.values()) / 1e6
    rows = [(name, _short(p), _short(m), f"{p / m:.3f}") for name, (p, m) in pairs.items()]
    parts = [table(("", "planned", "compiled", "planned / compiled"), rows)]
    if measured.growth is not None:
        grown = f"{measured.growth / 1e6:,.0f} MB"
        parts.append(f"The process grew by {grown}, the compiler's own included.")
    return "\n\n".join([*parts, _hindrances(measured.hindrances)])


def _hindrances(of_programs):
    found = [f"{name}: {line[:200]}" for name, lines in of_programs.items() for line in lines]
    told = f"Programs ({', '.join(of_programs)})"
    if not found:
        return f"{told}: all have static shapes, and none calls the host."
    return "\n".join(
        [f"{told}: some call the host, or have shapes known only at run time:", *found]
    )


def _short(value):
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def billions(count: float) -> str:
    """A number of operations, in billions, with a decimal."""
    return f"{count / 1e9:,.1f}"


def megabytes(size: float) -> str:
    """A number of bytes, in millions, with a decimal."""
    return f"{size / 1e6:,.1f}"
