"""Operations, traffic and cycles of HLO modules, worked out by hand."""

import numpy as np
import pytest

from tfalign.planning.hlo import hindrances, work_of


def _module(*lines, before=()):
    body = "\n".join(f"  {line}" for line in lines)
    return "\n".join([*before, "ENTRY %main (x: f32[4]) -> f32[4] {", body, "}"])


@pytest.mark.parametrize(
    ("groups", "devices"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", 4),
        ("[4,2]<=[8]", 2),
        ("mesh['a'=2,'b'=4] {'b'}", 4),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}", 2),
    ],
)
def test_traffic_of_programs(groups, devices):
    line = f"%r = (f32[4]{{0}}, bf16[2,3]{{1,0}}) all-reduce(%x, %y), replica_groups={groups}"
    done = work_of(_module(line))
    assert done.sent == {"all-reduce": 2 * (4 * 4 + 6 * 2) * (devices - 1) / devices}
    assert done.collectives == {"all-reduce": 1}


def test_collectives_that_go_on_beside_others():
    """A start shows its operand, 2 x 8 bytes, beside its result; pieces of one are one."""
    groups = "replica_groups=[2,4]<=[8]"
    started = (
        f"%s = (bf16[8]{{0}}, bf16[32]{{0}}) all-gather-start(%x), channel_id=1, {groups}",
        "%p = (f32[5]{0}, f32[5]{0}, u32[], u32[]) collective-permute-start(%x), channel_id=2",
    )
    piece = f'all-gather(%x), channel_id=3, {groups}, frontend_attributes={{chain_id="0"}}'
    pieces = (f"%a = bf16[16]{{0:T(8,128)(2,1)S(1)}} {piece}", f"%b = bf16[16]{{0}} {piece}")
    done = work_of(_module(*started, *pieces))
    assert done.sent == {"all-gather": (64 + 32) * 3 / 4, "collective-permute": 20}
    assert done.collectives == {"all-gather": 2, "collective-permute": 1}


def test_a_reduce_scatter_of_a_tpu():
    """An all-reduce of 64 bytes over 4 chips, of which each keeps a quarter: 48 sent by each, not 96."""
    line = "  %a = f32[16]{0} all-reduce(%x), replica_groups=[1,4]<=[4], to_apply=%add"
    scattered = ["%all-reduce-scatter.1 (x: f32[16]) -> f32[4] {", line, "}"]
    call = "%f = f32[4]{0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1"
    add = "%add (a: f32[], b: f32[]) -> f32[] {\n  %s = f32[] add(%a, %b)\n}"
    done = work_of(_module(call, before=[add, *scattered]))
    assert done.sent == {"reduce-scatter": 48}


def _convolution(left, kernel, result, window, labels):
    shapes = {"l": left, "k": kernel}
    lines = [
        f"%{name} = bf16[{','.join(map(str, shape))}]{{0}} parameter(0)"
        for name, shape in shapes.items()
    ]
    out = ",".join(map(str, result))
    call = f"convolution(%l, %k), window={{{window}}}, dim_labels={labels}"
    return work_of(_module(*lines, f"%c = bf16[{out}]{{0}} {call}")).flops


def test_products_that_a_tpu_writes_as_convolutions():
    # [7, 5] x [5, 3]
    assert _convolution((7, 5, 1), (5, 3, 1), (7, 3, 1), "size=1", "bf0_io0->bf0") == 2 * 7 * 5 * 3
    # a batch of 16 products [7, 5] x [5, 3]: of a window's numbers one meets no hole
    batch = _convolution(
        *((16, 7, 5), (16, 5, 3), (16, 7, 3)), "size=16 stride=15 lhs_dilate=16", "0bf_0io->0bf"
    )
    padded = "size=16 stride=16 pad=15_15 lhs_dilate=15 rhs_reversal=1"
    assert batch == 16 * 2 * 7 * 5 * 3
    assert batch == _convolution((16, 7, 5), (16, 5, 3), (16, 7, 3), padded, "0bf_0io->0bf")
    # a sum over 16 heads as well, in the window's place
    summed = _convolution((16, 7, 5), (16, 5, 3), (1, 7, 3), "size=16", "0bf_0io->0bf")
    assert summed == batch


def test_a_convolution_is_what_numpy_counts():
    """The same as pairs of a naive loop over a row of 9 with holes, padding and a stride."""
    left, kernel, stride, dilation, before, after = 9, 3, 2, 2, 2, 1
    dilated = np.zeros((left - 1) * dilation + 1)
    dilated[::dilation] = 1
    row = np.concatenate([np.zeros(before), dilated, np.zeros(after)])
    starts = range(0, len(row) - kernel + 1, stride)
    pairs = sum(row[start : start + kernel].sum() for start in starts)
    window = f"size={kernel} stride={stride} pad={before}_{after} lhs_dilate={dilation}"
    result = (1, 1, len(starts))
    assert _convolution((1, 1, left), (1, 1, kernel), result, window, "bf0_io0->bf0") == 2 * pairs


