"""PTX instructions as C++ statements.

A register is a C++ variable of its width in bits (`b32 v_f1`); a value is read `as` the type that the instruction
names. `translate` picks the function by the operation's first word.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.cuda_on_cpu.executor import KernelError

TYPE = r"\.(pred|b8|b16|b32|b64|u8|u16|u32|u64|s8|s16|s32|s64|f32|f64)"
SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}
COMPARISONS = {
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "lo": "<", "ls": "<=", "hi": ">", "hs": ">=",
}  # fmt: skip
UNORDERED = {"equ": "!(x < y || x > y)", "neu": "!(x == y)", "ltu": "!(x >= y)", "leu": "!(x > y)", "gtu": "!(x <= y)",
             "geu": "!(x < y)", "num": "(x == x && y == y)", "nan": "(x != x || y != y)"}  # fmt: skip
BITWISE = {"and": "&", "or": "|", "xor": "^"}
ATOMICS = {"add": "Add", "min": "Min", "max": "Max", "exch": "Exch", "cas": "CAS", "and": "And", "or": "Or",
           "xor": "Xor", "inc": "Inc"}  # fmt: skip
VECTORS = {"%tid": "threadIdx", "%ntid": "blockDim", "%ctaid": "blockIdx", "%nctaid": "gridDim"}
SPECIAL = {f"{register}.{axis}": f"{name}.{axis}" for register, name in VECTORS.items() for axis in "xyz"}
SPECIAL |= {"%laneid": "cs_cur->lane", "WARP_SZ": "32", "%clock": "0", "%clock64": "0"}
NOTHING = ("membar", "fence", "griddepcontrol", "prefetch", "prefetchu", "discard")


def split(operands: str) -> list[str]:
    """Operands, at commas outside brackets."""
    found, depth, current = [], 0, ""
    for c in operands:
        depth += (c in "{[(") - (c in "}])")
        if c == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += c
    return [*found, current.strip()] if current.strip() else found


@dataclass
class Names:
    """What names mean inside one function."""

    parameters: dict[str, int]
    locals: dict[str, int]
    shared: dict[str, tuple[int, int]]
    dynamic: set[str]
    functions: set[str]
    widths: Mapping[str, str] = field(default_factory=dict)

    def value(self, operand: str, kind: str) -> str:
        """C++ for an operand read as `kind`."""
        operand = operand.strip()
        if kind == "pred":
            negated = operand.startswith("!")
            operand = operand.lstrip("!")
            text = "v_" + operand[1:].replace(".", "_") if operand.startswith("%") else f"({operand} != 0)"
            return f"(!{text})" if negated else text
        if operand in SPECIAL:
            text = f"(u32)({SPECIAL[operand]})"
        elif operand.startswith("%"):
            text = "v_" + operand[1:].replace(".", "_")
        elif re.fullmatch(r"-?0[fF][0-9A-Fa-f]{8}", operand):
            text = "0x" + operand[-8:] + "u"
        elif re.fullmatch(r"0[dD][0-9A-Fa-f]{16}", operand):
            text = "0x" + operand[-16:] + "ull"
        elif re.fullmatch(r"-?\d+U?|-?0x[0-9A-Fa-f]+U?", operand):
            number = operand.rstrip("U") + ("ll" if operand.startswith("-") else "ull")
            return f"as<{kind}>({number})" if kind.startswith("f") else f"({kind}){number}"
        elif operand in self.shared:
            text = f"{self.shared[operand][0]}u"
        elif operand in self.dynamic:
            text = "CS_DYN_OFF"
        else:
            text = f"(u64){operand}"
        return f"as<{kind}>({text})"

    def assign(self, register: str, kind: str, expression: str) -> str:
        """C++ that gives a register a value of `kind`; a wider register extends its sign."""
        if register == "_":
            return f"(void)({expression});"
        name, width = "v_" + register[1:].replace(".", "_"), self.widths.get(register[1:], "")
        if kind == "pred":
            return f"{name} = {expression};"
        if width[1:] == kind[1:]:
            return f"{name} = as<{width}>({expression});"
        extend = f"(s{width[1:]})" if kind[0] == "s" else ""
        return f"{name} = ({width}){extend}({expression});"

    def address(self, operand: str, space: str) -> str:
        """C++ for `[base + offset]`."""
        found = re.fullmatch(r"\[\s*([^+\]\s]+)\s*(?:\+\s*(-?\w+))?\s*\]", operand)
        if found is None:
            raise KernelError(f"PTX: address {operand}")
        base, offset = found.group(1), found.group(2) or "0"
        if base in self.parameters:
            return f"((u64)cs_args[{self.parameters[base]}] + {offset})"
        if base in self.locals:
            return f"((u64)p_{base} + {offset})"
        if space == "shared":
            return f"SHARED({self.value(base, 'u32')} + (s32){offset})"
        if not base.startswith("%") and base not in self.shared and base not in self.dynamic:
            return f"((u64){base} + (s64){offset})"
        return f"({self.value(base, 'u64')} + (s64){offset})"


@dataclass
class Instruction:
    """One instruction: its words (`ld.global.f32`), its operands, its type (the last word that is one)."""

    words: list[str]
    operands: list[str]
    names: Names
    line: int
    kind: str = ""

    def __post_init__(self):
        types = [word for word in self.words if re.fullmatch(TYPE[2:], word)]
        self.kind = types[-1] if types else ""

    def read(self, i: int, kind: str | None = None) -> str:
        return self.names.value(self.operands[i], self.kind if kind is None else kind)

    def write(self, expression: str, kind: str | None = None) -> str:
        return self.names.assign(self.operands[0], self.kind if kind is None else kind, expression)

    def unsupported(self) -> KernelError:
        return KernelError(f"PTX: {'.'.join(self.words)} {self.operands} is not supported (line {self.line})")


def translate(operation: str, operands: list[str], names: Names, line: int) -> str:
    """One instruction as C++ statements."""
    words = operation.split(".")
    i = Instruction(words, operands, names, line)
    if words[0] in NOTHING:
        return ""
    if words[0] in _BY_NAME:
        return _BY_NAME[words[0]](i)
    return _float(i) if i.kind.startswith("f") else _integer(i)


# ---- control, barriers, collectives


def _call(i: Instruction) -> str:
    result, function, arguments = (
        [*i.operands, ""][:3] if i.operands[0].startswith("(") else ["", i.operands[0], [*i.operands, ""][1]]
    )
    if function not in i.names.functions:
        raise KernelError(f"PTX: call of {function} (line {i.line})")
    pointers = [name.strip() for name in (*result.strip("() ").split(","), *arguments.strip("() ").split(","))]
    return f"void* c_[] = {{{', '.join('p_' + name for name in pointers if name)}}}; k_{function}(c_);"


def _barrier(i: Instruction) -> str:
    if "warp" in i.words:
        return f"cs_syncwarp({i.read(0, 'u32')}, {i.line});"
    if "sync" in i.words and i.operands[0] == "0":
        return f"cs_barrier(0, 0, {i.line});"
    if "red" in i.words:
        kind = next(number for word, number in (("or", 1), ("and", 2), ("popc", 3)) if word in i.words)
        result = "u32" if kind == 3 else "pred"
        return i.write(f"cs_barrier({kind}, {i.read(2, 'pred')}, {i.line})", result)
    raise i.unsupported()


def _shuffle(i: Instruction) -> str:
    mode = i.words[2]
    kind = {"idx": 0, "up": 1, "down": 2, "bfly": 3}[mode]
    source = {"idx": "b_ + (g_ & (w_ - 1))", "up": "l_ - g_", "down": "l_ + g_", "bfly": "l_ ^ g_"}[mode]
    register, _, predicate = i.operands[0].partition("|")
    code = (
        f"u32 w_ = 32 - ({i.read(3, 'u32')} >> 8 & 31); int l_ = cs_cur->lane, b_ = l_ & ~(w_ - 1), "
        f"g_ = {i.read(2, 'u32')}; int s_ = {source}; bool ok_ = s_ >= b_ && s_ < b_ + (int)w_; (void)ok_; "
        f"u32 t_ = (u32)cs_shfl({kind}, {i.read(4, 'u32')}, {i.read(1, 'u32')}, g_, w_, {i.line}); "
        f"{i.names.assign(register, 'b32', 't_')}"
    )
    return code + (f" v_{predicate[1:]} = ok_;" if predicate else "")


def _vote(i: Instruction) -> str:
    vote = f"cs_vote({i.read(2, 'u32')}, {{}}{i.read(1, 'pred')}, {i.line})"
    if "ballot" in i.words:
        return i.write(vote.format(""), "b32")
    return i.write(f"{vote.format('')} != 0" if "any" in i.words else f"{vote.format('!')} == 0", "pred")


def _match(i: Instruction) -> str:
    return i.write(f"cs_match({i.read(2, 'u32')}, {i.read(1, 'u32')}, {i.line})", "b32")


# ---- memory


def _space(i: Instruction) -> str:
    return next((word for word in i.words if word in ("shared", "global", "param", "const", "local")), "")


def _memory(i: Instruction) -> str:
    is_store, space = i.words[0] == "st", _space(i)
    memory, registers = i.operands if is_store else i.operands[::-1]
    size, count = SIZES[i.kind[1:]], 4 if "v4" in i.words else 2 if "v2" in i.words else 1
    code = [f"u64 m_ = {i.names.address(memory, space)};"]
    if space not in ("param", "const", "local"):
        relaxed = {"volatile", "relaxed", "acquire", "release"} & set(i.words)
        hook = ("volatile_" if relaxed else "") + ("write" if is_store else "read")
        step = min(size * count, 16)
        code += [f"CHECKED({hook}, {step}, m_ + {at});" for at in range(0, size * count, step)]
    for k, register in enumerate(registers.strip("{}").split(",")):
        at = f"m_ + {k * size}"
        if is_store:
            code.append(f"store<{i.kind}>({at}, {i.names.value(register, i.kind)});")
        else:
            code.append(i.names.assign(register.strip(), i.kind, f"load<{i.kind}>({at})"))
    return " ".join(code)


def _atomic(i: Instruction) -> str:
    register, *rest = ["_", *i.operands] if i.words[0] == "red" else i.operands
    function = next(name for word, name in ATOMICS.items() if word in i.words)
    address = i.names.address(rest[0], "shared" if "shared" in i.words else "global")
    values = ", ".join(i.names.value(operand, i.kind) for operand in rest[1:])
    return f"{i.kind} t_ = atomic{function}(({i.kind}*){address}, {values}); {i.names.assign(register, i.kind, 't_')}"


def _address_space(i: Instruction) -> str:
    if "shared" not in i.words:
        return i.write(i.read(1, "u64"), "u64")
    if "to" in i.words:
        return i.write(f"(u64)((char*){i.read(1, 'u64')} - cs_dynamic_smem)", "u64")
    return i.write(f"SHARED({i.read(1, 'u32')})", "u64")


# ---- moves, conversions, comparisons


def _move(i: Instruction) -> str:
    half = {"b64": "u32", "b32": "u16"}.get(i.kind, "")
    if i.operands[0].startswith("{"):
        parts = i.operands[0].strip("{} ").split(",")
        cut = (f"({half})(t_ >> {k * 8 * SIZES[half[1:]]})" for k in range(len(parts)))
        code = (i.names.assign(part.strip(), half, x) for part, x in zip(parts, cut, strict=True))
        return f"auto t_ = {i.read(1)}; " + " ".join(code)
    if i.operands[1].startswith("{"):
        parts = i.operands[1].strip("{} ").split(",")
        values = (f"(({i.kind}){i.names.value(part.strip(), half)} << {k * 8 * SIZES[half[1:]]})"
                  for k, part in enumerate(parts))  # fmt: skip
        return i.write(" | ".join(values))
    return i.write(i.read(1))


def _compare(i: Instruction) -> str:
    comparison = i.words[1]
    if comparison == "ne" and i.kind.startswith("f"):
        test = "(x == x && y == y && x != y)"
    else:
        test = f"(x {COMPARISONS[comparison]} y)" if comparison in COMPARISONS else UNORDERED[comparison]
    if len(i.operands) > 3:
        test += f" {BITWISE[i.words[2]]} {i.read(3, 'pred')}"
    first, _, second = i.operands[0].partition("|")
    code = f"auto x = {i.read(1)}; auto y = {i.read(2)}; bool t_ = {test}; {i.names.assign(first, 'pred', 't_')}"
    return code + (f" {i.names.assign(second, 'pred', '!t_')}" if second else "")


def _convert(i: Instruction) -> str:
    target, source = [word for word in i.words if re.fullmatch(TYPE[2:], word)]
    value = i.read(1, source)
    if not source.startswith("f"):
        return i.write(f"({target}){value}", target)
    rounding = {"rni": "nearbyint", "rmi": "floor", "rpi": "ceil", "rzi": "trunc"}
    for word in i.words:
        if word in rounding:
            value = f"({source}){rounding[word]}({value})"
    value = f"({target}){value}" if target.startswith("f") else f"to_integer<{target}>({value})"
    return i.write(f"min_<{target}>(max_<{target}>({value}, 0), 1)" if "sat" in i.words else value, target)


def _bits(i: Instruction) -> str:
    x = [i.read(k, "u32") for k in range(1, len(i.operands))]
    if i.words[0] in ("popc", "clz", "brev"):
        return i.write(f"__{i.words[0]}({x[0]})", "u32")
    if i.words[0] == "lop3":
        return i.write(f"lop3_({x[0]}, {x[1]}, {x[2]}, {i.operands[4]})")
    if i.words[0] == "prmt":
        return i.write(f"prmt_({x[0]}, {x[1]}, {x[2]})")
    if i.words[0] == "shf":
        return i.write(f"shf_({int(i.words[1] == 'l')}, {int('clamp' in i.words)}, {x[0]}, {x[1]}, {x[2]})")
    if i.words[0] == "bfi":
        unsigned = "u" + i.kind[1:]
        return i.write(f"bfi_<{unsigned}>({i.read(1, unsigned)}, {i.read(2, unsigned)}, {x[2]}, {x[3]})")
    if i.words[0] == "bfe":
        return i.write(f"bfe_<{i.kind}>({i.read(1)}, {x[1]}, {x[2]})")
    if i.words[0] == "bfind" and i.kind[1:] == "32":
        value = x[0] if i.kind == "u32" else f"({i.read(1, 's32')} < 0 ? ~{x[0]} : {x[0]})"
        found = f"__builtin_clz({value})" if "shiftamt" in i.words else f"31 - __builtin_clz({value})"
        return i.write(f"({value}) ? {found} : ~0u", "u32")
    raise i.unsupported()


def _shift_right(i: Instruction) -> str:
    kind = i.kind.replace("b", "u")  # of a signed number, with its sign
    return i.write(f"shr_<{kind}>({i.read(1, kind)}, {i.read(2, 'u32')})")


# ---- arithmetic


def _float(i: Instruction) -> str:
    kind, operation = i.kind, i.words[0]
    x = [i.read(k) for k in range(1, len(i.operands))]
    approximate = kind == "f32" and {"approx", "full"} & set(i.words)

    def relative(exact: str, size: str) -> str:
        return f"({kind})({exact}) * (1.f + cs_err({x[-1]}, {size}))" if approximate else f"({kind})({exact})"

    expressions: dict[str, Callable[[], str]] = {
        "add": lambda: f"{x[0]} + {x[1]}",
        "sub": lambda: f"{x[0]} - {x[1]}",
        "mul": lambda: f"{x[0]} * {x[1]}",
        "neg": lambda: f"-{x[0]}",
        "abs": lambda: f"fabs({x[0]})",
        "fma": lambda: f"std::fma({x[0]}, {x[1]}, {x[2]})",
        "mad": lambda: f"std::fma({x[0]}, {x[1]}, {x[2]})",
        "min": lambda: f"min_<{kind}>({x[0]}, {x[1]})",
        "max": lambda: f"max_<{kind}>({x[0]}, {x[1]})",
        "div": lambda: relative(f"{x[0]} / {x[1]}", "2.4e-7f"),
        "rcp": lambda: relative(f"({kind})1 / {x[0]}", "1.2e-7f"),
        "sqrt": lambda: relative(f"std::sqrt({x[0]})", "1.2e-7f"),
        "rsqrt": lambda: relative(f"({kind})1 / std::sqrt({x[0]})", "1.28e-7f"),
        "sin": lambda: f"cs_fast_sinf({x[0]})",
        "cos": lambda: f"cs_fast_cosf({x[0]})",
        "ex2": lambda: relative(f"std::exp2({x[0]})", "1.68e-7f"),
        "lg2": lambda: f"std::log2({x[0]}) + cs_err({x[0]}, 2.4e-7f)",
        "tanh": lambda: relative(f"std::tanh({x[0]})", "4.9e-4f"),
        "copysign": lambda: f"std::copysign({x[1]}, {x[0]})",
    }
    if operation not in expressions:
        raise i.unsupported()
    value = f"({kind})({expressions[operation]()})"
    return i.write(f"min_<{kind}>(max_<{kind}>({value}, 0), 1)" if "sat" in i.words else value)


def _multiply(i: Instruction, x: list[str]) -> str:
    bits = int(i.kind[1:])
    wide = f"{i.kind[0].replace('b', 'u')}{2 * bits}"
    if bits == 64:
        wide = "__int128" if i.kind[0] == "s" else "unsigned __int128"
    product = f"({wide}){x[0]} * ({wide}){x[1]}"
    adds = i.words[0] == "mad"
    if "wide" in i.words:
        return i.write(f"{product} + {i.read(3, wide)}" if adds else product, wide)
    half = f"({i.kind})({product})" if "lo" in i.words else f"({i.kind})(({product}) >> {bits})"
    return i.write(f"{half} + {x[2]}" if adds else half)


def _carry(i: Instruction, x: list[str]) -> str:
    """Additions that take or leave a carry: 64-bit arithmetic in pieces."""
    bits = i.kind[1:]
    wide, unsigned = "u64" if bits == "32" else "unsigned __int128", f"u{bits}"
    y = [f"({wide})({unsigned}){value}" for value in x]
    if i.words[0].startswith("mad"):
        y = [f"({wide})({unsigned})(({y[0]} * {y[1]}) >> {bits if 'hi' in i.words else 0})", y[2]]
    sign = "-" if i.words[0].startswith("sub") else "+"
    code = f"{wide} t_ = {y[0]} {sign} {y[1]} {sign} {'cc_' if i.words[0].endswith('c') else '0'}; "
    if "cc" in i.words:
        code += f"cc_ = (u32)(t_ >> {bits}) & 1; "
    return code + i.write(f"({unsigned})t_", unsigned)


def _integer(i: Instruction) -> str:
    x = [i.read(k) for k in range(1, len(i.operands))]
    operation, unsigned = i.words[0], "u" + i.kind[1:]
    if "cc" in i.words or operation in ("addc", "subc", "madc"):
        return _carry(i, x)
    if operation in ("mul", "mad"):
        return _multiply(i, x)
    if operation in ("add", "sub"):
        return i.write(f"({unsigned}){x[0]} {'+' if operation == 'add' else '-'} ({unsigned}){x[1]}", unsigned)
    if operation in ("div", "rem"):
        return i.write(f"{x[0]} {'/' if operation == 'div' else '%'} {x[1]}")
    if operation in ("min", "max"):
        return i.write(f"{x[0]} {'<' if operation == 'min' else '>'} {x[1]} ? {x[0]} : {x[1]}")
    if operation == "neg":
        return i.write(f"({unsigned})0 - ({unsigned}){x[0]}", unsigned)
    if operation == "abs":
        return i.write(f"{x[0]} < 0 ? -{x[0]} : {x[0]}")
    raise i.unsupported()


_BY_NAME: dict[str, Callable[[Instruction], str]] = {
    "bra": lambda i: f"goto {i.operands[0].replace('$', 'D_')};",
    "ret": lambda i: "return;",
    "exit": lambda i: "return;",
    "call": _call,
    "trap": lambda i: f'cs_fail("trap", {i.line});',
    "brkpt": lambda i: f'cs_fail("trap", {i.line});',
    "nanosleep": lambda i: "cs_yield();",
    "bar": _barrier,
    "barrier": _barrier,
    "shfl": _shuffle,
    "vote": _vote,
    "match": _match,
    "activemask": lambda i: i.write("cs_activemask()"),
    "ld": _memory,
    "ldu": _memory,
    "st": _memory,
    "atom": _atomic,
    "red": _atomic,
    "cvta": _address_space,
    "mov": _move,
    "and": lambda i: i.write(f"{i.read(1)} & {i.read(2)}"),
    "or": lambda i: i.write(f"{i.read(1)} | {i.read(2)}"),
    "xor": lambda i: i.write(f"{i.read(1)} ^ {i.read(2)}"),
    "not": lambda i: i.write(("!" if i.kind == "pred" else "~") + i.read(1)),
    "setp": _compare,
    "selp": lambda i: i.write(f"{i.read(3, 'pred')} ? {i.read(1)} : {i.read(2)}"),
    "shl": lambda i: i.write(f"shl_<u{i.kind[1:]}>({i.read(1, 'u' + i.kind[1:])}, {i.read(2, 'u32')})"),
    "shr": _shift_right,
    "cvt": _convert,
    **dict.fromkeys(("popc", "clz", "brev", "lop3", "prmt", "shf", "bfi", "bfe", "bfind"), _bits),
}
