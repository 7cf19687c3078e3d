"""What the trainers' tests share: an encoder, and runs that are cut off and go on."""

from __future__ import annotations

import keras
import pytest

from tests.trainers.runs import CutAfter, CutOff, assert_same_run
from tfalign.models import BERT, BERTConfig
from tfalign.text import train_word_piece
from tfalign.trainers.saving import save_model

TEXT = "the film was good bad dull fine in London Paris he lives"


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """Directory of a tiny BERT that knows the words of ``TEXT``."""
    folder = tmp_path_factory.mktemp("encoder") / "bert"
    keras.utils.set_random_seed(0)
    tokenizer = train_word_piece([TEXT], 80)
    config = BERTConfig(tokenizer.vocab_size, 16, 1, 2, max_positions=16, initializer_range=0.2)
    save_model(folder, BERT(config), tokenizer)
    return str(folder)


@pytest.fixture
def resumed(tmp_path):
    """``resumed(make, cut)``: two runs of ``make(run_dir, callbacks)``, a trainer: one that is cut off after the
    step ``cut`` and started again, and one that is not; both are over, and are the same bit for bit. Their
    trainers."""

    def run(make, cut):
        cut_run, whole_run = tmp_path / "cut", tmp_path / "whole"
        with pytest.raises(CutOff):
            make(cut_run, [CutAfter(cut)]).train()
        again, whole = make(cut_run, []), make(whole_run, [])
        for trainer in (again, whole):
            trainer.train()
        assert_same_run(cut_run, whole_run, whole.stage)
        return again, whole

    return run
