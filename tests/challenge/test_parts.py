from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.challenge import part_masks, private_masks, public_mask
from palladion.errors import ScoringError
from palladion.scoring import PointScores

SALT = bytes(range(32))

split = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n), st.lists(st.integers(0, 5), min_size=n, max_size=n)
    )
)
shares = st.floats(0.01, 0.99)
salts = st.binary(min_size=16, max_size=40)


def names_of(n: int) -> list[str]:
    return [f"id-{i:08d}" for i in range(n)]


@given(split, shares, salts)
def test_every_label_and_every_cluster_has_its_share(
    data: tuple[list[bool], list[int]], share: float, salt: bytes
) -> None:
    poisoned, cluster = (np.array(column) for column in data)
    mask = public_mask(names_of(poisoned.size), poisoned, cluster, share=share, salt=salt)
    for label in (False, True):
        of_label = poisoned == label
        assert abs(mask[of_label].sum() - share * of_label.sum()) < 1 + 1e-9
        for number in set(cluster.tolist()):
            stratum = of_label & (cluster == number)
            assert abs(mask[stratum].sum() - share * stratum.sum()) < 1 + 1e-9


@given(split, shares, st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_numbers_of_clusters_matter(
    data: tuple[list[bool], list[int]], share: float, random: Any
) -> None:
    poisoned, cluster = data
    names = names_of(len(poisoned))
    mask = public_mask(names, poisoned, cluster, share=share, salt=SALT)
    order = list(range(len(names)))
    random.shuffle(order)
    other = public_mask(
        [names[i] for i in order],
        [poisoned[i] for i in order],
        [100 - 7 * cluster[i] for i in order],
        share=share,
        salt=SALT,
    )
    assert mask[order].tolist() == other.tolist()


def test_another_salt_makes_other_parts_and_each_data_point_has_its_chance() -> None:
    poisoned, cluster = np.arange(40) % 2 == 0, np.arange(40) // 10
    public = np.array(
        [public_mask(names_of(40), poisoned, cluster, share=0.3, salt=i.to_bytes(16, "big")) for i in range(1000)]
    )
    assert len(set(map(bytes, public))) > 990
    # Four standard errors of a share of 0.3 among 1,000.
    assert np.abs(public.mean(axis=0) - 0.3).max() < 4 * (0.3 * 0.7 / 1000) ** 0.5


def test_what_makes_no_parts_is_refused() -> None:
    options: dict[str, Any] = {"poisoned": [True, False], "cluster": [0, 0], "share": 0.5, "salt": SALT}
    for change, words in (
        ({"poisoned": [True]}, "do not fit together"),
        ({"share": 0.0}, "between 0 and 1"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"share": float("nan")}, "between 0 and 1"),
        ({"salt": b"short"}, "at least 16"),
    ):
        with pytest.raises(ScoringError, match=words):
            public_mask(["a", "b"], **(options | change))
    with pytest.raises(ScoringError, match="there twice"):
        public_mask(["a", "a"], **options)


def test_the_parts_of_points() -> None:
    n = 50
    points = PointScores(
        "detection", {"probability": np.full(n, 0.5), "poisoned": np.arange(n) % 2, "cluster": np.arange(n) // 5}
    )
    assert part_masks(points, share=None, salt=SALT) is None
    masks = part_masks(points, share=0.4, salt=SALT, names=names_of(n))
    assert masks is not None
    public, private = points.part(masks), points.part(private_masks(masks))
    assert public.size == 20
    assert public.size + private.size == n
    assert public.arrays["poisoned"].mean() == pytest.approx(0.5, abs=0.06)
    with pytest.raises(ScoringError, match="need the names"):
        part_masks(points, share=0.4, salt=SALT)


def test_the_parts_of_rows() -> None:
    points = PointScores(
        "classification",
        {"t/utility": np.zeros(40), "t/success": np.zeros(30), "t/attack": np.repeat([0, 1, 2], 10)},
    )
    masks = part_masks(points, share=0.5, salt=SALT)
    assert masks is not None
    public = points.part(masks)
    assert 19 <= public.groups["t/clean"] <= 21
    assert [4 <= (public.arrays["t/attack"] == attack).sum() <= 6 for attack in range(3)] == [True] * 3
