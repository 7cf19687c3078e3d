"""Knowledge graphs: triples, embeddings that predict links, and language models that walk to an answer."""

from tfalign.applications.knowledge.embedded import embedded_graph
from tfalign.applications.knowledge.embedding import KnowledgeEmbedding, LinkPredictor, Questions
from tfalign.applications.knowledge.graph import KnowledgeGraph
from tfalign.applications.knowledge.objectives import LinkPrediction, SampledLinkPrediction
from tfalign.applications.knowledge.ranking import (
    filtered_ranks,
    precision_recall_area,
    ranking_metrics,
)
from tfalign.applications.knowledge.trainer import LinkPredictionOptions, LinkPredictionTrainer

__all__ = [
    "KnowledgeEmbedding",
    "KnowledgeGraph",
    "LinkPrediction",
    "LinkPredictionOptions",
    "LinkPredictionTrainer",
    "LinkPredictor",
    "Questions",
    "SampledLinkPrediction",
    "embedded_graph",
    "filtered_ranks",
    "precision_recall_area",
    "ranking_metrics",
]
