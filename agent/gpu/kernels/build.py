"""Compiles the kernels, and checks what was compiled.

    build.py build   writes built/*.ptx, built/*.cubin and kernels.lock
    build.py check   compiles again, compares every byte, and reads what the assembler and the disassembler say

The compilers come from PyPI with the hashes of compilers.txt; they run on x86-64 only and need no GPU. Nothing of
them is shipped. NVRTC 12.0 writes PTX 8.0, which every driver from R525 on reads; newer compilers write newer PTX,
which older drivers refuse. ptxas 12.9 knows every architecture up to sm_120.
"""

import ctypes
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KERNELS = Path(__file__).resolve().parent
BUILT = KERNELS / "built"
LOCK = KERNELS / "kernels.lock"
COMPILERS = KERNELS / "compilers.txt"
TOOLS = KERNELS.parents[2] / ".kernels-tools"

# Real architectures, by the virtual one that their PTX is compiled for. sm_90a runs on compute capability 9.0 only.
ARCHITECTURES = {
    "compute_80": ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"],
    "compute_90a": ["sm_90a"],
}
MODULES = {
    "memory_pattern": "compute_80",
    "operands": "compute_80",
    "tiles": "compute_80",
    "gemm_portable": "compute_80",
    "memory_traffic": "compute_80",
    "alu": "compute_80",
    "gather": "compute_80",
    "proof": "compute_80",
    "gemm_hopper": "compute_90a",
}
NVRTC_OPTIONS = ["--std=c++17", "--restrict"]
PTXAS_OPTIONS = ["-O3", "--verbose", "--warn-on-spills"]

# Most registers of a thread: what the blocks that a launch counts on (abi.rs) leave of a multiprocessor's 65,536.
REGISTERS_MAX = {
    "memory_verify": 64, "memory_invert": 64, "memory_copy": 64,
    "tiles_sum_fp32": 64, "tiles_sum_int32": 64, "tiles_sum_fp64": 128,
    "gemm_bf16": 255, "gemm_fp16": 255, "gemm_tf32": 255, "gemm_int8": 255, "gemm_fp64": 128,
    "gemm_hopper_bf16": 168, "gemm_hopper_int8": 168, "gemm_hopper_fp8": 168,
    "proof_operands": 128, "proof_fold": 128, "proof_fill": 64, "proof_walk": 128, "proof_parents": 128,
}
REGISTERS_MAX_OTHERS = 40
# Tensor instruction that an entry must consist of; no other entry has any.
TENSOR = {
    "gemm_bf16": "HMMA", "gemm_fp16": "HMMA", "gemm_tf32": "HMMA", "gemm_int8": "IMMA", "gemm_fp64": "DMMA",
    "gemm_hopper_bf16": "HGMMA", "gemm_hopper_int8": "IGMMA", "gemm_hopper_fp8": "QGMMA",
}
TENSOR_INSTRUCTIONS = ("HMMA", "IMMA", "DMMA", "QMMA", "HGMMA", "IGMMA", "QGMMA", "DGMMA", "BGMMA", "UTCHMMA", "UTCQMMA")
# Serialised wgmma: the product still comes out right, at a fraction of the speed.
SERIALISED = ("C7508", "C7510")


class Refused(Exception):
    """What was compiled is not what is declared here."""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def install_compilers():
    """Installs what compilers.txt names, unless that was done for this very file."""
    mark = TOOLS / "installed.sha256"
    wanted = sha256(COMPILERS.read_bytes())
    if mark.is_file() and mark.read_text() == wanted:
        return
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade",
         "--require-hashes", "--only-binary", ":all:", "--target", str(TOOLS), "-r", str(COMPILERS)],
        check=True,
    )
    mark.write_text(wanted)


def tool(pattern):
    found = sorted(TOOLS.glob(pattern))
    if not found:
        raise Refused(f"{TOOLS} has no {pattern}")
    found[0].chmod(0o755)
    return found[0]


def source_of(module):
    return (KERNELS / "prelude.cu").read_bytes() + (KERNELS / f"{module}.cu").read_bytes()


