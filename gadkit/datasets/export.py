"""Make up what a shop exports: orders, who was reviewed, the orders of next week, and the truth.

The table is as dirty as such tables are, and meant for the front door (`gadkit.ingest`). Frauds
come in rings that share one device, one card or one address. Half of the rings burst: they buy the
same products within hours. The others are quiet: they buy what, when and as often as everybody
else, so that the shared value is all there is to find. Families share as well, up to four of them,
parcel shops are the address of dozens, gift cards and gateways of mobile carriers of hundreds.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gadkit import store

ORDERS, REVIEWED, NEXT_WEEK, TRUTH = "orders.csv", "reviewed.csv", "next_week.csv", "truth.csv"
LINKS = ("device_id", "card_hash", "ship_address")
KINDS = ("normal", "quiet_ring", "bursting_ring", "lone")
NORMAL, QUIET, BURSTING, LONE = range(4)
RINGS = {"both": (QUIET, BURSTING), "quiet": (QUIET,), "bursting": (BURSTING,)}

_BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
_DAYS, _WEEK = 84, 7  # of the orders, and of those that follow
_ORDERS_PER_BUYER = 5.2
_PER_RING = (4, 11)  # members of a ring, both included
_AGREED = 3  # products that a bursting ring buys
_BURST = 2 * 3600  # seconds within which it does
_SHARES = 0.7  # of the orders of a member carry the value that its ring shares
_REVIEWED = 0.3  # of the buyers
_PARCEL_SHOP = (15, 60)  # buyers who have their parcels sent to one
_COLUMNS = (
    "order_id", "order_time", "customer_id", "sku", "merchant_id", "amount", *LINKS, "ip", "note",
)  # fmt: skip
_NOTES = ("leave at the door", "thank you", "call first", "gift wrap please", "blue one", "size M")
_STREETS = (
    "Oak", "Elm", "Main", "High", "Lake", "Hill", "Park", "Mill", "Church", "River", "Station",
    "Garden",
)  # fmt: skip


class _Buyers(NamedTuple):
    """Who buys: one entry a buyer, those who come in next week behind the others.

    Attributes:
        kind: index into KINDS.
        ring: number of the ring, or -1.
        is_new: whether the first order is in next week.
        weight: how often a buyer buys, relative to others.
        private: (num_buyers, 3) number of the device, card and address of each.
        shared: the number that the ring shares, in place of one of `private`, or -1.
        link: which of the three it is.
        ip: number of the address on the internet.
        agreed: (num_rings, 3) products that a ring buys when it bursts.
    """

    kind: np.ndarray
    ring: np.ndarray
    is_new: np.ndarray
    weight: np.ndarray
    private: np.ndarray
    shared: np.ndarray
    link: np.ndarray
    ip: np.ndarray
    agreed: np.ndarray


class _Orders(NamedTuple):
    """What is bought, in the order of time: buyer, product, seconds since the beginning, price."""

    buyer: np.ndarray
    product: np.ndarray
    second: np.ndarray
    price: np.ndarray


def write_export(
    folder: Path | str, *, num_buyers: int = 9_700, rings: str = "both", seed: int = 0
) -> Path:
    """Write a made-up export: the same arguments give the same bytes.

    orders.csv holds twelve weeks of about 50,000 orders, next_week.csv the orders of the week
    after, a tenth of them by new buyers. reviewed.csv has the verdicts on 30 % of the buyers of
    orders.csv; truth.csv the kind of every buyer (`KINDS`), its ring, whether it is new next week,
    the column that the ring shares, and the products that it has agreed to buy. About 6 % of the
    buyers are frauds, of the new ones nearly 20 %.

    Args:
        folder: where to write; must not exist, or be empty.
        num_buyers: of orders.csv, at least 600; rings, products and shops grow with it.
        rings: "quiet", "bursting", or "both", by turns.
        seed: a whole number >= 0.

    Returns:
        The folder.

    Raises:
        ValueError: too few buyers, or no such rings.
        FileExistsError: the folder holds something already.
    """
    if num_buyers < 600:
        raise ValueError(f"num_buyers must be 600 or more, for every kind of fraud: {num_buyers}")
    if rings not in RINGS:
        raise ValueError(f"rings must be one of {', '.join(RINGS)}, got {rings!r}")
    people, buying, writing, review = map(
        np.random.default_rng, np.random.SeedSequence(seed).spawn(4)
    )
    num_products = num_buyers // 3
    buyers = _meet(num_buyers, num_products, RINGS[rings], people)
    orders = _buy(buyers, num_products, buying)
    is_next = orders.second >= _DAYS * 86_400
    with store.appearing(folder) as partial:
        for name, rows in ((ORDERS, ~is_next), (NEXT_WEEK, is_next)):
            lines = _lines(buyers, orders, np.flatnonzero(rows), writing)
            (partial / name).write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
        seen = np.unique(orders.buyer[~is_next])
        (partial / REVIEWED).write_text("\n".join(_verdicts(buyers, seen, review)) + "\n")
        (partial / TRUTH).write_text("\n".join(_truth(buyers, np.unique(orders.buyer))) + "\n")
    return Path(folder)


def _meet(
    num_buyers: int, num_products: int, kinds: tuple[int, ...], rng: np.random.Generator
) -> _Buyers:
    """Draw the buyers of the first weeks, and those who are new in the last.

    Args:
        num_buyers: of the first weeks.
        num_products: from which rings choose what they agree on.
        kinds: of the rings, by turns.
        rng: the source of chance.
    """
    num_new = num_buyers // 15
    total = num_buyers + num_new
    kind, ring = np.zeros(total, np.int8), np.full(total, -1)
    is_new = np.arange(total) >= num_buyers
    private = np.stack([rng.permutation(10 * total)[:total] for _ in LINKS], 1)
    ip = np.arange(total)
    shared, link = np.full(total, -1), np.zeros(total, np.int8)

    old, new = rng.permutation(num_buyers), num_buyers + rng.permutation(num_new)
    crews = _crews(old, max(8, num_buyers // 135), rng) + _crews(new, max(2, num_new // 54), rng)
    num_old = sum(not is_new[crew[0]] for crew in crews)
    late = np.setdiff1d(new, np.concatenate(crews))
    for number, crew in enumerate(crews):
        if number < num_old and number % 4 == 3:  # the ring opens two accounts more next week
            crew, late = np.append(crew, late[:2]), late[2:]
        kind[crew], ring[crew] = kinds[number % len(kinds)], number
        link[crew] = number // 2 % len(LINKS)
        shared[crew] = 10 * total + number
    alone = np.concatenate([np.setdiff1d(old, np.flatnonzero(kind))[: num_buyers // 160], late[:3]])
    kind[alone] = LONE

    honest = rng.permutation(np.flatnonzero(kind == NORMAL))
    _live_together(honest[: total // 8], private, ip, rng)
    address = private[:, LINKS.index("ship_address")]
    _collect_parcels(honest[total // 8 : total // 5], address, rng)
    gateway = rng.random(total) < 0.3
    ip[gateway] = -1 - rng.integers(0, 3, gateway.sum())
    weight = rng.lognormal(0, 0.8, total)
    weight[kind > 0] = np.clip(weight[kind > 0], 0.5, None)
    agreed = rng.integers(num_products // 3, num_products, (len(crews), _AGREED))  # unpopular ones
    return _Buyers(kind, ring, is_new, weight, private, shared, link, ip, agreed)


def _crews(people: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the members of some rings, each of another size."""
    sizes = rng.integers(_PER_RING[0], _PER_RING[1] + 1, count)
    return np.split(people[: sizes.sum()], np.cumsum(sizes)[:-1])


