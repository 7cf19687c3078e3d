"""Teaches a GPT to answer questions about a knowledge graph by walking in it.

    python -m experiments.tasks.walk_graph --run_dir=runs/walk
    python -m experiments.tasks.walk_graph --run_dir=runs/zh --graph=embedded:zh --ask=法国的首都是哪里？
    python -m experiments.tasks.walk_graph --run_dir=runs/umls --graph=DATA/kg-tiny/umls --algorithm=grpo
    python -m experiments.tasks.walk_graph --run_dir=runs/s1 --graph=DATA/countries/S1 --on_bad=skip --areas

A question is a relation and an entity, its answer a walk of at most --max_hops edges to an entity that fits. (1)
Embeddings of the graph are trained (``link_prediction``). (2) A GPT with random weights imitates walks to known answers
and learns the facts of the training triples. (3) An algorithm of the library aligns it: 1 for a walk that ends at an
answer, and on the way what it gains of the embeddings' probability, which is given back at the end. The edges that
answer a question are hidden from its walks, always; with --over_answers only the one that leads where the walk ends.
Writes RUN_DIR/walk_graph.json: filtered mean reciprocal rank and Hits@k on validation and test triples, head and tail
asked for, by constrained beam search, before and after (3); with --areas the area under the precision-recall curve of
test questions' candidates, the answers of the test questions' relation; and some answers with their paths, to test
questions and, of the embedded graph, to questions in words (--ask). RUN_DIR/answer_1.html and its like draw these.

Result: docs/results/knowledge.md.
"""

from __future__ import annotations

import time

import keras
import numpy as np

from experiments.launch import launch
from experiments.tasks.link_prediction import EMBEDDED, fitting_batches, read_graph
from tfalign.applications.knowledge import (
    EMBEDDED_CUES,
    GraphVocabulary,
    LinkPredictionOptions,
    LinkPredictionTrainer,
    LinkPredictor,
    QuestionReader,
    WalkDemonstrations,
    Walker,
    WalkReward,
    answer_page,
    answer_question,
    answers_of,
    filtered_ranks,
    precision_recall_area,
    ranking_metrics,
)
from tfalign.files import write_json_atomically, write_text_atomically
from tfalign.models import CausalLM, GPTConfig
from tfalign.objectives import LanguageModelling
from tfalign.options import changed, option, option_record, record, to_dict
from tfalign.pretrained import Pretrained
from tfalign.trainers import OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.objective import ObjectiveTrainer
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import TrainingOptions


@option_record
class WalkGraphConfig:
    run_dir: str = option("runs/walk", "Run directory.")
    graph: str = option("embedded:en", "Folder of the graph; or embedded:en, embedded:zh.")
    max_hops: int = option(2, "Edges of the longest walk.", at_least=1)
    algorithm: str = option("ppo", "On-policy algorithm.")
    over_answers: bool = option(
        False, "Hide from a question only the edge to the answer at which its walk ends."
    )
    shaping: float = option(1.0, "Factor of the potential; 0: no shaping.", at_least=0)
    facts: float = option(0.5, "Fraction of facts among the demonstrations.", at_least=0, at_most=1)
    candidates: int = option(
        1, "Walks of which a demonstration is chosen by its rule's confidence.", at_least=1
    )
    sharpness: float = option(2.0, "Exponent of the confidence in that choice.", at_least=0)
    width: int = option(128, "Hidden size.", at_least=1)
    num_layers: int = option(1, "Number of blocks.", at_least=1)
    embedding_dropout: float = option(
        0.15, "Dropout rate of token embeddings.", at_least=0, below=1
    )
    beam: int = option(1024, "Walks kept for each question.", at_least=1)
    ask: tuple[str, ...] = option(
        (), "Questions in words about the embedded graph, comma-separated, to be answered."
    )
    areas: bool = option(False, "Also measure the area under the precision-recall curve.")
    most_questions: int | None = option(
        300, "Validation questions that are asked, at most; none: all.", at_least=1
    )
    links: LinkPredictionOptions = record(
        changed(LinkPredictionOptions(), n3=0.005, epochs=60, save_every=10_000), prefix="links."
    )
    imitation: TrainingOptions = record(
        changed(
            TrainingOptions(),
            steps=900,
            batch_size=256,
            learning_rate=4e-3,
            warmup_steps=50,
            weight_decay=0.1,
            log_every=50,
            save_every=500,
        ),
        prefix="imitation.",
    )
    options: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            steps=40,
            batch_size=512,
            learning_rate=4e-4,
            warmup_steps=3,
            kl_coefficient=0.4,
            max_prompt_tokens=3,
            log_every=10,
            save_every=100,
        )
    )


def main(config):
    graph = read_graph(config.graph, config.options.data_options.on_bad)
    reader = question_reader(config, graph)
    vocabulary = GraphVocabulary(graph)
    run = open_run(config.run_dir, {"walk_graph": to_dict(config)}, "walk_graph")
    keras.utils.set_random_seed(config.options.run.seed)
    report, seconds = {}, time.process_time()
    policy = imitate(config, vocabulary, run)
    report["imitation"] = measured(config, policy.model, vocabulary)
    report["imitation"]["cpu_seconds"] = time.process_time() - seconds
    print("imitation", report["imitation"], flush=True)
    seconds = time.process_time()
    trainer = aligned(config, policy, vocabulary, run)
    report[config.algorithm] = measured(config, policy.model, vocabulary)
    report[config.algorithm]["cpu_seconds"] = time.process_time() - seconds
    print(config.algorithm, report[config.algorithm])
    walker = _walker(config, policy.model, vocabulary, trainer.constraint)
    report["answers"] = shown(config, walker, graph, run, reader)
    write_json_atomically(run.file("walk_graph.json"), report)
    for one in report["answers"]:
        print(f"{one['question']}  {one['right']}")
        for answer in one["found"]:
            print(f"    {answer['probability']:.3f}  {answer['path']}")
    run.close()


