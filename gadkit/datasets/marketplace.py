"""Generate a marketplace with planted fraud, and the answer key that says what was planted.

First a genuine marketplace is drawn: communities of interest, products of Zipf popularity, sellers
of Zipf size, users of log-normal activity. Fraud is planted among accounts picked at random: by
what they buy together, and by a push on how they review. Features aggregate the reviews so drawn,
and a push that is lost in the noise of one account adds up over the targets and mates of a group.
Genuine clubs and rushes imitate the structure without the push, so neither features nor structure
alone give fraud away. An answer key of planted patterns is the idea of Altman et al., "Realistic
Synthetic Financial Transactions for Anti-Money Laundering Models", NeurIPS 2023.

How hard the default demo is, as AUROC of a random forest fitted on 60 % of the labels and tested on
20 %, mean of four seeds: 0.75 on the features of the account alone, 0.86 with the mean features of
its neighbors and its degrees, 0.58 on its degrees alone. No single feature exceeds 0.68.
"""

import operator
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gadkit import store

SIZES = {  # users, products, sellers
    "small": (2_000, 960, 40),
    "demo": (40_000, 19_200, 800),
    "full": (1_000_000, 480_000, 20_000),
}
KIND_NAMES = (
    "normal", "ring_member", "camouflaged_member", "shill_buyer", "colluding_seller",
    "burst_account", "lone_opportunist",
)  # fmt: skip
NORMAL, RING, CAMOUFLAGED, SHILL, SELLER, BURST, OPPORTUNIST = range(7)
EPU, EPS, EUU = range(3)  # relations of planted edges

# Share of the fraudulent users that is of a kind, and how visibly that kind reviews.
_SHARE = {RING: 0.35, CAMOUFLAGED: 0.15, SHILL: 0.25, BURST: 0.15, OPPORTUNIST: 0.10}
_VISIBLE = {RING: 1.0, CAMOUFLAGED: 0.3, SHILL: 1.0, BURST: 0.7, OPPORTUNIST: 3.0}

_USERS_PER_COMMUNITY = 2_500
_OWN_COMMUNITY = 0.8  # chance that a purchase stays in the user's community
_PURCHASES, _PURCHASES_SIGMA = 11.5, 0.9  # mean per user, and sigma of the log-normal
_CO_PURCHASES = 10.4  # mean co-purchase neighbors per user
_STRONG_KEPT = 0.45  # share of the pairs with two products or more in common that are linked
_BUYER_CAP = 14  # buyers per product that co-purchase looks at
_GROUP_SIZE, _TARGETS = 8, 7  # members and target products of a ring, a shill crew, a club
_CLUB_SHARE, _RUSH_SHARE = 0.15, 0.06  # of users: genuine ones in clubs, or shopping in a rush
_REVIEWED = 16_400  # accounts reviewed by default, or all when there are fewer
_HOURS = 730 * 24
_BLOCK = 1 << 16  # rows of topics drawn at a time

# Review attributes: base; sd between users, products, reviews; push of a fraud that is not hidden.
# The first five are numbers, the others yes/no: yes where the sum is positive.
_ATTRIBUTES = {
    "rating": (4.1, 0.40, 0.35, 0.85, 0.55),
    "text": (3.6, 0.50, 0.15, 0.70, -0.40),
    "similarity": (0.0, 0.45, 0.10, 0.80, 0.45),
    "helpful": (-0.6, 0.40, 0.40, 1.00, -0.35),
    "price": (3.0, 0.00, 0.90, 0.10, 0.00),
    "verified": (1.0, 0.50, 0.15, 1.00, -0.45),
    "photo": (-1.0, 0.50, 0.15, 1.00, -0.20),
    "night": (-1.2, 0.40, 0.00, 1.00, 0.35),
    "discount": (-0.8, 0.40, 0.40, 1.00, 0.30),
    "returned": (-1.6, 0.30, 0.30, 1.00, -0.15),
    "edited": (-1.5, 0.30, 0.00, 1.00, 0.00),
}
_NAMED = (
    "log_reviews", "log_links", "rating_mean", "rating_sd", "rating_1_share", "rating_2_share",
    "rating_3_share", "rating_4_share", "rating_5_share", "rating_vs_product", "helpful_log_mean",
    "helpful_none_share", "text_log_mean", "text_log_sd", "text_short_share", "similarity_mean",
    "similarity_sd", "price_log_mean", "price_log_sd", "verified_share", "photo_share",
    "night_share", "discount_share", "returned_share", "edited_share", "weekend_share",
    "gap_hours_log_mean", "gap_hours_log_sd", "burstiness", "same_day_share", "active_days",
    "age_days",
)  # fmt: skip
FEATURE_NAMES = _NAMED + tuple(f"topic_{i}" for i in range(store.FEATURE_DIM - len(_NAMED)))


