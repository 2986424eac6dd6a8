"""From what a search found to rows: what each tensor becomes, how surely, and what stays open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from ppls.drafting import fusions
from ppls.drafting.attempt import Match, pairs_of_tensors
from ppls.drafting.confidence import UNPROVEN, confidence_of
from ppls.drafting.folded import folded_norms
from ppls.drafting.fusions import Fusion
from ppls.drafting.loose import Loose
from ppls.drafting.rows import Confidence, LayerRow, Rows, TensorRow, TensorsRule, common_prefix
from ppls.drafting.search import Search
from ppls.drafting.source import Origin, Source
from ppls.drafting.units import OTHER, Unit
from ppls.mappings.operations import Transpose, steps_of
from ppls.shown import listed

Certainty = tuple[Confidence, str, tuple[str, ...]]  # with the reason and the candidates


class Settling:
    """Makes the rows of a search.

    Args:
        loose: tensors that no layer holds.
        name_of: what a layer of the port is called, of its several names.
    """

    def __init__(
        self,
        source: Source,
        search: Search,
        loose: Sequence[Loose],
        units: Sequence[Unit],
        name_of: Callable[[Unit], str],
    ) -> None:
        self.source, self.search, self.loose, self.units, self.name_of = source, search, loose, units, name_of
        self.rows = Rows()
        self.kinds = source.kinds
        self.titles: dict[Unit, str] = {}
        self.folded = folded_norms(search.port.recording, search.best)
        self._used: set[str] = set()
        self._filled: set[str] = set()

    def all(self) -> Rows:
        """The rows, in the order of the source."""
        matches = sorted(self.search.best.matches.values(), key=lambda match: match.source.order)
        origins = self.source.origins
        split, fused = (defaultdict[Unit, list[Match]](list) for _ in range(2))
        for match in matches:
            if match.target.is_part and match.target.whole is not None:
                fused[match.target.whole].append(match)
            elif match.source.pieces:
                together = fusions.concat(match.target, match.source.pieces, origins, self.name_of)
                self._fuse(together, [self._confidence(match)])
            elif match.source.is_part and match.source.whole is not None:
                split[match.source.whole].append(match)
            else:
                self._layer(match)
        for whole, held in split.items():
            self._fuse(fusions.split(whole, held, origins, self.name_of), [*map(self._confidence, held)])
        for held in fused.values():
            if pieces := fusions.pieces_of(held):
                together = fusions.concat(held[0].target, pieces, origins, self.name_of)
                self._fuse(together, [*map(self._confidence, held)])
        for each in self.loose:
            self._tensor(each)
        self._rest()
        if folded := [self._module(norm) for norm in self.folded.values()]:
            self.rows.notes.append(
                f"the model has convolutions with a bias where the source has {listed(folded, 4)} behind them: "
                "they seem to be folded into them, which no map can say; draft the model before that"
            )
        return self.rows

    def _confidence(self, match: Match) -> Certainty:
        found = confidence_of(match, self.search, self._module)
        if found[0] == "certain" and match.source in self.folded:
            return "likely", f"{self._module(self.folded[match.source])} behind it seems to be folded into it", ()
        return found

    def _layer(self, match: Match) -> None:
        confidence, why, candidates = self._confidence(match)
        target = self.name_of(match.target)
        plain: list[tuple[str, str, Origin]] = []
        if not match.target.tensors:
            self._pool(match, target)
            self._note(match, target)
            return
        for name, other in pairs_of_tensors(match.target, match.source).items():
            origin = self.source.origins.get(match.source.tensor_name(other))
            whole = f"{target}.{name}" if target else name
            if origin is None or len(origin.sources) != 1:
                continue
            if confidence == "open":
                self.rows.open[origin.sources[0]] = tuple(
                    sorted({f"{self.name_of(u)}.{name}" for u in self._rivals(match) if name in u.tensors})
                )
                self.rows.rows.append(TensorRow(origin.sources, (whole,), "", "open", why, candidates))
                self._used |= {*origin.sources}
                self._filled.add(whole)
                continue
            if match.folded is not None and name == "running_mean":
                self._fold(match, origin, whole, confidence, why)
                continue
            plain.append((name, whole, origin))
        if match.folded is not None:
            why += "; the bias before it is folded into its mean"
        self._plain(match, target, plain, confidence, why)

    def _tensor(self, loose: Loose) -> None:
        (unit, name), (source, other) = loose.target, loose.source
        whole = unit.tensor_in(self.name_of(unit), name)
        origin = self.source.origins.get(source.tensor_name(other))
        if origin is None or len(origin.sources) != 1:
            return
        why = "what follows agrees with it, and with no other of its shape" if loose.shows else UNPROVEN
        confidence: Confidence = "certain" if loose.shows else "likely"
        self._plain(Match(unit, source), self.name_of(unit), [(name, whole, origin)], confidence, why)

    def _rivals(self, match: Match) -> list[Unit]:
        held = {each.source: each.target for each in self.search.best.matches.values()}
        others = [held[source] for source in self.search.alternatives.get(match.target, ()) if source in held]
        return [match.target, *others]

    def _plain(
        self, match: Match, target: str, plain: list[tuple[str, str, Origin]], confidence: Confidence, why: str
    ) -> None:
        if not plain:
            return
        modules = {origin.sources[0].rpartition(".")[0] for _, _, origin in plain}
        module = common_prefix(modules) if len(modules) > 1 else modules.pop()
        tensors, operations = [], {}
        for name, whole, origin in plain:
            (origin_name,) = origin.sources
            local = origin_name.removeprefix(f"{module}.") if module else origin_name
            axes = next((s.axes for s in steps_of(origin.operation) if isinstance(s, Transpose)), ())
            tensors.append((local, name, axes))
            operation = self._operation(match, name)
            if operation:
                operations[local] = operation
            said = ", ".join(filter(None, ["transpose" if axes else "", operation]))
            self.rows.rows.append(TensorRow((origin_name,), (whole,), said, confidence, why))
            self._used.add(origin_name)
            self._filled.add(whole)
        self._note(match, target)
        if not (target and module) or (
            match.target.kind == OTHER and module not in self.kinds
        ):  # no layer, but tensors
            for (_, _, axes), (_, whole, origin) in zip(tensors, plain, strict=True):
                how = ["from: {0}", "to: {to}", *([f"transpose: {list(axes)}"] if axes else [])]
                self.rows.tensors.append(TensorsRule(origin.sources, (whole,), ", ".join(how), _doubt(confidence, why)))
            return
        own = match.source.whole or match.source
        kind, numerics = self.kinds.get(module, (own.kind, {}))
        options = [f"{name}: {operation}" for name, operation in operations.items()]
        options += [f"{name}: {_number(value)}" for name, value in numerics.items()]
        doubt = _doubt(confidence, why)
        self.rows.layers.append(LayerRow(module, target, kind, tuple(tensors), ", ".join(options), doubt))

    def _pool(self, match: Match, target: str) -> None:
        """A layer without tensors stands in the map where the source's map has it."""
        for row in self.source.map.rows if self.source.map is not None else ():
            indices = row.target.match(match.source.name) if row.kind == "pool" else None
            if indices is not None:
                source = row.source.fill(indices)
                self.titles[match.source] = source
                self.rows.layers.append(LayerRow(source, target, "pool"))
                return

    def _operation(self, match: Match, name: str) -> str:
        elementwise = match.target.kind.endswith("norm")
        steps = []
        if match.source.is_recast and match.source.whole is not None and name == "weight":
            way = "unsqueeze" if match.target.kind == "conv" else "squeeze"
            sides = max(len(unit.shapes["weight"]) for unit in (match.source, match.source.whole))
            steps.append(f"{{{way}: {list(range(2, sides))}}}")
        if match.order is not None and (elementwise or name == "weight"):
            steps.append(f"{{permute: {{dim: {0 if elementwise else 1}, order: {list(match.order)}}}}}")
        if match.negated and name in ("weight", "bias"):
            steps.append("negate")
        return steps[0] if len(steps) == 1 else f"[{', '.join(steps)}]" if steps else ""

    def _fold(self, match: Match, origin: Origin, whole: str, confidence: Confidence, doubt: str) -> None:
        assert match.folded is not None
        bias = self.source.origins[match.folded.tensor_name("bias")].sources[0]
        how = "to: {to}, fold_bias: {{mean: {0}, bias: {1}}}"
        self.rows.tensors.append(TensorsRule((origin.sources[0], bias), (whole,), how, _doubt(confidence, doubt)))
        why = "the convolution before it has no bias: its mean is less by the source's"
        self.rows.rows.append(TensorRow((origin.sources[0], bias), (whole,), "fold_bias", confidence, why))
        self._used |= {origin.sources[0], bias}
        self._filled.add(whole)

    def _fuse(self, fusions: Iterable[Fusion], found: Sequence[Certainty]) -> None:
        """Rows of layers that are one on one side and several on the other, as sure as the least sure of them."""
        order: list[Confidence] = ["open", "likely", "certain"]
        confidence, why = min((each[:2] for each in found), key=lambda each: order.index(each[0]))
        for each in fusions:
            self._used |= {*each.sources}
            self._filled |= {*each.targets}
            self.rows.rows.append(TensorRow(each.sources, each.targets, each.said, confidence, why))
            if confidence == "open":
                self.rows.open |= dict.fromkeys(each.sources, each.targets)
            else:
                self.rows.tensors.append(TensorsRule(each.sources, each.targets, each.how, _doubt(confidence, why)))

    def _note(self, match: Match, target: str) -> None:
        ours, theirs = (getattr(unit.module, "eps", None) for unit in (match.target, match.source))
        if isinstance(ours, float) and isinstance(theirs, float) and ours != theirs:
            self.rows.notes.append(f"{target}: an epsilon of {ours:g}, where the source has {theirs:g}")
        elif not match.exact:
            self.rows.notes.append(f"{target}: what comes to it is not what comes to {self._module(match.source)}")
        elif match.output_error > self.source.exact and not match.lacks_bias and match.target.kind != OTHER:
            self.rows.notes.append(
                f"{target}: computes otherwise than {self._module(match.source)} ({match.output_error:.0e}): padding, "
                "dilation or stride; what follows was found as if it did not"
            )

    def _module(self, unit: Unit) -> str:
        """What the source calls a layer."""
        if unit in self.titles:
            return self.titles[unit]
        if unit.pieces:
            return " + ".join(map(self._module, unit.pieces))
        for name in unit.tensors:
            origin = self.source.origins.get(unit.tensor_name(name))
            if origin is not None:
                part = f" ({unit.part[0] + 1} of {unit.part[1]})" if unit.is_part else ""
                return f"{origin.sources[0].rpartition('.')[0]}{part}"
        return unit.name

    def _rest(self) -> None:
        """What no layer of the run took or filled."""
        sources = dict.fromkeys(name for origin in self.source.origins.values() for name in origin.sources)
        left = [name for name in sources if name not in self._used]
        targets = {
            unit.tensor_in(self.name_of(unit), local): (unit, local) for unit in self.units for local in unit.tensors
        }
        unfilled = {
            name: (unit.whole or unit).shapes[local]
            for name, (unit, local) in targets.items()
            if name not in self._filled
        }
        shapes = self._shapes_of(left)
        ran = {*self.search.best.matches, *self.search.best.lost}
        for name, shape in unfilled.items():
            unit, local = targets[name]
            fitting = [source for source in left if shapes.get(source) == shape]
            if not fitting and not unit.tensors[local].is_floating_point():
                self.rows.keep[name] = "a constant"
            elif not fitting and unit not in ran:
                self.rows.keep[name] = "never runs"
            else:
                self.rows.unmatched_target.append(name)
                self.rows.open[name] = tuple(fitting[:20])
        free = set(unfilled.values())
        best = self.search.best
        for name in left:
            option = self._optional(name)
            if name in self.source.constants and best.outputs and not best.faults() and self._used:
                beside = next(each for each in sources if each in self._used)
                self.rows.constants[name] = self.source.constants[name], shapes[name], beside
            elif option is not None and shapes.get(name) not in free:
                text = option[1]
                if text not in self.rows.left_out.setdefault(option[0], []):
                    self.rows.left_out[option[0]].append(text)
            else:
                self.rows.unmatched_source.append(name)
                self.rows.open[name] = tuple(target for target, shape in unfilled.items() if shape == shapes.get(name))[
                    :20
                ]

    def _shapes_of(self, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """In the layout of the port."""
        found = {
            each: self.source.shapes[name] for name, origin in self.source.origins.items() for each in origin.sources
        }
        return {name: found[name] for name in names}

    def _optional(self, name: str) -> tuple[str, str] | None:
        """The option and the pattern of a module that may be absent as a whole, and is."""
        for optional in self.source.map.optional if self.source.map is not None else ():
            if optional.pattern.match_within(name) is not None:
                whole = [each for each in self._used if optional.pattern.match_within(each) is not None]
                return None if whole else (optional.option, optional.pattern.text)
        return None


def _doubt(confidence: Confidence, why: str) -> str:
    """What is said beside a row that is only likely."""
    return why if confidence == "likely" else ""


def _number(value: float) -> str:
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):.1f}e{int(exponent)}" if abs(value) < 1e-3 else f"{value:g}"
