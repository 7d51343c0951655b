"""A few kills of `tests.kill_campaign`, every one resumed: nothing twice, nothing lost, the scores of an undisturbed run."""

import random

import pytest

from tests.kill_campaign import KillCampaign


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_kills_and_an_undisturbed_run_score_the_same(tmp_path, workers):
    campaign = KillCampaign(tmp_path, kills=5, scenarios=40, chance=random.Random(7))
    campaign.run(workers)
    assert campaign.counts["runs completed"] >= 1
    print(dict(campaign.counts))