def _live_together(people: np.ndarray, private: np.ndarray, ip: np.ndarray, rng) -> None:
    """Let families of two to four share the address, and some the device or the card as well."""
    while len(people) > 1:
        family, people = np.split(people, [rng.integers(2, 5)])
        shares = [rng.random() < 0.4, rng.random() < 0.25, True]
        private[np.ix_(family, shares)] = private[family[0], shares]
        ip[family] = ip[family[0]]


def _collect_parcels(people: np.ndarray, address: np.ndarray, rng: np.random.Generator) -> None:
    """Let strangers have their parcels sent to one address."""
    while len(people) > _PARCEL_SHOP[0]:
        served, people = np.split(people, [rng.integers(_PARCEL_SHOP[0], _PARCEL_SHOP[1] + 1)])
        address[served] = address[served[0]]


def _buy(buyers: _Buyers, num_products: int, rng: np.random.Generator) -> _Orders:
    """Draw what everybody buys, and what bursting rings and lone frauds buy in addition."""
    total, days = len(buyers.kind), np.where(buyers.is_new, _WEEK, _DAYS + _WEEK)
    expected = buyers.weight * np.where(buyers.is_new, 0.4, 1.0)
    expected *= _ORDERS_PER_BUYER * (_DAYS + _WEEK) / _DAYS / np.exp(0.8**2 / 2)
    count = np.maximum(rng.poisson(expected), 1)
    count[(buyers.kind == QUIET) | (buyers.kind == BURSTING)] += 1
    buyer = np.repeat(np.arange(total), count)
    popularity = (np.arange(num_products) + 3.0) ** -0.9
    product = rng.choice(num_products, len(buyer), p=popularity / popularity.sum())
    first_day = np.where(buyers.is_new, _DAYS, 0)[buyer]
    second = (first_day + rng.random(len(buyer)) * days[buyer]) * 86_400
    price = np.exp(rng.normal(3.2, 0.5, num_products))
    parts = [(buyer, product, second, price[product] * rng.uniform(0.9, 1.1, len(buyer)))]
    for ring in np.unique(buyers.ring[buyers.kind == BURSTING]):
        parts.extend(_bursts(buyers, ring, price, rng))
    for lone in np.flatnonzero(buyers.kind == LONE):
        products = rng.integers(num_products // 2, num_products, 4)
        begin = (_DAYS + 3 if buyers.is_new[lone] else rng.integers(3, _DAYS - 3)) * 86_400
        when = begin + rng.random(4) * 86_400
        parts.append((np.full(4, lone), products, when, 5 * price[products]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[2], kind="stable")
    return _Orders(*(column[order] for column in columns))


def _bursts(buyers: _Buyers, ring: int, price: np.ndarray, rng) -> Iterator[tuple]:
    """Let a ring buy what it has agreed on, and its members of next week do so then."""
    for is_new in (False, True):
        crew = np.flatnonzero((buyers.ring == ring) & (buyers.is_new == is_new))
        begin = _DAYS + 1 + 4 * rng.random() if is_new else 1 + (_DAYS - 3) * rng.random()
        buyer = np.repeat(crew, _AGREED)
        product = np.tile(buyers.agreed[ring], len(crew))
        when = begin * 86_400 + _BURST * rng.random(len(buyer))
        yield buyer, product, when, 1.3 * price[product]


def _lines(buyers: _Buyers, orders: _Orders, rows: np.ndarray, rng) -> Iterator[str]:
    """Write orders as shops do: several spellings, gaps, rows twice, and lines that broke off."""
    yield ",".join(_COLUMNS)
    for row, chances in zip(rows.tolist(), rng.random((len(rows), 9)).tolist(), strict=True):
        line = ",".join(_fields(buyers, orders, row, chances))
        yield line if chances[8] > 0.0005 else line[: len(line) // 3]
        if chances[8] > 0.997:
            yield line


def _fields(buyers: _Buyers, orders: _Orders, row: int, chance: list[float]) -> list[str]:
    """Write one order; `chance` decides how."""
    buyer, product = int(orders.buyer[row]), int(orders.product[row])
    customer = f"C{buyer:06d}"
    if chance[0] < 0.03:
        customer = customer.lower()
    values = buyers.private[buyer].tolist()
    if buyers.shared[buyer] >= 0 and chance[1] < _SHARES:
        values[buyers.link[buyer]] = int(buyers.shared[buyer])
    device = f"{values[0] * 2_654_435_761 % 2**48:012X}"
    device = "<NA>" if chance[2] < 0.02 else device.lower() if chance[2] < 0.3 else device
    card = "GIFT-CARD" if chance[3] < 0.02 else f"h{values[1] * 40_503 % 2**40:010x}"
    return [
        str(100_000 + row), _time(orders.second[row], chance[4]),
        "" if chance[0] > 0.998 else customer, _sku(product), f"M{product % 83}",
        _amount(orders.price[row], chance[5]), device, card, _address(values[2], chance[6]),
        _ip(int(buyers.ip[buyer])), _note(chance[7]),
    ]  # fmt: skip


def _time(second: float, chance: float) -> str:
    """Write a time: mostly with a space before the zone, sometimes as ISO 8601, or not at all."""
    when = _BEGIN + timedelta(seconds=int(second))
    if chance < 0.005:
        return "n/a"
    if chance < 0.2:
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (when - timedelta(hours=5)).strftime("%Y-%m-%d %H:%M:%S -0500")


def _amount(price: float, chance: float) -> str:
    """Write a price: with a code, in brackets where it was paid back, or a word for nothing."""
    if chance < 0.004:
        return "pending"
    return f"({price:.2f})" if chance < 0.02 else f'"USD {price:,.2f}"'


def _address(number: int, chance: float) -> str:
    """Write an address in one of the ways that people do."""
    street, house, flat = _STREETS[number % len(_STREETS)], number % 400 + 1, number // 400 + 1
    spelled = f"{house} {street} Street, Apartment {flat}"
    if chance < 0.3:
        spelled = f"{house} {street} St. Apt {flat}"
    elif chance < 0.5:
        spelled = spelled.upper()
    elif chance < 0.55:
        spelled = spelled.replace(" ", "  ")
    return f'"{spelled}"'


def _ip(number: int) -> str:
    if number < 0:  # a gateway of a mobile carrier
        return f"100.64.0.{-number}"
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def _note(chance: float) -> str:
    word = _NOTES[int(chance * 1e6) % len(_NOTES)]
    return f'"{word}, ""{word}"""' if chance < 0.02 else word if chance < 0.3 else ""


def _verdicts(buyers: _Buyers, seen: np.ndarray, rng: np.random.Generator) -> Iterator[str]:
    """Review some of the buyers; a few ids are of nobody who has ordered."""
    yield "customer_id,verdict"
    for buyer in np.sort(rng.choice(seen, round(_REVIEWED * len(seen)), replace=False)):
        yield f"C{buyer:06d},{'fraud' if buyers.kind[buyer] else 'ok'}"
    yield from (f"C9{number:05d},ok" for number in range(5))


def _truth(buyers: _Buyers, seen: np.ndarray) -> Iterator[str]:
    """Say of every buyer what it is, what column its ring shares, and what it has agreed to buy."""
    yield "customer_id,kind,ring,is_new,shares,agreed"
    for buyer in seen:
        kind, ring, is_new = buyers.kind[buyer], buyers.ring[buyer], int(buyers.is_new[buyer])
        shares = LINKS[buyers.link[buyer]] if ring >= 0 else ""
        products = buyers.agreed[ring] if kind == BURSTING else ()
        agreed = " ".join(map(_sku, products))
        yield f"C{buyer:06d},{KINDS[kind]},{ring},{is_new},{shares},{agreed}"


def _sku(product: int) -> str:
    return f"SKU-{product}"
