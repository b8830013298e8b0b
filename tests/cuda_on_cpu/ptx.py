"""Run the PTX that NVRTC made of a kernel, on the CPU: PTX -> C++ over the same runtime as executor.py.

What runs is the compiler's output: its contraction to multiply-adds, its flushing of denormals, its own polynomials for
sinpi or exp. Only the `.approx` instructions are modelled: the exact value, with a pseudo-random error of the size that
the manual gives. Instructions are in ptx_instructions.py.
"""

import os
import re
from collections import ChainMap
from collections.abc import Iterator

from tests.cuda_on_cpu.executor import KernelError, Library, compile_shared, shared_memory
from tests.cuda_on_cpu.ptx_instructions import SIZES, TYPE, Names, split, translate

DYNAMIC_SHARED = 227 * 1024
GAP = 256  # bytes between shared variables, for the checker to see strays
LETTERS = {"u64": "w", "b64": "w", "s64": "w", "f32": "f", "u32": "i", "b32": "i", "s32": "i", "f64": "d", "u8": "b"}
PARAMETER = r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s*(?:\.ptr[^,)]*?)?\s*(\w+)(?:\[\d+\])?\s*(?=[,)])"
LOCAL_PARAMETER = r"\.param\s+(?:\.align\s+\d+\s+)?" + TYPE + r"\s+(\w+)(?:\[(\d+)\])?\s*;"
VARIABLE = r"\.(shared|global|const|local)\b(?:\s+\.align\s+(\d+))?\s+" + TYPE + r"\s+([\w$]+)\s*(?:\[(\d*)\])?\s*(?:=\s*(.*))?$"  # fmt: skip # noqa: E501
DIRECTIVES = r"\.loc\s[^\n]*|\.pragma[^\n;]*"