def test_loops_branches_and_kernels():
    """Loops of 3 rounds, from 2 to 7, and so by twos, one of unknown rounds, two branches of which one runs, and a kernel of its own."""
    cycles = 'backend_config={"window_config":{"estimated_cycles":"%d"}}'

    def computation(name, count):
        line = f"  %x.{name} = f32[] add(%a, %a), {cycles % count}"
        return f"%{name} (a: f32[]) -> f32[] {{\n{line}\n}}"

    before = [computation(*one) for one in (("b", 10), ("u", 100), ("one", 7), ("two", 9))]
    below = "ROOT %l = pred[]{:T(512)} compare(%i, %n), direction=LT"
    lines = ("%n = s32[]{:T(128)} constant(7)", "%i = u32[] get-tuple-element(%a), index=1", below)
    before.append("\n  ".join(["%five (a: (s32[])) -> pred[] {", *lines]) + "\n}")
    count = ("%i = s32[] get-tuple-element(%a), index=1", "%two = s32[]{:T(128)} constant(2)")
    more = "%j = s32[]{:T(128)S(6)} add(%i, %two)", "ROOT %t = (f32[], s32[]) tuple(%x, %j)"
    done = f"%x = f32[] add(%z, %z), {cycles % 1000}"
    before.append(
        "\n  ".join(["%twos (a: (f32[], s32[])) -> (f32[]) {", *count, done, *more]) + "\n}"
    )
    kernel = '{"custom_call_config":{"cost_estimate":{"transcendentals":5,"flops":64}}}'
    text = _module(
        '%w = f32[] while(%x), condition=%k, body=%b, backend_config={"known_trip_count":{"n":"3"}}',
        "%v = f32[] while(%x), condition=%k, body=%u",
        "%two.c = s32[]{:T(128)} constant(2)",
        "%two.d = s32[]{:T(128)} copy(%two.c), backend_config={}",
        "%t = (f32[4]{0}, s32[]) tuple(%x, /*index=1*/%two.d)",
        "%z = (f32[4]{0}, s32[]) while(%t), condition=%five, body=%b",
        "%y = (f32[4]{0}, s32[]) while(%t), condition=%five, body=%twos",
        "%c = f32[] conditional(%p, %x, %x), branch_computations={%one, %two}",
        f'%s = f32[4]{{0}} custom-call(%x), custom_call_target="t", backend_config={kernel}',
        '%q = bf16[4]{0} custom-call(%x), custom_call_target="tpu_custom_call", backend_config={}',
        before=before,
    )
    done = work_of(text, trips=2)
    assert done.kernels == 1  # that does not say its operations
    assert done.cycles == 3 * 10 + 2 * 100 + 5 * 10 + 3 * 1000 + 9
    assert done.flops == 64
    assert work_of(text, None).cycles == 10 + 100 + 10 + 1000 + 9


def test_splash_attention():
    """Three products of [50, 64] and [70, 64], for 2 rows of 4 heads, and nothing of a kernel of another name; five where
    one makes all gradients, of heads whose columns are the last axis."""
    constraints = "operand_layout_constraints={s8[1,8,8]{2,1,0}, bf16[2,4,50,64]{3,2,1,0}, bf16[2,4,70,64]{3,2,1,0}}"
    call = f'bf16[4]{{0}} custom-call(%x), custom_call_target="tpu_custom_call", {constraints}'
    done = work_of(_module(f"%splash_mha_dq_no_residuals.1 = {call}", f"%other = {call}"))
    assert done.kernel_flops == 3 * 2 * 2 * 4 * 50 * 70 * 64
    assert done.kernels == 2 and done.flops == 0
    call = (
        call.replace("50,64", "64,50")
        .replace("70,64", "64,70")
        .replace("bf16[4]", "(bf16[2,1,4,50,64])")
    )
    done = work_of(_module(f"%splash_mha_dkv_segmented_no_residuals.1 = {call}"))
    assert done.kernel_flops == 5 * 2 * 2 * 4 * 50 * 70 * 64


def test_what_hinders_a_program():
    """A line as JAX writes a Python callback, a dynamic dimension, and a collective that is neither."""
    call = '%c = f32[2] custom-call(%x), custom_call_target="xla_ffi_python_cpu_callback"'
    ragged = "%s = (s32[2], f32[3,<=8]) sort(%x, %y)"
    fine = "%r = f32[4] all-reduce(%x), replica_groups=[4,2]<=[8], to_apply=%add"
    product = '%d = f32[4] custom-call(%x), custom_call_target="__onednn$matmul"'
    assert hindrances("\n".join([call, fine, ragged, product])) == [call, ragged]
