"""Batches: each clip once per epoch, bounded size, the same order in every run, and from any position on."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_model.train.engine.batch_sampler import BatchSampler, DataPosition

LENGTHS = st.lists(st.floats(0.2, 20.0), min_size=1, max_size=80)


@given(LENGTHS, st.floats(1.0, 60.0), st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_has_every_clip_once_in_batches_of_bounded_size(lengths, seconds, most, epoch):
    batches = BatchSampler(lengths, seconds, most).epoch(epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= seconds


@settings(max_examples=30)
@given(LENGTHS, st.integers(0, 25))
def test_it_goes_on_from_any_place(lengths, steps):
    batches = BatchSampler(lengths, 30.0, 4)
    whole = [found for _, found in zip(range(steps + 5), batches.batches_after(DataPosition()), strict=False)]
    place = whole[steps - 1][0] if steps else DataPosition()
    rest = [found for _, found in zip(range(5), batches.batches_after(place), strict=False)]
    assert rest == whole[steps : steps + 5]


def test_epochs_and_seeds_differ():
    lengths = [1.0 + i % 7 for i in range(60)]
    one, two, other = (
        BatchSampler(lengths, 20.0).epoch(0),
        BatchSampler(lengths, 20.0).epoch(1),
        BatchSampler(lengths, 20.0, seed=1).epoch(0),
    )
    assert one == BatchSampler(lengths, 20.0).epoch(0)
    assert one != two
    assert one != other