def generate(
    folder: str | Path,
    *,
    size: str = "demo",
    num_users: int | None = None,
    num_products: int | None = None,
    num_sellers: int | None = None,
    base_rate: float = 0.04,
    camouflage: float = 0.5,
    label_noise: float = 0.0,
    label_rate: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write a marketplace with planted fraud as a raw dataset folder.

    Writes node_counts.json, {epu,eps,euu}_{row_ptr,col_idx}.bin, X_combined.memmap, labels.npy,
    about.json and planted.npz (`store.load_planted`). Columns are sorted within a row, each pair
    occurs once, and every row holds a self-loop on its own global id: in epu and eps a wrong-typed
    entry, to be repaired. The same arguments give the same bytes. Nothing appears at `folder`
    before all is written.

    Planted kinds: ring members, who review target products together; camouflaged members of the
    same rings, who buy much that is popular and hardly show in features; shill buyers and the
    colluding seller they buy from; burst accounts, who buy the long tail in a few days; lone
    opportunists, whose features alone are off. The edges that make a node fraudulent: purchases of
    the targets (epu) and co-purchase links inside the group (euu) of a ring member or shill;
    burst purchases (epu) of a burst account; the offers of promoted products (eps) and the shills'
    purchases of them (epu) of a seller; none of a lone opportunist.

    Args:
        folder: where to write; must not exist, or be empty.
        size: "small", "demo" or "full", see SIZES.
        num_users, num_products, num_sellers: replace the numbers of `size`.
        base_rate: share of users, and of sellers, that is fraudulent; in (0, 0.5).
        camouflage: in [0, 1]; the push on fraudulent reviews is multiplied by 1 - camouflage, and
            the more of it, the more ordinary purchases fraudsters add.
        label_noise: share of the labels flipped; in [0, 0.5).
        label_rate: share of users and sellers reviewed, in (0, 1]; by default such that about
            16,400 are (all of them in "small").
        seed: a whole number >= 0.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        ValueError: an argument is out of its range.
        FileExistsError: the folder holds something already.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    overrides = (num_users, num_products, num_sellers)
    counts = tuple(
        default if count is None else operator.index(count)
        for default, count in zip(SIZES[size], overrides, strict=True)
    )
    if label_rate is None:
        label_rate = min(1.0, _REVIEWED / (counts[0] + counts[2]))
    _check(counts, base_rate, camouflage, label_noise, label_rate)
    streams = np.random.SeedSequence(operator.index(seed)).spawn(8)
    with store.appearing(folder) as partial:
        stages = _stages(partial, counts, base_rate, camouflage, label_noise, label_rate, streams)
        _follow(stages, progress)
        store.write_about(partial, _about(label_noise))
    return Path(folder)


def _about(label_noise: float) -> dict:
    """Return what about.json says of a generated marketplace."""
    flipped = f", with {label_noise:.1%} of the labels flipped" if label_noise else ""
    return {
        "title": "Generated marketplace",
        "description": "Users buy products, sellers list them, and users who buy alike are linked. "
        "Fraud of six kinds is planted among users and sellers.",
        "source": "gadkit.datasets.marketplace.generate",
        "license": "none is needed: made by gadkit",
        "labels": {"meaning": f"a fraud that was planted{flipped}", "kind": "injected"},
        "features": dict.fromkeys(store.NODE_TYPES.values(), list(FEATURE_NAMES)),
    }


def _check(counts, base_rate, camouflage, label_noise, label_rate) -> None:
    num_users, num_products, num_sellers = counts
    ranges = {
        "base_rate": (base_rate, 0 < base_rate < 0.5, "(0, 0.5)"),
        "camouflage": (camouflage, 0 <= camouflage <= 1, "[0, 1]"),
        "label_noise": (label_noise, 0 <= label_noise < 0.5, "[0, 0.5)"),
        "label_rate": (label_rate, 0 < label_rate <= 1, "(0, 1]"),
    }
    for name, (value, fits, allowed) in ranges.items():
        if not fits:
            raise ValueError(f"{name} must be in {allowed}, got {value}")
    if num_sellers < 10 or num_products < 4 * num_sellers or num_users < 10 * num_sellers:
        raise ValueError(
            "needs 10 sellers or more, 4 products and 10 users per seller, got "
            f"{num_users} users, {num_products} products, {num_sellers} sellers"
        )
    if round(base_rate * num_users) < 20:
        raise ValueError(
            f"base_rate {base_rate} of {num_users} users is less than 20 fraudulent users, too few "
            "for every kind: raise base_rate or num_users"
        )


def _follow(stages: Iterator[str], progress: bool) -> None:
    from tqdm import tqdm

    with tqdm(total=5, disable=not progress, desc="marketplace") as bar:
        for stage in stages:
            bar.set_postfix_str(stage)
            bar.update()


class _Pool:
    """Items with weights, to be drawn from one community or from all."""

    def __init__(self, community: np.ndarray, weight: np.ndarray, num_communities: int):
        self.order = np.argsort(community, kind="stable")
        self.cum = np.concatenate([[0.0], np.cumsum(weight[self.order])])
        self.first = np.searchsorted(community[self.order], np.arange(num_communities + 1))

    def draw(self, community: np.ndarray, stay: float, rng: np.random.Generator) -> np.ndarray:
        """Draw one item per entry of `community`, from that community with probability `stay`.

        An item is drawn by its weight: `cum` adds the weights up, community after community, so a
        point between two of its values falls on an item as often as the item weighs. A community
        is the range from cum[first[community]] to cum[first[community + 1]].
        """
        local = rng.random(len(community)) < stay
        low = np.where(local, self.cum[self.first[community]], 0.0)
        high = np.where(local, self.cum[self.first[community + 1]], self.cum[-1])
        point = low + rng.random(len(community)) * (high - low)
        pick = np.searchsorted(self.cum, point, side="right") - 1
        return self.order[np.minimum(pick, len(self.order) - 1)]


class _World(NamedTuple):
    counts: tuple[int, int, int]
    num_communities: int
    community: tuple[np.ndarray, np.ndarray, np.ndarray]  # of users, products, sellers
    popularity: np.ndarray  # (num_products,)
    products: _Pool  # by popularity
    tail: _Pool  # the unpopular products, equally likely
    main_seller: np.ndarray  # (num_products,)
    offers: np.ndarray  # (num_offers,) int64 sorted keys product * num_sellers + seller


class _Cast(NamedTuple):
    kind: np.ndarray  # (total,) int8
    group: np.ndarray  # (num_users,) of rings, shill crews and genuine clubs; -1 = none
    rush: np.ndarray  # (num_users,) bool: genuine users who buy much in a short time
    user: np.ndarray  # agreed purchases of the groups
    product: np.ndarray


class _Reviews(NamedTuple):
    user: np.ndarray  # ascending
    product: np.ndarray  # ascending within a user; the pairs are unique
    seller: np.ndarray
    campaign: np.ndarray  # bool: bought with the group or in the burst
    fraud: np.ndarray  # bool: a campaign purchase of a fraudulent user


def _zipf(n: int, exponent: float, flat: float, rng: np.random.Generator) -> np.ndarray:
    return (rng.permutation(n) + flat) ** -exponent


def _found_market(counts: tuple[int, int, int], rng: np.random.Generator) -> _World:
    """Draw communities, popularity, and the one to three sellers of each product."""
    num_users, num_products, num_sellers = counts
    num_communities = max(6, num_users // _USERS_PER_COMMUNITY)
    community = tuple(rng.integers(0, num_communities, n) for n in counts)
    popularity = _zipf(num_products, 0.8, num_products / 500, rng)
    sellers = _Pool(community[2], _zipf(num_sellers, 0.8, 10, rng), num_communities)
    main_seller = sellers.draw(community[1], 0.9, rng)
    keys = [np.arange(num_products) * num_sellers + main_seller]
    for share in (0.25, 0.10):
        listed_again = np.flatnonzero(rng.random(num_products) < share)
        keys.append(listed_again * num_sellers + sellers.draw(community[1][listed_again], 0.9, rng))
    return _World(
        counts, num_communities, community, popularity,
        _Pool(community[1], popularity, num_communities),
        _Pool(community[1], (popularity < np.quantile(popularity, 0.6)) * 1.0, num_communities),
        main_seller, np.unique(np.concatenate(keys)),
    )  # fmt: skip


def _cast_roles(world: _World, base_rate: float, rng: np.random.Generator) -> _Cast:
    """Pick the fraudulent accounts, form the groups, and agree on what each group buys."""
    num_users, num_products, num_sellers = world.counts
    kind = np.zeros(sum(world.counts), np.int8)
    shuffled = rng.permutation(num_users)
    ends = np.round(np.cumsum(list(_SHARE.values())) * round(base_rate * num_users)).astype(int)
    for k, begin, end in zip(_SHARE, [0, *ends[:-1]], ends, strict=True):
        kind[shuffled[begin:end]] = k
    clubs, loners = np.split(shuffled[ends[-1] :], [int(_CLUB_SHARE * num_users)])
    rush = np.isin(np.arange(num_users), loners[: int(_RUSH_SHARE * num_users)])
    colluders = _pick_colluders(world, max(1, round(base_rate * num_sellers)), rng)
    kind[num_users + num_products + colluders] = SELLER

    rings = np.flatnonzero((kind == RING) | (kind == CAMOUFLAGED))
    shills = np.flatnonzero(kind == SHILL)
    num_rings, num_clubs = (max(1, len(m) // _GROUP_SIZE) for m in (rings, clubs))
    group = np.full(num_users, -1)
    group[rings] = _divide(len(rings), num_rings, rng)
    group[shills] = num_rings + _divide(len(shills), len(colluders), rng)
    group[clubs] = num_rings + len(colluders) + _divide(len(clubs), num_clubs, rng)
    targets = [
        _shared_interest(world, num_rings, rng),
        _promoted(world, np.repeat(colluders, _TARGETS), rng),
        _shared_interest(world, num_clubs, rng),
    ]
    return _Cast(kind, group, rush, *_agree(group, np.concatenate(targets), rng))


def _divide(num_members: int, num_groups: int, rng: np.random.Generator) -> np.ndarray:
    """Number the group of each member: half in turn, so that none is empty, half at random."""
    group = np.arange(num_members) % num_groups
    half = num_members // 2
    group[half:] = rng.integers(0, num_groups, num_members - half)
    return rng.permutation(group)


def _shared_interest(world: _World, num_groups: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the targets of each group: unpopular products of one community."""
    community = rng.integers(0, world.num_communities, num_groups)
    return world.tail.draw(np.repeat(community, _TARGETS), 1.0, rng)


def _agree(group, targets, rng) -> tuple[np.ndarray, np.ndarray]:
    """Let each member of a group buy a random three or more of its targets: users, products."""
    members = np.flatnonzero(group >= 0)
    # A row of `place` is a random order of the targets; a member buys those in the first places.
    place = rng.random((len(members), _TARGETS)).argsort(axis=1)
    bought = place < rng.integers(3, _TARGETS + 1, len(members))[:, None]
    row, slot = np.nonzero(bought)
    user = members[row]
    return user, targets.reshape(-1, _TARGETS)[group[user], slot]


def _pick_colluders(world: _World, n: int, rng: np.random.Generator) -> np.ndarray:
    """Pick sellers of middling size: a tiny one has nothing to promote, a large one no need."""
    size = np.bincount(world.main_seller, minlength=world.counts[2])
    by_size = np.argsort(size, kind="stable")[np.count_nonzero(size == 0) :]
    begin = min(int(0.3 * len(by_size)), len(by_size) - n)
    end = max(int(0.9 * len(by_size)), begin + n)
    return np.sort(rng.choice(by_size[begin:end], n, replace=False))


def _promoted(world: _World, seller: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a product of each seller: the less popular of two, which is what needs promotion."""
    order = np.argsort(world.main_seller, kind="stable")
    first = np.searchsorted(world.main_seller[order], np.arange(world.counts[2] + 1))
    size = np.diff(first)[seller]
    place = first[seller] + (rng.random((2, len(seller))) * size).astype(np.int64)
    first_draw, second_draw = order[place]
    return np.where(
        world.popularity[first_draw] < world.popularity[second_draw], first_draw, second_draw
    )


def _buy(world: _World, cast: _Cast, camouflage: float, rng: np.random.Generator) -> _Reviews:
    """Draw every purchase: those agreed on, those of bursts, and the ordinary ones around them."""
    num_users, num_products, _ = world.counts
    kind, home = cast.kind[:num_users], world.community[0]
    mean_log = np.log(_PURCHASES) - _PURCHASES_SIGMA**2 / 2
    activity = rng.lognormal(mean_log, _PURCHASES_SIGMA, num_users).clip(1, 400)
    burst = np.where(kind == BURST, (0.7 * activity).clip(3), 0).round().astype(np.int64)
    # Agreed purchases take the place of ordinary ones, lest the number of them tell.
    planned = np.bincount(cast.user, minlength=num_users) + burst
    num_ordinary = np.maximum(activity.round().astype(np.int64) - planned, 1)
    num_ordinary += rng.poisson(camouflage * (0.5 * (kind > 0) + 5.5 * (kind == CAMOUFLAGED)))

    user = np.repeat(np.arange(num_users), num_ordinary)
    stay = np.where(kind == CAMOUFLAGED, 0.3, _OWN_COMMUNITY)[user]
    key = user * num_products + world.products.draw(home[user], stay, rng)
    hasty = np.repeat(np.arange(num_users), burst)
    tail = hasty * num_products + world.tail.draw(home[hasty], 0.5, rng)
    planned = np.unique(np.concatenate([cast.user * num_products + cast.product, tail]))
    key = np.unique(np.concatenate([planned, key]))
    campaign = np.zeros(len(key), bool)
    campaign[np.searchsorted(key, planned)] = True

    user, product = np.divmod(key, num_products)
    fraud = campaign & (kind[user] > 0)
    campaign |= cast.rush[user] & (rng.random(len(key)) < 0.7)
    seller = _choose_seller(world, product, fraud & (kind[user] == SHILL), rng)
    return _Reviews(user, product, seller, campaign, fraud)


def _choose_seller(world: _World, product, shilled, rng) -> np.ndarray:
    """Choose among those who offer the product, at random but for shills."""
    num_sellers = world.counts[2]
    first = np.searchsorted(world.offers // num_sellers, np.arange(world.counts[1] + 1))
    offer = first[product] + (rng.random(len(product)) * np.diff(first)[product]).astype(np.int64)
    return np.where(shilled, world.main_seller[product], world.offers[offer] % num_sellers)


def _link_buyers(reviews: _Reviews, num_users: int, rng: np.random.Generator) -> np.ndarray:
    """Link users who bought the same products; return sorted keys low * num_users + high, int64.

    At most `_BUYER_CAP` random buyers of a product are compared with each other. A pair that shares
    two products or more is linked with probability `_STRONG_KEPT`; of those that share one, as many
    at random as make `_CO_PURCHASES` neighbors on average.
    """
    keys = _compare_buyers(reviews, num_users, rng)
    keys.sort()
    start = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    shared = np.diff(np.append(start, len(keys)))
    pair = keys[start]
    wanted = int(_CO_PURCHASES * num_users / 2)
    strong = pair[(shared >= 2) & (rng.random(len(pair)) < _STRONG_KEPT)]
    if len(strong) >= wanted:
        return np.sort(rng.choice(strong, wanted, replace=False))
    weak = pair[shared == 1]
    weak = weak[rng.random(len(weak)) < (wanted - len(strong)) / max(1, len(weak))]
    return np.sort(np.concatenate([strong, weak]))


def _compare_buyers(reviews: _Reviews, num_users: int, rng: np.random.Generator) -> np.ndarray:
    """List the pairs of buyers of each product, as keys; a pair occurs once for each product."""
    lot = rng.integers(0, 1 << 31, len(reviews.user), dtype=np.int32)
    order = np.lexsort((lot, reviews.product))
    user, product = reviews.user[order], reviews.product[order]
    keep = np.arange(len(product)) - np.searchsorted(product, product) < _BUYER_CAP
    user, product = user[keep], product[keep]
    # The buyers of a product stand side by side. Moved by `step` places, the list pairs each buyer
    # with the one `step` further on, which counts where both are of the same product.
    keys = []
    for step in range(1, _BUYER_CAP):
        is_shared = product[step:] == product[:-step]
        earlier, later = user[:-step][is_shared], user[step:][is_shared]
        keys.append(np.minimum(earlier, later) * num_users + np.maximum(earlier, later))
    return np.concatenate(keys)


def _draw_attributes(world, cast, reviews, shift: float, rng) -> dict[str, np.ndarray]:
    """Draw the attributes and the hour of each review."""
    num_users, num_products, _ = world.counts
    kind = cast.kind[:num_users]
    # Some fraudsters hardly show: the push varies from 0 to 2 between them.
    visible = np.array([_VISIBLE.get(k, 0.0) for k in range(len(KIND_NAMES))])
    push = shift * visible[kind] * rng.uniform(0, 2, num_users)
    push = (push[reviews.user] * np.where(reviews.fraud, 1.5, 0.8)).astype(np.float32)
    drawn = {}
    for i, (name, (base, by_user, by_product, noise, pushed)) in enumerate(_ATTRIBUTES.items()):
        value = noise * rng.standard_normal(len(push), np.float32) + np.float32(base)
        value += (by_user * rng.standard_normal(num_users, np.float32))[reviews.user]
        value += (by_product * rng.standard_normal(num_products, np.float32))[reviews.product]
        value += pushed * push
        drawn[name] = value if i < 5 else value > 0
    drawn["rating"] = drawn["rating"].round().clip(1, 5)
    drawn["helpful"] = np.log1p(np.floor(np.exp(drawn["helpful"])))
    drawn["hour"] = _date_reviews(cast, reviews, shift, rng)
    drawn["weekend"] = drawn["hour"] // 24 % 7 >= 5
    return drawn


def _date_reviews(cast, reviews, shift: float, rng) -> np.ndarray:
    """Spread reviews over the life of an account; sessions and campaigns cluster in time."""
    num_users = len(cast.group)
    joined = _HOURS * rng.beta(1, 2, num_users)
    session = joined + (_HOURS - joined) * rng.random(num_users)
    habit = rng.beta(1, 3, num_users)[reviews.user]
    date = _HOURS * rng.uniform(0.1, 0.9, cast.group.max() + 1)
    campaign = np.where(cast.group >= 0, date[cast.group], session)
    hour = joined[reviews.user]
    hour += (_HOURS - hour) * rng.random(len(hour))
    clustered = rng.random(len(hour)) < habit
    hour[clustered] = session[reviews.user[clustered]] + rng.exponential(20, clustered.sum())
    together = reviews.campaign & (rng.random(len(hour)) < 0.4 + 0.4 * shift)
    hour[together] = campaign[reviews.user[together]] + rng.exponential(60, together.sum())
    return hour.clip(0, _HOURS - 1).astype(np.int64)


def _aggregate(key, reviews, drawn, links, rng) -> np.ndarray:
    """Summarize the reviews of each node: (n, 32) float32 in the order of FEATURE_NAMES."""
    n = len(links)
    count = np.bincount(key, minlength=n)
    total = np.maximum(count, 1)

    def mean(value):
        return np.bincount(key, value, minlength=n) / total

    def mean_sd(value):
        center = mean(value)
        return center, np.sqrt(np.maximum(mean(np.square(value, dtype=np.float64)) - center**2, 0))

    rating = drawn["rating"]
    by_product = np.bincount(reviews.product, rating) / np.maximum(np.bincount(reviews.product), 1)
    columns = [np.log1p(count), np.log1p(links), *mean_sd(rating)]
    columns += [mean(rating == stars) for stars in range(1, 6)]
    columns += [mean(rating - by_product[reviews.product])]
    columns += [mean(drawn["helpful"]), mean(drawn["helpful"] == 0)]
    columns += [*mean_sd(drawn["text"]), mean(drawn["text"] < np.log(20))]
    columns += [*mean_sd(drawn["similarity"]), *mean_sd(drawn["price"])]
    columns += [mean(drawn[name]) for name in (*list(_ATTRIBUTES)[5:], "weekend")]
    columns += _time_features(key * _HOURS + drawn["hour"], count, rng)
    return np.stack(columns, axis=1).astype(np.float32)


def _time_features(stamp: np.ndarray, count: np.ndarray, rng) -> list[np.ndarray]:
    """Describe when each node was reviewed: a list of (n,) columns.

    Args:
        stamp: (num_reviews,) int64 node * _HOURS + hour, so that sorting puts the reviews of a node
            side by side in the order of time; is sorted in place.
        count: (n,) reviews of each node.
        rng: for the age of accounts before their first review.
    """
    stamp.sort()
    key, n = stamp // _HOURS, len(count)
    is_same_node = key[1:] == key[:-1]
    gap, key_of_gap = np.diff(stamp)[is_same_node], key[1:][is_same_node]
    gaps = np.maximum(count - 1, 1)

    def mean(value):
        return np.bincount(key_of_gap, value, minlength=n) / gaps

    center = mean(gap)
    sd = np.sqrt(np.maximum(mean(gap**2) - center**2, 0))
    first = np.full(n, float(_HOURS))
    starts = np.flatnonzero(np.concatenate([[True], ~is_same_node]))
    first[key[starts]] = stamp[starts] % _HOURS
    age = (_HOURS - first) / 24 + rng.exponential(60, n)
    burstiness = (sd - center) / np.maximum(sd + center, 1)
    return [
        np.log1p(center), np.log1p(sd), burstiness, mean(gap < 24), center * gaps / 24, age
    ]  # fmt: skip


def _features(world: _World, reviews, attributes, links, rng) -> np.ndarray:
    """Put the aggregates and the topics of each node together: (total, 128) float32."""
    num_named, dim = len(_NAMED), store.FEATURE_DIM
    center = rng.standard_normal((world.num_communities, dim - num_named), np.float32)
    x = np.empty((sum(world.counts), dim), np.float32)
    offset = 0
    for key, community, link in zip(reviews[:3], world.community, links, strict=True):
        out = x[offset : offset + len(link)]
        out[:, :num_named] = _aggregate(key, reviews, attributes, link, rng)
        for begin in range(0, len(out), _BLOCK):
            rows = slice(begin, begin + _BLOCK)
            noise = rng.standard_normal((len(out[rows]), dim - num_named), np.float32)
            out[rows, num_named:] = 0.5 * center[community[rows]] + 0.7 * noise
        offset += len(link)
    return x


def _explain(world: _World, cast: _Cast, reviews: _Reviews, low, high) -> store.Planted:
    """Collect the stored entries that make each fraudulent node one, ordered by node."""
    num_users, num_products, num_sellers = world.counts
    kind, group = cast.kind[:num_users], cast.group
    user = reviews.user[reviews.fraud]
    product = reviews.product[reviews.fraud]
    mates = (kind[low] > 0) & (group[low] >= 0) & (group[low] == group[high])
    low, high = low[mates], high[mates]
    shill = kind[user] == SHILL
    boss = num_users + num_products + world.main_seller[product[shill]]
    promoted = np.unique(product[shill])
    promoter = num_users + num_products + world.main_seller[promoted]
    product, promoted = product + num_users, promoted + num_users
    parts = [  # owner, row, column, relation
        (user, user, product, EPU),
        (boss, user[shill], product[shill], EPU),
        (promoter, promoted, promoter, EPS),
        (low, low, high, EUU),
        (high, high, low, EUU),
    ]
    owner, src, dst = (np.concatenate([part[i] for part in parts]) for i in range(3))
    relation = np.repeat([part[3] for part in parts], [len(part[0]) for part in parts])
    order = np.lexsort((dst, src, relation, owner))
    node = np.flatnonzero(cast.kind)
    return store.Planted(
        kind=cast.kind,
        kind_names=KIND_NAMES,
        node=node,
        edge_ptr=np.searchsorted(owner[order], np.append(node, sum(world.counts))),
        edge_src=src[order],
        edge_dst=dst[order],
        edge_relation=relation[order].astype(np.int8),
    )


def _label(cast: _Cast, counts, label_rate: float, label_noise: float, rng) -> np.ndarray:
    """Review a random share of users and sellers; flip a share of the verdicts."""
    accounts = np.delete(np.arange(sum(counts)), slice(counts[0], counts[0] + counts[1]))
    reviewed = np.sort(rng.choice(accounts, max(1, round(label_rate * len(accounts))), False))
    verdict = (cast.kind[reviewed] > 0).astype(np.int64)
    flipped = rng.choice(len(reviewed), round(label_noise * len(reviewed)), False)
    verdict[flipped] = 1 - verdict[flipped]
    if verdict.min() == verdict.max():
        raise ValueError(
            f"label_rate={label_rate} reviews {len(reviewed)} accounts, all with the same verdict; "
            "raise it, so that both frauds and normal accounts are among them"
        )
    return np.stack([reviewed, verdict], axis=1)


def _stages(folder, counts, base_rate, camouflage, noise, label_rate, streams) -> Iterator[str]:
    """Run the stages, each with its own random stream; name each one done; write at the end."""
    rngs = map(np.random.default_rng, streams)
    num_users, num_products, num_sellers = counts
    world = _found_market(counts, next(rngs))
    cast = _cast_roles(world, base_rate, next(rngs))
    yield "roles"
    reviews = _buy(world, cast, camouflage, next(rngs))
    yield "purchases"
    low, high = np.divmod(_link_buyers(reviews, num_users, next(rngs)), num_users)
    rows, columns = np.concatenate([low, high]), np.concatenate([high, low])
    yield "co-purchases"
    product, seller = np.divmod(world.offers, num_sellers)
    attributes = _draw_attributes(world, cast, reviews, 1.0 - camouflage, next(rngs))
    links = zip((rows, product, seller), counts, strict=True)
    links = [np.bincount(key, minlength=n) for key, n in links]
    x = _features(world, reviews, attributes, links, next(rngs))
    yield "features"
    first_seller = num_users + num_products
    relations = {
        "epu": store.raw_csr(reviews.user, reviews.product + num_users, num_users, 0),
        "eps": store.raw_csr(product, seller + first_seller, num_products, num_users),
        "euu": store.raw_csr(rows, columns, num_users, 0),
    }
    labels = torch.from_numpy(_label(cast, counts, label_rate, noise, next(rngs)))
    num_nodes = dict(zip(store.NODE_TYPES.values(), counts, strict=True))
    store.save_planted(folder, _explain(world, cast, reviews, low, high))
    store.write_raw(folder, num_nodes, relations, torch.from_numpy(x), labels)
    yield "files"