def compile_ptx(module, virtual):
    """Source to PTX, by NVRTC."""
    os.environ["LD_LIBRARY_PATH"] = ""
    folder = tool("nvidia/cuda_nvrtc/lib/libnvrtc.so.12").parent
    # NVRTC looks for its builtins by bare name: they have to be there already.
    ctypes.CDLL(str(folder / "libnvrtc-builtins.so.12.0"), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(folder / "libnvrtc.so.12"))
    program = ctypes.c_void_p()
    options = [option.encode() for option in [*NVRTC_OPTIONS, f"--gpu-architecture={virtual}"]]

    def call(name, *arguments):
        return getattr(nvrtc, name)(*arguments)

    def text(size_call, text_call):
        size = ctypes.c_size_t()
        call(size_call, program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        call(text_call, program, buffer)
        return buffer.value

    name = f"{module}.cu".encode()
    if call("nvrtcCreateProgram", ctypes.byref(program), source_of(module), name, 0, None, None):
        raise Refused(f"NVRTC takes no program for {module}.cu")
    failed = call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
    log = text("nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode()
    if failed or log.strip():
        raise Refused(f"{module}.cu for {virtual}:\n{log}")
    return text("nvrtcGetPTXSize", "nvrtcGetPTX")


def assemble(ptx, real, cubin):
    """PTX to cubin; what ptxas says."""
    ptxas = tool("nvidia/cuda_nvcc/bin/ptxas")
    done = subprocess.run(
        [ptxas, *PTXAS_OPTIONS, f"--gpu-name={real}", str(ptx), "--output-file", str(cubin)],
        capture_output=True, text=True,
    )
    if done.returncode:
        raise Refused(f"{ptx.name} for {real}:\n{done.stderr}")
    return done.stdout + done.stderr


def compile_all(folder):
    """Every module into the folder; what ptxas said of each cubin."""
    said = {}
    jobs = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for module, virtual in MODULES.items():
            ptx = folder / f"{module}.ptx"
            ptx.write_bytes(compile_ptx(module, virtual))
            for real in ARCHITECTURES[virtual]:
                cubin = folder / f"{module}.{real}.cubin"
                jobs.append((cubin.name, pool.submit(assemble, ptx, real, cubin)))
        for name, job in jobs:
            said[name] = job.result()
    return said


def lock_of(folder):
    """What kernels.lock says when the folder holds what was built."""
    sources = ["prelude.cu", *(f"{module}.cu" for module in MODULES)]
    compilers = re.findall(r"^(\S+) --hash=sha256:(\S+)$", COMPILERS.read_text(), re.M)
    return {
        "compilers": dict(compilers),
        "options": {"nvrtc": NVRTC_OPTIONS, "ptxas": PTXAS_OPTIONS},
        "sources": {name: sha256((KERNELS / name).read_bytes()) for name in sources},
        "outputs": {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir())},
    }


def problems_of_assembly(name, said):
    """What is wrong with a cubin by ptxas' own words."""
    problems = [f"{name}: ptxas warns of {code}" for code in SERIALISED if code in said]
    entries = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        r".*?Used (\d+) registers", said, re.S)
    if not entries:
        problems.append(f"{name}: ptxas says nothing of any entry")
    for entry, *numbers in entries:
        stack, stores, loads, registers = map(int, numbers)
        if stack or stores or loads:
            problems.append(f"{name}: {entry} spills: stack {stack}, stores {stores}, loads {loads} bytes")
        most = REGISTERS_MAX.get(entry, REGISTERS_MAX_OTHERS)
        if registers > most:
            problems.append(f"{name}: {entry} uses {registers} registers, at most {most} are declared")
    return problems


def entries_of(module):
    """Names of a module's entries, by its source."""
    source = (KERNELS / f"{module}.cu").read_text()
    return re.findall(r'^extern "C" .*?(\w+)\((?:const __grid_constant__ )?\w+ p\)', source, re.M)


def problems_of_code(name, sass, declared):
    """What is wrong with a cubin by its instructions; `declared` are the entries that it must have."""
    problems = []
    sections = re.split(r"^\s*\.section\s+\.text\.(\w+),.*$", sass, flags=re.M)
    entries = dict(zip(sections[1::2], sections[2::2]))
    if set(entries) != set(declared):
        problems.append(f"{name}: code of {sorted(entries)}, its source has {sorted(declared)}")
    for entry, code in entries.items():
        found = set(re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9]*)", code))
        local = found & {"LDL", "STL"}
        if local:
            problems.append(f"{name}: {entry} uses local memory: {sorted(local)}")
        tensor = found & set(TENSOR_INSTRUCTIONS)
        wanted = {TENSOR[entry]} if entry in TENSOR else set()
        if tensor != wanted:
            problems.append(f"{name}: {entry} has tensor instructions {sorted(tensor)}, declared are {sorted(wanted)}")
    return problems


def differences(folder):
    """Files that are not, byte for byte, what is checked in."""
    names = {path.name for path in folder.iterdir()} | {path.name for path in BUILT.iterdir()}
    return [
        f"built/{name} is not what its source compiles to"
        for name in sorted(names)
        if not ((folder / name).is_file() and (BUILT / name).is_file()
                and (folder / name).read_bytes() == (BUILT / name).read_bytes())
    ]


def problems_of(folder, said):
    problems = []
    for name, words in said.items():
        problems += problems_of_assembly(name, words)
    disassembler = tool("nvidia/cu13/bin/nvdisasm")

    def disassemble(name):
        return subprocess.run([disassembler, "--print-code", str(folder / name)], capture_output=True, text=True,
                              check=True).stdout

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, sass in zip(said, pool.map(disassemble, said)):
            problems += problems_of_code(name, sass, entries_of(name.split(".")[0]))
    return problems


def main(order):
    install_compilers()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = compile_all(folder)
        problems = problems_of(folder, said)
        if order == "check":
            problems += differences(folder)
            if json.loads(LOCK.read_text()) != lock_of(folder):
                problems.append("kernels.lock is not what is there: run make kernels")
        if problems:
            raise Refused("\n".join(problems))
        if order == "build":
            BUILT.mkdir(exist_ok=True)
            for path in BUILT.iterdir():
                path.unlink()
            for path in folder.iterdir():
                (BUILT / path.name).write_bytes(path.read_bytes())
            LOCK.write_text(json.dumps(lock_of(BUILT), indent=2) + "\n")
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"kernels: {len(said)} cubins and {len(MODULES)} PTX modules, {size:,} bytes, no finding")


if __name__ == "__main__":
    if sys.argv[1:] not in (["build"], ["check"]):
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except (Refused, subprocess.CalledProcessError) as error:
        sys.exit(f"kernels: {error}")
