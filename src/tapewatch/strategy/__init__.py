"""The strategy language: text, graph, and the live evaluator."""

from tapewatch.strategy.changes import merged, with_params
from tapewatch.strategy.definition import SIDES, Strategy, from_mapping
from tapewatch.strategy.evidence import Evidence, make_signal
from tapewatch.strategy.graph import Graph, Node
from tapewatch.strategy.program import Program, SidePlan, compile_program

__all__ = [
    "SIDES",
    "Evidence",
    "Graph",
    "Node",
    "Program",
    "SidePlan",
    "Strategy",
    "compile_program",
    "from_mapping",
    "make_signal",
    "merged",
    "with_params",
]
