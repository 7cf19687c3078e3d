"""Alignment problems so small that their exact optimum is known: does an algorithm reach it?"""

from tfalign.enumerable.problem import Problem, total_variation
from tfalign.enumerable.solve import train
from tfalign.enumerable.tabular import TabularCritic, TabularLM

__all__ = ["Problem", "TabularCritic", "TabularLM", "total_variation", "train"]
