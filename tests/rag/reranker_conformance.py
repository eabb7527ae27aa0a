"""What every `Reranker` promises, as a suite to inherit."""

from __future__ import annotations

import numpy as np
import pytest

from capibara.rag.protocols import Reranker

PASSAGES = ["the river boat", "night train to the north pier", "", "blue whale invoice pressure " * 30]


class RerankerConformance:
    """What every `Reranker` promises; a subclass gives the fixture ``reranker``."""

    @pytest.mark.parametrize("count", [0, 1, 4])
    def test_one_finite_float32_score_per_passage(self, reranker: Reranker, count: int) -> None:
        scores = reranker.score("river boat", PASSAGES[:count])
        assert scores.shape == (count,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_scores_follow_their_passages(self, reranker: Reranker) -> None:
        scores = reranker.score("river boat", PASSAGES)
        np.testing.assert_allclose(reranker.score("river boat", PASSAGES[::-1])[::-1], scores, atol=1e-3)

    def test_the_query_matters(self, reranker: Reranker) -> None:
        assert not np.allclose(reranker.score("river boat", PASSAGES), reranker.score("train", PASSAGES), atol=1e-4)

    @pytest.mark.parametrize("query", ["", "?", "boat " * 200])
    def test_odd_queries_are_scored(self, reranker: Reranker, query: str) -> None:
        assert np.isfinite(reranker.score(query, PASSAGES)).all()

    def test_it_has_a_name_and_warms_up(self, reranker: Reranker) -> None:
        reranker.warm_up()
        assert reranker.name