def imitate(config, vocabulary, run):
    """A GPT that walks as demonstrations do, with its tokenizer."""
    shape = {"vocab_size": vocabulary.size, "width": config.width, "num_layers": config.num_layers}
    model = CausalLM(
        GPTConfig(
            **shape,
            num_heads=4,
            max_positions=16,
            embedding_dropout=config.embedding_dropout,
            initializer_range=0.08,
        )
    )
    options = config.imitation
    given = options.update.batch_size, config.max_hops, config.facts, options.run.seed
    how = config.candidates, config.sharpness, config.over_answers
    demonstrations = WalkDemonstrations(vocabulary, *given, *how)
    tokenizer = vocabulary.tokenizer
    how = {"tokenizer": tokenizer, "options": options, "run_dir": run, "stage": "imitation"}
    ObjectiveTrainer(model, LanguageModelling(), demonstrations, **how).train()
    return Pretrained(model, tokenizer)


def constraint(config, vocabulary):
    """Where a walk may go."""
    if config.over_answers:
        return vocabulary.walk_over_answers(config.max_hops)
    return vocabulary.walk(config.max_hops)


def aligned(config, policy, vocabulary, run):
    """Aligns the policy in place; the trainer that did."""
    graph, walk = vocabulary.graph, constraint(config, vocabulary)
    questions = np.unique(graph.questions("train")[:, :2], axis=0)
    prompts = vocabulary.prompts(questions)
    is_open = np.asarray(walk.allowed(walk.start(prompts))).any(axis=1)
    questions = questions[is_open]  # the others have no edge but the hidden ones
    potential = None
    if config.shaping:
        links = LinkPredictionTrainer(
            graph, options=fitting_batches(config.links, graph), run_dir=run
        )
        links.train()
        potential = LinkPredictor(links.model).probabilities(questions)
    answers = answers_of(graph.questions("train"))
    asked = None if potential is None else questions
    reward = WalkReward(vocabulary, answers, potential, asked, config.shaping)
    trainer = OnPolicyTrainer(
        policy,
        reward,
        vocabulary.prompt_texts(questions),
        config.algorithm,
        constraint=walk,
        options=changed(config.options, max_new_tokens=walk.max_new_tokens),
        run_dir=run,
    )
    trainer.train()
    return trainer


def measured(config, model, vocabulary):
    """Ranks of the answers to validation and test questions, and areas if they are wanted."""
    graph, walk = vocabulary.graph, constraint(config, vocabulary)
    walker, found = _walker(config, model, vocabulary, walk), {}
    for split, most in (("valid", config.most_questions), ("test", None)):
        order = np.random.default_rng(0).permutation(2 * len(getattr(graph, split)))
        questions = graph.questions(split)[order[:most]]
        log_probs = walker.log_probs(questions)
        ranks = filtered_ranks(log_probs, questions[:, 2], graph.known(questions))
        found[split] = ranking_metrics(ranks)
        if config.areas:
            found[split]["auc_pr"] = area(graph, walker, split)
    return found


def _walker(config, model, vocabulary, walk):
    """A Walker that holds some 25,000 walks at once."""
    chunk = max(1, min(64, 25_000 // config.beam))
    return Walker(model, vocabulary, walk, config.beam, chunk)


def area(graph, walker, split):
    """Of (head, relation, ?), with all tails of the relation as candidates (Bouchard et al. 2015)."""
    triples = getattr(graph, split)
    log_probs, scores, labels = walker.log_probs(triples), [], []
    for row, (head, relation, _) in enumerate(triples):
        candidates = np.unique(graph.train[graph.train[:, 1] == relation, 2])
        candidates = [c for c in candidates if c in _tops(graph, relation)]
        scores += np.exp(log_probs[row, candidates]).tolist()
        labels += [c in graph.answers[head, relation] for c in candidates]
    return precision_recall_area(scores, labels)


def _tops(graph, relation):
    """Tails of a relation that are heads of none: of located in, the regions that lie in nothing larger."""
    of_relation = graph.train[graph.train[:, 1] == relation]
    return set(of_relation[:, 2]) - set(of_relation[:, 0])


def question_reader(config, graph):
    """What reads the questions of --ask, and whether it can; None where nothing is asked."""
    if not config.ask:
        return None
    language = config.graph.removeprefix(EMBEDDED)
    if language not in EMBEDDED_CUES:
        raise ValueError(
            f"Questions in words are about the embedded graph. Received: graph={config.graph!r}"
        )
    reader = QuestionReader(graph, EMBEDDED_CUES[language])
    for question in config.ask:
        reader.read(question)
    return reader


def shown(config, walker, graph, run, reader, count=5):
    """Answers to some test questions and to those in words, with their paths, and a page that draws each."""
    asked = []
    for head, relation, tail in graph.test[:count]:
        names = graph.entities[head], graph.relations[relation]
        answers = walker.answers(*names, count=3)
        asked.append((" ".join((*names, "?")), graph.entities[tail], names, answers))
    for question in config.ask:
        answers = answer_question(question, reader, walker)
        names = reader.read(question)
        asked.append((question, " ".join((*names, "?")), names, answers))
    found = []
    for question, told, names, answers in asked:
        page = answer_page(graph, *names, answers)
        write_text_atomically(run.file(f"answer_{len(found) + 1}.html"), page)
        paths = [
            {"entity": a.entity, "probability": a.probability, "path": a.path} for a in answers
        ]
        found.append({"question": question, "right": told, "found": paths})
    return found


if __name__ == "__main__":
    launch(WalkGraphConfig, main, __doc__)
