"""Selection at test time as a job: candidates, a rule, its K-scaling curve. Nothing is trained."""

from tod.engine.search.curve import Outcomes, Table, best_of_k_law, outcomes
from tod.engine.search.job import search
from tod.engine.search.results import SCHEMA, summarise

__all__ = ["SCHEMA", "Outcomes", "Table", "best_of_k_law", "outcomes", "search", "summarise"]