class Program:
    """A PTX file as C++.

    Args:
      text: PTX, compiled with -lineinfo.
      name: of the source file.
      signatures: kernel -> letters of its parameters (executor.TYPES), which PTX does not tell apart: of a pointer
        and a 64-bit integer, say.
      count: count the instructions that are executed, in `cs_instructions`.
    """

    def __init__(self, text: str, name: str, signatures: dict[str, str], count: bool = False):
        self.name, self.signatures, self.count = name, signatures, count
        self.shared: dict[str, tuple[int, int]] = {}  # name -> (offset, size)
        self.dynamic: set[str] = set()
        self.end_of_shared = 0
        self.constants: list[str] = []
        text = re.sub(r"//[^\n]*", "", text)
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        self.files = dict(re.findall(r'\.file\s+(\d+)\s+"([^"]+)"', text))
        bodies, rest = _bodies(text)
        self._declare(rest, [])
        self.functions = {function for function, *_ in bodies}
        self.kernels = [function for function, kind, *_ in bodies if kind == "entry"]
        forward = [f"static void k_{function}(void** cs_args);" for function in self.functions]
        translated = [self._function(*body) for body in bodies]
        self.dynamic_offset = -(-self.end_of_shared // 1024) * 1024
        head = '#include "ptx.h"\n' + ('extern "C" { u64 cs_instructions; }\n' if count else "")
        self.cpp = head + "\n".join(self.constants + forward + translated)
        self.cpp = self.cpp.replace("CS_DYN_OFF", f"{self.dynamic_offset}u")

    def _declare(self, text: str, registers: list[str]) -> None:
        """Variables in shared, constant and local memory."""
        for statement in text.split(";"):
            found = re.search(VARIABLE, statement.strip(), re.S)
            if not found:
                continue
            space, alignment, kind, name, count, values = found.groups()
            size = SIZES[re.sub(r"\D", "", kind)] * (int(count) if count else 1)
            if space == "shared" and (statement.strip().startswith(".extern") or count == ""):
                self.dynamic.add(name)
            elif space == "shared":
                step = max(int(alignment or 4), 16)
                offset = -(-self.end_of_shared // step) * step
                self.shared[name] = offset, size
                self.end_of_shared = offset + size + GAP
            elif space == "local":
                registers.append(f"alignas(16) char {name}[{size}];")
            else:
                values = re.sub(r"\b0f([0-9A-Fa-f]{8})\b", r"0x\1u", (values or "{0}").strip())
                values = re.sub(r"\b0d([0-9A-Fa-f]{16})\b", r"0x\1ull", values)
                bits = kind.replace("f", "b") if "0x" in values else kind
                values = values if values.startswith("{") else "{" + values + "}"
                self.constants.append(f"alignas(16) static const {bits} {name}[] = {values};")

    def _function(self, function: str, kind: str, head: str, body: str) -> str:
        parameters = re.findall(PARAMETER, head)
        locals_: dict[str, int] = {}
        for type_, name, count in re.findall(LOCAL_PARAMETER, body):
            locals_[name] = max(locals_.get(name, 8), SIZES[type_[1:]] * int(count or 1))
        names = Names({name: i for i, (_, name) in enumerate(parameters)}, locals_, self.shared, self.dynamic,
                      self.functions)  # fmt: skip
        registers = ["u32 cc_ = 0; (void)cc_;", *(f"alignas(16) char p_{n}[{size}];" for n, size in locals_.items())]
        self._declare(body, registers)
        code = self._statements(body, names, registers)
        cpp = f"CS_NOSAN static void k_{function}(void** cs_args) {{\n" + "\n".join([*registers, *code]) + "\n}\n"
        if kind == "func":
            return cpp
        letters = self.signatures.get(function) or "".join(LETTERS.get(type_, "?") for type_, _ in parameters)
        return (
            f'{cpp}extern "C" CS_NOSAN void cs_invoke_{function}(void** a) {{ k_{function}(a); }}\n'
            f'extern "C" const char* cs_sig_{function}() {{ return "{letters}"; }}'
        )

    def _statements(self, body: str, names: Names, registers: list[str]) -> list[str]:
        code: list[str] = []
        scopes: ChainMap[str, str] = ChainMap({})
        names.widths = scopes
        line = 0
        for raw in _split_statements(body):
            for file, row in re.findall(r"\.loc\s+(\d+)\s+(\d+)[^\n]*", raw):
                if os.path.basename(self.files.get(file, self.name)).endswith((".cu", ".cuh")):
                    line = int(row)
            statement = " ".join(re.sub(DIRECTIVES, "", raw).split())
            if statement in ("{", "}"):
                code.append(statement)
                names.widths = scopes = scopes.new_child() if statement == "{" else scopes.parents
            elif found := re.match(r"\.reg\s+" + TYPE + r"\s+(.*)", statement):
                declared = _registers(*found.groups())
                scopes.update(declared)  # the innermost
                target = registers if len(scopes.maps) == 1 else code
                target += [f"{width} v_{name} = 0;" for name, width in declared.items()]
            elif statement.endswith(":"):
                code.append(statement.replace("$", "D_") + ";")
            elif statement and not statement.startswith("."):
                counted = "++cs_instructions; " if self.count else ""
                code.append(f'\n#line {line} "{self.name}"\n{counted}{self._instruction(statement, names, line)}')
        return code

    @staticmethod
    def _instruction(statement: str, names: Names, line: int) -> str:
        guard = ""
        if found := re.match(r"@(!?)(%\w+)\s+(.*)", statement):
            guard, statement = f"if ({found.group(1)}v_{found.group(2)[1:]}) ", found.group(3)
        operation, _, operands = statement.partition(" ")
        return f"{guard}{{ {translate(operation, split(operands), names, line)} }}"


def _registers(kind: str, declared: str) -> dict[str, str]:
    """`.reg .f32 %f<3>` -> {"f0": "b32", "f1": "b32", "f2": "b32"}."""
    width = "bool" if kind == "pred" else "b" + re.sub(r"\D", "", kind)
    names: list[str] = []
    for name in declared.replace(" ", "").replace("%", "").split(","):
        several = re.fullmatch(r"(\w+)<(\d+)>", name)
        names += [f"{several.group(1)}{i}" for i in range(int(several.group(2)))] if several else [name]
    return dict.fromkeys(names, width)


def _bodies(text: str) -> tuple[list[tuple[str, str, str, str]], str]:
    """Functions as (name, `entry` or `func`, head, body), and the text outside them."""
    bodies, outside, at = [], "", 0
    for found in re.finditer(r"(?:\.visible\s+|\.weak\s+)?\.(entry|func)\s+([^{;]*?)\{", text):
        if found.start() < at:
            continue
        outside += text[at : found.start()]
        depth, end = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        name = re.match(r"(?:\([^)]*\)\s*)?([\w$]+)", found.group(2))
        assert name is not None
        bodies.append((name.group(1), found.group(1), found.group(2), text[found.end() : end - 1]))
        at = end
    return bodies, outside + text[at:]


def _split_statements(body: str) -> Iterator[str]:
    """Statements, labels, and the braces of scopes; braces inside a statement hold vectors."""
    current, depth = "", 0
    for c in body:
        if c == "{" and depth == 0 and not re.sub(DIRECTIVES, "", current).strip():
            yield from (current, "{")
            current = ""
        elif c == "}" and depth == 0:
            yield from (current, "}")
            current = ""
        elif c == ";":
            yield current
            current = ""
        else:
            current += c
            depth += (c == "{") - (c == "}")
            if c == ":" and "." not in current.split()[-1]:
                yield current
                current = ""


class PtxModule(Library):
    """PTX with its kernels, launched like those of executor.Module.

    With `count`, a kernel's `counts["instructions"]` are those that all threads of its last launch executed together.
    """

    def __init__(
        self,
        text: str,
        *,
        check: bool = False,
        count: bool = False,
        name: str = "kernel.cu",
        signatures: dict[str, str] | None = None,
    ):
        program = Program(text, name, signatures or {}, count)
        if not program.kernels:
            raise KernelError(f"{name}: PTX without kernels")
        places = ", ".join(f"{{{offset}u, {size}u}}" for offset, size in program.shared.values()) or "{0u, 0u}"
        more = (
            'extern "C" { extern const unsigned cs_smem_vars[][2], cs_smem_nvars, cs_smem_dyn;\n'
            f"const unsigned cs_smem_vars[][2] = {{{places}}};\n"
            f"const unsigned cs_smem_nvars = {len(program.shared)}, cs_smem_dyn = {program.dynamic_offset}; }}\n"
        )
        files = {"ptx.cpp": program.cpp, "shared.cpp": shared_memory(program.dynamic_offset + DYNAMIC_SHARED, more)}
        flags = ["-ffp-contract=off", "-O1", *(["-DCHECK"] if check else [])]
        super().__init__(compile_shared(files, flags), program.kernels, check, count)
