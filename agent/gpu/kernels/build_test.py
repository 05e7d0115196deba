"""Each check of build.py finds what it is for, and nothing in what is right."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import build

SAID = """ptxas info    : 304 bytes gmem
ptxas info    : Compiling entry function 'gemm_bf16' for 'sm_90'
ptxas info    : Function properties for gemm_bf16
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers, 424 bytes cmem[0]
"""
CODE = """	.section	.text.gemm_bf16,"ax",@progbits
        /*0f30*/              @!P0 BRA `(.L_x_96) ;
        /*1150*/                   {tensor}.16816.F32.BF16 R24, R4, R8, R24 ;
        /*1160*/              @P1  {memory} R22, [R1] ;
"""


def said(stack=0, stores=0, loads=0, registers=254, warning=""):
    return warning + SAID.format(stack=stack, stores=stores, loads=loads, registers=registers)


class Checks(unittest.TestCase):
    def finds(self, problems, words):
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(words, problems[0])

    def test_what_ptxas_says(self):
        self.assertEqual(build.problems_of_assembly("x", said()), [])
        self.finds(build.problems_of_assembly("x", said(stores=4)), "stores 4")
        self.finds(build.problems_of_assembly("x", said(loads=4)), "loads 4")
        self.finds(build.problems_of_assembly("x", said(stack=8)), "stack 8")
        self.finds(build.problems_of_assembly("x", said(registers=256)), "256 registers")
        self.finds(build.problems_of_assembly("x", said(warning="ptxas info : (C7510) wgmma serialized\n")), "C7510")
        self.finds(build.problems_of_assembly("x", said(warning="ptxas info : (C7508) wgmma serialized\n")), "C7508")
        self.finds(build.problems_of_assembly("x", "ptxas info : nothing\n"), "nothing of any entry")

    def test_what_the_code_is(self):
        right = CODE.format(tensor="HMMA", memory="LDG.E")

        def problems(code, declared=("gemm_bf16",)):
            return build.problems_of_code("x", code, declared)

        self.assertEqual(problems(right), [])
        self.finds(problems(CODE.format(tensor="FFMA", memory="LDG.E")), "instructions []")
        self.finds(problems(CODE.format(tensor="IMMA", memory="LDG.E")), "['IMMA']")
        self.finds(problems(CODE.format(tensor="HMMA", memory="LDL.64")), "['LDL']")
        self.finds(problems(CODE.format(tensor="HMMA", memory="STL")), "['STL']")
        self.finds(problems(right.replace("gemm_bf16", "chase"), ("chase",)), "declared are []")
        self.finds(problems(right, ("gemm_bf16", "gemm_fp16")), "its source has ['gemm_bf16', 'gemm_fp16']")
        self.finds(problems(""), "code of []")

    def test_bytes(self):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            built, again = Path(one), Path(other)
            (built / "a.ptx").write_bytes(b"abc")
            (again / "a.ptx").write_bytes(b"abc")
            with mock.patch.object(build, "BUILT", built):
                self.assertEqual(build.differences(again), [])
                (again / "a.ptx").write_bytes(b"abd")
                self.finds(build.differences(again), "a.ptx")
                (again / "a.ptx").unlink()
                self.finds(build.differences(again), "a.ptx")

    def test_every_product_is_declared(self):
        entries = [*build.entries_of("gemm_portable"), *build.entries_of("gemm_hopper")]
        self.assertEqual(len(entries), 8)
        self.assertEqual(set(entries), set(build.TENSOR))


if __name__ == "__main__":
    unittest.main()
