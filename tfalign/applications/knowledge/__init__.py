"""Knowledge graphs: triples, embeddings that predict links, and language models that walk to an answer."""

from tfalign.applications.knowledge.asking import (
    EMBEDDED_CUES,
    Asked,
    QuestionReader,
    answer_question,
)
from tfalign.applications.knowledge.demonstrations import WalkDemonstrations, rule_confidences
from tfalign.applications.knowledge.embedded import embedded_graph
from tfalign.applications.knowledge.embedding import KnowledgeEmbedding, LinkPredictor, Questions
from tfalign.applications.knowledge.extraction import Extracted, Gazetteer, RelationExtractor
from tfalign.applications.knowledge.graph import KnowledgeGraph, answers_of
from tfalign.applications.knowledge.objectives import LinkPrediction, SampledLinkPrediction
from tfalign.applications.knowledge.page import answer_page
from tfalign.applications.knowledge.ranking import (
    filtered_ranks,
    precision_recall_area,
    ranking_metrics,
)
from tfalign.applications.knowledge.relation_classifier import (
    RelationClassification,
    RelationClassifier,
)
from tfalign.applications.knowledge.relation_examples import encode_relations
from tfalign.applications.knowledge.relation_trainer import RelationOptions, RelationTrainer
from tfalign.applications.knowledge.relations import (
    RelationRecord,
    marked,
    micro_scores,
    read_sanwen,
    read_semeval,
    semeval_score,
)
from tfalign.applications.knowledge.rewards import WalkReward
from tfalign.applications.knowledge.trainer import LinkPredictionOptions, LinkPredictionTrainer
from tfalign.applications.knowledge.vocabulary import GraphVocabulary
from tfalign.applications.knowledge.walker import Answer, Walker

__all__ = [
    "Answer",
    "Asked",
    "EMBEDDED_CUES",
    "Extracted",
    "Gazetteer",
    "GraphVocabulary",
    "KnowledgeEmbedding",
    "KnowledgeGraph",
    "LinkPrediction",
    "LinkPredictionOptions",
    "LinkPredictionTrainer",
    "LinkPredictor",
    "QuestionReader",
    "Questions",
    "RelationClassification",
    "RelationClassifier",
    "RelationExtractor",
    "RelationOptions",
    "RelationRecord",
    "RelationTrainer",
    "SampledLinkPrediction",
    "WalkDemonstrations",
    "WalkReward",
    "Walker",
    "answer_page",
    "answer_question",
    "answers_of",
    "embedded_graph",
    "encode_relations",
    "filtered_ranks",
    "marked",
    "micro_scores",
    "precision_recall_area",
    "ranking_metrics",
    "read_sanwen",
    "read_semeval",
    "rule_confidences",
    "semeval_score",
]
